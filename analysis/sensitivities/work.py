"""What a process does for a cell of a sensitivity: it measures one network.

Nothing here imports torch-pruning, which takes longer than torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from analysis.accuracy import Measure
from analysis.network.inference import random_state_kept
from analysis.opened import Last, labelled, loaded
from analysis.records import Request
from analysis.sensitivities.cuts import Cuts

__all__ = ["alone", "cuts_of", "dense", "measure_of"]


def dense(request: Request) -> dict[str, float]:
    """The metrics of the dense network, measured twice.

    Raises:
        InputError: they are not finite, or random.
    """
    model, _ = loaded(request.network)
    with _seeded(request):
        return measure_of(request).dense(model)


def alone(request: Request, name: str, ratio: float, _: int) -> dict[str, float]:
    """The metrics of the network of which one group is cut.

    Raises:
        InputError: the user's own function raised, or returned no number.
    """
    cuts = cuts_of(request)
    with _seeded(request):
        return measure_of(request).metrics_of(cuts.network(name, ratio))


@contextmanager
def _seeded(request: Request) -> Iterator[None]:
    """What is drawn inside is the same in every process."""
    with random_state_kept():
        torch.manual_seed(request.network.seed)
        yield


@Last
def cuts_of(request: Request) -> Cuts:
    """The cuts that a request asks for.

    Raises:
        InputError: the network cannot be built, or analysed as it is.
    """
    model, _ = loaded(request.network)
    followed = labelled(request.network, request.heads)
    return Cuts.of(model, followed, request.config(0.0), request.ignore)


def measure_of(request: Request) -> Measure:
    """How a request has networks measured."""
    found = Measure.of(request)
    assert found is not None, "a sensitivity without a metric is refused"
    return found
