"""The program of a torch.export archive as a module, made of operators of ATen alone.

Nothing in an archive is run that is not such an operator: ``torch.export.load`` looks up any name
in torch, evaluates expressions of sizes, and compiles the text of guards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from analysis.errors import InputError, an, several
from analysis.network.archives import DTYPES, Archive, archive_in, readable

__all__ = ["Program", "program_in"]

_PREFIX = "torch.ops.aten."

_FORMATS = {
    1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d,
    4: torch.preserve_format,
}  # fmt: skip


def program_in(path: str) -> "Program":
    """The network that an archive holds.

    Raises:
        InputError: there is no such archive; it has no program, sizes that are left open, or
            something that is no operator of ATen.
    """
    archive = archive_in(path)
    if not archive.program:
        raise InputError(f"{path!r} holds no program; say with --factory what its tensors are of")
    with readable(path):
        return Program(_Read(archive))


@dataclass(frozen=True)
class _Value:
    """Stands for a tensor or size that is computed, or given, when the program runs."""

    name: str


@dataclass(frozen=True)
class _Call:
    operator: Callable[..., Any]
    arguments: dict[str, Any]
    made: tuple[str, ...]


class _Read:
    """What the JSON of a program says."""

    def __init__(self, archive: Archive) -> None:
        graph, specs = archive.program["graph"], archive.program["signature"]
        self.tensors = archive.constants | archive.weights
        self.parameters: list[str] = []
        self.owned: dict[str, str] = {}
        self.given: list[str] = []
        for spec in specs["input_specs"]:
            self._take(spec)
        self.sizes = [graph["tensor_values"][name] for name in self.given]
        # What makes nothing asserts that types and devices are those of the export.
        self.calls = [call for node in graph["nodes"] if (call := _call(node)).made]
        self.returned = [_returned(spec) for spec in specs["output_specs"]]

    def _take(self, spec: dict[str, Any]) -> None:
        ((kind, held),) = spec.items()
        if kind == "user_input":
            self.given.append(held["arg"]["as_tensor"]["name"])
        elif kind in ("parameter", "buffer", "tensor_constant"):
            name = held[f"{kind}_name"]
            self.owned[held["arg"]["name"]] = name
            if kind == "parameter":
                self.parameters.append(name)
        else:
            raise ValueError(f"its program takes {an(kind)}; expected tensors")


def _returned(spec: dict[str, Any]) -> str:
    if "user_output" not in spec:
        raise ValueError("its program writes to its buffers; expected one of a network in eval()")
    return str(spec["user_output"]["arg"]["as_tensor"]["name"])


def _call(node: dict[str, Any]) -> _Call:
    arguments = {each["name"]: _argument(each["arg"]) for each in node["inputs"]}
    if arguments.get("training") is True or arguments.get("train") is True:
        raise ValueError("its program trains; expected one of a network in eval()")
    made = tuple(name for made in node["outputs"] for name in _names(made))
    return _Call(_operator(node["target"]), arguments, made)


def _operator(target: str) -> Callable[..., Any]:
    """An operator of ATen; none that reads or writes files."""
    name, _, overload = target.removeprefix(_PREFIX).partition(".")
    packet = getattr(torch.ops.aten, name) if target.startswith(_PREFIX) else None
    found = getattr(packet, overload, None)
    if not isinstance(found, torch._ops.OpOverload) or any(
        argument.name == "filename" for argument in found._schema.arguments
    ):
        raise ValueError(f"{target!r} is no operator of ATen that may be run")
    return found


def _names(made: dict[str, Any]) -> list[str]:
    ((kind, held),) = made.items()
    if kind == "as_tensor":
        return [held["name"]]
    if kind == "as_tensors":
        return [each["name"] for each in held]
    if kind == "as_sym_int":
        return [held["as_name"]]
    raise ValueError(f"an operator makes {kind}; expected tensors and sizes")


def _argument(held: dict[str, Any]) -> Any:
    ((kind, value),) = held.items()
    return _ARGUMENTS[kind](value)


_ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    **{
        f"as_{plain}": lambda value: value
        for plain in (
            "int", "ints", "float", "floats", "string", "strings", "bool", "bools", "int_lists"
        )
    },
    "as_none": lambda _: None,
    "as_name": _Value,
    "as_tensor": lambda value: _Value(value["name"]),
    "as_tensors": lambda value: [_Value(each["name"]) for each in value],
    "as_optional_tensor": _argument,
    "as_optional_tensors": lambda value: [_argument(each) for each in value],
    "as_sym_int": _argument,
    "as_sym_ints": lambda value: [_argument(each) for each in value],
    "as_scalar_type": lambda value: DTYPES[value],
    "as_memory_format": lambda value: _FORMATS[value],
    "as_layout": lambda _: None,
    "as_device": lambda _: None,
    "as_complex": lambda value: complex(value["real"], value["imag"]),
}  # fmt: skip
"""How each kind of argument in the archive's schema is read; of expressions there is none."""


