"""Networks of other packages: small ones from configurations, with random weights.

Nothing is downloaded. Each package is imported when the first network of it is built.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from analysis.network.inference import Inputs
from analysis.zoo import of_transformers

__all__ = ["NETWORKS", "PACKAGES", "PackagedNetwork"]

PACKAGES = (
    "transformers",
    "timm",
    "ultralytics-opencv-headless",
    "segmentation-models-pytorch",
    "diffusers",
    "torch-geometric",
)
"""What the networks are of, as it is installed."""

Build = Callable[[], nn.Module]
Options = dict[str, Any]


@dataclass(frozen=True)
class PackagedNetwork:
    """One network.

    Attributes:
        name: of it here.
        package: that it is of; ``written out`` for what is built of torch's own layers.
        make: builds it.
        feed: makes what its forward takes, two items of each.
    """

    name: str
    package: str
    make: Build
    feed: Callable[[], Inputs]

    def build(self) -> nn.Module:
        """The network with random weights of seed 0, in eval mode."""
        _keep_off_the_network()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.make().eval()

    def inputs(self) -> Inputs:
        """Example inputs of seed 0."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.feed()


def _keep_off_the_network() -> None:
    """Packages look for no weights, updates or fonts, and say less; before they are imported."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
    # Where it keeps its settings: not in the user's home.
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())


def _normal(*size: int) -> Inputs:
    return torch.randn(2, *size)


def _noised(channels: int, **beside: tuple[int, ...]) -> Inputs:
    conditions = {name: torch.randn(2, *size) for name, size in beside.items()}
    noised = {"sample": torch.randn(2, channels, 16, 16), "timestep": torch.tensor([3, 7])}
    return noised | conditions


def _noised_classes() -> Inputs:
    latent = {"hidden_states": torch.randn(2, 4, 16, 16), "timestep": torch.tensor([3, 7])}
    return latent | {"class_labels": torch.tensor([1, 2])}


def _ring() -> Inputs:
    """Nine nodes, each with an edge to the next, and a chord."""
    start = torch.arange(9)
    ring = torch.stack([start, (start + 1) % 9])
    chord = torch.tensor([[0], [4]])
    return {"x": torch.randn(9, 12), "edge_index": torch.cat([ring, chord], 1)}


def _yolo(task: str, description: str) -> nn.Module:
    tasks = import_module("ultralytics.nn.tasks")
    model = getattr(tasks, f"{task}Model")(f"{description}.yaml", ch=3, nc=8, verbose=False)
    return model.float()


def _segmenting(decoder: str, encoder: str) -> nn.Module:
    package = import_module("segmentation_models_pytorch")
    return getattr(package, decoder)(encoder, encoder_weights=None, classes=4)


def _image_model(name: str, options: Options) -> nn.Module:
    return import_module("timm").create_model(name, pretrained=False, num_classes=10, **options)


_TWO_WIDTHS: Options = {
    "sample_size": 16,
    "layers_per_block": 1,
    "block_out_channels": (32, 64),
    "norm_num_groups": 8,
}


def _diffusing(kind: str, options: Options) -> nn.Module:
    return getattr(import_module("diffusers"), kind)(**options)


_DIFFUSERS: dict[str, tuple[str, Options, Callable[[], Inputs]]] = {
    "ddpm_unet": (
        "UNet2DModel",
        {
            **_TWO_WIDTHS,
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": 16,
        },
        partial(_noised, 3),
    ),
    "sd_unet": (
        "UNet2DConditionModel",
        {
            **_TWO_WIDTHS,
            "in_channels": 4,
            "out_channels": 4,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": 24,
            "attention_head_dim": 8,
        },
        partial(_noised, 4, encoder_hidden_states=(5, 24)),
    ),
    "dit": (
        "DiTTransformer2DModel",
        {
            "num_attention_heads": 4,
            "attention_head_dim": 16,
            "in_channels": 4,
            "out_channels": 8,
            "num_layers": 2,
            "sample_size": 16,
            "patch_size": 2,
            "num_embeds_ada_norm": 10,
        },
        _noised_classes,
    ),
}


class _Convolved(nn.Module):
    """Three graph convolutions."""

    def __init__(self, layer: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.second, self.last = layer(12, 32), layer(32, 48), layer(48, 5)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.first(x, edge_index).relu()
        x = self.second(x, edge_index).relu()
        return self.last(x, edge_index)


def _on_graphs(kind: str, options: Options) -> nn.Module:
    package = import_module("torch_geometric.nn")
    if kind == "GCNConv":
        return _Convolved(package.GCNConv)
    return getattr(package, kind)(12, 32, out_channels=5, **options)


class _Speech(nn.Module):
    """M5: words from raw audio by four convolutions in one dimension."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        wide = 2 * width
        steps = ((1, width, 80, 16), (width, width, 3, 1), (width, wide, 3, 1), (wide, wide, 3, 1))
        blocks = [
            nn.Sequential(nn.Conv1d(*step), nn.BatchNorm1d(step[1]), nn.ReLU(), nn.MaxPool1d(4))
            for step in steps
        ]
        self.features = nn.Sequential(*blocks)
        self.head = nn.Linear(wide, 35)

    def forward(self, waves: Tensor) -> Tensor:
        return self.head(self.features(waves).mean(-1)).log_softmax(-1)


