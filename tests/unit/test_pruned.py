"""A network pruned by its groups: the result, and what is not changed."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from nets import Chain, FixedBuffer, Flipped, Named, Residual, inputs_for, make
from tied import Siamese, Tied, words
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from analysis import Pruned, count_macs, prune, verify
from analysis.errors import InputError
from analysis.records import Verdict


def half(kind: Callable[[], nn.Module], **options: Any) -> tuple[nn.Module, Pruned]:
    model = make(kind)  # type: ignore[arg-type]
    return model, prune(model, inputs_for(model), 0.5, **({"ignore": ["head"]} | options))


def test_the_result_of_a_network_that_can_be_worked_out_by_hand() -> None:
    dense, pruned = half(Flipped)
    first = dense.first.weight.abs().sum((1, 2, 3))
    # Channel n of the first convolution is read as channel 3 - n of the second.
    read = dense.second.weight.abs().sum((0, 2, 3)).flip(0)
    left = (first + read + dense.norm.weight.abs()).argsort()[2:].sort().values.tolist()
    assert pruned.kept["first"] == {"out": tuple(left)}
    assert pruned.kept["norm"] == {"out": tuple(left)}
    assert pruned.kept["second"]["in"] == tuple(sorted(3 - n for n in left))
    assert torch.equal(pruned.model.first.weight, dense.first.weight[left])
    assert pruned.verification.verdict is Verdict.EXACT
    assert pruned.attributes == ()
    # first 3*2*9, norm 2*2, second 2*2+2, head 2*2+2.
    assert pruned.params == 54 + 4 + 6 + 6
    # On both images: first 54*36, norm 2*2*36, second 2*2*36, head 2*2.
    assert pruned.macs == 2 * (54 * 36 + 4 * 36 + 4 * 36 + 4)


@pytest.mark.parametrize("kind", [Chain, Residual, Flipped, FixedBuffer])
def test_costs_are_those_of_the_copy_counted_anew(kind: type[nn.Module]) -> None:
    _, pruned = half(kind)
    assert pruned.macs == count_macs(pruned.model, inputs_for(pruned.model)).macs
    assert pruned.params == sum(each.numel() for each in pruned.model.parameters())


# ---------------------------------------------------------------------- what is left alone


def snapshot(model: nn.Module) -> dict[str, Any]:
    """All that a network is, down to the bytes and the hooks."""
    return {
        "state": {
            name: (t.data_ptr(), t.clone(), t.stride()) for name, t in model.state_dict().items()
        },
        "parameters": {
            name: (id(p), p.requires_grad, None if p.grad is None else p.grad.clone(), p._version)
            for name, p in model.named_parameters()
        },
        "modules": {
            name: (
                id(m), m.training, len(m._forward_hooks), len(m._forward_pre_hooks),
                {key: repr(value) for key, value in vars(m).items() if not key.startswith("_")},
            )
            for name, m in model.named_modules()
        },
    }  # fmt: skip


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(v, other[k]) for k, v in one.items())
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


class Heads(nn.Module):
    """Attention whose number of heads is an attribute, of tokens (5, 12)."""

    size = (5, 12)

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.width = 4, 2
        self.qkv, self.project = nn.Linear(12, 24), nn.Linear(8, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        made = self.qkv(x).view(batch, tokens, 3, self.heads, self.width)
        q, k, v = made.permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.head(self.project(mixed.transpose(1, 2).flatten(2)).mean(1))


@pytest.mark.parametrize("kind", [Chain, Residual, FixedBuffer, Heads])
def test_the_dense_network_is_untouched(kind: type[nn.Module]) -> None:
    model = make(kind).train()
    model.head.eval()
    next(model.parameters()).requires_grad_(False)
    model.head.bias.grad = torch.ones(2)
    model.register_forward_hook(lambda module, inputs, output: None)
    inputs = inputs_for(model)
    before, given = snapshot(model), inputs.clone()
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    pruned = prune(model, inputs, 0.5, ignore=["head"])
    assert pruned.verification.verdict.passes
    assert equal(before, snapshot(model))
    assert torch.equal(inputs, given)
    assert torch.equal(torch.random.get_rng_state(), state)
    own = {t.data_ptr() for t in model.state_dict().values()}
    assert own.isdisjoint(t.data_ptr() for t in pruned.model.state_dict().values())
    pruned.model.head.weight.data.zero_()
    assert equal(before, snapshot(model))


def test_the_dense_network_is_untouched_after_an_error() -> None:
    model = make(Chain).train()
    before = snapshot(model)
    for options in ({"ignore": ["nothing"]}, {"scope": "some"}, {"importance": lambda group: 1}):
        with pytest.raises(InputError):
            prune(model, inputs_for(model), 0.5, **options)
    with pytest.raises(InputError):
        prune(model, torch.randn(1, 2, 6, 6), 0.5)
    assert equal(before, snapshot(model))


@pytest.mark.parametrize("mode", [True, False])
def test_the_copy_has_the_modes_and_flags_of_the_dense_network(mode: bool) -> None:
    model = make(Residual).train(mode)
    model.block.norm.train(not mode)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("norm" not in name)
    found = prune(model, inputs_for(model), 0.5, ignore=["head"]).model
    assert {name: m.training for name, m in found.named_modules()} == {
        name: m.training for name, m in model.named_modules()
    }
    assert {name: p.requires_grad for name, p in found.named_parameters()} == {
        name: p.requires_grad for name, p in model.named_parameters()
    }
    assert found.block.expand.out_channels == 4


def test_a_pruned_copy_can_be_trained() -> None:
    _, pruned = half(Residual)
    model = pruned.model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = copy.deepcopy(model.state_dict())
    model(inputs_for(model)).square().sum().backward()
    optimizer.step()
    assert all(
        not torch.equal(before[name], parameter) for name, parameter in model.named_parameters()
    )


# ---------------------------------------------------------------------- kinds of networks


def test_tied_weights_stay_tied() -> None:
    model = Tied().eval()
    pruned = prune(model, words(), 0.5, ignore="none")
    assert pruned.verification.verdict.passes, pruned.verification.reason
    assert pruned.model.head.weight is pruned.model.table.weight
    assert pruned.model.head.weight.shape == (50, 8)
    assert pruned.model.head.in_features == pruned.model.table.embedding_dim == 8
    siamese = make(Siamese)
    found = prune(siamese, torch.randn(2, 3, 6, 6), 0.5, ignore=["head"]).model
    assert found.left.weight is found.right.weight
    assert found.left.out_channels == found.right.out_channels == 4


def test_whole_heads_are_asked_against_done() -> None:
    pruned = prune(make(Heads), torch.randn(2, 5, 12), 0.5, ignore=["head"])
    (heads,) = pruned.verification.heads
    assert (heads.layers, heads.heads) == (("qkv",), 4)
    assert heads.requested == heads.removed == (4 * 2 * 3 - pruned.model.qkv.out_features) // 6 == 2
    # One head stays whatever is asked, and that it was asked is not passed over.
    (least,) = prune(make(Heads), torch.randn(2, 5, 12), 0.9, ignore=["head"]).verification.heads
    assert (least.requested, least.removed) == (4, 3)


def _normed(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    model = Chain()
    norm(model.first)
    norm(model.second)
    return model


@pytest.mark.parametrize("ratio", [0.3, 0.5])
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "weight_norm of inputs", "old"])
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")
def test_parametrized_layers_are_cut_or_left_whole_with_the_reason(name: str, ratio: float) -> None:
    norm = {
        "weight_norm": parametrizations.weight_norm,
        "spectral_norm": parametrizations.spectral_norm,
        "weight_norm of inputs": functools.partial(parametrizations.weight_norm, dim=1),
        "old": nn.utils.weight_norm,
    }[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _normed(norm).eval()
    pruned = prune(model, torch.randn(2, 3, 6, 6), ratio, ignore=["head"])
    found, small = pruned.verification, pruned.model
    small(torch.randn(2, 3, 6, 6))  # hooks make a weight anew
    if name == "spectral_norm":
        # It divides by what the vectors make of the whole weight, and of a part they make less.
        own = model.second.parametrizations.weight
        weight, (u, v) = own.original.flatten(1), (own[0]._u, own[0]._v)
        assert not torch.allclose(u[1:] @ weight[1:] @ v, u @ weight @ v, rtol=1e-3)
        assert found.verdict is Verdict.UNCHANGED
        whys = {group.root: group.why for group in found.groups}
        assert "as spectral norm does" in whys["first"]
        assert "as spectral norm does" in whys["second"]
        return
    assert found.verdict.passes, found.reason
    assert small.first.out_channels == small.first.weight.shape[0]
    assert small.second.in_channels == small.second.weight.shape[1] == small.first.out_channels
    assert small.second.out_channels == small.second.weight.shape[0]
    if name == "weight_norm of inputs":
        # All filters together have the length of what is read: without some it is another.
        assert small.second.out_channels in (5, int(5 * (1 - ratio)))
        return
    assert small.second.out_channels == int(5 * (1 - ratio))
    assert small.first.out_channels == int(4 * (1 - ratio))
    rows, columns = (list(pruned.kept["second"][axis]) for axis in ("out", "in"))
    # Each filter has its own length, which it has too where it reads fewer channels.
    assert found.verdict is Verdict.MIXED
    assert found.max_rel_error is None  # that of the masked network is of other lengths
    weight = model.second.weight[rows]
    length = weight.flatten(1).norm(dim=1)[:, None, None, None]
    shorter = weight[:, columns]
    shorter = length * shorter / shorter.flatten(1).norm(dim=1)[:, None, None, None]
    assert torch.allclose(small.second.weight, shorter, atol=1e-6)


def test_buffers_that_no_layer_owns_follow() -> None:
    dense, pruned = half(FixedBuffer)
    left = list(pruned.kept["first"]["out"])
    assert pruned.verification.verdict is Verdict.EXACT
    assert torch.equal(pruned.model.scale, dense.scale[:, left])


def test_several_inputs_by_name_and_only_some_outputs() -> None:
    torch.manual_seed(0)
    model = Named().eval()
    inputs = {"image": torch.randn(2, 3, 6, 6), "vector": torch.randn(2, 5)}
    every = prune(model, inputs, 0.5, ignore=["head"])
    # The embedding is put out, so that its channels stay.
    assert every.model.vector.out_features == 8
    assert every.model.image.out_channels == 3
    one = prune(model, inputs, 0.5, ignore=["head"], outputs=["scores"])
    assert one.verification.verdict.passes
    assert one.model.vector.out_features == one.model.mix.out_channels == 4
    assert one.model(**inputs)["embedding"].shape == (2, 4)
    with pytest.raises(InputError, match="logits"):
        prune(model, inputs, 0.5, outputs=["logits"])


class Bare(nn.Module):
    """One layer, whose outputs are the network's."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


