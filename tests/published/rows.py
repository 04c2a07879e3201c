"""The printed figures, with the dense network and the request of each."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

from tests.published import modules

__all__ = ["ROWS", "Asked", "Row", "asked_of", "dense", "image"]

FILE = Path(__file__).with_name("published.csv")
_UNITS = {"M": 6, "G": 9, "exact": 0}
_WAYS = {"nearest": ROUND_HALF_UP, "floor": ROUND_FLOOR, "ceil": ROUND_CEILING}


@dataclass(frozen=True)
class Row:
    """One printed figure; the fields are the columns of the file."""

    id: str
    network: str
    setting: str
    widths: str
    input_size: str
    classes: str
    quantity: str
    value: str
    unit: str
    rounding: str
    convention: str
    source: str
    verdict: str
    reason: str

    @property
    def tested(self) -> bool:
        """Whether a network in these tests expresses it."""
        return self.verdict != "not expressed"

    def option(self, name: str) -> str:
        """What the setting says of ``name=`` or ``name``; empty for nothing."""
        for word in self.setting.split():
            if word.startswith(name):
                return word[len(name) :] or name
        return ""

    def printed_of(self, number: float | Decimal) -> Decimal:
        """A figure as the table would print it: in its unit, rounded its way."""
        way, _, digits = self.rounding.partition(",")
        shown = Decimal(number).scaleb(-_UNITS[self.unit])
        if way == "exact":
            return shown
        return shown.quantize(Decimal(1).scaleb(-int(digits)), _WAYS[way])

    @property
    def last_digit(self) -> Decimal:
        """One unit in the last digit that is printed."""
        way, _, digits = self.rounding.partition(",")
        if way != "exact":
            return Decimal(1).scaleb(-int(digits))
        return Decimal(1).scaleb(Decimal(self.value).as_tuple().exponent)


def _rows() -> Iterator[Row]:
    with FILE.open(newline="") as file:
        for row in csv.DictReader(file):
            yield Row(**row)


ROWS = tuple(_rows())

Widths = dict[str, int]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Asked:
    """What a row asks.

    Attributes:
        key: of the dense network, see `dense`.
        widths: that are asked of it, by layer.
    """

    key: Key
    widths: Widths


@lru_cache(maxsize=1)
def dense(key: Key) -> nn.Module:
    """A dense network; the last one is kept."""
    name, *given = key
    return _DENSE[name](*given).eval()


def image(row: Row) -> Tensor:
    """One input of a row's network; no count depends on its values."""
    if row.network == "bert_base":
        return torch.zeros(1, 8, dtype=torch.long)
    if "x" in row.input_size:
        return torch.zeros(1, *map(int, row.input_size.split("x")))
    size = int(row.input_size)
    return torch.zeros(1, 3, size, size)


def asked_of(row: Row) -> Asked:
    """The dense network of a row, and the widths that are asked of it."""
    return _ASKED[row.network](row)


def _classes(row: Row) -> int:
    return int(row.classes or 1000)


def _made(module: nn.Module) -> int:
    return module.out_channels if isinstance(module, nn.Conv2d) else module.out_features


