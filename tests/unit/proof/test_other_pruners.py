"""torch-pruning's other pruners and ways of ranking, each put to the proof."""

import pytest
import torch
import torch_pruning as tp
from blocks import Attention, build
from nets import Chain, Residual, inputs_for, make
from torch import nn

from analysis import verify
from analysis.records import Verdict


def options(model: nn.Module, **more):
    common = {
        "pruning_ratio": 0.5,
        "ignored_layers": [model.head],
        "num_heads": {},
        "out_channel_groups": {},
        "in_channel_groups": {},
    }
    return common | more


PRUNERS = {
    "group norm": lambda model, x: tp.pruner.GroupNormPruner(
        model, x, importance=tp.importance.GroupMagnitudeImportance(), **options(model)
    ),
    "growing regularisation": lambda model, x: tp.pruner.GrowingRegPruner(
        model, x, importance=tp.importance.MagnitudeImportance(), **options(model)
    ),
    "batch-norm scale": lambda model, x: tp.pruner.BNScalePruner(
        model, x, importance=tp.importance.BNScaleImportance(), **options(model)
    ),
    "isomorphic": lambda model, x: tp.pruner.BasePruner(
        model,
        x,
        importance=tp.importance.MagnitudeImportance(),
        isomorphic=True,
        global_pruning=True,
        **options(model),
    ),
    "rounded": lambda model, x: tp.pruner.MagnitudePruner(
        model, x, importance=tp.importance.MagnitudeImportance(), round_to=2, **options(model)
    ),
    "a ratio for one layer": lambda model, x: tp.pruner.MagnitudePruner(
        model,
        x,
        importance=tp.importance.MagnitudeImportance(),
        pruning_ratio_dict={next(iter(model.children())): 0.75},
        **options(model),
    ),
}


@pytest.mark.parametrize("kind", [Chain, Residual])
@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_of_any_kind_is_proved(name: str, kind: type[nn.Module]) -> None:
    model = make(kind)
    inputs = (inputs_for(model),)
    before = sum(parameter.numel() for parameter in model.parameters())
    answer = verify(model, inputs, PRUNERS[name](model, inputs))
    assert answer.verdict is Verdict.EXACT, answer.reason
    assert sum(parameter.numel() for parameter in model.parameters()) < before


def test_ranking_by_gradients_is_proved() -> None:
    model = make(Residual)
    inputs = (inputs_for(model),)
    pruner = tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.GroupTaylorImportance(), **options(model)
    )
    model(*inputs).square().sum().backward()
    assert verify(model, inputs, pruner).verdict is Verdict.EXACT


class WholeHeads(tp.pruner.MagnitudePruner):
    """Whole heads are removed and ``num_heads`` is set, as in torch-pruning's examples."""

    def step(self, interactive: bool = False):
        yield from super().step(interactive=True)
        self.model.heads = next(iter(self.num_heads.values()))


@pytest.mark.parametrize(
    "name", ["attention, fused, fixed scale", "attention, separate, torch scale"]
)
def test_whole_heads_can_be_removed(name: str) -> None:
    model = build(name)
    assert isinstance(model, Attention)
    inputs = (torch.randn(2, *model.size),)
    pruner = WholeHeads(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(),
        prune_num_heads=True,
        head_pruning_ratio=0.5,
        prune_head_dims=False,
        **options(model, num_heads=model.num_heads),
    )
    answer = verify(model, inputs, pruner)
    assert answer.verdict in (Verdict.EXACT, Verdict.RENORMALIZED), answer.reason
    assert model.heads == 1
    assert model.project.in_features == 4
