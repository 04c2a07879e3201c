"""The tensors in a file, and a network that is given them."""

import re
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from analysis.errors import InputError, OptionError
from analysis.network.archives import archive_in
from analysis.network.inference import Inputs, one_line
from analysis.network.merging import merged, norms_lacking
from analysis.network.model_names import no_weights
from analysis.network.onnx_files import tensors_in_onnx

__all__ = ["holding", "load_weights", "state_in", "with_ties"]


def load_weights(model: nn.Module, path: str, name: str) -> None:
    """Give a network the tensors in a file.

    Args:
        model: the network.
        path: of the file.
        name: of the network, for the error.

    Raises:
        InputError: the file cannot be read, or its tensors do not fit.
    """
    _load(model, state_in(path, model), path, name)


def holding(model: nn.Module, inputs: Inputs, path: str, name: str) -> nn.Module:
    """The network with the tensors of a file, its batch norms merged if they are in the file.

    Args:
        model: in eval mode.
        inputs: example inputs.
        path: of the file.
        name: of the network, for the error.

    Raises:
        InputError: the file cannot be read, or its tensors do not fit.
    """
    state = state_in(path, model)
    norms = norms_lacking(model, state) if isinstance(state, dict) else ()
    found = merged(model, inputs, norms) if norms else None
    model = model if found is None else found[0]
    _load(model, state, path, name)
    return model


def _load(model: nn.Module, state: Any, path: str, name: str) -> None:
    try:
        model.load_state_dict(with_ties(state, model))
    except Exception as error:
        message = shorten(one_line(error), 300, placeholder=" ...")
        raise OptionError(
            "weights", f"{path!r} does not fit {name!r}: {_hint(state)}{message}"
        ) from error


def with_ties(state: Any, model: nn.Module) -> Any:
    """The state with each tied tensor under all of its names: a file may hold it under one."""
    if not isinstance(state, dict):
        return state
    own = model.state_dict(keep_vars=True)
    held = {id(own[name]): value for name, value in state.items() if name in own}
    tied = {name: held[id(tensor)] for name, tensor in own.items() if id(tensor) in held}
    return {**tied, **state}


def _hint(state: Any) -> str:
    """What surrounds the weights in a file, if that is known."""
    keys = list(state) if isinstance(state, dict) else []
    inner = next((key for key in keys if isinstance(state[key], dict)), None)
    if inner is not None:
        return f"it holds more than weights; save what it has under {inner!r} alone: "
    if keys and all(str(key).startswith("module.") for key in keys):
        return "it is of a DataParallel; save model.module.state_dict(): "
    return ""


def state_in(path: str, model: nn.Module) -> Any:
    """The state dict in a file; nothing in it is executed.

    Args:
        path: a state dict, an archive of torch.export, or an ONNX file.
        model: the network that it is of, or that was pruned to it; names what an exporter renamed.

    Raises:
        InputError: there is no such file, or it is no state dict.
    """
    if not Path(path).is_file():
        raise no_weights(path)
    try:
        if path.endswith(".safetensors"):
            return load_file(path)
        if path.endswith(".pt2"):
            return archive_in(path).weights
        if path.endswith(".onnx"):
            return tensors_in_onnx(path, model)
        return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            raise OptionError(
                "weights",
                f"{path!r} is refused: it is a pickle that calls {code[1]} when it is "
                "loaded, and whatever that does would be done here; expected weights alone, from "
                "safetensors.torch.save_model(model, ...) or torch.save(model.state_dict(), ...)",
            ) from error
        raise OptionError(
            "weights",
            f"{path!r} cannot be read as a state dict ({_cause(error)}); expected a file that "
            "safetensors.torch.save_model(model, ...) or torch.save(model.state_dict(), ...) wrote",
        ) from error


def _cause(error: Exception) -> str:
    """The error in a line, without PyTorch's advice to load what may run code."""
    kind, text = type(error).__name__, one_line(error)
    return kind if "weights_only" in text else f"{kind}: {text[:200]}"
