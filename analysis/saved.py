"""A pruned network on disk, without a pickle: its weights, and the pruning as data."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from analysis.environment import versions
from analysis.errors import AnalysisError, InputError, an, several
from analysis.network.cutting import recut
from analysis.network.inference import Inputs, copy_of, left_as_found, named_tensors, one_line
from analysis.network.loading import load_callable
from analysis.network.outputs import counted_outputs, only_outputs
from analysis.network.sparse import built_of, sparse_layout, stored_in
from analysis.network.states import load_weights
from analysis.network.subjects import built_by
from analysis.proof.distinct_values import make_distinct
from analysis.proof.proving import prove
from analysis.proof.round_trips import write_exported, write_onnx
from analysis.pruned import Pruned
from analysis.records import SAVED, Attribute, Cut, Removal, Verification
from analysis.reporting.files import check_folder, written_whole

__all__ = [
    "SavedPruning",
    "in_saved_folder",
    "keeper",
    "load_pruned",
    "save_pruned",
    "saved_pruning",
]

_WEIGHTS, _INPUTS, _PRUNING = SAVED
_SCHEMA = 1


def save_pruned(pruned: Pruned, folder: str | Path) -> Path:
    """Save a pruned network, so that `load_pruned` can load it in another process.

    ``weights.safetensors`` has its state dict. ``pruning.json`` has the cuts and the proof: the
    indices left of every tensor that lost positions, the attributes that were set, the verification
    and the versions. ``inputs.safetensors`` has the tensors of the example inputs.

    Args:
        pruned: what `prune` returned.
        folder: a new one, or one that holds such files, which are replaced.

    Returns:
        the folder.

    Raises:
        InputError: the pruning was not proved, the folder holds other files, or the folder or the
            example inputs cannot be written. Existing files are left as they are.
    """
    if not isinstance(pruned, Pruned):
        raise InputError(
            f"save_pruned takes what analysis.prune returned, and got {an(type(pruned).__name__)}"
        )
    check_folder(folder, SAVED)
    found, tensors = pruned.verification, dict[str, Tensor]()
    if not found.verdict.passes:
        raise InputError(
            f"a pruning that was not proved is not saved: {found.verdict}: {found.reason}"
        )
    sizes = named_tensors(pruned.outcome.dense.model)
    data = {
        "schema": _SCHEMA,
        "versions": versions(),
        "model": type(pruned.model).__name__,
        "axes": [
            {"tensor": name, "dim": dim, "width": sizes[name].shape[dim], "kept": list(left)}
            for (name, dim), left in pruned.axes.items()
        ],
        "attributes": [asdict(each) for each in pruned.attributes],
        "cuts": [asdict(cut) for cut in found.cuts],
        "verification": {
            "verdict": found.verdict.value,
            "reason": found.reason,
            "max_rel_error": found.max_rel_error,
            "structure": found.structure,
        },
        "macs": pruned.macs,
        "params": pruned.params,
        "outputs": list(counted_outputs(pruned.model)),
        "inputs": _taken_apart(pruned.outcome.dense.inputs, tensors),
    }
    with written_whole(folder) as made:
        _save_weights(pruned.model, made / _WEIGHTS)
        _save_tensors(tensors, made / _INPUTS)
        (made / _PRUNING).write_text(_lines(data), "utf-8")
    return Path(folder)


def _lines(data: dict[str, Any]) -> str:
    """JSON with a line for each entry, and for each of a list: indices may be a million."""
    entries = [
        f"{json.dumps(key)}: " + (_list(value) if isinstance(value, list) else json.dumps(value))
        for key, value in data.items()
    ]
    return "{\n " + ",\n ".join(entries) + "\n}\n"


def _list(values: list[Any]) -> str:
    return "[" + ",".join(f"\n  {json.dumps(value)}" for value in values) + "]"


def keeper(files: Mapping[str, str]) -> Callable[[Pruned], None]:
    """The writers of a pruned network: ``save`` to a folder, ``onnx`` and ``export`` to files."""

    def keep(pruned: Pruned) -> None:
        network, inputs = copy_of(pruned.model), pruned.outcome.dense.inputs
        for what, write in (("onnx", write_onnx), ("export", write_exported)):
            if what in files:
                path = Path(files[what])
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write(network, inputs, path)
                except InputError as error:
                    raise InputError(f"{files[what]!r} cannot be written: {error}") from error
                except Exception as error:
                    raise InputError(
                        f"{files[what]!r} cannot be written, {what} raised "
                        f"{type(error).__name__}: {one_line(error)[:_LONG]}"
                    ) from error
        if "save" in files:
            save_pruned(pruned, files["save"])

    return keep


_LONG = 300
"""The greatest length of an exporter's message."""


