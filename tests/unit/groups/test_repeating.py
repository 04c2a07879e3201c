"""Numbers of sizes that modules keep in attributes follow a cut; numbers in the code do not."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from cutting import cut, distance, drawn, gone_of, in_double, masked, numbers_of, randomised
from torch import Tensor, nn

from analysis import Pruned, inspect_groups, prune
from analysis.records import Attribute, Verdict

TOKENS = (5, 12)


class Tokens(nn.Module):
    """A network of tokens (5, 12) that ends in a classifier."""

    size = TOKENS

    def __init__(self, last: int) -> None:
        super().__init__()
        self.head = nn.Linear(last, 2)

    def body(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(1))


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(N, heads, T, width) -> (N, T, heads * width), by a scale that no width decides."""
    return ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).flatten(2)


class FusedHeads(Tokens):
    """One layer makes q, k and v, viewed as (N, T, 3, heads, width); both are attributes."""

    def __init__(self) -> None:
        super().__init__(6)
        self.num_heads, self.head_dim = 4, 3
        self.qkv, self.project = nn.Linear(12, 36), nn.Linear(12, 6)

    def body(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        made = self.qkv(x).view(batch, tokens, 3, self.num_heads, self.head_dim)
        return self.project(attended(*made.permute(2, 0, 3, 1, 4)))


class HeadSize(Tokens):
    """The number of heads is asked of the size, which is an attribute."""

    def __init__(self) -> None:
        super().__init__(6)
        self.head_size = 3
        self.q, self.k, self.v = (nn.Linear(12, 12) for _ in range(3))
        self.project = nn.Linear(12, 6)

    def body(self, x: Tensor) -> Tensor:
        parts = (layer(x) for layer in (self.q, self.k, self.v))
        parts = (part.view(*x.shape[:2], -1, self.head_size).transpose(1, 2) for part in parts)
        return self.project(attended(*parts))


class Asserted(Tokens):
    """The forward asserts the width that it was built with."""

    def __init__(self) -> None:
        super().__init__(6)
        self.hidden_size = 8
        self.first, self.second = nn.Linear(12, 8), nn.Linear(8, 6)

    def body(self, x: Tensor) -> Tensor:
        x = self.first(x)
        assert x.shape[-1] == self.hidden_size, "another width than was said"
        return self.second(x.view(-1, x.shape[1], self.hidden_size).relu())


class Split(Tokens):
    """What one layer makes is split into a tuple of sizes."""

    def __init__(self) -> None:
        super().__init__(6)
        self.sizes = (8, 4)
        self.first = nn.Linear(12, 12)
        self.left, self.right = nn.Linear(8, 6), nn.Linear(4, 6)

    def body(self, x: Tensor) -> Tensor:
        left, right = self.first(x).split(self.sizes, -1)
        return self.left(left) + self.right(right)


class PartOfChannels(Tokens):
    """A layer reads a part of the channels; both sizes are attributes, as in FasterNet."""

    def __init__(self) -> None:
        super().__init__(8)
        self.mixed, self.untouched = 2, 6
        self.first, self.mix = nn.Linear(12, 8), nn.Linear(2, 2)

    def body(self, x: Tensor) -> Tensor:
        mixed, rest = self.first(x).split([self.mixed, self.untouched], -1)
        return torch.cat((self.mix(mixed), rest), -1)


class Sliced(Tokens):
    """Two slices part the channels at a number that is an attribute, as in a dual path network."""

    def __init__(self) -> None:
        super().__init__(6)
        self.start = 8
        self.first, self.left, self.right = nn.Linear(12, 12), nn.Linear(8, 6), nn.Linear(4, 6)

    def body(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.left(x[..., : self.start]) + self.right(x[..., self.start :])


class Table(nn.Module):
    """A bias for each head and pair of positions, which no forward of its own lays out."""

    def __init__(self, heads: int, tokens: int) -> None:
        super().__init__()
        self.shape = (tokens, tokens, heads)
        self.bias = nn.Parameter(torch.randn(tokens * tokens, heads))

    def of_heads(self) -> Tensor:
        return self.bias.view(self.shape).permute(2, 0, 1)


class TableOfHeads(Tokens):
    """Heads first, each with its q, k and v, and a table's method adds a bias: as in CoAtNet."""

    def __init__(self) -> None:
        super().__init__(6)
        self.num_heads, self.table = 4, Table(4, 5)
        self.qkv, self.project = nn.Linear(12, 36), nn.Linear(12, 6)

    def body(self, x: Tensor) -> Tensor:
        made = self.qkv(x).view(x.shape[0], -1, self.num_heads, 9).transpose(1, 2)
        q, k, v = made.chunk(3, -1)
        scores = (q @ k.transpose(-2, -1) + self.table.of_heads()).softmax(-1)
        return self.project((scores @ v).transpose(1, 2).flatten(2))


class Settings:
    """A configuration, as of a model hub."""

    def __init__(self, **numbers: int) -> None:
        vars(self).update(numbers)


class Configured(Tokens):
    """The forward of a module inside reads the number of heads of the configuration."""

    class Attend(nn.Module):
        def __init__(self, config: Settings) -> None:
            super().__init__()
            self.config = config
            self.qkv, self.project = nn.Linear(12, 36), nn.Linear(12, 6)

        def forward(self, x: Tensor) -> Tensor:
            made = self.qkv(x).view(*x.shape[:2], 3, self.config.heads, 3)
            return self.project(attended(*made.permute(2, 0, 3, 1, 4)))

    def __init__(self) -> None:
        super().__init__(6)
        self.attend = self.Attend(Settings(heads=4, layers=1))

    def body(self, x: Tensor) -> Tensor:
        return self.attend(x)


class Conv1D(nn.Module):
    """GPT-2's linear layer, whose weight is (in, out), and which keeps its width."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = nn.Parameter(torch.empty(nx, nf).normal_(std=0.3))
        self.bias = nn.Parameter(torch.zeros(nf))

    def forward(self, x: Tensor) -> Tensor:
        size = (*x.shape[:-1], self.nf)
        return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(size)


class Gpt(Tokens):
    def __init__(self) -> None:
        super().__init__(6)
        self.wide, self.narrow = Conv1D(16, 12), Conv1D(6, 16)

    def body(self, x: Tensor) -> Tensor:
        return self.narrow(self.wide(x).relu())


class BareNorm(Tokens):
    """A layer norm without parameters: nothing but its shape says its width."""

    def __init__(self) -> None:
        super().__init__(6)
        self.first, self.second = nn.Linear(12, 8), nn.Linear(8, 6)
        self.norm = nn.LayerNorm(8, elementwise_affine=False)

    def body(self, x: Tensor) -> Tensor:
        return self.second(self.norm(self.first(x)))


class Downsampled(Tokens):
    """A module around a strided convolution asserts its channels, as those of diffusers do."""

    class Down(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.channels = 32
            self.conv = nn.Conv1d(32, 6, 2, stride=2, padding=0)

        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1] == self.channels
            return self.conv(x)

    def __init__(self) -> None:
        super().__init__(6)
        self.first, self.down = nn.Linear(12, 32), self.Down()

    def body(self, x: Tensor) -> Tensor:
        return self.down(self.first(x).mT).mT


class BiasHandedOn(Tokens):
    """The first layer makes a bias of zeros for its heads, and hands it on, as T5's decoder."""

    class Attend(nn.Module):
        def __init__(self, read: int) -> None:
            super().__init__()
            self.n_heads = 4
            self.qkv, self.project = nn.Linear(read, 24), nn.Linear(8, 6)

        def forward(self, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
            q, k, v = self.qkv(x).unflatten(-1, (3, -1, 2)).permute(2, 0, 3, 1, 4)
            if bias is None:
                bias = torch.zeros(1, self.n_heads, x.shape[1], x.shape[1], dtype=x.dtype)
            scores = (q @ k.mT + bias).softmax(-1)
            return self.project((scores @ v).transpose(1, 2).flatten(2)), bias

    def __init__(self) -> None:
        super().__init__(6)
        self.first, self.second = self.Attend(12), self.Attend(6)

    def body(self, x: Tensor) -> Tensor:
        x, bias = self.first(x, None)
        return self.second(x.relu(), bias)[0]


class Slopes(Tokens):
    """Scores start from slopes of the heads, which therefore stay, as those of BLOOM."""

    def __init__(self) -> None:
        super().__init__(6)
        self.heads, self.head_dim = 2, 4
        self.qkv, self.project = nn.Linear(12, 24), nn.Linear(8, 6)

    def body(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        made = self.qkv(x).view(batch, tokens, self.heads, 3, self.head_dim)
        q, k, v = made.permute(3, 0, 2, 1, 4).flatten(1, 2)
        slopes = torch.arange(1.0, self.heads + 1, dtype=x.dtype).repeat(batch)[:, None, None]
        scores = (slopes * torch.arange(tokens)).baddbmm(batch1=q, batch2=k.mT, alpha=0.5)
        read = (scores.softmax(-1) @ v).unflatten(0, (batch, self.heads))
        return self.project(read.transpose(1, 2).flatten(2))


class ManyNumbers(Tokens):
    """More numbers equal the width than are tried; the view's argument is another one."""

    def __init__(self) -> None:
        super().__init__(6)
        self.config = Settings(**{f"size_{place}": 12 for place in range(20)})
        self.num_heads, self.head_dim = 4, 3
        self.q, self.k, self.v = (nn.Linear(12, 12) for _ in range(3))
        self.project = nn.Linear(12, 6)

    def body(self, x: Tensor) -> Tensor:
        sizes = len(x), -1, self.num_heads, self.head_dim
        parts = (layer(x).view(sizes).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return self.project(attended(*parts))


class NormedHeads(Tokens):
    """Two heads of keys, each scaled by one vector of the size of a head, as in Qwen 3."""

    def __init__(self) -> None:
        super().__init__(6)
        self.scale = nn.Parameter(torch.rand(4) + 0.5)
        self.q, self.k, self.v = nn.Linear(12, 16), nn.Linear(12, 8), nn.Linear(12, 8)
        self.project = nn.Linear(16, 6)

    def body(self, x: Tensor) -> Tensor:
        parts = (layer(x).unflatten(-1, (-1, 4)) for layer in (self.q, self.k, self.v))
        q, k, v = (part.transpose(1, 2) for part in parts)
        k, v = ((self.scale * part).repeat_interleave(2, 1) for part in (k, v))
        return self.project(attended(q, k, v))


class Literal(Tokens):
    """The size is written out in the code, and an attribute of the same value is not read."""

    def __init__(self) -> None:
        super().__init__(6)
        self.width = 8
        self.first, self.second = nn.Linear(12, 8), nn.Linear(8, 6)

    def body(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).view(-1, 5, 8).relu())


@dataclass(frozen=True)
class Case:
    """A network, the attributes that follow at ratio 0.5, and what is left of layers' outputs."""

    kind: type[Tokens]
    found: dict[str, tuple[int, int]]
    left: dict[str, int]
    group: str
    verdict: Verdict = Verdict.EXACT


CASES = {
    # 4 - int(4 * 0.5) of the heads go, whole.
    "heads of a fused view": Case(FusedHeads, {"num_heads": (4, 2)}, {"qkv": 18}, "qkv"),
    "size of a head": Case(HeadSize, {}, {"q": 6, "k": 6, "v": 6}, "q"),
    "asserted width": Case(Asserted, {"hidden_size": (8, 4)}, {"first": 4}, "first"),
    "sizes of a split": Case(
        Split, {"sizes[0]": (8, 4), "sizes[1]": (4, 2)}, {"first": 6}, "first"
    ),
    "sizes of two parts, each an attribute": Case(
        PartOfChannels, {"mixed": (2, 1), "untouched": (6, 3)}, {"first": 4, "mix": 1}, "first"
    ),
    "the number that two slices part at": Case(Sliced, {"start": (8, 4)}, {"first": 6}, "first"),
    "a table that a method lays out": Case(
        TableOfHeads, {"num_heads": (4, 2), "table.shape[2]": (4, 2)}, {"qkv": 18}, "qkv"
    ),
    "a configuration": Case(
        Configured, {"attend.config.heads": (4, 2)}, {"attend.qkv": 18}, "attend.qkv"
    ),
    "layers of GPT-2": Case(Gpt, {"wide.nf": (16, 8), "narrow.nf": (6, 3)}, {}, "wide"),
    "channels asserted before a convolution": Case(
        Downsampled, {"down.channels": (32, 16)}, {"first": 16}, "first"
    ),
    # The second layer's own number is not read, and said all the same, as it is by the same code.
    "heads of a bias that is handed on": Case(
        BiasHandedOn,
        {"first.n_heads": (4, 2), "second.n_heads": (4, 2)},
        {"first.qkv": 12, "second.qkv": 12},
        "first.qkv",
    ),
    "size of heads whose number stays": Case(Slopes, {"head_dim": (4, 2)}, {"qkv": 12}, "qkv"),
    "heads among many numbers": Case(ManyNumbers, {"num_heads": (4, 2)}, {"q": 6, "v": 6}, "q"),
    "heads that are scaled alike": Case(NormedHeads, {}, {"q": 8, "k": 4, "v": 4}, "q"),
    "norm without parameters": Case(
        BareNorm, {"norm.normalized_shape[0]": (8, 4)}, {"first": 4}, "first", Verdict.RENORMALIZED
    ),
}


def built(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


def inputs() -> Tensor:
    return torch.randn(2, *TOKENS, generator=torch.Generator().manual_seed(1))


def full(each: Attribute) -> str:
    return ".".join(filter(None, [each.module, each.name]))


def halved(kind: type[nn.Module]) -> tuple[nn.Module, Pruned]:
    model = built(kind)
    return model, prune(model, inputs(), 0.5, ignore=["head"])


@pytest.mark.parametrize("name", CASES)
def test_the_attribute_that_repeats_a_size_is_found_and_set(name: str) -> None:
    case = CASES[name]
    dense, pruned = halved(case.kind)
    assert pruned.verification.verdict is case.verdict, pruned.verification.reason
    assert {full(each): (each.before, each.after) for each in pruned.attributes} == case.found
    for each in pruned.attributes:
        for model, value in ((dense, each.before), (pruned.model, each.after)):
            held: Any = model.get_submodule(each.module)
            for part in each.path:
                held = held[part] if isinstance(part, int) else getattr(held, part)
            assert held == value
    for layer, left in case.left.items():
        made = pruned.model.get_submodule(layer)
        assert made.out_features == made.weight.shape[0] == left


@pytest.mark.parametrize("name", CASES)
def test_the_group_says_which_attributes_follow_it(name: str) -> None:
    case = CASES[name]
    groups = inspect_groups(built(case.kind), inputs())
    output = {
        ".".join(filter(None, [each.module, each.name])): (each.value, group.name)
        for group in groups
        for each in group.repeats
    }
    assert {number: value for number, (value, _) in output.items()} == {
        number: before for number, (before, _) in case.found.items()
    }
    assert not output or case.group in {name for _, name in output.values()}
    assert all(group.held == "" or group.is_output for group in groups if group.name == case.group)


@pytest.mark.parametrize("name", [name for name in CASES if name != "norm without parameters"])
def test_a_cut_of_any_sets_is_the_dense_network_that_does_not_read_them(name: str) -> None:
    """Cut by the maps of the groups alone, with the attributes that they say."""
    model = randomised(built(CASES[name].kind))
    x = inputs().double()
    with in_double():
        groups = inspect_groups(model, x)
    for seed in range(4):
        chosen = drawn(groups, seed)
        numbers = numbers_of(groups, chosen)
        small = cut(model, gone_of(groups, chosen), numbers)
        assert distance(masked(model, groups, chosen), small, x) < 1e-9
        assert all(
            numbers[each.module, each.name] < each.value
            for group in groups
            for each in group.repeats
        )


def test_a_cut_whose_attribute_does_not_follow_raises() -> None:
    """What the attribute is for: without it the network of fewer heads does not run."""
    model = randomised(built(FusedHeads))
    x = inputs().double()
    with in_double():
        groups = inspect_groups(model, x)
    small = cut(model, gone_of(groups, drawn(groups)))
    with pytest.raises(RuntimeError, match="shape"):
        distance(model, small, x)


class Twice(Tokens):
    """Two modules of one kind; the number of each is its own."""

    def __init__(self) -> None:
        super().__init__(6)
        config = Settings(heads=4, layers=2)
        self.first, self.middle = Configured.Attend(config), nn.Linear(6, 12)
        self.second = Configured.Attend(Settings(heads=4, layers=2))

    def body(self, x: Tensor) -> Tensor:
        return self.second(self.middle(self.first(x)))


def test_the_same_code_in_two_modules_has_a_number_in_each() -> None:
    _, pruned = halved(Twice)
    assert pruned.verification.verdict is Verdict.EXACT
    assert {full(each): each.after for each in pruned.attributes} == {
        "first.config.heads": 2, "second.config.heads": 2,
    }  # fmt: skip


class SharedSettings(Twice):
    """Both modules read one configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.second.config = self.first.config


@pytest.mark.parametrize("scope", ["local", "global"])
def test_one_number_that_two_modules_read_is_never_two(scope: str) -> None:
    """Heads of both go alike, wherever they are ranked."""
    model = built(SharedSettings)
    pruned = prune(model, inputs(), 0.5, ignore=["head"], scope=scope)
    assert pruned.verification.verdict.passes, pruned.verification.reason
    heads = pruned.model.first.config.heads
    assert heads < 4
    assert pruned.model.second.config is pruned.model.first.config
    assert model.first.config.heads == 4
    for attend in (pruned.model.first, pruned.model.second):
        assert attend.qkv.out_features == 9 * heads
    assert pruned.model(inputs()).shape == (2, 2)


class WideHeads(HeadSize):
    def __init__(self) -> None:
        super().__init__()
        self.head_size = 4
        self.q, self.k, self.v = (nn.Linear(12, 16) for _ in range(3))
        self.project = nn.Linear(16, 6)


@pytest.mark.parametrize("scope", ["local", "global"])
def test_the_size_of_heads_follows_where_it_is_asked_to(scope: str) -> None:
    """Queries, keys and values are viewed by one size of a head: as many channels of each go."""
    model = built(WideHeads)
    pruned = prune(model, inputs(), 0.5, ignore=["head"], heads="alike", scope=scope)
    assert pruned.verification.verdict is Verdict.EXACT, pruned.verification.reason
    assert pruned.verification.heads == ()  # none goes whole
    (size,) = pruned.attributes
    assert (full(size), size.before) == ("head_size", 4)
    assert 1 < size.after < 4
    for name in ("q", "k", "v"):
        kept = pruned.kept[name]["out"]
        # The same channels of each of the four heads.
        assert [channel % 4 for channel in kept] == [*kept[: size.after]] * 4


def test_heads_that_share_a_bias_go_alike() -> None:
    """The bias that the first layer makes is added by the second, whose heads are as many."""
    model = built(BiasHandedOn)
    pruned = prune(model, inputs(), 0.5, ignore=["head"], scope="global")
    assert pruned.verification.verdict is Verdict.EXACT, pruned.verification.reason
    made = [pruned.model.get_submodule(f"{name}.qkv").out_features for name in ("first", "second")]
    assert made == [6 * pruned.model.first.n_heads] * 2


def test_the_dense_networks_configuration_is_its_own() -> None:
    dense, pruned = halved(Configured)
    assert dense.attend.config is not pruned.model.attend.config
    assert (dense.attend.config.heads, pruned.model.attend.config.heads) == (4, 2)
    assert dense(inputs()).shape == (2, 2)


def test_a_size_that_the_code_writes_out_is_held() -> None:
    _, pruned = halved(Literal)
    assert pruned.attributes == ()
    assert pruned.model.first.out_features == 8
    assert pruned.model.width == 8
    (group,) = (each for each in inspect_groups(built(Literal), inputs()) if each.name == "first")
    assert (group.together, group.repeats) == ((), ())
    assert group.held


class Beside(Tokens):
    """A width that is asserted of the first layer alone; the last two are called on one line."""

    def __init__(self) -> None:
        super().__init__(8)
        self.first, self.middle, self.last = nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.width = 8

    def body(self, x: Tensor) -> Tensor:
        x = self.first(x)
        assert x.shape[-1] == self.width
        return self.last(self.middle(x).relu()).relu()


def test_a_width_that_is_asserted_of_one_layer_ties_no_other() -> None:
    groups = {each.name: each for each in inspect_groups(built(Beside), inputs())}
    assert {name: group.layers for name, group in groups.items() if group.together} == {
        "first": ("first",), "middle": ("middle",), "last": ("last",),
    }  # fmt: skip
    _, pruned = halved(Beside)
    assert pruned.verification.verdict is Verdict.EXACT
    assert {full(each): (each.before, each.after) for each in pruned.attributes} == {
        "width": (8, 4)
    }