def _layers(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Convolutions and linear layers, but for the last, which makes the output."""
    found = [
        (name, module)
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    return iter(found[:-1])


def _on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def _as_in(build: Callable[[], nn.Module]) -> Widths:
    """The widths of a network that is built with them."""
    return {name: _made(module) for name, module in _layers(_on_meta(build))}


def _in_order(key: Key, widths: Sequence[int], kinds: type | tuple[type, ...]) -> Widths:
    """Widths of all layers of these kinds in the order of ``named_modules``."""
    net = _on_meta(lambda: _DENSE[key[0]](*key[1:]))
    names = [name for name, module in net.named_modules() if isinstance(module, kinds)]
    return dict(zip(names, widths, strict=True))


def _each(key: Key, width_of: Callable[[int], int], *, head: bool = False) -> Widths:
    """Widths that follow from the dense ones."""
    net = _on_meta(lambda: _DENSE[key[0]](*key[1:]))
    layers = dict(_layers(net))
    if head:
        layers |= {name: m for name, m in net.named_modules() if isinstance(m, nn.Linear)}
    return {name: width_of(_made(module)) for name, module in layers.items()}


# -- mobile networks


def _mobilenet_v1(row: Row) -> Asked:
    widths = json.loads(row.widths)
    # MetaPruning counts activations that are modules, which its blocks have none of.
    key = "mobilenet_v1", _classes(row), row.convention == "metapruning"
    return Asked(key, _as_in(lambda: modules.mobilenet_v1(widths)))


def _of_blocks(row: Row) -> Widths:
    """Widths of MobileNetV2's stem, of each block's expansion and projection, of its last layer."""
    given = json.loads(row.widths)
    found = {"features.0.0": given["stem"], "features.18.0": given["last"]}
    for place, (hidden, made) in enumerate(given["blocks_hidden_out"], 1):
        if place > 1:
            found[f"features.{place}.conv.0.0"] = hidden
        found[f"features.{place}.conv.{2 if place > 1 else 1}"] = made
    return found


def _mobilenet_v2(row: Row) -> Asked:
    # pytorchcv's classifier is a convolution.
    key = "mobilenet_v2", _classes(row), row.id.startswith("pytorchcv")
    if row.widths.startswith("["):
        return Asked(key, _in_order(key, json.loads(row.widths), nn.Conv2d))
    if row.widths:
        return Asked(key, _of_blocks(row))
    mult, nearest = float(row.option("x") or 1), int(row.option("round=") or 8)
    return Asked(
        key,
        _as_in(lambda: torchvision.models.MobileNetV2(width_mult=mult, round_nearest=nearest)),
    )


def _wide_v2(classes: int, conv_head: bool) -> nn.Module:
    if conv_head:
        return modules.ConvHead(1.5)
    return torchvision.models.MobileNetV2(classes, width_mult=1.5)


def _cifar_v2(mult: float, classes: int) -> nn.Module:
    net = torchvision.models.MobileNetV2(classes, width_mult=mult)
    for place in (0, 2):
        for module in net.features[place].modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
    return net


def _mobilenet_v2_cifar(row: Row) -> Asked:
    mult = float(row.option("x"))
    return Asked(
        ("mobilenet_v2_cifar", _classes(row)), _as_in(lambda: _cifar_v2(mult, _classes(row)))
    )


def _expand_first(row: Row) -> Asked:
    mult = float(row.option("x"))
    return Asked(("expand_first",), _as_in(lambda: modules.expand_first(mult)))


_TIMM_V2 = {"110d": (1.1, 1.2), "120d": (1.2, 1.4), "140": (1.4, 1.0)}
"""By name the multipliers of width and depth; with the latter, stem and head keep their width."""


def _timm_v2(name: str) -> nn.Module:
    width, depth = _TIMM_V2[name]
    if depth == 1:
        return torchvision.models.MobileNetV2(width_mult=width)
    base = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1)]
    base += [(6, 160, 3, 2), (6, 320, 1, 1)]
    setting = [
        [times, _divisible(made * width), blocks if blocks == 1 else -int(-blocks * depth // 1), s]
        for times, made, blocks, s in base
    ]
    return torchvision.models.MobileNetV2(inverted_residual_setting=setting)


def _divisible(width: float) -> int:
    found = max(8, int(width + 4) // 8 * 8)
    return found + 8 if found < 0.9 * width else found


def _mnasnet(row: Row) -> Asked:
    given = json.loads(row.widths)
    key = ("mnasnet",)
    first, *blocks = given["blocks_hidden_out"]
    widths = [given["stem"], first[0], first[1]]
    for hidden, made in blocks:
        widths += [hidden, hidden, made]
    return Asked(key, _in_order(key, [*widths, given["last"]], nn.Conv2d))


def _mnasnet_of(alpha: float) -> Callable[[Row], Asked]:
    return lambda row: Asked(("mnasnet",), _as_in(lambda: modules.Pooled(alpha)))


def _mobilenet_v3(size: str, mult: float) -> nn.Module:
    """MobileNetV3; below full width as timm scales it: the head is not, expansions are factors."""
    net, last = torchvision.models.mobilenetv3._mobilenet_v3_conf(f"mobilenet_v3_{size}")
    if mult == 1:
        return MobileNetV3(net, last)
    settings = []
    for one in net:
        read = _divisible(one.input_channels * mult)
        factor = one.expanded_channels / one.input_channels
        config = InvertedResidualConfig(
            read, one.kernel, _divisible(read * factor), _divisible(one.out_channels * mult),
            one.use_se, "HS" if one.use_hs else "RE", one.stride, 1, 1.0,
        )  # fmt: skip
        settings.append(config)
    return MobileNetV3(settings, last)


def _v3(size: str) -> Callable[[Row], Asked]:
    def asked(row: Row) -> Asked:
        return Asked(("mobilenet_v3", size, 0.75 if "75" in row.id else 1.0), {})

    return asked


# -- residual networks


def _resnet_widths(row: Row) -> Widths:
    """Widths of ResNet's stem and of the convolutions of each block."""
    given = json.loads(row.widths)
    found = {"conv1": given["conv1"]}
    stages = given.get("stages_conv1_conv2_out") or given["stages_mid_out"]
    for stage, blocks in enumerate(stages, 1):
        for block, widths in enumerate(blocks):
            for place, width in enumerate(widths, 1):
                found[f"layer{stage}.{block}.conv{place}"] = width
    return found


def _resnet(name: str) -> Callable[[Row], Asked]:
    def asked(row: Row) -> Asked:
        head = bool(row.option("head"))
        key = name, _classes(row), head
        if row.widths.startswith("["):
            return Asked(key, _in_order(key, json.loads(row.widths), nn.Conv2d))
        if row.option("ratio="):
            by_width = {int(n): left for n, left in json.loads(row.widths).items()}
            return Asked(key, _each(key, by_width.__getitem__, head=head))
        if row.widths:
            return Asked(key, _resnet_widths(row))
        share = float(row.option("x") or 1)
        return Asked(key, _each(key, lambda n: int(n * share)))

    return asked


def _torchvision(name: str) -> Callable[..., nn.Module]:
    def build(classes: int = 1000, summed: bool = False) -> nn.Module:
        net = torchvision.models.get_model(name, weights=None, num_classes=classes)
        return modules.Summed(net) if summed else net

    return build


def _last512() -> nn.Module:
    """ResNet-18 with a shortcut in its last block, whose width is its own."""
    net = torchvision.models.resnet18()
    net.layer4[1].downsample = nn.Sequential(
        nn.Conv2d(512, 512, 1, bias=False), nn.BatchNorm2d(512)
    )
    return net


def _cifar_resnet(name: str) -> Callable[[Row], Asked]:
    def asked(row: Row) -> Asked:
        widths: Widths = {}
        if row.widths:
            given = json.loads(row.widths)
            widths = {"stem.0": given["conv1"]}
            for stage, blocks in enumerate(given["stages_mid_out"]):
                for block, (mid, made) in enumerate(blocks):
                    widths[f"stages.{stage}.{block}.conv1"] = mid
                    widths[f"stages.{stage}.{block}.conv2"] = made
        return Asked((name,), widths)

    return asked


# -- convolutions in a row


_VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)
_VGG19 = (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4)


