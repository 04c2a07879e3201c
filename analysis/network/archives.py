"""An archive that torch.export wrote, read as data: no pickle, and no expression."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from analysis.errors import InputError
from analysis.network.inference import one_line

__all__ = ["DTYPES", "Archive", "archive_in", "readable"]

DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64,
    6: torch.float16, 7: torch.float32, 8: torch.float64, 10: torch.complex64,
    11: torch.complex128, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
"""Types of tensors by the numbers that the archive's schema gives them."""

_WEIGHTS = "data/weights/model_weights_config.json"
_CONSTANTS = "data/constants/model_constants_config.json"
_PROGRAM = "models/model.json"


@dataclass(frozen=True, eq=False)
class Archive:
    """What a ``.pt2`` file holds.

    Attributes:
        weights: parameters and persistent buffers by name; tied ones are one tensor.
        constants: other buffers and tensors by name.
        program: the operators, as the archive's schema has them; empty where there are none.
    """

    weights: dict[str, Tensor]
    constants: dict[str, Tensor] = field(default_factory=dict)
    program: dict[str, Any] = field(default_factory=dict)


def archive_in(path: str) -> Archive:
    """Read a ``.pt2`` file.

    ``torch.export.load`` would make a program of the archive: it parses expressions in it, looks up
    any name in torch, and compiles text.

    Raises:
        InputError: there is no such file, it is no such archive, or keeps a tensor as a pickle.
    """
    with readable(path), ZipFile(path) as archive:
        names = archive.namelist()
        (weights,) = (name for name in names if name.endswith(_WEIGHTS))
        top = weights.removesuffix(_WEIGHTS)
        program = json.loads(archive.read(top + _PROGRAM)) if top + _PROGRAM in names else {}
        has_constants = top + _CONSTANTS in names
        return Archive(
            _tensors(archive, weights, path),
            _tensors(archive, top + _CONSTANTS, path) if has_constants else {},
            program.get("graph_module", {}),
        )


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Say in a line what is wrong with an archive.

    Raises:
        InputError: there is no such file, or what is read of it is not as expected.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {path!r}")
    try:
        yield
    except (AttributeError, BadZipFile, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path!r} cannot be read as an archive of torch.export ({type(error).__name__}: "
            f"{one_line(error)[:200]}); expected what torch.export.save of torch 2.9 or later wrote"
        ) from error


def _tensors(archive: ZipFile, config: str, path: str) -> dict[str, Tensor]:
    entries: dict[str, Any] = json.loads(archive.read(config))["config"]
    folder = config.removesuffix(config.rpartition("/")[2])
    made: dict[str, Tensor] = {}
    found = {}
    for name, entry in entries.items():
        if entry["use_pickle"]:
            raise InputError(
                f"{path!r} is refused: it keeps {name!r} as a pickle, which is not run"
            )
        held, meta = entry["path_name"], entry["tensor_meta"]
        place = json.dumps([held, meta["sizes"], meta["strides"], meta["storage_offset"]])
        if place not in made:
            made[place] = _tensor(archive.read(folder + held), meta)
        found[name] = made[place]
    return found


def _tensor(held: bytes, meta: dict[str, Any]) -> Tensor:
    sizes, strides = ([each["as_int"] for each in meta[key]] for key in ("sizes", "strides"))
    dtype = DTYPES[meta["dtype"]]
    flat = torch.frombuffer(bytearray(held), dtype=dtype) if held else torch.empty(0, dtype=dtype)
    return flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"])
