"""A vision transformer: heads stay whole, and an attribute that its forward reads follows the cut.

torch-pruning needs an option so that every head loses the same channels; and torchvision's forward
reshapes by ``hidden_dim``, which pruning knows nothing of, so the pruner's step sets it.
"""

import torch
import torch_pruning as tp
from torch import nn
from torchvision.models import VisionTransformer

from analysis import parametrize_with_checks


def small_vit() -> nn.Module:
    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128
    )


class ViTPruner(tp.pruner.MagnitudePruner):
    """Sets ``hidden_dim`` at the end of a step, and where a pruning is repeated from its history.

    Without the second, weights that were saved could not be loaded into a rebuilt structure: the
    check `survives_state_dict` says so.
    """

    def step(self, interactive: bool = False):
        yield from super().step(interactive=True)
        self._set_hidden_dim()

    def load_pruning_history(self, pruning_history) -> None:
        super().load_pruning_history(pruning_history)
        self._set_hidden_dim()

    def _set_hidden_dim(self) -> None:
        self.model.hidden_dim = self.model.conv_proj.out_channels


def keeping_heads(model: nn.Module, inputs: torch.Tensor, ratio: float):
    attention = [layer for layer in model.modules() if isinstance(layer, nn.MultiheadAttention)]
    return ViTPruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=ratio,
        ignored_layers=[model.heads],
        out_channel_groups={layer: layer.num_heads for layer in attention},
    )


@parametrize_with_checks(small_vit, input_size=(3, 32, 32), ratios=[0.5], pruner=keeping_heads)
def test_vision_transformer(check) -> None:
    check()