def _vgg(name: str) -> Callable[[Row], Asked]:
    def asked(row: Row) -> Asked:
        key = name, _classes(row)
        if not row.widths:
            return Asked(key, {})
        widths = [width for width in json.loads(row.widths) if width != "M"]
        return Asked(key, _in_order(key, widths, nn.Conv2d))

    return asked


def _vgg16_cifar(classes: int) -> nn.Module:
    head = nn.Sequential(
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(),
        nn.Linear(512, classes),
    )  # fmt: skip
    return modules.ConvNet(_VGG16, head, bias=True)


def _vgg19_cifar(classes: int) -> nn.Module:
    return modules.ConvNet(
        _VGG19, nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(512, classes))
    )


def _vgg19_gap(classes: int) -> nn.Module:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    widths = [*_VGG19[:15], *_VGG19[16:]]  # small images are not pooled a fourth time
    return modules.ConvNet(widths, head, bias=True, called=True)


def _thinet(classes: int) -> nn.Module:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    return modules.ConvNet(_VGG16, head, norms=False)


# -- shuffled channels: the network of each row


def _shuffle_cifar(stages: Sequence[int], classes: int) -> nn.Module:
    net = torchvision.models.ShuffleNetV2([4, 8, 4], [24, *stages], num_classes=classes)
    net.conv1[0].stride = (1, 1)
    net.maxpool = nn.Identity()
    return net


