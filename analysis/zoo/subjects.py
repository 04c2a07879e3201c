"""The models of the zoo: how each is built, its inputs, and its output layers."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import detection, optical_flow, segmentation, video

from analysis.zoo.recipes import RECIPES, Recipe

__all__ = ["SUBJECTS", "ZooSubject"]


@dataclass(frozen=True)
class ZooSubject:
    """One model of torchvision.

    Attributes:
        name: torchvision's.
        task: ``classification``, ``segmentation``, ``detection``, ``video`` or ``optical flow``.
        sizes: of the input tensors, without the batch axis.
        outputs: names of the layers that make the model's outputs; empty is its last layer with
            a weight. A name that ends in ``*`` stands for all children.
        options: arguments of torchvision's builder.
        family: key of `analysis.zoo.recipes.RECIPES`, or empty.
        wrap: puts the model into the form that is analysed.
    """

    name: str
    task: str
    sizes: tuple[tuple[int, ...], ...]
    outputs: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    family: str = ""
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model

    @property
    def recipe(self) -> Recipe | None:
        """The recipe for torch-pruning, if the model has one."""
        return RECIPES.get(self.family)

    def build(self) -> nn.Module:
        """The model with random weights of seed 0, in eval mode."""
        options: dict[str, Any] = {"weights": None, **dict(self.options)}
        with torch.random.fork_rng(devices=[]), ExitStack() as small:
            torch.manual_seed(0)
            if self.family == "mvit":
                small.enter_context(_small_mvit(self.sizes[0]))
            return torchvision.models.get_model(self.name, **options).eval()

    def inputs(self) -> tuple[Tensor, ...]:
        """One item of each input, standard normal."""
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randn(1, *size, generator=generator) for size in self.sizes)

    def output_layers(self, model: nn.Module) -> list[nn.Module]:
        """The layers whose output channels must stay."""
        layers = [m for m in model.modules() if isinstance(getattr(m, "weight", None), Tensor)]
        if not self.outputs:
            return layers[-1:]
        found = []
        for name in self.outputs:
            parent = model.get_submodule(name.removesuffix(".*"))
            parts = list(parent.children()) if name.endswith(".*") else [parent]
            # A head of several layers puts out what its last one makes.
            found += [[m for m in part.modules() if hasattr(m, "weight")][-1] for part in parts]
        return found


class RawDetection(nn.Module):
    """A detector's raw head outputs on a batch of images of their final size.

    Anchors, thresholds and non-maximum suppression choose outputs by their values, so their
    number depends on data; what is pruned ends before them. Heads on regions run on fixed boxes.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Images (N, 3, H, W) -> each head's output by name."""
        model = self.model
        features = model.backbone(images)
        if isinstance(features, Tensor):
            features = {"0": features}
        if not hasattr(model, "rpn"):
            heads: dict[str, Any] = model.head(list(features.values()))
            return heads
        objectness, deltas = model.rpn.head(list(features.values()))
        height, width = images.shape[-2:]
        box = images.new_tensor(
            [[0, 0, width, height], [width / 4, height / 4, width / 2, height / 2]]
        )
        boxes, sizes = [box] * len(images), [(height, width)] * len(images)
        regions = model.roi_heads
        pooled = regions.box_head(regions.box_roi_pool(features, boxes, sizes))
        scores, shifts = regions.box_predictor(pooled)
        raw = {"objectness": objectness, "deltas": deltas, "scores": scores, "shifts": shifts}
        for part in ("mask", "keypoint"):
            if getattr(regions, f"{part}_roi_pool", None) is not None:
                pool = getattr(regions, f"{part}_roi_pool")(features, boxes, sizes)
                head = getattr(regions, f"{part}_head")(pool)
                raw[part] = getattr(regions, f"{part}_predictor")(head)
        return raw


class _FewUpdates(nn.Module):
    """RAFT with two updates of the flow instead of twelve: the same layers, called less often."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, first: Tensor, second: Tensor) -> Any:
        return self.model(first, second, num_flow_updates=2)


def _small_mvit(size: tuple[int, ...]) -> Any:
    """Torchvision's builders fix 16 frames of 224x224; the class itself takes any size."""
    build = video.mvit._mvit
    frames, *space = size[1:]

    def small(**options: Any) -> nn.Module:
        return build(**{**options, "spatial_size": tuple(space), "temporal_size": frames})

    return mock.patch.object(video.mvit, "_mvit", small)