class Program(nn.Module):
    """Runs operators one after the other, with tensors under the names that they had."""

    def __init__(self, read: _Read) -> None:
        super().__init__()
        shared: dict[int, nn.Parameter] = {}
        for name in dict.fromkeys(read.owned.values()):
            tensor = read.tensors[name]
            if name in read.parameters:
                shared.setdefault(
                    id(tensor), nn.Parameter(tensor, requires_grad=tensor.is_floating_point())
                )
                _owner(self, name).register_parameter(name.rpartition(".")[2], shared[id(tensor)])
            else:
                _owner(self, name).register_buffer(name.rpartition(".")[2], tensor)
        self._owned, self._given = read.owned, tuple(read.given)
        self._calls, self._returned = tuple(read.calls), tuple(read.returned)
        self._sizes = read.sizes

    def drawn(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Random inputs of the sizes of the export; of whole numbers, which may index, 0 and 1."""
        return tuple(_drawn(meta, generator) for meta in self._sizes)

    def forward(self, *given: Any, **named: Any) -> tuple[Tensor, ...]:
        """What the program puts out, of the tensors among what it is given."""
        tensors = [each for each in pytree.tree_leaves((given, named)) if isinstance(each, Tensor)]
        if len(tensors) != len(self._given):
            raise ValueError(f"expected {several(len(self._given), 'tensor')}, not {len(tensors)}")
        values: dict[str, Any] = dict(zip(self._given, tensors, strict=True))
        for value, name in self._owned.items():
            values[value] = getattr(_owner(self, name), name.rpartition(".")[2])
        for call in self._calls:
            made = call.operator(
                **{key: _filled(each, values) for key, each in call.arguments.items()}
            )
            values |= zip(call.made, made if isinstance(made, Sequence) else [made], strict=True)
        return tuple(values[name] for name in self._returned)


def _owner(root: nn.Module, name: str) -> nn.Module:
    """The module that owns a tensor, made where there is none."""
    for part in name.split(".")[:-1]:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root


def _filled(argument: Any, values: dict[str, Any]) -> Any:
    if isinstance(argument, _Value):
        return values[argument.name]
    if isinstance(argument, list):
        return [_filled(each, values) for each in argument]
    return argument


def _drawn(meta: dict[str, Any], generator: torch.Generator) -> Tensor:
    sizes, dtype = [_size(each) for each in meta["sizes"]], DTYPES[meta["dtype"]]
    if dtype.is_floating_point:
        return torch.randn(sizes, generator=generator).to(dtype)
    return torch.randint(2, sizes, generator=generator).to(dtype)


def _size(held: dict[str, Any]) -> int:
    """A size, or where it is left open that of the export; no expression is evaluated."""
    return int(held["as_int"] if "as_int" in held else held["as_expr"]["hint"]["as_int"])