_SHUFFLE: Mapping[str, tuple[int, ...]] = {
    "0.5": (48, 96, 192, 1024),
    "1.0": (116, 232, 464, 1024),
    "1.5": (176, 352, 704, 1024),
    "2.0": (244, 488, 976, 2048),
}


def _shufflenet_cifar(row: Row) -> Asked:
    return Asked(("shufflenet_cifar", _SHUFFLE[row.option("x")], _classes(row)), {})


def _megvii(row: Row) -> Asked:
    return Asked(("megvii", tuple(json.loads(row.widths)), not row.option("no-head-bias")), {})


def _as_built(name: str) -> Callable[[Row], Asked]:
    return lambda row: Asked((name,), {})


# -- transformers


def _vit(width: int, tokens: int = 1) -> Callable[[Row], Asked]:
    def asked(row: Row) -> Asked:
        share = float(row.option("ratio=") or 0)
        hidden = int(width * (1 - share))
        patch = 32 if "32" in row.network else 16
        # mmpretrain counts its backbone alone.
        classes = 0 if row.id.startswith("mmpretrain") and row.quantity == "macs" else 1000
        widths = {"embed": hidden}
        for block in range(12):
            widths[f"blocks.{block}.mlp.0"] = 4 * hidden
        return Asked(("vit", patch, tokens, classes), widths)

    return asked


def _bert(row: Row) -> Asked:
    if not row.option("ratio="):
        return Asked(("bert",), {})
    widths = {"words": 384}
    for layer in range(12):
        widths |= {f"layers.{layer}.query": 384, f"layers.{layer}.value": 384}
        widths |= {f"layers.{layer}.up": 1536}
    return Asked(("bert",), widths)


def _nncf(name: str, *layers: str) -> Callable[[Row], Asked]:
    return lambda row: Asked((name,), dict(zip(layers, json.loads(row.widths), strict=True)))


_DENSE: Mapping[str, Callable[..., nn.Module]] = {
    "mobilenet_v1": lambda classes, called: modules.mobilenet_v1(
        (32, 64, 128, 144, 256, 256, *(560,) * 6, 1128, 1128), classes, called=called
    ),
    "mobilenet_v2": _wide_v2,
    "mobilenet_v2_cifar": lambda classes: _cifar_v2(1.4, classes),
    "expand_first": lambda: modules.expand_first(2.0),
    "timm_v2": _timm_v2,
    "mnasnet": lambda: modules.Pooled(1.5, 1920),
    "mobilenet_v3": _mobilenet_v3,
    **{name: _torchvision(name) for name in ("resnet18", "resnet34", "resnet50", "vgg16_bn")},
    "resnet18_last512": _last512,
    "wide_resnet101_2": _torchvision("wide_resnet101_2"),
    "shufflenet_v2_x1_0": _torchvision("shufflenet_v2_x1_0"),
    "shufflenet_v2_x2_0": _torchvision("shufflenet_v2_x2_0"),
    "resnet20_cifar": lambda: modules.CifarResNet(3, projects=False),
    "resnet56_cifar": lambda: modules.CifarResNet(
        9, projects=False, pool=nn.AdaptiveAvgPool2d(1)
    ),
    "resnet110_cifar": lambda: modules.CifarResNet(
        18, projects=False, pool=nn.AdaptiveAvgPool2d(1)
    ),
    "resnet56_cifar_b": lambda: modules.CifarResNet(9, projects=True),
    "vgg16_bn_cifar": _vgg16_cifar,
    "vgg19_bn_cifar": _vgg19_cifar,
    "vgg19_bn_cifar_gap": _vgg19_gap,
    "thinet": _thinet,
    "shufflenet_cifar": _shuffle_cifar,
    "megvii": lambda widths, bias: modules.shufflenet(widths, bias=bias),
    "vit": lambda patch, tokens, classes: modules.VisionTransformer(
        patch, tokens=tokens, classes=classes
    ),
    "bert": modules.Bert,
    "concat": modules.concat,
    "eltwise": modules.eltwise,
    "shared": modules.shared,
}  # fmt: skip
"""By name what builds a dense network: as wide as the widest that is asked of it."""

