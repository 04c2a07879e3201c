"""Pruners of several steps with training in between: each step proved, nothing else touched."""

import pytest
import torch
import torch_pruning as tp
from nets import Chain, Flipped, Residual, inputs_for, make
from torch import nn

from analysis import verify_steps
from analysis.checks import evaluate
from analysis.errors import InputError
from analysis.pipeline import analyse, prune_and_prove
from analysis.records import Config, Reason, Verdict


def in_steps(model: nn.Module, inputs, ratio: float = 0.5, steps: int = 2, **more):
    return tp.pruner.MagnitudePruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=ratio,
        iterative_steps=steps,
        ignored_layers=[model.head],
        **more,
    )


def train(model: nn.Module) -> None:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(4, *model.size)).square().sum().backward()
        optimizer.step()


def test_every_step_lists_what_was_removed_since_the_first() -> None:
    model = make(Chain)
    inputs = inputs_for(model)
    steps = list(verify_steps(model, inputs, in_steps(model, inputs)))
    assert [step.verdict for step in steps] == [Verdict.EXACT, Verdict.EXACT]
    output = [[(g.requested, g.removed) for g in step.groups if g.root != "head"] for step in steps]
    # A quarter and then a half of 4 and 5: 4 - int(4 * .75), 5 - int(5 * .75), and so on.
    assert output == [[(1, 1), (2, 2)], [(2, 2), (3, 3)]]
    assert (model.first.out_channels, model.second.out_channels) == (2, 2)


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("kind", [Chain, Residual])
def test_training_between_steps_does_not_count_as_pruning(kind, scope: str) -> None:
    model = make(kind)
    inputs = inputs_for(model)
    pruner = in_steps(model, inputs, 0.6, 3, global_pruning=scope == "global")
    before = model.head.weight.clone()
    steps = []
    for step in verify_steps(model, inputs, pruner):
        assert step.verdict is Verdict.EXACT, step.reason
        steps.append(step)
        train(model)
    assert len(steps) == 3
    assert not torch.equal(before[:, :1], model.head.weight[:, :1])
    left = sum(group.left for group in steps[-1].groups if group.root != "head")
    widths = {"Chain": 4 + 5, "Residual": 4 + 8}[kind.__name__]
    assert left == widths - sum(group.removed for group in steps[-1].groups)


def test_a_step_that_is_wrong_is_the_last() -> None:
    model = make(Flipped)
    inputs = inputs_for(model)
    pruner = in_steps(model, inputs, 0.9, 3)
    steps = list(verify_steps(model, inputs, pruner))
    assert [step.verdict for step in steps] == [Verdict.WRONG]
    assert steps[0].first_divergence == "second"
    assert pruner.current_step == 1


def test_a_first_step_that_takes_nothing_is_no_unchanged_network() -> None:
    """Of 4 and 5 channels a fiftieth is none; only the end of all steps can leave too much."""
    model = make(Chain)
    inputs = inputs_for(model)
    pruner = in_steps(model, inputs, 0.5, 25, root_module_types=[nn.Conv2d])
    first = next(iter(verify_steps(model, inputs, pruner)))
    assert first.verdict.passes
    frozen = make(Chain).requires_grad_(False)
    (last,) = verify_steps(frozen, inputs, in_steps(frozen, inputs, 0.5, 1))
    assert last.verdict is Verdict.UNCHANGED
    assert {group.reason for group in last.groups} >= {Reason.FROZEN}


def test_the_caller_has_its_own_flags_random_state_and_hooks() -> None:
    model = make(Chain).train()
    model.norm.eval()
    inputs = inputs_for(model)
    pruner = in_steps(model, inputs, 0.5, 2)
    # Building a pruner of torch-pruning leaves the model in eval mode; training sets it back.
    model.train()
    model.norm.eval()
    torch.manual_seed(3)
    expected = torch.random.get_rng_state()
    steps = verify_steps(model, inputs, pruner)
    next(steps)
    assert torch.equal(torch.random.get_rng_state(), expected)
    assert model.training
    assert model.second.training
    assert not model.norm.training
    steps.close()  # nobody has to step to the end
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model.first.weight.dtype == torch.float32


def test_a_step_out_of_time_is_a_verdict() -> None:
    class Slow(Chain):
        def forward(self, x):
            while self.first.out_channels < 4:
                pass
            return super().forward(x)

    model = make(Slow)
    inputs = inputs_for(model)
    steps = list(verify_steps(model, inputs, in_steps(model, inputs), budget=2))
    assert [step.verdict for step in steps] == [Verdict.TIMEOUT]


def test_a_pruner_of_another_model_is_refused_before_the_first_step() -> None:
    model, other = make(Chain), make(Chain)
    pruner = in_steps(other, inputs_for(other))
    with pytest.raises(InputError, match="built on another Chain"):
        verify_steps(model, inputs_for(model), pruner)


