"""Build a pruned network from the tensors in a file: cut the dense one to them."""

from collections.abc import Callable, Mapping
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.comparing.archives import tensors_in_archive
from analysis.comparing.compared import Reference, check_fits
from analysis.errors import InputError, OptionError
from analysis.groups.coupling import partition
from analysis.groups.inspecting import Labelled, labelled
from analysis.network.cutting import cut_labels
from analysis.network.inference import Inputs, copy_of, named_tensors
from analysis.network.outputs import count_outputs, counted_outputs
from analysis.network.subjects import build, state_in, subject_of, with_ties
from analysis.records import HEADS, Comparison, Network

__all__ = ["Cut", "compare_with", "network_in", "network_of"]


def compare_with(dense: nn.Module, inputs: Inputs, pruned: Network | str) -> Comparison:
    """Like `analysis.compare`, for a network or a file of its tensors.

    Args:
        dense: the dense network.
        inputs: example inputs.
        pruned: a function that builds the pruned network; or the path of its state dict, to which
            the dense network is cut. No pickle is run.

    Raises:
        InputError: as `analysis.compare`; or the file cannot be read, or does not fit.
    """
    reference = Reference.of(dense, inputs)
    if isinstance(pruned, str):
        return reference.compared(network_in(reference, pruned)[0])
    model = build(subject_of(pruned), pruned.weights, pruned.seed)
    count_outputs(model, counted_outputs(dense))
    return reference.compared(model.to(next(dense.parameters()).device))


def _read(path: str) -> Mapping[str, Tensor]:
    if path.endswith(".onnx"):
        raise InputError(
            f"{path!r} is an ONNX file, into whose weights exporters merge those of batch norms; "
            "expected the state dict of the network that was exported, or its torch.export archive"
        )
    if path.endswith(".pt2"):
        return tensors_in_archive(path)
    try:
        state = state_in(path)
    except OptionError as error:
        raise InputError(error.detail) from error
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise InputError(f"{path!r} holds more than weights; expected a state dict alone")
    return state


Cut = Callable[[nn.Module], None]
"""What gives a copy of the dense network the structure of a pruned one."""


def network_in(reference: Reference, path: str) -> tuple[nn.Module, Cut]:
    """The network whose tensors a file holds, and what cuts a dense one so.

    Raises:
        InputError: the file cannot be read, or does not fit.
    """
    return network_of(reference, _read(path), path)


def network_of(
    reference: Reference, state: Mapping[str, Tensor], name: str
) -> tuple[nn.Module, Cut]:
    """The dense network, cut to the tensors of a pruned one, with these in it; and what cuts it.

    Attributes of modules that hold sizes follow, as in a pruning by groups.

    Args:
        reference: the dense network.
        state: tensors of the pruned one by name.
        name: their source, for errors.

    Raises:
        InputError: they cannot be parts of the dense network's.
    """
    model = reference.model
    state = with_ties(state, model)
    tensors = named_tensors(model)
    lacking = model.state_dict().keys() - state.keys()
    held = {key: tensors[key] for key in tensors if key in state or key in lacking}
    try:
        check_fits(held, state)
    except InputError as error:
        raise InputError(f"{name!r} does not fit: {error}") from error
    network, gone = copy_of(model), _gone(reference, state)
    followed = _cut_so(reference, gone)

    def cut(other: nn.Module) -> None:
        cut_labels(other, followed.trace, gone, followed.repeated)

    cut(network)
    others = named_tensors(network)
    for key, value in state.items():
        others[key].data = value.to(others[key].device)
    return network, cut


def _cut_so(reference: Reference, gone: NDArray[np.bool_]) -> Labelled:
    """The labelled pass of the network, for the kind of cut by which whole sets were removed.

    If attention can lose whole heads or channels of each head, this decides which attribute
    follows.
    """
    yet = (labelled(reference.model, reference.inputs, heads) for heads in HEADS)
    for followed in chain([reference.followed], yet):
        of = followed.classes.of[1 : followed.trace.base]
        went = gone[1 : followed.trace.base]
        if not np.intersect1d(of[went], of[~went]).size:
            return followed
    return reference.followed


def _gone(reference: Reference, state: Mapping[str, Tensor]) -> NDArray[np.bool_]:
    """The removed labels; tensors outside the state dict follow their couplings."""
    trace = reference.followed.trace
    gone = reference.gone(reference.recovered(state))
    of = partition(trace, [])
    met = np.isin(of, np.setdiff1d(of[gone], 0))
    given = {reference.first[name] for name in state}
    for name, dim in trace.starts:
        if name not in given:
            labels = trace.labels(name, dim)
            gone[labels] = met[labels]
    return gone
