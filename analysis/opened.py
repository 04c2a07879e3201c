"""Load the network that a request names. Each process keeps the last one.

Nothing here imports torch-pruning, which takes longer than torch.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar

from torch import nn

from analysis.groups import inspecting, policies
from analysis.network import subjects
from analysis.network.inference import Inputs
from analysis.network.loading import load_callable
from analysis.records import HEADS, Network, Request, SubjectInfo

__all__ = ["Last", "info_of", "labelled", "loaded", "resolved"]

Asked = TypeVar("Asked")
Made = TypeVar("Made")


class Last(Generic[Asked, Made]):
    """Keeps what was made for the last network, say; its fields need not be hashable.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[Asked], Made]) -> None:
        self._make = make
        self._kept: tuple[Asked, Made] | None = None

    def __call__(self, asked: Asked) -> Made:
        """What is made for a network."""
        if self._kept is None or self._kept[0] != asked:
            self._kept = None  # two large networks at a time may be one too many
            self._kept = asked, self._make(asked)
        return self._kept[1]

    def known(self, asked: Asked) -> Made | None:
        """What is kept, if it is of this network."""
        return self._kept[1] if self._kept and self._kept[0] == asked else None


@Last
def loaded(network: Network) -> tuple[nn.Module, Inputs]:
    """The network and its inputs.

    Raises:
        InputError: they cannot be built, or the network does not run on them.
    """
    _, model, inputs = subjects.load(network)
    return model, inputs


def labelled(network: Network, heads: str | None = HEADS[0]) -> inspecting.Labelled:
    """The labelled pass of the network, by default for what `analysis.prune` cuts by default.

    Args:
        network: the network.
        heads: see `analysis.groups.inspecting.labelled`.

    Raises:
        InputError: as `loaded`, or it cannot be analysed as it is.
    """
    return _labelled((network, heads))


@Last
def _labelled(asked: tuple[Network, str | None]) -> inspecting.Labelled:
    network, heads = asked
    return inspecting.labelled(*loaded(network), heads)


def resolved(request: Request) -> Request:
    """The request with its references resolved to functions.

    The network is not built.

    Raises:
        InputError: something is not there, or cannot be used.
    """
    network = request.network
    factory = subjects.subject_of(network).factory
    given = network.inputs
    inputs = load_callable(given, "inputs") if isinstance(given, str) else given
    return replace(
        request,
        network=replace(network, factory=factory, inputs=inputs),
        ignore=_named_as(request.ignore, policies.resolve(request.ignore)),
        pruner=_factory(request.pruner),
        **{
            name: load_callable(given, name)
            for name in ("evaluate", "finetune")
            if isinstance(given := getattr(request, name), str)
        },
    )


def _factory(pruner: Any) -> Any:
    if pruner is None:
        return None
    from analysis.pruning.pruners import load_factory  # brings torch-pruning

    return load_factory(pruner)


def _named_as(reference: Any, choice: Any) -> Any:
    """The function of a reference, with its name in reports."""
    if not (isinstance(reference, str) and callable(choice)):
        return reference

    def layers(model: nn.Module) -> Any:
        return choice(model)

    layers.__name__ = reference
    return layers


def info_of(network: Network) -> SubjectInfo:
    """The network's entry in reports; given inputs have no single size."""
    size = subjects.subject_of(network).input_size if network.inputs is None else None
    # It is not known whether a user's factory draws its weights or loads them.
    is_own = network.factory is not None or ":" in network.name or network.name.endswith(".py")
    weights = "as built" if is_own and network.weights == "random" else network.weights
    return SubjectInfo(network.name, size, weights, network.seed, network.outputs)