_ASKED: Mapping[str, Callable[[Row], Asked]] = {
    "mobilenet_v1": _mobilenet_v1,
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v2_cifar": _mobilenet_v2_cifar,
    "mobilenet_v2_expand_first": _expand_first,
    **{f"mobilenetv2_{n}": lambda row: Asked(("timm_v2", row.network[12:]), {}) for n in _TIMM_V2},
    "mnasnet": _mnasnet,
    "mnasnet_140": _mnasnet_of(1.4),
    "mnasnet0_5": _mnasnet_of(0.5),
    "mnasnet0_75": _mnasnet_of(0.75),
    "mnasnet1_0": _mnasnet_of(1.0),
    "mnasnet1_3": _mnasnet_of(1.3),
    "mobilenet_v3_large": _v3("large"),
    "mobilenetv3_large_075": _v3("large"),
    "mobilenet_v3_small": _v3("small"),
    "resnet18": _resnet("resnet18"),
    "resnet34": _resnet("resnet34"),
    "resnet50": _resnet("resnet50"),
    "resnet18_last512": lambda row: Asked(("resnet18_last512",), _resnet_widths(row)),
    **{name: _cifar_resnet(name) for name in (
        "resnet20_cifar", "resnet56_cifar", "resnet110_cifar", "resnet56_cifar_b",
    )},
    "wide_resnet101_2": _as_built("wide_resnet101_2"),
    "shufflenet_v2_x1_0": _as_built("shufflenet_v2_x1_0"),
    "shufflenet_v2_x2_0": _as_built("shufflenet_v2_x2_0"),
    "vgg16_bn": _vgg("vgg16_bn"),
    "vgg16_bn_cifar": _vgg("vgg16_bn_cifar"),
    "vgg19_bn_cifar": _vgg("vgg19_bn_cifar"),
    "vgg19_bn_cifar_gap": _vgg("vgg19_bn_cifar_gap"),
    "vgg16_thinet_gap": _vgg("thinet"),
    "vgg16_thinet_tiny": _vgg("thinet"),
    "shufflenet_v2_cifar": _shufflenet_cifar,
    "shufflenet_v2_megvii": _megvii,
    "vit_b_16": _vit(768),
    "vit_b_32": _vit(768),
    "deit_tiny_patch16_224": _vit(192),
    "deit_small_patch16_224": _vit(384),
    "deit_base_patch16_224": _vit(768),
    "deit_tiny_distilled_patch16_224": _vit(192, 2),
    "deit_small_distilled_patch16_224": _vit(384, 2),
    "deit_base_distilled_patch16_224": _vit(768, 2),
    "bert_base": _bert,
    "nncf_concat": _nncf("concat", "conv1", "conv2", "conv3"),
    "nncf_eltwise": _nncf("eltwise", "conv2", "conv1"),
    "nncf_sharedconvs": _nncf("shared", "conv1", "conv2"),
}  # fmt: skip
"""By network of the file what its rows ask."""