def test_a_network_without_removable_channels_is_unchanged() -> None:
    for ratio in (0.5, 0.0):
        model = Bare().eval()
        pruned = prune(model, torch.randn(2, 4), ratio)
        # Where nothing was asked for, that nothing went is as it should be.
        assert pruned.verification.verdict is (Verdict.UNCHANGED if ratio else Verdict.EXACT)
        assert pruned.kept == {}
        assert equal(dict(pruned.model.state_dict()), dict(model.state_dict()))
        assert pruned.params == 15
    excluded = prune(make(Chain), inputs_for(make(Chain)), 0.5, ignore=["first", "second", "head"])
    assert excluded.verification.verdict is Verdict.UNCHANGED


class Position(nn.Module):
    """Its positions are a table of a width that is kept, made for every other length anew."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.length = 12, 6
        self.first, self.head = nn.Conv1d(3, 12, 1), nn.Linear(12, 2)
        self.body = nn.Conv1d(12, 12, 1)
        self.register_buffer("table", self.made(6))

    def made(self, length: int) -> Tensor:
        shape = torch.arange(self.width * length, dtype=torch.float32)
        return shape.sin().view(self.width, length)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        table = self.table if x.shape[-1] == self.length else self.made(x.shape[-1])
        return self.head(self.body((x + table.to(x)).relu()).mean(2))


def test_a_cut_that_is_not_proved_at_another_size_is_not_made_and_says_why() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Position().eval()
    pruned = prune(model, torch.randn(2, 3, 6), 0.5, ignore=["head"])
    found = pruned.verification
    assert found.verdict.passes, found.reason
    assert pruned.model.body.out_channels == 6
    # The table at another length is written anew, with as many channels as before, or others.
    assert pruned.model.first.out_channels == 12
    assert "`first` is left whole" in found.reason
    for length in (6, 7):
        dense_input = torch.randn(2, 3, length)
        assert pruned.model(dense_input).shape == (2, 2)


def test_torch_prunings_wrong_pruning_is_cured() -> None:
    """Where torch-pruning's own cut of the same network is wrong, ours is exact."""
    import torch_pruning as tp

    model = make(Flipped)
    inputs = inputs_for(model)
    theirs = copy.deepcopy(model)
    pruner = tp.pruner.MagnitudePruner(
        theirs, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=0.5,
        ignored_layers=[theirs.head],
    )  # fmt: skip
    assert verify(theirs, inputs, pruner).verdict is Verdict.WRONG
    assert prune(model, inputs, 0.5).verification.verdict is Verdict.EXACT


