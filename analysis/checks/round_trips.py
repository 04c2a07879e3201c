"""Checks on saving, exporting and moving a pruned network."""

# torch is imported where it is used, so that the catalogue can be listed without it.

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from analysis.checks.outcomes import CheckFailedError, CheckSkippedError
from analysis.checks.structure import check_forward_runs

if TYPE_CHECKING:
    from torch import nn

    from analysis.pipeline import Outcome
    from analysis.proof.round_trips import Shipped

__all__ = [
    "check_survives_export",
    "check_survives_gpu",
    "check_survives_onnx",
    "check_survives_pickling",
    "check_survives_state_dict",
]

Made = TypeVar("Made")


def check_survives_state_dict(outcome: "Outcome") -> None:
    """Saved weights load into a dense network that is pruned by the same history."""
    check_forward_runs(outcome)
    if outcome.rebuild is None:
        raise CheckSkippedError("the pruner keeps no history from which to rebuild the structure")
    from analysis.network.inference import copy_of
    from analysis.proof.round_trips import reloaded

    rebuild, rebuilt = outcome.rebuild, copy_of(outcome.dense.model)

    def reload(pruned: "nn.Module") -> "nn.Module":
        rebuild(rebuilt)
        return reloaded(pruned, rebuilt)

    def reload_dense(dense: "nn.Module") -> "nn.Module":
        return reloaded(dense, copy_of(dense))

    loaded = _made(outcome, reload, "loading the saved weights", reload_dense)
    _comes_back(outcome, loaded)


def check_survives_pickling(outcome: "Outcome") -> None:
    """A file of the whole module gives the network back."""
    check_forward_runs(outcome)
    from analysis.proof.round_trips import pickled

    _comes_back(outcome, _made(outcome, pickled, "saving the whole module"))


def check_survives_export(outcome: "Outcome") -> None:
    """A program of torch.export, saved and loaded, computes the same."""
    from analysis.proof.round_trips import exported

    _exports(outcome, exported, "torch.export")


def check_survives_onnx(outcome: "Outcome") -> None:
    """The network's ONNX file, run by onnxruntime, computes the same."""
    from analysis.proof.round_trips import onnx

    _exports(outcome, onnx, "ONNX")


def check_survives_gpu(outcome: "Outcome") -> None:
    """The network, moved to a GPU, computes what it does on the CPU."""
    import torch

    from analysis.proof.round_trips import departure_on_gpu

    if not torch.cuda.is_available():
        raise CheckSkippedError("there is no CUDA device here")
    check_forward_runs(outcome)
    dense, inputs = outcome.dense.model, outcome.dense.inputs
    _judge(departure_on_gpu(outcome.pruned, dense, inputs), "the network on the GPU")


def _comes_back(outcome: "Outcome", loaded: "nn.Module") -> None:
    from analysis.proof.round_trips import departure

    found = departure(outcome.pruned, loaded, outcome.dense.inputs)
    _judge(found, "the network that came back")


def _exports(outcome: "Outcome", export: "Callable[..., Shipped]", what: str) -> None:
    """Compare an exported network; if it differs, compare the dense network's as well."""
    from analysis.network.inference import copy_of
    from analysis.proof.round_trips import in_single, shipped_departure

    check_forward_runs(outcome)
    inputs = outcome.dense.inputs

    def departure(model: "nn.Module") -> str:
        network, fed = in_single(model, inputs)
        return shipped_departure(network, export(copy_of(network), fed), fed)

    found = _made(outcome, departure, what)
    if found and departure(copy_of(outcome.dense.model)):
        found += "; so does that of the dense network"
    _judge(found, "the exported network")


def _made(
    outcome: "Outcome",
    make: Callable[["nn.Module"], Made],
    what: str,
    of_dense: Callable[["nn.Module"], Made] | None = None,
) -> Made:
    """What the round trip makes of the pruned network; ``of_dense`` does the same to the dense one.

    Raises:
        CheckFailedError: it raised, and does not for the dense network.
        CheckSkippedError: it raises for the dense network as well, so that pruning spoils nothing.
    """
    from analysis.network.inference import copy_of, one_line

    try:
        return make(copy_of(outcome.pruned))
    except Exception as error:
        raised = f"{what} raised {type(error).__name__}: {one_line(error)[:500]}"
    try:
        (of_dense or make)(copy_of(outcome.dense.model))
    except Exception:
        raise CheckSkippedError(f"{raised}; the dense network fails in the same way") from None
    raise CheckFailedError(f"{raised}; the dense network passes")


def _judge(departure: str, what: str) -> None:
    if departure:
        raise CheckFailedError(f"{what} {departure}")
