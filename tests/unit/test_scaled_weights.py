"""Weights scaled by a number that is taken over their own channels have one answer everywhere."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from between import assert_equals_zeroed, built
from cutting import cut
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations, parametrize

from analysis import GroupPruner, compare, inspect_groups, prune, verify
from analysis.command_line.main import main
from analysis.records import Group, Reason, Verdict

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class Net(nn.Module):
    """Channels of ``a`` are read by ``c``, whose own are read by ``b``."""

    def __init__(self, a: nn.Module, c: nn.Module, b: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.a, self.c, self.b, self.head = a, c, b, head

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.c(self.a(x).relu()).relu()).relu()
        return self.head(x.mean((2, 3)) if x.dim() == 4 else x)


class Table(Net):
    """Only a table is read by ``b``."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.c(x)).relu())


class Attentive(Net):
    """The projection behind attention, whose heads' channels it reads."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.head(self.b(self.c(x, x, x)[0]).relu())


def convolved(norm: Callable[..., Any], kind: Any = nn.Conv2d) -> Net:
    c = norm(kind(8, 6, 3, padding=1))
    return Net(nn.Conv2d(3, 8, 3), c, nn.Conv2d(6, 5, 1), nn.Linear(5, 2))


def linear(norm: Callable[..., Any]) -> Net:
    return Net(nn.Linear(4, 8), norm(nn.Linear(8, 6)), nn.Linear(6, 5), nn.Linear(5, 2))


def table(norm: Callable[..., Any]) -> Net:
    return Table(nn.Identity(), norm(nn.Embedding(9, 8)), nn.Linear(8, 6), nn.Linear(6, 2))


def attentive(norm: Callable[..., Any]) -> Net:
    c = nn.MultiheadAttention(8, 2, batch_first=True)
    c.out_proj = norm(c.out_proj)
    return Attentive(nn.Linear(4, 8), c, nn.Linear(8, 5), nn.Linear(5, 2))


def recurrent(norm: Callable[..., Any]) -> Net:
    class Recurrent(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.b(self.c(self.a(x))[0]))

    c = norm(nn.LSTM(8, 6, batch_first=True), "weight_hh_l0")
    return Recurrent(nn.Linear(4, 8), c, nn.Linear(6, 5), nn.Linear(5, 2))


class ByVectors(nn.Module):
    """Spectral norm's number, written in one of several ways."""

    def __init__(self, number: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.number = number
        self.register_buffer("u", F.normalize(torch.randn(6), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(8), dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        return weight / self.number(self.u, weight, self.v)


def made_of(parametrization: Callable[[], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    def norm(layer: nn.Module) -> nn.Module:
        parametrize.register_parametrization(layer, "weight", parametrization())
        return layer

    return norm


def written(number: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], Net]:
    return partial(linear, made_of(partial(ByVectors, number)))


HOOK, PARAMETRIZED = nn.utils.spectral_norm, parametrizations.spectral_norm


def pictures() -> Tensor:
    return torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(0))


def rows() -> Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def tokens() -> Tensor:
    return torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))


def words() -> Tensor:
    return torch.arange(9)[None]


HELD: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], set[str]]] = {
    "hook_of_a_convolution": (partial(convolved, HOOK), pictures, {"a", "c"}),
    "convolution": (partial(convolved, PARAMETRIZED), pictures, {"a", "c"}),
    "hook_of_a_transposed_one": (
        partial(convolved, HOOK, nn.ConvTranspose2d), pictures, {"a", "c"}
    ),
    "transposed_convolution": (
        partial(convolved, PARAMETRIZED, nn.ConvTranspose2d), pictures, {"a", "c"}
    ),
    "hook_of_a_linear_layer": (partial(linear, HOOK), rows, {"a", "c"}),
    "linear_layer": (partial(linear, PARAMETRIZED), rows, {"a", "c"}),
    "hook_of_a_table": (partial(table, HOOK), words, {"c"}),
    "table": (partial(table, PARAMETRIZED), words, {"c"}),
    "attention": (partial(attentive, PARAMETRIZED), tokens, {"c.out_proj", "c"}),
    "recurrent_layer": (partial(recurrent, PARAMETRIZED), tokens, {"c"}),
    "vectors_in_an_einsum": (
        written(lambda u, w, v: torch.einsum("o,oi,i->", u, w, v)), rows, {"a", "c"}
    ),
    "vectors_around_a_matrix": (written(lambda u, w, v: u @ w @ v), rows, {"a", "c"}),
    "a_vector_for_each_filter": (written(lambda u, w, v: (w @ v)[:, None]), rows, {"a"}),
}  # fmt: skip
"""Networks, with the groups that something kept of all their channels scales."""