def test_a_known_network_is_the_masked_one_by_an_independent_cut() -> None:
    """Channels that went are set to zero in the dense network where they are read."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.resnet18(weights=None).double().eval()
    inputs = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    before = torch.get_default_dtype()
    pruned = prune(model, inputs, 0.5)
    assert torch.get_default_dtype() == before
    masked = copy.deepcopy(model)
    for layer, axes in pruned.kept.items():
        module = masked.get_submodule(layer)
        if "in" in axes:
            width = module.weight.shape[1]
            gone = [n for n in range(width) if n not in set(axes["in"])]
            module.weight.data[:, gone] = 0.0
    with torch.no_grad():
        wanted, found = masked(inputs), pruned.model(inputs)
    assert (wanted - found).abs().max() < 1e-10 * wanted.abs().max()
    assert pruned.params is not None
    assert pruned.params < 0.4 * sum(each.numel() for each in model.parameters())


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ratio": 1.0}, "ratio 1"),
        ({"ratio": 50}, "0.5"),
        ({"scope": "all"}, "all"),
        ({"importance": "l3"}, "l3"),
        ({"round_to": 0}, "round_to"),
        ({"min_channels": 0}, "min_channels"),
        ({"ratios_by_layer": {"nothing": 0.5}}, "nothing"),
        ({"ignore": "everything"}, "everything"),
        ({"outputs": "scores"}, "scores"),
    ],
)
def test_what_cannot_be_asked_is_one_line(options: dict[str, Any], said: str) -> None:
    model = make(Chain)
    with pytest.raises(InputError, match=said) as caught:
        prune(model, inputs_for(model), **({"ratio": 0.5} | options))
    assert "\n" not in str(caught.value)
