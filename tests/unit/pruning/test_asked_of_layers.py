"""Whole heads, and ratios of single layers: requested and removed."""

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional

from analysis import verify
from analysis.checks import evaluate
from analysis.pipeline import analyse, prune_and_prove
from analysis.records import OWN_PRUNER, Config, Verdict, Verification

HEADS, SIZE = 10, 4


class Attention(nn.Module):
    """Ten heads of four channels; the keys may be fewer and shared by as many queries each."""

    def __init__(self, keys: int = HEADS) -> None:
        super().__init__()
        self.shared = HEADS // keys
        self.stem = nn.Linear(6, 20)
        self.q = nn.Linear(20, HEADS * SIZE)
        self.k = nn.Linear(20, keys * SIZE)
        self.v = nn.Linear(20, keys * SIZE)
        self.out = nn.Linear(HEADS * SIZE, 20)
        self.head = nn.Linear(20, 3)

    def forward(self, x):
        x = self.stem(x)
        q, k, v = (
            layer(x).view(*x.shape[:2], -1, SIZE).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        if self.shared > 1:
            k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], 1) for each in (k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.head(self.out(mixed.transpose(1, 2).flatten(2)).mean(1))


INPUTS = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))


def made(keys: int = HEADS) -> Attention:
    torch.manual_seed(0)
    return Attention(keys).eval()


def pruner_of(model: Attention, inputs=INPUTS, ratio: float = 0.5, **options):
    common = {
        "importance": tp.importance.MagnitudeImportance(p=1),
        "pruning_ratio": ratio,
        "ignored_layers": [model.head],
        "num_heads": {layer: layer.out_features // SIZE for layer in (model.q, model.k, model.v)},
        "prune_num_heads": True,
        "prune_head_dims": False,
        "out_channel_groups": {},
        "in_channel_groups": {},
    }
    return tp.pruner.MagnitudePruner(model, inputs, **(common | options))


def answer(model: Attention, **options) -> Verification:
    return verify(model, INPUTS, pruner_of(model, **options))


@pytest.mark.parametrize("scope", [{}, {"global_pruning": True}], ids=["local", "global"])
def test_half_of_the_heads_is_asked_and_goes(scope) -> None:
    model = made()
    found = answer(model, head_pruning_ratio=0.5, **scope)
    (heads,) = found.heads
    assert (heads.heads, heads.requested, heads.removed) == (10, 5, 5)
    assert heads.removed == HEADS - model.q.out_features // SIZE
    assert found.verdict is Verdict.EXACT
    assert not found.reason


def test_heads_of_which_each_step_takes_a_share_of_what_is_left_are_more_than_asked() -> None:
    model = made()
    found = answer(model, head_pruning_ratio=0.5, iterative_steps=5)
    # Of what is left 0.1, 0.2, ... 0.5 go, rounded up: 9, 7, 4, 2 and 1 stay.
    assert model.q.out_features == SIZE
    (heads,) = found.heads
    assert (heads.requested, heads.removed, heads.is_as_asked) == (5, 9, False)
    assert "of the 10 heads" in found.reason
    assert "5 were requested and 9 removed" in found.reason


def test_a_head_is_gone_only_where_all_of_its_channels_are() -> None:
    model = made()
    pruner = pruner_of(model, head_pruning_ratio=0.3, prune_head_dims=True)
    before = model.q.weight.detach().clone()
    with torch.no_grad():  # rows tell themselves apart
        before[:, 0] = model.q.weight[:, 0] = torch.arange(HEADS * SIZE).float() * 1e-3
    found = verify(model, INPUTS, pruner)
    (heads,) = found.heads
    assert heads.removed == 3
    # Of each head that stays half of the channels stay.
    assert model.q.out_features == (HEADS - 3) * SIZE // 2


def test_keys_that_queries_share_let_more_heads_go_than_asked_but_no_fewer() -> None:
    found = answer(made(keys=2), head_pruning_ratio=0.3)
    (heads,) = found.heads
    # Three of ten, and as many of the five that share each of the two keys: 2 + 2.
    assert (heads.requested, heads.removed, heads.beyond) == (3, 4, 1)
    assert heads.is_as_asked


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"head_pruning_ratio": 0.5, "prune_num_heads": False}, "prune_num_heads=True"),
        ({"head_pruning_ratio": 0.5, "num_heads": {}}, "`num_heads` names no layer"),
    ],
)
def test_a_ratio_of_heads_without_effect_is_reported(options, why) -> None:
    found = answer(made(), ratio=0.0, **options)
    assert found.verdict is Verdict.UNCHANGED
    assert why in found.reason
    assert why in found.unmet_heads