globals().update({f"make_{name}": make for name, (make, _, _) in HELD.items()})


def named(groups: tuple[Group, ...]) -> dict[str, Group]:
    return {group.name: group for group in groups}


@pytest.mark.parametrize("name", HELD)
def test_channels_whose_weight_a_kept_vector_scales_stay_everywhere(name: str) -> None:
    make, inputs, stay = HELD[name]
    model = built(make)
    groups = named(inspect_groups(model, inputs(), "classifier"))
    for group in stay:
        assert not groups[group].together
        assert "as spectral norm does" in groups[group].held
        assert "`c" in groups[group].held  # the layer
    assert any(group.together for group in groups.values())  # the rest of the network goes on
    cured = prune(model, inputs(), 0.5)
    told = {each.root: each for each in cured.verification.groups}
    assert cured.verification.verdict is Verdict.EXACT, cured.verification.reason
    assert cured.verification.reason == ""
    for group in stay:
        account = told[group]
        assert (account.removed, account.reason) == (0, Reason.UNTRACED)
        assert account.why == groups[group].held
    assert sum(each.removed for each in told.values()) > 0
    # The same of whoever cuts by the groups.
    own = built(make)
    found = verify(own, inputs(), GroupPruner(own, inputs(), 0.5))
    assert found.verdict is Verdict.EXACT
    assert {each.root for each in found.groups if each.removed}.isdisjoint(stay)


@pytest.mark.parametrize("name", ["hook_of_a_convolution", "table"])
def test_the_commands_give_the_same_reasons(name: str, tmp_path, monkeypatch, capsys) -> None:
    make, inputs, stay = HELD[name]
    groups = named(inspect_groups(built(make), inputs(), "classifier"))
    monkeypatch.chdir(tmp_path)
    network = [f"{__name__}:make_{name}", "--inputs", f"{__name__}:{inputs.__name__}"]
    main(["prune", *network, "--ratios", "0.5", "--json", "pruned.json"])
    (run,) = json.loads((tmp_path / "pruned.json").read_text())["runs"]
    assert {each["root"]: each["why"] for each in run["groups"] if each["root"] in stay} == {
        group: groups[group].held for group in stay
    }
    main(["groups", *network, "--audit", "--json", "groups.json"])
    listed = json.loads((tmp_path / "groups.json").read_text())["groups"]
    own = {each["name"]: each for each in listed if each["name"] in stay}
    assert {group: each["held"] for group, each in own.items()} == {
        group: groups[group].held for group in stay
    }
    assert {each["audit"] for each in own.values()} <= {"cannot-be-cut", "missing"}


GONE, ODD = {0, 3, 4}, {1, 3, 5, 7}
"""Channels that a layer makes, and that it reads, of those that go."""


