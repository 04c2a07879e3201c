"""Archives of torch.export as modules, and what of an archive is never run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from nets import Chain, inputs_for, make
from packaging.version import Version
from pairs import distinct
from tied import Tied, words
from torch import Tensor, nn

from analysis.errors import InputError
from analysis.network.programs import program_in

pytestmark = pytest.mark.skipif(
    Version(torch.__version__) < Version("2.9"), reason="archives of torch 2.9 or later are read"
)


def exported(model: nn.Module, inputs: Tensor, path: Path) -> str:
    torch.export.save(torch.export.export(model, (inputs,)), path)
    return str(path)


class Mixed(nn.Module):
    """Heads, a chunk, a constant, a buffer that no state dict has, a type asked for by name."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.norm = nn.Linear(8, 24), nn.LayerNorm(4)
        self.register_buffer("scale", torch.rand(4), persistent=False)
        self.shift = torch.tensor([2.0])

    def forward(self, x: Tensor) -> Any:
        q, k, v = self.qkv(x).view(2, 3, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        left, right = mixed.transpose(1, 2).flatten(2).chunk(2, -1)
        made = torch.cat([self.norm(left) * self.scale, right.to(torch.float32)], -1)
        return {"made": made + self.shift, "left": left}


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "convolutions": (lambda: make(Chain), lambda: inputs_for(make(Chain))),
    "heads": (Mixed, lambda: torch.randn(2, 3, 8)),
    "tied": (Tied, words),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_program_computes_what_the_module_does(tmp_path: Path, name: str) -> None:
    build, inputs_of = NETWORKS[name]
    model, inputs = distinct(build()).eval(), inputs_of()
    program = program_in(exported(model, inputs, tmp_path / "net.pt2"))
    expected = model(inputs)
    expected = [*expected.values()] if isinstance(expected, dict) else [expected]
    for one, other in zip(program(inputs), expected, strict=True):
        assert torch.equal(one, other)
    assert program.state_dict().keys() >= model.state_dict().keys()
    assert len([*program.parameters()]) == len([*model.parameters()])
    (drawn,) = program.drawn(torch.Generator())
    assert (drawn.shape, drawn.dtype) == (inputs.shape, inputs.dtype)


def edited(source: str, target: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """An archive whose program is changed."""
    with ZipFile(source) as before, ZipFile(target, "w") as after:
        for name in before.namelist():
            held = before.read(name)
            if name.endswith("models/model.json"):
                program = json.loads(held)
                change(program["graph_module"])
                held = json.dumps(program).encode()
            after.writestr(name, held)
    return str(target)


@pytest.mark.parametrize(
    "target", ["torch.os.system", "_operator.add", "torch.ops.aten.from_file.default",
               "torch.ops.prims.add.default", "torch.ops.aten.__class__.mro"],
)  # fmt: skip
def test_what_is_no_operator_of_aten_is_refused(tmp_path: Path, target: str) -> None:
    model: Any = make(Chain)
    source = exported(model, inputs_for(model), tmp_path / "net.pt2")

    def change(graph_module: dict[str, Any]) -> None:
        graph_module["graph"]["nodes"][0]["target"] = target

    with pytest.raises(InputError, match="cannot be read"):
        program_in(edited(source, tmp_path / "other.pt2", change))


class Flat(nn.Module):
    """Reads a size of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.view(x.shape[0], -1))


def test_sizes_that_were_left_open_are_those_of_the_export(tmp_path: Path) -> None:
    model, inputs = Flat(), torch.randn(3, 4, 3)
    sizes = {"x": {0: torch.export.Dim("batch", min=2)}}
    program = torch.export.export(model, (inputs,), dynamic_shapes=sizes)
    torch.export.save(program, tmp_path / "net.pt2")
    found = program_in(str(tmp_path / "net.pt2"))
    other = torch.randn(7, 4, 3)
    assert torch.equal(found(other)[0], model(other))
    assert found.drawn(torch.Generator())[0].shape == inputs.shape


def test_a_program_exported_in_train_mode_is_refused(tmp_path: Path) -> None:
    model: Any = make(Chain).train()
    source = exported(model, inputs_for(model), tmp_path / "net.pt2")
    with pytest.raises(InputError, match=r"eval\(\)"):
        program_in(source)
