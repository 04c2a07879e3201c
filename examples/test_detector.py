"""A detector: a batch of images and a mask in, three lists of maps out, heads shared by all scales.

The heads' last layers make the output, so they are ignored; everything before them may be cut.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import FeaturePyramidNetwork

from analysis import parametrize_with_checks

CLASSES, ANCHORS = 5, 3


class Head(nn.Sequential):
    """Two convolutions, used on every scale."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, outputs, 3, padding=1),
        )


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        scales = {"features.3": "fine", "features.8": "middle", "features.12": "coarse"}
        self.backbone = create_feature_extractor(mobilenet_v3_small(), scales)
        self.pyramid = FeaturePyramidNetwork([24, 48, 576], 32)
        self.scores = Head(32, ANCHORS * CLASSES)
        self.boxes = Head(32, ANCHORS * 4)

    def forward(self, images: Tensor, mask: Tensor) -> dict[str, list[Tensor]]:
        scales = self.pyramid(self.backbone(images * mask)).values()
        return {
            "scores": [self.scores(scale) for scale in scales],
            "boxes": [self.boxes(scale) for scale in scales],
        }


def batch() -> dict[str, Tensor]:
    """Inputs by name, as many as forward takes; a real batch does as well."""
    return {"images": torch.randn(2, 3, 64, 64), "mask": torch.ones(2, 1, 64, 64)}


def last_layers(model: nn.Module) -> Iterator[nn.Module]:
    """What makes the output; the policy `classifier` would find them, too."""
    yield model.scores[-1]
    yield model.boxes[-1]


@parametrize_with_checks(Detector, inputs=batch, ratios=[0.5], scope="local", ignore=last_layers)
def test_detector(check) -> None:
    check()
