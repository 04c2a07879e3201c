"""Faults that lining up shows and random inputs do not."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_pruning as tp
from between import Net, answer, built, images, pruner_of
from blocks import PROVED, build, half_pruner
from nets import inputs_for, make
from torch import Tensor, nn

from analysis import verify
from analysis.errors import InputError
from analysis.pipeline import analyse, prune_and_prove
from analysis.records import Config, Verdict, Verification

pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")


@pytest.mark.parametrize("name", PROVED)
def test_what_passes_is_lined_up_and_what_is_wrong_is_not(name: str) -> None:
    model = build(name)
    inputs = (torch.randn(2, *model.size, generator=torch.Generator().manual_seed(1)),)
    found = verify(model, inputs, half_pruner(model, inputs))
    if found.verdict in (Verdict.EXACT, Verdict.RENORMALIZED):
        assert (found.structure, found.reason) == ("proved", "")
    elif found.verdict is Verdict.WRONG:
        assert found.structure.startswith("not lined up: ")


def hidden(name: str, value: Any) -> Callable[[Any], None]:
    return lambda model: setattr(model.part, name, value)


CHANGES: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], None]]] = {
    "a bound that nothing reaches": (
        lambda: Net(lambda m, x: m.part(x), part=nn.Hardtanh(-90, 90)), hidden("max_val", 80)
    ),
    "a slope where nothing is negative": (
        lambda: Net(lambda m, x: m.part(x.abs()), part=nn.LeakyReLU(0.2)),
        hidden("negative_slope", 0.4),
    ),
    "another activation where both are the same": (
        lambda: Net(lambda m, x: m.part(x.abs()), part=nn.ReLU()),
        lambda model: setattr(model, "part", nn.LeakyReLU(0.1)),
    ),
    "an activation that does nothing here, gone": (
        lambda: Net(lambda m, x: m.part(x.abs()), part=nn.ReLU()),
        lambda model: setattr(model, "part", nn.Identity()),
    ),
    "a factor behind a zero": (
        lambda: Net(lambda m, x: x + 0.0 * (m.part.factor * x), part=Factor()),
        hidden("factor", 3.0),
    ),
    "an output in another type": (
        lambda: Out(lambda m, y: y.half() if m.part.factor > 1 else y, part=Factor()),
        hidden("factor", 2.0),
    ),
    "an output under another name": (
        lambda: Out(lambda m, y: {m.part.key: y}, part=Factor()), hidden("key", "b")
    ),
}  # fmt: skip


class Factor(nn.Module):
    key = "a"

    def __init__(self, factor: Any = 1.0) -> None:
        super().__init__()
        self.own = factor

    @property
    def factor(self) -> Any:
        return self.own

    @factor.setter
    def factor(self, value: Any) -> None:
        self.own = value


class Out(Net):
    def __init__(self, function: Callable[[Any, Tensor], Any], **parts: Any) -> None:
        super().__init__(lambda _, x: x.relu(), **parts)
        self.last = function

    def forward(self, x: Tensor) -> Any:
        return self.last(self, super().forward(x))


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_no_drawn_number_shows_is_wrong(name: str) -> None:
    make, change = CHANGES[name]
    assert answer(make).verdict is Verdict.EXACT
    found = answer(make, change)
    assert found.verdict is Verdict.WRONG
    assert "not lined up" in found.structure


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: (x - 50).relu().flip(1),
        lambda m, x: (x + 200).sigmoid().flip(1),
        lambda m, x: x + (x.flip(1) * (x.abs().amax((1, 2, 3), keepdim=True) > 99)),
        lambda m, x: (x * 0).unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2),
    ],
    ids=["dead", "saturated", "for loud images alone", "shuffled zeros"],
)
def test_another_order_of_channels_shows_where_they_are_silent(function) -> None:
    found = answer(lambda: Net(function))
    assert found.verdict is Verdict.WRONG
    assert "the random inputs do not show it" in found.reason


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x.softmax(1) + x.cumsum(1),
        lambda m, x: x - x.sort(1)[0].mean(1, keepdim=True),
        lambda m, x: x / (x.square().sum(1, keepdim=True) / x.shape[1]).sqrt(),
        lambda m, x: x * (x > 0).sum(1, keepdim=True),
        lambda m, x: torch.max(x, -x).mean(1, keepdim=True) * x,
        lambda m, x: nn.functional.layer_norm(x, x.shape[1:]),
        lambda m, x: x * sum(x.unbind(1)).unsqueeze(1),
        lambda m, x: (x.flatten(2) @ x.flatten(2).mT).softmax(-1) @ x.flatten(2).sin()
        @ torch.ones(36, 1) * x.mean((2, 3)).unsqueeze(-1),
    ],
    ids=["running sum", "sorted", "root mean square", "count", "greater", "whole norm", "loop",
         "channel attention"],
)  # fmt: skip
def test_a_function_over_channels_is_taken_over_those_that_stay(function) -> None:
    def four(m: Net, x: Tensor) -> Tensor:
        x = function(m, x)
        return x if x.dim() == 4 else x.unsqueeze(-1)

    found = answer(lambda: Net(four))
    assert found.verdict in (Verdict.MIXED, Verdict.RENORMALIZED), found.reason


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x * (x.argmax(1, keepdim=True) > 3),
        lambda m, x: x + x.max(1, keepdim=True)[1] * 0.1,
        lambda m, x: x * x.min(1, keepdim=True)[1].float().exp(),
    ],
)
def test_a_channels_position_is_no_number(function) -> None:
    found = answer(lambda: Net(function))
    assert found.verdict is Verdict.WRONG
    assert "positions of channels" in found.reason


def test_the_greatest_channel_itself_is_one_of_those_that_stay() -> None:
    found = answer(lambda: Net(lambda m, x: x - x.max(1, keepdim=True)[0]))
    assert found.verdict is Verdict.MIXED


def test_a_head_of_train_mode_that_does_not_fit_is_broken_and_one_that_fits_is_reported() -> None:
    class Auxiliary(Net):
        def forward(self, x: Tensor) -> Any:
            x = self.make(x).relu()
            out = self.head(self.read(x).mean((2, 3)))
            return (out, self.extra(x)) if self.training else out

    def fit(model: Any) -> None:
        model.extra = copy.deepcopy(model.read)

    broken = answer(lambda: Auxiliary(lambda m, x: x, extra=nn.Conv2d(8, 2, 1)))
    assert broken.verdict is Verdict.BROKEN
    assert "in train mode `extra`" in broken.reason
    output = answer(lambda: Net(lambda m, x: x, extra=nn.Linear(5, 5)))
    assert output.verdict is Verdict.EXACT
    assert output.unexercised == ("extra",)
    assert "not exercised in eval mode: `extra`" in output.reason


def test_a_function_of_train_mode_that_no_longer_fits_is_broken() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return x.view(-1, 8, 6, 6) if m.training else x

    found = answer(lambda: Net(function), inputs=images())
    assert found.verdict is Verdict.BROKEN
    assert "in train mode" in found.reason


def test_an_attribute_that_no_operator_reads_is_reported() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return x if x.shape[-1] < m.most else x.relu()

    found = answer(lambda: Net(function, most=900), lambda model: setattr(model, "most", 90))
    assert found.verdict is Verdict.EXACT
    assert "`most` of the model is 90 and was 900" in found.reason


def test_a_layer_that_is_gone_is_missed() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return m.extra(x) if m.training else x

    found = answer(
        lambda: Net(function, extra=nn.Conv2d(8, 8, 1)), lambda model: delattr(model, "extra")
    )
    assert found.verdict is Verdict.WRONG
    assert "extra" in found.reason


def test_what_both_networks_share_is_noted_before() -> None:
    shared = {"slope": 0.1}

    def function(m: Net, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x, shared["slope"])

    found = answer(lambda: Net(function), lambda _: shared.update(slope=0.5))
    assert found.verdict is Verdict.WRONG
    assert "0.5 where 0.1 was" in found.reason


@pytest.mark.parametrize(
    "alter",
    [
        lambda model: setattr(model, "act", nn.ReLU()),
        lambda model: setattr(model.norm, "eps", 0.5),
        lambda model: model.read.weight.data.zero_(),
    ],
    ids=["a module", "a number", "a tensor"],
)
def test_the_network_is_what_it_was_before_the_pruner_was_built(alter) -> None:
    model = built(lambda: Net(lambda m, x: m.act(m.norm(x)), act=nn.GELU(), norm=nn.BatchNorm2d(8)))

    def factory(network: Any, inputs: Any, ratio: float) -> Any:
        alter(network)
        return pruner_of(network, inputs, pruning_ratio=ratio)

    outcome = prune_and_prove(
        analyse(model, images()), Config(0.5, "local"), "classifier", pruner_factory=factory
    )
    assert outcome.run.verification.verdict is Verdict.WRONG


def test_a_step_that_cuts_nothing_is_compared_all_the_same() -> None:
    class Idle(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            self.current_step += 1
            self.model.part = nn.Tanh()
            return iter(())

    model = built(lambda: Net(lambda m, x: m.part(x), part=nn.Sigmoid()))
    assert verify(model, images(), pruner_of(model, images(), Idle)).verdict is Verdict.WRONG


def test_a_step_that_does_not_advance_is_refused() -> None:
    class Stuck(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            return iter(())

    model = built(lambda: Net(lambda m, x: x))
    with pytest.raises(InputError, match="leaves current_step at 0 of 1"):
        verify(model, images(), pruner_of(model, images(), Stuck))


def test_a_step_that_puts_its_end_off_and_cuts_nothing_is_refused() -> None:
    class Receding(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            self.current_step += 1
            self.iterative_steps += 1
            return iter(())

    model = built(lambda: Net(lambda m, x: x))
    with pytest.raises(InputError, match="cuts nothing and raises iterative_steps from 1 to 2"):
        verify(model, images(), pruner_of(model, images(), Receding))


def test_a_step_that_cuts_may_ask_for_another() -> None:
    class Going(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            if self.current_step < 2:
                self.iterative_steps += 1
                self.per_step_pruning_ratio.append(0.25 * (self.current_step + 2))
            return super().step(interactive=True)

    model = built(lambda: Net(lambda m, x: x))
    pruner = pruner_of(model, images(), Going, pruning_ratio=0.2)
    assert verify(model, images(), pruner).verdict is Verdict.EXACT
    assert (pruner.current_step, model.make.out_channels) == (3, 2)


def test_what_a_pruner_raises_behind_its_cuts_is_no_ranking() -> None:
    class Raising(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            yield from super().step(interactive=True)
            raise KeyError("report")

    model = built(lambda: Net(lambda m, x: x))
    found = verify(model, images(), pruner_of(model, images(), Raising))
    assert found.verdict is Verdict.UNPRUNABLE
    said = "the step, after the group of `make` was cut, raised KeyError: 'report' ("
    assert said in found.reason
    assert "test_structure.py" in found.reason
    assert 'raise KeyError("report")' in found.reason


def wider(model: Any) -> None:
    model.make, model.read = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 6, 1)


def test_a_pruner_function_that_makes_layers_wider_is_wrong() -> None:
    def factory(model: Any, inputs: Any, ratio: float) -> Any:
        wider(model)
        return pruner_of(model.eval(), inputs, pruning_ratio=ratio)

    dense = analyse(built(lambda: Net(lambda m, x: x)), images())
    outcome = prune_and_prove(dense, Config(0.5, "local"), "classifier", pruner_factory=factory)
    found = outcome.run.verification
    assert found.verdict is Verdict.WRONG
    assert found.reason.startswith("`make.weight` was changed before a group was yielded")


def test_a_layer_that_is_replaced_once_the_pruner_is_built_is_named() -> None:
    model = built(lambda: Net(lambda m, x: x))
    pruner = pruner_of(model, images())
    wider(model)
    with pytest.raises(InputError, match="the pruner's graph has a layer `make` that is none of"):
        verify(model, images(), pruner)


KERNEL = torch.full((3, 1, 3, 3), 1 / 9)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda x: nn.functional.conv2d(x, KERNEL, padding=1, groups=3), None),
        (lambda x: x.type(torch.FloatTensor) * torch.ones(6), None),
        (lambda x: x.log(), images().abs() + 0.5),
        (lambda x: 1 / (x.sum((1, 2, 3), keepdim=True) ** 0.5) * x, images().abs()),
    ],
    ids=["a constant kernel", "a cast by type", "a logarithm", "a root of a sum"],
)
def test_what_runs_on_the_users_inputs_is_proved(function, inputs) -> None:
    class Front(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(function(x))

    found = answer(lambda: Front(lambda m, x: x.relu()), inputs=inputs)
    assert found.verdict is Verdict.EXACT, found.reason


def test_a_module_under_two_names_is_cut_once() -> None:
    class Twice(Net):
        def __init__(self) -> None:
            super().__init__(lambda m, x: m.second(m.first(x)))
            self.first = nn.Conv2d(8, 8, 1)
            self.second = self.first

    assert answer(Twice).verdict is Verdict.EXACT


class Kept(Net):
    """A table that is made once for each width and kept."""

    def __init__(self) -> None:
        super().__init__(lambda m, x: x * m.table(x))
        self.kept: Any = None

    def table(self, x: Tensor) -> Tensor:
        if self.kept is None or self.kept.shape[1] != x.shape[1]:
            self.kept = torch.linspace(0.3, 0.9, x.shape[-1], dtype=x.dtype).sin().expand_as(x)
        return self.kept


def test_a_table_that_is_kept_is_made_anew_in_both_and_left_as_it_was() -> None:
    model = built(Kept)
    model(images())
    pruner = pruner_of(model, images())
    assert verify(model, images(), pruner).verdict is Verdict.EXACT
    assert model.kept is None or model.kept.dtype is torch.float32


def test_an_importance_draws_what_it_would_without_the_proof() -> None:
    class Own(tp.importance.MagnitudeImportance):
        def __init__(self) -> None:
            super().__init__(p=1)
            self.draws = torch.Generator().manual_seed(3)

        def __call__(self, group: Any) -> Tensor:
            return torch.rand(len(super().__call__(group)), generator=self.draws)

    plain, proved = (built(lambda: Net(lambda m, x: x.relu())) for _ in range(2))
    pruner_of(plain, images(), importance=Own()).step()
    assert verify(proved, images(), pruner_of(proved, images(), importance=Own())).verdict.passes
    for one, other in zip(plain.parameters(), proved.parameters(), strict=True):
        assert torch.equal(one, other)


def test_gradients_that_an_importance_uses_up_are_there_for_the_step() -> None:
    class Once(tp.importance.MagnitudeImportance):
        """Ranks by gradients, which it frees."""

        def __call__(self, group: Any) -> Any:
            weights = [
                dep.layer.weight for dep, _ in group if dep.pruning_fn == tp.prune_conv_out_channels
            ]
            score = sum((w * w.grad).abs().flatten(1).sum(1) for w in weights).detach()
            for weight in weights:
                weight.grad = None
            return score

    plain, proved = (built(lambda: Net(lambda m, x: x.relu())) for _ in range(2))
    pruners = [pruner_of(model, images(), importance=Once()) for model in (plain, proved)]
    for model in (plain, proved):
        model(images()).square().sum().backward()
    pruners[0].step()
    verify(proved, images(), pruners[1])
    assert plain.make.out_channels < 8
    for one, other in zip(plain.parameters(), proved.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["Chain", "Residual", "Concat", "Grouped"])
def test_the_plain_networks_of_the_tests_are_proved(name: str) -> None:
    import nets

    model = make(getattr(nets, name))
    pruner = pruner_of(model, inputs_for(model))
    assert verify(model, inputs_for(model), pruner).structure == "proved"


@pytest.mark.parametrize(
    "where",
    [
        lambda net, x: net(x + 0.1 * torch.randn_like(x)),
        lambda net, x: nn.functional.dropout(net(x), 0.5, training=True),
    ],
    ids=["input", "output"],
)
def test_a_network_that_is_random_in_eval_mode_is_refused(where) -> None:
    class Noisy(Net):
        def forward(self, x: Tensor) -> Any:
            return where(super().forward, x)

    with pytest.raises(InputError, match="random in eval mode"):
        answer(lambda: Noisy(lambda m, x: x.relu()))


def test_a_parameter_that_is_a_single_number_has_no_rows() -> None:
    found = answer(lambda: Net(lambda m, x: x * m.scale, scale=nn.Parameter(torch.tensor(2.0))))
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")


def test_a_path_that_the_inputs_do_not_take_is_not_seen() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return x if x.abs().max() < 1e6 else x * m.part.factor

    found = answer(lambda: Net(function, part=Factor()), hidden("factor", 2.0))
    assert found.verdict is Verdict.EXACT
    assert "`factor`" not in found.reason  # a class holds it, and no instance


def test_what_a_shorter_type_rounds_is_not_seen() -> None:
    assert (
        answer(lambda: Net(lambda m, x: (x.half() * 1e-9).float() * 1e9)).verdict is Verdict.EXACT
    )


class Heads(nn.Module):
    """Attention over tokens, of which whole heads go; what it is called with is counted by hand."""

    def __init__(self, attend: Callable[[Tensor, Tensor, Tensor], Tensor], heads: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.project, self.head = nn.Linear(8, 8), nn.Linear(8, 2)
        self.heads, self.attend, self.scale = heads, attend, (8 // heads) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        size = (*x.shape[:2], self.heads, -1)
        q, k, v = (layer(x).view(size) for layer in (self.q, self.k, self.v))
        mixed = self.attend(q * self.scale, k, v)
        return self.head(self.project(mixed.reshape(*x.shape[:2], -1)).mean(1))


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return ((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2)


def by_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bhts,bshd->bthd", torch.einsum("bthd,bshd->bhts", q, k).softmax(-1), v)


def rotated(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    half = q.shape[-1] // 2
    angle = torch.arange(q.shape[1])[:, None, None] * torch.ones(half)

    def turned(x: Tensor) -> Tensor:
        one, other = x[..., :half], x[..., half:]
        return torch.cat([one * angle.cos() - other * angle.sin(),
                          other * angle.cos() + one * angle.sin()], -1)  # fmt: skip

    return written_out(turned(q), turned(k), v)


def without_a_head(model: Heads, channels: list[int], **after: Any) -> Verification:
    """Cut by hand, as torch-pruning cuts whole heads if they are given."""
    from analysis.network.inference import copy_of
    from analysis.proof.proving import prove
    from analysis.records import Cut, Removal

    pruned, inputs = copy_of(model), torch.randn(2, 4, 5)
    cuts = []
    for layer in ("q", "k", "v"):
        tp.prune_linear_out_channels(getattr(pruned, layer), channels)
        cuts.append(Cut(layer, "out", 8, tuple(channels)))
    tp.prune_linear_in_channels(pruned.project, channels)
    cuts.append(Cut("project", "in", 8, tuple(channels)))
    for name, value in after.items():
        setattr(pruned, name, value)
    return prove(model, pruned, [Removal("q", tuple(channels), tuple(cuts))], inputs)


@pytest.mark.parametrize("attend", [written_out, by_einsum, rotated])
@pytest.mark.parametrize("heads", [2, 4])
def test_a_single_head_that_is_left_is_followed_as_several_are(attend, heads) -> None:
    model = built(lambda: Heads(attend, heads))
    found = without_a_head(model, list(range(8 // heads * (heads - 1))), heads=1)
    assert found.verdict in (Verdict.EXACT, Verdict.RENORMALIZED), found.reason


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).view(2, 6, 6, -1).movedim(-1, 1),
        lambda m, x: x * torch.einsum("nchw,nchv->nchw", x, x),
    ],
    ids=["reshape", "einsum"],
)
def test_a_single_channel_that_is_left_is_followed_as_several_are(function) -> None:
    model = built(lambda: Net(function))
    pruner = pruner_of(model, images(), pruning_ratio=0.85)
    found = verify(model, images(), pruner)
    assert model.make.out_channels == 1
    assert found.verdict in (Verdict.EXACT, Verdict.RENORMALIZED), found.reason


def filled(m: Net, x: Tensor) -> Tensor:
    wide = x.new_zeros(len(x), x.shape[1], 8, 8)
    wide[:, :, 1:-1, 1:-1] = x
    return wide.relu()


def one_by_one(m: Net, x: Tensor) -> Tensor:
    found = []
    for place in range(x.shape[1]):
        channel = x[:, place]
        channel = channel.relu()
        found.append(channel)
    return torch.stack(found, 1)


@pytest.mark.parametrize(
    "function",
    [filled, lambda m, x: nn.functional.pad(x, (1, 1, 1, 1), mode="circular")],
    ids=["zeros filled", "circular padding"],
)
def test_a_border_goes_with_its_channel(function) -> None:
    found = answer(lambda: Net(function))
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved"), found.reason


def test_a_loop_over_channels_of_several_lines_is_no_accusation() -> None:
    assert answer(lambda: Net(one_by_one)).verdict is Verdict.EXACT


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x / math.sqrt(x[0].numel()),
        lambda m, x: x * (2 / x.shape[1]) ** 0.5,
        lambda m, x: x * (x.shape[1] / 8),
        lambda m, x: x / torch.tensor(float(x.shape[1])),
        lambda m, x: x / torch.sqrt(torch.tensor(x.shape[1], dtype=x.dtype)),
    ],
)
def test_a_number_that_follows_a_width_renormalizes(function) -> None:
    found = answer(lambda: Net(function))
    assert found.verdict is Verdict.RENORMALIZED, found.reason
    assert "scales by" in found.reason


FOLLOWING: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], None]]] = {
    "slope": (
        lambda: Net(lambda m, x: m.part(x), part=nn.LeakyReLU(1 / 8)),
        hidden("negative_slope", 1 / 4),
    ),
    "power": (lambda: Net(lambda m, x: x.pow(m.part.factor), part=Factor(4)), hidden("factor", 2)),
    "bound": (
        lambda: Net(lambda m, x: x.clamp(0, m.part.factor), part=Factor(2)), hidden("factor", 1)
    ),
    "shift": (
        lambda: Net(lambda m, x: x.roll(m.part.factor, 2), part=Factor(4)), hidden("factor", 2)
    ),
    "repetitions": (
        lambda: Net(lambda m, x: [x := x * 0.9 for _ in range(m.part.factor)][-1], part=Factor(4)),
        hidden("factor", 2),
    ),
    "a tensor of the module's own": (
        lambda: Net(lambda m, x: torch.minimum(x, m.part.factor), part=Factor(torch.tensor(90.0))),
        lambda model: setattr(model.part, "factor", torch.tensor(80.0)),
    ),
    "a vector of the module's own": (
        lambda: Net(
            lambda m, x: torch.minimum(x, m.part.factor.view(1, 1, 1, 6)),
            part=Factor(torch.full((6,), 90.0)),
        ),
        lambda model: setattr(model.part, "factor", torch.full((6,), 80.0)),
    ),
    "groups": (
        lambda: Net(lambda m, x: m.part(x), part=nn.GroupNorm(4, 8)), hidden("num_groups", 2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_change_that_happens_to_be_that_of_a_width_is_wrong(name: str) -> None:
    """8 channels become 4."""
    make, change = FOLLOWING[name]
    found = answer(make, change)
    assert found.verdict is Verdict.WRONG, (found.reason, found.structure)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: (lambda y: y if m.flag else x)(x.clamp(-90, 90)),
        lambda m, x: (lambda y: y if m.flag else x)(x.relu()).clamp(min=0),
        lambda m, x: (lambda one, other: one if m.flag else other)(
            *(y.clamp(-90, 90) for y in (x, x))
        ),
        lambda m, x: torch.stack((x.clamp(-90, 90), x)).unbind()[0 if m.flag else 1],
    ],
    ids=["result not used", "hidden by what follows", "the same twice", "another part"],
)
def test_operators_must_be_given_what_the_same_operators_return(function) -> None:
    """Every operator is called in both networks, and nothing drawn shows what is used of them."""
    found = answer(lambda: Net(function, flag=True), lambda model: setattr(model, "flag", False))
    assert found.verdict is Verdict.WRONG, (found.reason, found.structure)


@pytest.mark.parametrize("function", [lambda m, x: x[:, :, m.part.factor :]], ids=["a slice"])
def test_bounds_along_an_axis_that_stays_follow_no_width(function) -> None:
    """8 channels become 4, and a norm over them makes numbers alone say little."""
    found = answer(
        lambda: Net(
            lambda m, x: (
                nn.functional.layer_norm(x, x.shape[1:]).roll(1, 2)
                + function(m, torch.cat([x, x], 2))[:, :, :6]
            ),
            part=Factor(4),
        ),
        hidden("factor", 2),
    )
    assert found.verdict is Verdict.WRONG, (found.reason, found.structure)