@pytest.mark.parametrize(
    ("name", "weight", "kept", "remove"),
    [
        ("hook_of_a_linear_layer", "c.weight_orig", "c.weight_", nn.utils.remove_spectral_norm),
        (
            "linear_layer", "c.parametrizations.weight.original",
            "c.parametrizations.weight.0._",
            lambda layer: parametrize.remove_parametrizations(layer, "weight"),
        ),
    ],
)  # fmt: skip
@torch.no_grad()
def test_a_cut_scales_what_stays_and_the_advice_lets_channels_go(
    name: str, weight: str, kept: str, remove: Callable[[nn.Module], Any]
) -> None:
    make, inputs, _ = HELD[name]
    dense = built(make)
    other = cut(dense, {
        ("a.weight", 0): ODD, ("a.bias", 0): ODD, (weight, 1): ODD, (f"{kept}v", 0): ODD,
        (weight, 0): GONE, (f"{kept}u", 0): GONE, ("c.bias", 0): GONE, ("b.weight", 1): GONE,
    })  # fmt: skip
    for model in (dense, other):
        model(inputs())  # a hook computes the weight
    # What is left is the dense weight times one number.
    share = other.c.weight / dense.c.weight[[1, 2, 5]][:, ::2]
    torch.testing.assert_close(share, share[:1, :1].expand_as(share))
    assert abs(float(share[0, 0]) - 1) > 0.1
    found = compare(dense, other, inputs())
    assert found.verdict is Verdict.WRONG
    assert "as spectral norm does" in found.reason
    assert "end that first" in found.reason
    # Then the number is that of the whole weight for good, and any channel can go.
    remove(dense.c)
    groups = named(inspect_groups(dense, inputs(), "classifier"))
    assert groups["a"].together == tuple((n,) for n in range(8))
    assert groups["c"].together == tuple((n,) for n in range(6))
    cured = prune(dense, inputs(), 0.5)
    assert cured.verification.verdict is Verdict.EXACT
    assert (cured.model.a.out_features, cured.model.c.out_features) == (4, 3)
    assert_equals_zeroed(cured, dense, inputs())