def test_a_ratio_of_heads_of_a_layer_without_heads_is_reported() -> None:
    model = made()
    found = answer(model, head_pruning_ratio_dict={model.stem: 0.5, model.v: 0.3})
    assert [each.removed for each in found.heads] == [3]
    assert "asks 0.5 of `stem`, and `num_heads` names no heads of it" in found.unmet_heads


def test_heads_are_asked_of_an_attention_whose_first_layer_has_no_ratio() -> None:
    model = made()
    # torch-pruning asks the layer that it meets first, which is `v`.
    found = answer(model, head_pruning_ratio_dict={model.q: 0.3})
    (heads,) = found.heads
    assert (heads.requested, heads.removed) == (3, 0)
    assert "3 were requested and 0 removed" in found.reason


def test_what_is_asked_of_other_groups_is_known_beside_whole_heads() -> None:
    found = {group.root: group for group in answer(made(), head_pruning_ratio=0.5).groups}
    assert (found["stem"].requested, found["stem"].removed) == (10, 10)


def test_attention_without_removable_channels_is_excluded() -> None:
    found = answer(made(), prune_num_heads=False)
    attention = next(group for group in found.groups if group.width == HEADS * SIZE)
    assert (attention.requested, attention.reason) == (0, "ignored")


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ({"head": 0.5}, "asks 0.5 of `head`, and it is excluded"),
        ({"k": 0.25, "q": 0.5}, "its group takes the 0.25 that is asked of `k`"),
    ],
)
def test_a_ratio_of_a_layer_without_effect_is_reported(layers, why) -> None:
    model = made()
    ratios = {getattr(model, name): ratio for name, ratio in layers.items()}
    found = answer(
        model, ratio=0.0, pruning_ratio_dict=ratios, prune_num_heads=False, prune_head_dims=True
    )
    assert why in " ".join(found.unmet)


def test_a_ratio_of_a_layer_with_an_effect_is_not_reported() -> None:
    model = made()
    found = answer(model, ratio=0.0, pruning_ratio_dict={model.out: 0.5})
    assert model.out.out_features == 10
    assert (found.unmet, found.verdict) == ((), Verdict.EXACT)


CHECKS = ("ratio_met", "heads_as_asked", "no_group_dropped")


def failed(**options) -> dict[str, str]:
    """The failing checks on requested channels, with the message."""

    def build(model, inputs, ratio):
        shares = {getattr(model, name): share for name, share in options.get("of", {}).items()}
        others = {key: value for key, value in options.items() if key != "of"}
        return pruner_of(model, inputs, ratio, pruning_ratio_dict=shares, **others)

    config = Config(0.5, "local", policy=OWN_PRUNER)
    found = prune_and_prove(analyse(made(), INPUTS), config, "classifier", pruner_factory=build)
    return {each.name: each.message for each in evaluate(found, CHECKS) if not each.passed}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"head_pruning_ratio": 0.5, "iterative_steps": 5}, "9 removed"),
        ({"head_pruning_ratio": 0.5, "num_heads": {}}, "`num_heads`"),
        ({"head_pruning_ratio": 0.5, "prune_num_heads": False}, "prune_num_heads=True"),
    ],
)
def test_heads_that_did_not_go_as_asked_fail_a_check_of_their_own(options, said) -> None:
    found = failed(**options)
    assert "ratio_met" not in found
    assert said in found["heads_as_asked"]


def test_heads_that_went_as_asked_fail_no_check() -> None:
    assert failed(head_pruning_ratio=0.5, global_pruning=True) == {}


def test_a_ratio_of_a_layer_without_effect_fails_a_check() -> None:
    found = failed(of={"head": 0.5})
    assert list(found) == ["no_group_dropped"]
    assert "`head`, and it is excluded" in found["no_group_dropped"]