def _save_weights(model: nn.Module, file: Path) -> None:
    from safetensors.torch import save_model  # refuses parts of one memory

    try:
        save_model(model, str(file))
    except RuntimeError as error:
        raise InputError(
            f"the weights cannot be saved as safetensors: {one_line(error)}"
        ) from error


def _save_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: each.detach().cpu().clone() for name, each in tensors.items()}, str(file))


def _taken_apart(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Example inputs as JSON, with numbers in place of tensors.

    Raises:
        InputError: they hold something that JSON does not have.
    """
    if isinstance(value, Tensor) and (layout := sparse_layout(value)):
        once = layout == "sparse_coo" and value.is_coalesced()
        own = {"layout": layout, "size": list(value.shape), "is_coalesced": once}
        return {"sparse": own | {"stored": _taken_apart(stored_in(value), tensors)}}
    if isinstance(value, Tensor):
        tensors[str(len(tensors))] = value.contiguous()
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(value, tuple | list):
        parts = [_taken_apart(each, tensors) for each in value]
        return {"list" if isinstance(value, list) else "tuple": parts}
    if isinstance(value, dict):
        return {"dict": {name: _taken_apart(each, tensors) for name, each in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise InputError(
        f"the example inputs hold {an(type(value).__name__)}, which cannot be saved; expected "
        "tensors, numbers, strings and None, in tuples, lists and dicts"
    )


def _put_together(data: Any, tensors: dict[str, Tensor]) -> Any:
    ((kind, value),) = data.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "sparse":
        return built_of(**value | {"stored": _put_together(value["stored"], tensors)})
    if kind == "dict":
        return {name: _put_together(each, tensors) for name, each in value.items()}
    if kind in ("tuple", "list"):
        parts = [_put_together(each, tensors) for each in value]
        return parts if kind == "list" else tuple(parts)
    return value


def load_pruned(factory: str | Callable[[], nn.Module], folder: str | Path) -> nn.Module:
    """Load a saved pruned network, and prove the pruning once more.

    The factory's network is cut as the folder says and proved as `prune` does. Then the saved
    weights are loaded. No pickle is read.

    Args:
        factory: builds the dense network, without arguments; or a reference to such a function,
            ``package.module:function`` or ``path/to/file.py:function``.
        folder: that of `save_pruned`.

    Returns:
        the pruned network, in the train or eval mode of the factory's.

    Raises:
        InputError: the folder holds no pruned network, the factory's network does not fit it, or
            the pruning is not proved of that network.
    """
    build = load_callable(factory, "model factory") if isinstance(factory, str) else factory
    saved = saved_pruning(folder)
    dense = built_by(build, getattr(factory, "__name__", str(factory)))
    saved.check_fits(dense)
    saved.check_proved(dense)
    pruned = saved.network(dense)
    for name, module in pruned.named_modules():
        module.training = dense.get_submodule(name).training
    return pruned


def in_saved_folder(path: str | Path) -> bool:
    """Whether a file lies in a folder that `save_pruned` wrote."""
    return (Path(path).parent / _PRUNING).is_file()


def saved_pruning(path: str | Path) -> "SavedPruning":
    """What `save_pruned` wrote.

    Args:
        path: of the folder; or of a file there, whose weights are taken in place of the saved ones.

    Raises:
        InputError: the folder holds no pruned network.
    """
    from safetensors.torch import load_file

    folder = path if Path(path).is_dir() or not in_saved_folder(path) else Path(path).parent
    source = Path(folder)
    weights = Path(path) if source != Path(path) else source / _WEIGHTS
    try:
        data = json.loads((source / _PRUNING).read_text("utf-8"))
        tensors = load_file(source / _INPUTS)
        is_ours = data["schema"] == _SCHEMA
        pruning = SavedPruning(data, tensors, weights) if is_ours else None
    except Exception as error:
        raise InputError(
            f"{str(folder)!r} holds no pruned network ({type(error).__name__}: {one_line(error)}); "
            "expected a folder that prune --save or save_pruned wrote"
        ) from error
    if pruning is None:
        raise InputError(f"{str(folder)!r} has schema {data['schema']!r}; expected {_SCHEMA}")
    return pruning


def _load_weights(pruned: nn.Module, file: Path) -> None:
    from safetensors.torch import load_model

    if file.name != _WEIGHTS:
        load_weights(pruned, str(file), type(pruned).__name__)
        return
    try:
        load_model(pruned, file)
    except Exception as error:
        raise InputError(
            f"the weights of {str(file)!r} do not fit what the factory builds, once it is cut: "
            f"{one_line(error)}"
        ) from error


@dataclass(frozen=True)
class _Axis:
    """The indices left of one dimension of a tensor."""

    tensor: str
    dim: int
    width: int
    kept: tuple[int, ...]

    def __post_init__(self) -> None:
        if not all(type(each) is int for each in (self.dim, self.width, *self.kept)):
            raise ValueError(f"an index of `{self.tensor}` is no whole number")


class SavedPruning:
    """A pruning as data.

    Args:
        data: what `save_pruned` wrote.
        tensors: those of the example inputs, by number.
        weights: the file of the weights.

    Attributes:
        removals: what was cut.
    """

    def __init__(self, data: dict[str, Any], tensors: dict[str, Tensor], weights: Path) -> None:
        self._weights = weights
        self._axes = [_Axis(**{**each, "kept": tuple(each["kept"])}) for each in data["axes"]]
        self._inputs: Inputs = _put_together(data["inputs"], tensors)
        self._attributes = [
            Attribute(each["module"], tuple(each["path"]), each["before"], each["after"])
            for each in data["attributes"]
        ]
        cuts = [Cut(**{**each, "removed": tuple(each["removed"])}) for each in data["cuts"]]
        self.removals = [Removal(cut.layer, cut.removed, (cut,)) for cut in cuts]
        self._outputs = data["outputs"]

    def check_fits(self, dense: nn.Module) -> None:
        """Refuse a network of another structure than the pruned one was made of.

        Raises:
            InputError: names the first tensor that does not fit.
        """
        tensors = named_tensors(dense)
        for axis in self._axes:
            tensor = tensors.get(axis.tensor)
            if tensor is None or tensor.shape[axis.dim : axis.dim + 1] != (axis.width,):
                has = "none" if tensor is None else f"one of shape {tuple(tensor.shape)}"
                raise InputError(
                    f"the factory builds another network: the pruning is of a `{axis.tensor}` with "
                    f"{several(axis.width, 'position')} along dimension {axis.dim}, and there is "
                    f"{has}"
                )

    def cut(self, dense: nn.Module) -> nn.Module:
        """A copy of a dense network, cut."""
        pruned = copy_of(dense)
        self.recut(pruned)
        return pruned

    def recut(self, model: nn.Module) -> None:
        """Cut a dense network."""
        axes = {(axis.tensor, axis.dim): axis.kept for axis in self._axes}
        recut(model, axes, self._attributes)

    def network(self, dense: nn.Module) -> nn.Module:
        """A copy of a dense network, cut, with the saved weights.

        Raises:
            InputError: they do not fit.
        """
        pruned = self.cut(dense)
        _load_weights(pruned, self._weights)
        return pruned

    def check_proved(self, dense: nn.Module) -> None:
        """Refuse a pruning that is not proved of a dense network.

        Raises:
            InputError: says the verdict, or why there is none.
        """
        found = self.proof(dense)
        if not found.verdict.passes:
            raise InputError(
                f"the pruning is not proved of this network: {found.verdict}: {found.reason}"
            )

    def proof(self, dense: nn.Module) -> Verification:
        """The verdict on the pruning, whatever weights were saved.

        Raises:
            InputError: there is none, and why.
        """
        with left_as_found(dense), only_outputs(dense, self._outputs):
            network = copy_of(dense)
            try:
                make_distinct(network, self._inputs)
                return prove(network, self.cut(network), self.removals, self._inputs)
            except AnalysisError as error:
                raise InputError(
                    f"the pruning cannot be proved of this network: {error}"
                ) from error
            except Exception as error:
                raise InputError(
                    "the factory's network does not run on the saved example inputs: "
                    f"{one_line(error)}"
                ) from error