_IMAGE = ((3, 64, 64),)
_FIXED_SIZE: dict[str, tuple[tuple[int, ...], tuple[tuple[str, Any], ...]]] = {
    "inception_v3": ((3, 96, 96), (("aux_logits", False), ("init_weights", False))),
    "googlenet": ((3, 64, 64), (("aux_logits", False), ("init_weights", False))),
    "maxvit_t": ((3, 224, 224), ()),
    "vit_b_16": ((3, 64, 64), (("image_size", 64),)),
    "vit_b_32": ((3, 64, 64), (("image_size", 64),)),
    "vit_l_16": ((3, 32, 32), (("image_size", 32),)),
    "vit_l_32": ((3, 64, 64), (("image_size", 64),)),
    "vit_h_14": ((3, 28, 28), (("image_size", 28),)),
    "regnet_y_128gf": ((3, 32, 32), ()),
}
"""Size and builder's options where 64x64 is not what the model takes."""


def _family(name: str) -> str:
    return next((family for family in RECIPES if name.startswith(family)), "")


def _classification(name: str) -> ZooSubject:
    size, options = _FIXED_SIZE.get(name, (_IMAGE[0], ()))
    # squeezenet's classifier is a convolution, which is its last layer too.
    return ZooSubject(name, "classification", (size,), (), options, _family(name))


def _segmentation(name: str) -> ZooSubject:
    outputs = (
        ("classifier.low_classifier", "classifier.high_classifier")
        if name.startswith("lraspp")
        else ("classifier",)
    )
    options = (("weights_backbone", None),)
    return ZooSubject(name, "segmentation", _IMAGE, outputs, options)


_REGIONS = (
    "rpn.head.cls_logits",
    "rpn.head.bbox_pred",
    "roi_heads.box_predictor.cls_score",
    "roi_heads.box_predictor.bbox_pred",
)
_DENSE = ("head.classification_head.cls_logits", "head.regression_head.bbox_reg")
_DETECTION: dict[str, tuple[str, ...]] = {
    "fasterrcnn": _REGIONS,
    "maskrcnn": (*_REGIONS, "roi_heads.mask_predictor.mask_fcn_logits"),
    "keypointrcnn": (*_REGIONS, "roi_heads.keypoint_predictor.kps_score_lowres"),
    "retinanet": _DENSE,
    "fcos": (*_DENSE, "head.regression_head.bbox_ctrness"),
    "ssd": (
        "head.classification_head.module_list.*",
        "head.regression_head.module_list.*",
    ),
}


def _detection(name: str) -> ZooSubject:
    outputs = next(layers for family, layers in _DETECTION.items() if name.startswith(family))
    size = (3, 300, 300) if name == "ssd300_vgg16" else _IMAGE[0]
    options = (("weights_backbone", None),)
    prefixed = tuple(f"model.{layer}" for layer in outputs)
    return ZooSubject(name, "detection", (size,), prefixed, options, "", RawDetection)


def _video(name: str) -> ZooSubject:
    size = (3, 13, 209, 209) if name == "s3d" else (3, 4, 32, 32)
    outputs = ("classifier.1",) if name == "s3d" else ()
    return ZooSubject(name, "video", (size,), outputs, (), _family(name))


def _optical_flow(name: str) -> ZooSubject:
    outputs = ["model.update_block.flow_head.conv2"]
    outputs += ["model.mask_predictor.conv"] if name == "raft_large" else []
    sizes = ((3, 128, 128), (3, 128, 128))
    return ZooSubject(name, "optical flow", sizes, tuple(outputs), (), "raft", _FewUpdates)


def _all(module: Any, make: Callable[[str], ZooSubject]) -> Sequence[ZooSubject]:
    return [make(name) for name in torchvision.models.list_models(module=module)]


SUBJECTS: dict[str, ZooSubject] = {
    subject.name: subject
    for subjects in (
        _all(torchvision.models, _classification),
        _all(segmentation, _segmentation),
        _all(detection, _detection),
        _all(video, _video),
        _all(optical_flow, _optical_flow),
    )
    for subject in subjects
}
"""Every model that torchvision lists, apart from the quantized copies of some."""
