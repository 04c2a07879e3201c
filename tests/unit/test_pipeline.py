"""`verify`: any torch-pruning pruner, stepped to its end and proved."""

import pytest
import torch
import torch_pruning as tp
from nets import Chain, Concat, FixedBuffer, Flipped, Residual, inputs_for, make
from torch import nn

from analysis import verify
from analysis.errors import InputError
from analysis.records import Reason, Verdict


def pruner_of(model: nn.Module, ratio: float = 0.5, **options):
    options.setdefault("importance", tp.importance.MagnitudeImportance(p=1))
    options.setdefault("ignored_layers", [model.head])
    return tp.pruner.MagnitudePruner(model, inputs_for(model), pruning_ratio=ratio, **options)


@pytest.mark.parametrize("kind", [Chain, Residual, Concat])
@pytest.mark.parametrize(
    "importance",
    [
        tp.importance.RandomImportance(),
        tp.importance.LAMPImportance(),
        tp.importance.BNScaleImportance(),
    ],
    ids=lambda importance: type(importance).__name__,
)
def test_any_importance_can_be_proved(kind, importance) -> None:
    model = make(kind)
    answer = verify(model, inputs_for(model), pruner_of(model, importance=importance))
    assert answer.verdict in (Verdict.EXACT, Verdict.UNCHANGED)
    # BNScale has nothing to rank in a network without batch norm.
    assert answer.verdict is Verdict.EXACT or kind is Concat


@pytest.mark.parametrize("steps", [2, 3])
def test_every_step_of_an_iterative_pruner_is_proved(steps: int) -> None:
    model = make(Concat)
    answer = verify(model, inputs_for(model), pruner_of(model, 0.75, iterative_steps=steps))
    assert answer.verdict is Verdict.EXACT
    removed = {group.root: group.removed for group in answer.groups}
    assert removed == {"left": 3, "right": 5, "join": 3, "head": 0}
    assert (model.left.out_channels, model.right.out_channels) == (1, 1)