class Normed(nn.Module):
    """A weight divided by a number that is taken of nothing but itself."""

    def __init__(self, number: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.number = number

    def forward(self, weight: Tensor) -> Tensor:
        return weight / self.number(weight)


def _iterated(weight: Tensor) -> Tensor:
    """The greatest singular value, by power iteration that begins anew in each call."""
    flat = weight.flatten(1)
    v = F.normalize(flat.t() @ flat.new_ones(len(flat)), dim=0)
    return (flat @ v).norm()


OF_ITSELF: dict[str, Callable[[Tensor], Tensor]] = {
    "its Frobenius norm": lambda w: w.norm(),
    "the root of a sum": lambda w: w.square().sum().sqrt(),
    "a product of elements": lambda w: (w.flatten() @ w.flatten()).sqrt(),
    "an einsum": lambda w: torch.einsum("oi,oi->", w.flatten(1), w.flatten(1)).sqrt(),
    "its largest element": lambda w: w.abs().amax(),
    "the mean of its elements": lambda w: w.abs().mean(),
    "the norm of each filter": lambda w: w.flatten(1).norm(dim=1).view(-1, *[1] * (w.dim() - 1)),
    "demodulation": lambda w: (w.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt(),
    "power iteration": _iterated,
}


@pytest.mark.parametrize("name", OF_ITSELF)
@torch.no_grad()
def test_a_number_of_the_weight_alone_is_that_of_what_stays(name: str) -> None:
    norm = made_of(partial(Normed, OF_ITSELF[name]))
    model = built(partial(convolved, norm))
    groups = named(inspect_groups(model, pictures(), "classifier"))
    assert groups["a"].together == tuple((n,) for n in range(8))
    cured = prune(model, pictures(), 0.5)
    assert cured.verification.verdict is Verdict.MIXED, cured.verification.reason
    assert "`c.parametrizations.weight.0` calls" in cured.verification.reason
    told = {each.root: each for each in cured.verification.groups}
    for root in "abc":
        # What the groups let go, goes; what they keep has the same reason.
        assert bool(told[root].removed) == bool(groups[root].together)
        assert told[root].why == groups[root].held
    assert cured.model.a.out_channels == 4
    whole = model.c.parametrizations.weight.original
    tensor = "c.parametrizations.weight.original"
    rows, columns = (list(cured.axes.get((tensor, dim), range(whole.shape[dim]))) for dim in (0, 1))
    part = whole[rows][:, columns]
    torch.testing.assert_close(cured.model.c.weight, part / OF_ITSELF[name](part))


class Styled(nn.Module):
    """A convolution of StyleGAN2: inputs scale its weight, and each filter is divided by its norm.

    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020, section 2.2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.a, self.style = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(3, 8)
        self.weight = nn.Parameter(torch.randn(6, 8, 3, 3))
        self.b, self.head = nn.Conv2d(6, 5, 1), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        count = len(x)
        weight = self.weight * self.style(x.mean((2, 3)))[:, None, :, None, None]
        weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        x = self.a(x).relu()
        images, filters = x.reshape(1, -1, *x.shape[2:]), weight.flatten(0, 1)
        x = F.conv2d(images, filters, groups=count)
        x = x.reshape(count, -1, *x.shape[2:])
        return self.head(self.b(x).relu().mean((2, 3)))


@torch.no_grad()
def test_a_demodulated_convolution_reads_fewer_channels() -> None:
    model = built(Styled)
    groups = named(inspect_groups(model, pictures(), "classifier"))
    assert groups["style"].together == tuple((n,) for n in range(8))
    assert {"a", "style", "weight"} <= set(groups["style"].layers)
    cured = prune(model, pictures(), 0.5)
    assert cured.verification.verdict is Verdict.MIXED, cured.verification.reason
    left = list(cured.axes["weight", 1])
    assert len(left) == 4
    for kept in (cured.axes["a.weight", 0], cured.axes["style.weight", 0]):
        assert list(kept) == left
    assert torch.equal(cured.model.weight, model.weight[:, left])


def orthogonal(weight: Tensor) -> Tensor:
    """A step towards a weight of orthogonal filters (Bjorck and Bowie, 1971)."""
    return 1.5 * weight - 0.5 * weight @ (weight.t() @ weight)


@torch.no_grad()
def test_a_weight_multiplied_with_itself_is_that_of_what_stays() -> None:
    class Orthogonal(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return orthogonal(weight)

    model = built(partial(linear, made_of(Orthogonal)))
    cured = prune(model, rows(), 0.5)
    assert cured.verification.verdict is Verdict.MIXED, cured.verification.reason
    small, whole = cured.model.c, model.c.parametrizations.weight.original
    assert small.weight.shape == (3, 4)
    tensor = "c.parametrizations.weight.original"
    made, read = (list(cured.axes[tensor, dim]) for dim in (0, 1))
    torch.testing.assert_close(small.weight, orthogonal(whole[made][:, read]))
    # The masked dense network has other filters, so that they are not equal.
    assert not torch.allclose(small.weight, model.c.weight[made][:, read], rtol=0.1)


class Factored(nn.Module):
    """A linear layer of which the weight is computed in forward."""

    def __init__(self, weight: Callable[[Any], Tensor], **tensors: tuple[int, ...]) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(4, 8), nn.Linear(8, 6)
        self.b, self.head = nn.Linear(6, 5), nn.Linear(5, 2)
        self.weight = weight
        for name, sizes in tensors.items():
            self.register_parameter(name, nn.Parameter(torch.randn(sizes)))

    def forward(self, x: Tensor) -> Tensor:
        read = F.linear(self.a(x).relu(), self.weight(self), self.c.bias)
        return self.head(self.b(read.relu()).relu())


class Shifted(Factored):
    """The bias has what an offset of the inputs makes of them: `W(x - o) = Wx - Wo`."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.c.weight
        read = F.linear(self.a(x).relu(), weight, self.c.bias - self.weight(self))
        return self.head(self.b(read.relu()).relu())


LOW_RANK = {"A": (3, 8), "B": (6, 3)}
FACTORS: dict[str, Callable[[], nn.Module]] = {
    "low rank added (LoRA)": partial(Factored, lambda m: m.c.weight + m.B @ m.A, **LOW_RANK),
    "low rank multiplied": partial(Factored, lambda m: m.c.weight * (m.B @ m.A), **LOW_RANK),
    "two of low rank (LoHa)": partial(
        Factored, lambda m: m.c.weight + (m.B @ m.A) * (m.D @ m.C),
        **LOW_RANK, C=(2, 8), D=(6, 2),
    ),
    "scaled factors (VeRA)": partial(
        Factored, lambda m: m.c.weight + (m.d[:, None] * m.B) @ (m.e[:, None] * m.A),
        **LOW_RANK, d=(6,), e=(3,),
    ),
    "three factors in an einsum": partial(
        Factored, lambda m: torch.einsum("or,r,ri->oi", m.B, m.e, m.A), **LOW_RANK, e=(3,)
    ),
    "turned inputs": partial(Factored, lambda m: m.c.weight @ m.R, R=(8, 8)),
    "turned outputs": partial(Factored, lambda m: m.R @ m.c.weight, R=(6, 6)),
    "made of a code": partial(
        Factored, lambda m: (m.code @ m.W).relu() @ m.V, code=(6, 3), W=(3, 7), V=(7, 8)
    ),
    "an offset of the inputs": partial(Shifted, lambda m: m.c.weight @ m.o, o=(8,)),
    "the same from the left": partial(Shifted, lambda m: m.o @ m.c.weight.t(), o=(8,)),
}  # fmt: skip


@pytest.mark.parametrize("name", FACTORS)
def test_a_product_of_parameters_that_leaves_nothing_of_channels_holds_none(name: str) -> None:
    model = built(FACTORS[name])
    groups = inspect_groups(model, rows(), "classifier")
    read = {"a.weight": 8, "b.weight": 5, "c.bias": 6}
    for tensor, width in read.items():
        (group,) = (
            each
            for each in groups
            if tensor in {m.tensor for m in each.members if m.axis == "out" and m.dim == 0}
        )
        assert group.together == tuple((n,) for n in range(width))
    cured = prune(model, rows(), 0.5)
    assert cured.verification.verdict is Verdict.EXACT, cured.verification.reason
    assert cured.verification.structure == "proved"
    assert (cured.model.a.out_features, cured.model.b.in_features) == (4, 3)
    assert_equals_zeroed(cured, model, rows())


class Looking(nn.Module):
    """Learnt tokens look at each other, and at the inputs, with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.learnt = nn.Linear(4, 8), nn.Parameter(torch.randn(3, 8))
        self.q, self.k, self.v = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x, tokens = self.a(x), self.learnt
        for other in (self.learnt, x):
            looked = (self.q(tokens) @ self.k(other).transpose(-1, -2)).softmax(-1)
            tokens = tokens + looked @ self.v(other)
        return self.head(tokens)


class Prototypes(nn.Module):
    """Features compared with learnt ones that go through the same layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.learnt = nn.Linear(4, 8), nn.Parameter(torch.randn(3, 8))
        self.q = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.q(self.a(x).relu()) @ self.q(self.learnt).t()


@pytest.mark.parametrize("kind", [Looking, Prototypes])
def test_learnt_tokens_are_read_as_inputs_are(kind: type[nn.Module]) -> None:
    model = built(kind)
    groups = named(inspect_groups(model, rows()))
    assert groups["a"].together == tuple((n,) for n in range(8))
    assert groups["q"].together == tuple((n,) for n in range(6))
    cured = prune(model, rows(), 0.5)
    assert cured.verification.verdict is Verdict.EXACT, cured.verification.reason
    assert_equals_zeroed(cured, model, rows())