class _Reading(nn.Module):
    """Lines of text from an image: convolutions, and a recurrent layer along the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            nn.MaxPool2d((16, 2)),
        )
        self.along = nn.LSTM(32, 24, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 11)

    def forward(self, image: Tensor) -> Tensor:
        columns = self.features(image).squeeze(2).transpose(1, 2)
        return self.head(self.along(columns)[0])


_Image = partial(_normal, 3, 64, 64)
Rows = Mapping[str, tuple[Build, Callable[[], Inputs]]]

_BY_PACKAGE: dict[str, Rows] = {
    "transformers": of_transformers.ROWS,
    "ultralytics": {
        **{
            name: (partial(_yolo, "Detection", name), _Image)
            for name in ("yolov5n", "yolov8n", "yolo11n", "yolo26n")
        },
        "yolov8n_cls": (partial(_yolo, "Classification", "yolov8n-cls"), _Image),
    },
    "segmentation-models-pytorch": {
        name: (partial(_segmenting, decoder, encoder), _Image)
        for name, decoder, encoder in (
            ("smp_unet_resnet18", "Unet", "resnet18"),
            ("smp_unet_mobilenet", "Unet", "mobilenet_v2"),
            ("smp_unet_timm_mnv3", "Unet", "tu-mobilenetv3_small_100"),
            ("smp_fpn_resnet18", "FPN", "resnet18"),
            ("smp_deeplab_resnet18", "DeepLabV3Plus", "resnet18"),
            ("smp_deeplab_effnet", "DeepLabV3Plus", "efficientnet-b0"),
            ("smp_segformer", "Segformer", "mit_b0"),
        )
    },
    "diffusers": {
        name: (partial(_diffusing, kind, options), feed)
        for name, (kind, options, feed) in _DIFFUSERS.items()
    },
    "torch-geometric": {
        "gcn": (partial(_on_graphs, "GCNConv", {}), _ring),
        "graphsage": (partial(_on_graphs, "GraphSAGE", {"num_layers": 3}), _ring),
        "gat": (partial(_on_graphs, "GAT", {"num_layers": 2, "heads": 4}), _ring),
    },
    "timm": {
        name: (partial(_image_model, model, options), _Image)
        for name, model, options in (
            ("timm_vit", "vit_tiny_patch16_224", {"img_size": 64, "depth": 2}),
            ("timm_convnext", "convnext_atto", {}),
            ("timm_effnet", "efficientnet_lite0", {}),
        )
    },
    "written out": {
        "m5": (_Speech, partial(_normal, 1, 8000)),
        "crnn": (_Reading, partial(_normal, 1, 32, 64)),
    },
}

NETWORKS: dict[str, PackagedNetwork] = {
    name: PackagedNetwork(name, package, *row)
    for package, rows in _BY_PACKAGE.items()
    for name, row in rows.items()
}
"""Every network, by name."""