def outcome(factory):
    model = make(Chain)
    return prune_and_prove(
        analyse(model, inputs_for(model)), Config(0.5), "classifier", pruner_factory=factory
    )


def test_a_pruner_function_may_say_what_to_do_between_its_steps() -> None:
    seen = []

    def between(model: nn.Module) -> None:
        seen.append((model.first.out_channels, model.second.out_channels))
        train(model)

    found = outcome(lambda model, inputs, ratio: (in_steps(model, inputs, ratio, 3), between))
    # After a sixth (1 of 4, 1 of 5) and two sixths (2 of 4, 2 of 5); not after the last step.
    assert seen == [(3, 4), (2, 3)]
    assert found.run.verification.verdict is Verdict.EXACT
    results = {result.name: result for result in evaluate(found)}
    assert all(result.passed for result in results.values())
    assert "trained between the steps" in results["kept_weights_are_originals"].skipped


def test_weights_that_change_without_a_word_fail_their_check() -> None:
    """The same change, made by the pruner and not between its steps, is a fault."""

    class Writing(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            for group in super().step(interactive=True):
                with torch.no_grad():
                    self.model.head.weight.mul_(1.5)
                yield group

    def writing(model: nn.Module, inputs, ratio: float) -> Writing:
        return Writing(
            model,
            inputs,
            importance=tp.importance.MagnitudeImportance(p=1),
            pruning_ratio=ratio,
            ignored_layers=[model.head],
        )

    results = {result.name: result for result in evaluate(outcome(writing))}
    assert not results["kept_weights_are_originals"].passed
    assert not results["equivalent_to_masked"].passed


def test_training_that_raises_is_no_fault_of_the_pruning() -> None:
    def between(model: nn.Module) -> None:
        raise RuntimeError("no data")

    with pytest.raises(InputError, match="the function between steps raised RuntimeError: no data"):
        outcome(lambda model, inputs, ratio: (in_steps(model, inputs, ratio), between))


def test_a_network_that_training_leaves_in_train_mode_is_proved_in_eval_mode() -> None:
    """One image would be too few for batch statistics."""

    class Flat(nn.Module):
        size = (3, 6, 6)

        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
            self.second, self.flat_norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            x = self.norm(self.first(x)).relu().mean((2, 3))
            return self.head(self.flat_norm(self.second(x)))

    model = make(Flat)
    found = prune_and_prove(
        analyse(model, inputs_for(model, batch=1)),
        Config(0.5),
        "classifier",
        pruner_factory=lambda *given: (in_steps(*given, 3), train),
    )
    assert not found.pruned.training
    statistics = found.pruned.norm.running_mean.clone()
    results = evaluate(found)
    assert [result.message for result in results if not result.passed] == []
    assert torch.equal(found.pruned.norm.running_mean, statistics)


def test_training_that_was_not_needed_was_not_done() -> None:
    found = outcome(lambda *given: (in_steps(*given, 1), train))
    assert not found.trained


def test_the_random_state_is_as_found_after_training() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    outcome(lambda *given: (in_steps(*given, 2), train))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_that_only_drops_a_group_is_not_the_last() -> None:
    """The weakest two channels are those of one layer, which would be left empty."""
    model = make(Chain)
    with torch.no_grad():
        model.first.weight.mul_(1e-3)
        model.norm.weight.mul_(1e-3)
        model.second.weight.mul_(1e3)
    inputs = inputs_for(model)
    pruner = in_steps(model, inputs, 0.8, 8, global_pruning=True)
    steps = list(verify_steps(model, inputs, pruner))
    assert len(steps) == 8
    assert all(step.verdict.passes for step in steps)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda pruner: "pruned", "the pruner is a str; expected one of torch-pruning's"),
        (lambda pruner: (pruner, 3), "returned a pruner and an int; expected a pruner, or"),
        (lambda pruner: (pruner, None, None), "the pruner is a tuple"),
    ],
)
def test_what_is_no_pruner_is_refused(answer, message: str) -> None:
    with pytest.raises(InputError, match=message):
        outcome(lambda model, inputs, ratio: answer(in_steps(model, inputs, ratio)))


class Halves(nn.Module):
    """A gate of two halves, of which torch-pruning cuts both and remembers the old ones."""

    size = (5,)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 12), nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        value, gate = self.first(x).chunk(2, -1)
        return self.head(self.second(value * gate.sigmoid()))


def test_a_step_that_raises_after_others_is_named_by_its_number() -> None:
    model = make(Halves)
    inputs = inputs_for(model)
    *_, last = verify_steps(model, inputs, in_steps(model, inputs, steps=5))
    assert last.verdict is Verdict.UNPRUNABLE
    assert "layer `first`" in last.reason
    assert "in step 2 of 5; the steps before went through" in last.reason