def test_the_model_is_pruned_and_its_constants_are_as_they_were() -> None:
    model = make(Chain).train()
    state = torch.get_rng_state()
    answer = verify(model, inputs_for(model), pruner_of(model))
    assert answer.verdict is Verdict.EXACT
    assert model.first.out_channels == 2
    assert torch.equal(model.norm.running_mean, torch.zeros(2))
    assert torch.equal(model.norm.weight, torch.ones(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_train_flags_are_left_as_found() -> None:
    model = make(Chain)
    pruner = pruner_of(model)
    model.first.train()
    verify(model, inputs_for(model), pruner)
    assert [name for name, module in model.named_modules() if module.training] == ["first"]


def test_a_group_cut_in_the_wrong_order_is_wrong() -> None:
    model = make(Flipped)
    answer = verify(model, inputs_for(model), pruner_of(model))
    assert answer.verdict is Verdict.WRONG
    assert answer.first_divergence == "second"
    # The plain check: it runs and has the right shape.
    assert model(inputs_for(model)).shape == (2, 2)


def test_a_network_that_no_longer_runs_is_broken() -> None:
    model = make(FixedBuffer)
    assert verify(model, inputs_for(model), pruner_of(model)).verdict is Verdict.BROKEN


def test_nothing_removed_is_unchanged_with_the_reason_of_each_group() -> None:
    model = make(Chain)
    ignored = [model.first, model.second, model.head]
    answer = verify(model, inputs_for(model), pruner_of(model, ignored_layers=ignored))
    assert answer.verdict is Verdict.UNCHANGED
    assert "3 ignored" in answer.reason


def test_a_frozen_model_is_unchanged_because_it_is_frozen() -> None:
    model = make(Chain).requires_grad_(False)
    answer = verify(model, inputs_for(model), pruner_of(model))
    assert answer.verdict is Verdict.UNCHANGED
    reasons = {group.root: group.reason for group in answer.groups}
    assert reasons == {"first": Reason.FROZEN, "second": Reason.FROZEN, "head": Reason.IGNORED}


def test_a_pruner_that_raises_is_unprunable_and_constants_are_restored() -> None:
    class Failing(tp.importance.MagnitudeImportance):
        def __call__(self, group):
            raise RuntimeError("no gradient\nwas computed")

    model = make(Chain)
    answer = verify(model, inputs_for(model), pruner_of(model, importance=Failing()))
    assert answer.verdict is Verdict.UNPRUNABLE
    raised = "ranking raised RuntimeError: no gradient was computed (unit/test_pipeline.py:"
    assert answer.reason.startswith(raised)
    assert answer.reason.endswith('raise RuntimeError("no gradient\\nwas computed"))')
    assert torch.equal(model.norm.running_var, torch.ones(4))


def test_work_that_does_not_end_is_a_timeout_that_names_its_step() -> None:
    class Endless(tp.importance.MagnitudeImportance):
        def __call__(self, group):
            while True:
                pass

    model = make(Chain)
    pruner = pruner_of(model, importance=Endless())
    answer = verify(model, inputs_for(model), pruner, budget=0.5)
    assert answer.verdict is Verdict.TIMEOUT
    assert answer.reason == "no answer within 0.5 s while ranking"


def test_a_forward_that_does_not_end_after_pruning_is_a_timeout_not_broken() -> None:
    class EndlessWhenPruned(Chain):
        def forward(self, x):
            while self.first.out_channels < 4:
                pass
            return super().forward(x)

    model = make(EndlessWhenPruned)
    answer = verify(model, inputs_for(model), pruner_of(model), budget=2)
    assert answer.verdict is Verdict.TIMEOUT
    assert answer.reason == "no answer within 2 s while proving"


def test_weights_that_are_changed_while_ranking_are_reported() -> None:
    class Writing(tp.importance.MagnitudeImportance):
        def __call__(self, group):
            group[0].dep.layer.weight.data.mul_(0.999)
            return super().__call__(group)

    model = make(Chain)
    answer = verify(model, inputs_for(model), pruner_of(model, importance=Writing(p=1)))
    assert answer.verdict is Verdict.WRONG
    assert "was changed before a group was yielded" in answer.reason


def test_a_pruner_of_another_model_is_refused() -> None:
    model = make(Chain)
    with pytest.raises(InputError, match="built on another Chain"):
        verify(model, inputs_for(model), pruner_of(make(Chain)))


def test_a_pruner_that_has_been_stepped_is_refused() -> None:
    model = make(Chain)
    pruner = pruner_of(model)
    pruner.step()
    with pytest.raises(InputError, match="has done 1 of its 1 steps"):
        verify(model, inputs_for(model), pruner)


def test_something_that_is_no_pruner_is_refused() -> None:
    model = make(Chain)
    with pytest.raises(InputError, match="the pruner is a dict"):
        verify(model, inputs_for(model), {})


def test_inputs_that_the_model_refuses_are_named() -> None:
    model = make(Chain)
    pruner = pruner_of(model)
    with pytest.raises(InputError, match=r"`first` raised in conv2d on \(1, 2, 6, 6\)"):
        verify(model, torch.randn(1, 2, 6, 6), pruner)


def test_a_model_in_train_mode_is_proved_in_eval_and_keeps_its_statistics() -> None:
    model = make(Chain)
    pruner = pruner_of(model, ignored_layers=[model.first, model.head])
    with torch.no_grad():
        model.norm.running_mean[:] = torch.arange(4.0)
    model.train()
    assert verify(model, inputs_for(model), pruner).verdict is Verdict.EXACT
    assert model.norm.running_mean.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert int(model.norm.num_batches_tracked) == 0
    assert all(module.training for module in model.modules())


class Tied(Chain):
    """Two convolutions that share their weight, added up."""

    def __init__(self) -> None:
        super().__init__()
        self.twin = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.twin.weight = self.first.weight

    def forward(self, x):
        return self.head(self.second(self.norm(self.first(x) + self.twin(x)).relu()).mean((2, 3)))


class OneSlope(Chain):
    """PReLU with one slope for all channels: no axis to cut."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.PReLU()

    def forward(self, x):
        return self.head(self.second(self.slope(self.norm(self.first(x)))).mean((2, 3)))


class Decided(Chain):
    """A second output that is not a number."""

    def forward(self, x):
        scores = super().forward(x)
        return scores, scores > 0


class ByKeyword(Chain):
    def forward(self, x):
        return self.head(self.second(input=self.norm(input=self.first(x)).relu()).mean((2, 3)))


@pytest.mark.parametrize("kind", [Tied, OneSlope, Decided, ByKeyword])
def test_a_sound_pruning_is_not_accused(kind) -> None:
    model = make(kind)
    answer = verify(model, inputs_for(model), pruner_of(model))
    assert answer.verdict is Verdict.EXACT
    assert model.first.out_channels == 2
