"""Read the tensors of a torch.export archive as data, without pickle or a program."""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from analysis.errors import InputError
from analysis.network.inference import one_line

__all__ = ["tensors_in_archive"]

_DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64,
    6: torch.float16, 7: torch.float32, 8: torch.float64, 10: torch.complex64,
    11: torch.complex128, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
"""Types of tensors by the numbers that the archive's schema gives them."""

_CONFIG = "data/weights/model_weights_config.json"


def tensors_in_archive(path: str) -> dict[str, Tensor]:
    """The parameters and buffers in a ``.pt2`` file by name.

    ``torch.export.load`` would build a program from the archive and parse its expressions.

    Raises:
        InputError: there is no such file, it is not such an archive, or it holds a pickled tensor.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {path!r}")
    try:
        with ZipFile(path) as archive:
            (config,) = (name for name in archive.namelist() if name.endswith(_CONFIG))
            folder = config.removesuffix(config.rpartition("/")[2])
            entries: dict[str, Any] = json.loads(archive.read(config))["config"]
            pickled = [name for name, entry in entries.items() if entry["use_pickle"]]
            if not pickled:
                return {
                    name: _tensor(archive.read(folder + entry["path_name"]), entry["tensor_meta"])
                    for name, entry in entries.items()
                }
    except (BadZipFile, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path!r} cannot be read as an archive of torch.export ({type(error).__name__}: "
            f"{one_line(error)[:200]}); expected what torch.export.save of torch 2.9 or later wrote"
        ) from error
    raise InputError(f"{path!r} is refused: it keeps {pickled[0]!r} as a pickle, which is not run")


def _tensor(held: bytes, meta: dict[str, Any]) -> Tensor:
    sizes, strides = ([each["as_int"] for each in meta[key]] for key in ("sizes", "strides"))
    dtype = _DTYPES[meta["dtype"]]
    flat = torch.frombuffer(bytearray(held), dtype=dtype) if held else torch.empty(0, dtype=dtype)
    return flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"])
