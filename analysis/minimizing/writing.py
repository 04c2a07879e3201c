"""Write a failing network as a script that uses torch-pruning alone."""

import re
import textwrap
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from analysis.environment import versions
from analysis.errors import InputError
from analysis.minimizing.code import readable
from analysis.minimizing.failing import SHOWN, Asked, is_turned
from analysis.minimizing.small import Small
from analysis.records import Config, Verdict

__all__ = ["script"]

_MOST_VALUES = 64


def script(small: Small, asked: Asked, config: Config, pruner: str | None = None) -> str:
    """The script.

    Args:
        small: the network.
        asked: how it fails.
        config: what the pruner is asked.
        pruner: reference of the user's own pruner function; None is torch-pruning's.

    Raises:
        InputError: a part of the network cannot be written; names it.
    """
    parts = [
        _said(asked, pruner),
        *_imports(small, pruner),
        "\n",
        "class Net(torch.nn.Module):",
        textwrap.indent(_init(small), "    "),
        "",
        textwrap.indent(_forward(small), "    "),
        "\n",
        f"torch.manual_seed({small.seed})",
        "net = Net().eval()",
        *_inputs(small),
        *_silenced(small, asked),
        *_pruned(small, asked, config, pruner),
    ]
    return "\n".join(parts) + "\n"


def _said(asked: Asked, pruner: str | None) -> str:
    """The failure in a sentence."""
    failure = asked.failure
    raises = failure.raised or "returns another shape"
    said = {
        Verdict.WRONG: "prunes this network into one that runs and computes something else",
        Verdict.BROKEN: f"prunes this network into one that fails: {raises}",
        Verdict.UNPRUNABLE: f"cannot prune this network: {raises}",
    }[failure.verdict]
    reason = re.sub(r" \(<string>:\d+\)|, <string>:\d+", "", asked.reason)
    reason = reason.rpartition("computes another function: ")[2]
    known = versions(("torch", "torch-pruning"))
    used = f"torch-pruning {known['torch-pruning']} (torch {known['torch']})"
    text = f"{f'{pruner} with {used}' if pruner else used} {said}."
    lines = textwrap.wrap(f"{text} {failure.verdict}: {reason}", 96)
    return "\n".join(f"# {line}" for line in lines)


def _imports(small: Small, pruner: str | None) -> list[str]:
    found = small.graph.python_code("self").globals
    lines = {"import torch"} if pruner else {"import torch", "import torch_pruning as tp"}
    for name, value in found.items():
        if not re.search(rf"\b{name}\b", _forward(small)) or value is torch:
            continue
        if isinstance(value, ModuleType) and value.__name__ == name:
            package = name
            lines.add(f"import {name}")
        else:
            package = {"inf": "math", "nan": "math", "device": "torch"}.get(name, "")
            lines.add(f"from {package} import {name}")
        if package.partition(".")[0] not in ("torch", "math"):
            raise InputError(f"it calls {name}, which is no function of torch's")
    return [*sorted(lines), *(_imported(pruner) if pruner else ())]


def _imported(pruner: str) -> list[str]:
    """What imports the user's pruner function, from the folder in which it was named."""
    location, _, function = pruner.rpartition(":")
    path = Path(location)
    folder, module = (str(path.parent), path.stem) if path.suffix == ".py" else (".", location)
    return [
        "import sys",
        f"sys.path.insert(0, {folder!r})  # where the pruner is",
        f"from {module} import {function}",
    ]


def _init(small: Small) -> str:
    lines = ["def __init__(self):", "    super().__init__()"]
    for name, maker in small.makers.items():
        if not maker.text:
            kind = type(maker.build()).__name__
            raise InputError(f"`{name}` ({kind}) cannot be looked into by torch.fx")
        lines.append(f"    self.{name} = {maker.text}")
    for name, tensor in small.tensors.items():
        if isinstance(tensor, nn.Parameter):
            lines.append(f"    self.{name} = torch.nn.Parameter({_drawn(tensor)})")
        else:
            lines.append(f'    self.register_buffer("{name}", {_drawn(tensor)})')
    return "\n".join(lines)


def _drawn(tensor: Tensor) -> str:
    if tensor.is_floating_point():
        return (
            f"torch.randn({', '.join(map(str, tensor.shape))})"
            if tensor.dim()
            else "torch.randn(())"
        )
    if tensor.numel() > _MOST_VALUES:
        raise InputError(f"{tensor.numel()} whole numbers are too many to write down")
    return f"torch.tensor({tensor.tolist()})"


def _forward(small: Small) -> str:
    return readable(small.graph.python_code("self").src)


def _inputs(small: Small) -> list[str]:
    drawn = [_drawn(value) for value in small.inputs.values()]
    if len(drawn) == 1:
        return [f"x = {drawn[0]}"]
    return [f"inputs = ({', '.join(drawn)})"]


def _called(small: Small) -> str:
    return "net(x)" if len(small.inputs) == 1 else "net(*inputs)"


def _silenced(small: Small, asked: Asked) -> list[str]:
    if asked.failure.raised:
        return []
    if not asked.silent:
        return [f"before = {_called(small)}"]
    lines = [
        "with torch.no_grad():  # these channels put out zero: without them nothing may change"
    ]
    for name, channels in asked.silent.items():
        layer = small.makers[name].build()
        for tensor, value in layer.named_parameters():
            place = f":, {list(channels)}" if is_turned(layer, value) else f"{list(channels)}"
            lines.append(f"    net.{name}.{tensor}[{place}] = 0")
    return [*lines, f"before = {_called(small)}"]


def _pruned(small: Small, asked: Asked, config: Config, pruner: str | None) -> list[str]:
    # Of a tensor alone torch-pruning would try the parts of its batch as arguments first.
    given = "(x,)" if len(small.inputs) == 1 else "inputs"
    if pruner:
        return [
            f"pruner = {pruner.rpartition(':')[2]}(net, {given}, {config.ratio:g})",
            "for _ in range(pruner.iterative_steps):",
            "    pruner.step()",
            *_shown(asked, _called(small)),
        ]
    options = {
        "importance": f"tp.importance.MagnitudeImportance(p={config.importance[1:]})",
        "pruning_ratio": f"{config.ratio:g}",
        "global_pruning": config.scope == "global",
        "ignored_layers": f"[{', '.join(f'net.{name}' for name in asked.ignored)}]",
        "round_to": config.round_to,
        "max_pruning_ratio": config.max_pruning_ratio if config.max_pruning_ratio < 1 else None,
    }
    arguments = ", ".join(
        ["net", given, *(f"{name}={value}" for name, value in options.items() if value)]
    )
    lines = textwrap.wrap(f"{arguments},", 92, initial_indent="    ", subsequent_indent="    ")
    return [
        "pruner = tp.pruner.MagnitudePruner(",
        *lines,
        ")",
        "pruner.step()",
        *_shown(asked, _called(small)),
    ]


def _shown(asked: Asked, called: str) -> list[str]:
    if asked.failure.raised:
        return [called]
    if asked.failure.verdict is Verdict.BROKEN:
        return [f"assert {called}.shape == before.shape"]
    return [
        f"difference = (({called} - before).abs().max() / before.abs().max()).item()",
        'print(f"greatest difference of the outputs, relative: {difference:.2g}")',
        f"assert difference < {SHOWN:g}",
    ]
