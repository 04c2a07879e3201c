"""Reproduce the shape mismatch of a naive cut, beside the cut of the whole group."""

from collections.abc import Callable, Iterable

from torch import nn

from analysis.groups import inspecting, naive_cuts
from analysis.network.failures import locate_failure
from analysis.network.inference import Inputs, copy_of
from analysis.network.restoring import restored
from analysis.proof.tried_cuts import TriedCuts
from analysis.pruning import surgery
from analysis.records import Mismatch

__all__ = ["reproduce_depthwise_mismatch", "reproduce_residual_mismatch"]


def reproduce_residual_mismatch(
    model: nn.Module, example_inputs: Inputs, *, share: float = 0.5
) -> tuple[Mismatch, ...]:
    """For each skip connection: the error when the block's projection alone is cut.

    Each entry also has the proof of torch-pruning's own group for the same layer and channels. The
    model is not changed.

    Args:
        model: any network with residual additions; without one, the result is empty.
        example_inputs: a tensor, a tuple or a dict.
        share: how much of the layer is cut, the first channels.
    """
    return _mismatches(model, example_inputs, share, naive_cuts.projection_cuts)


def reproduce_depthwise_mismatch(
    model: nn.Module, example_inputs: Inputs, *, share: float = 0.5
) -> tuple[Mismatch, ...]:
    """The same for each depthwise convolution that is cut without the layer that feeds it."""
    return _mismatches(model, example_inputs, share, naive_cuts.depthwise_cuts)


def _mismatches(
    model: nn.Module,
    inputs: Inputs,
    share: float,
    cuts_of: Callable[[inspecting.Labelled], Iterable[naive_cuts.NaiveCut]],
) -> tuple[Mismatch, ...]:
    with restored(model):
        followed = inspecting.labelled(model, inputs)
        tried = TriedCuts(model, inputs, followed.trace)
        return tuple(_mismatch(model, inputs, naive, share, tried) for naive in cuts_of(followed))


def _mismatch(
    model: nn.Module,
    inputs: Inputs,
    naive: naive_cuts.NaiveCut,
    share: float,
    tried: TriedCuts,
) -> Mismatch:
    channels = range(int(naive.width * share))
    broken = copy_of(model)
    surgery.cut_alone(broken, naive.layers, channels)
    failure = locate_failure(broken, inputs)
    return Mismatch(
        block=naive.block,
        layers=naive.layers,
        channels=len(channels),
        raised_in=failure.module if failure else "",
        function=failure.function if failure else "",
        shapes=failure.shapes if failure else (),
        error=failure.error if failure else "",
        group=tried.proved({naive.root: channels}),
    )
