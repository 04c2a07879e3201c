"""A pruned network from the tensors in a file: the dense one, cut to them."""

from collections.abc import Mapping
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.comparing.compared import Reference, check_fits
from analysis.comparing.recovering import Recovered
from analysis.errors import InputError, OptionError
from analysis.groups.coupling import partition
from analysis.groups.inspecting import Labelled, labelled
from analysis.network.cutting import cut_labels
from analysis.network.inference import Inputs, aliased, named_tensors
from analysis.network.outputs import count_outputs, counted_outputs
from analysis.network.programs import Program, program_in
from analysis.network.states import state_in, with_ties
from analysis.network.subjects import build, subject_of
from analysis.records import HEADS, Comparison, Network

__all__ = ["compare_with", "network_of"]


def compare_with(dense: nn.Module, inputs: Inputs, pruned: Network | str) -> Comparison:
    """As `analysis.compare`, of a network that is built, or of the file of its tensors.

    Args:
        dense: the network before.
        inputs: example inputs.
        pruned: what builds the network after; or the path of its state dict, of which no pickle is
            run, and to which the dense network is cut. Of two archives of torch.export each is run.

    Raises:
        InputError: as `analysis.compare`; or the file cannot be read, or does not fit.
    """
    reference = Reference.of(dense, inputs)
    if isinstance(pruned, str) and not (isinstance(dense, Program) and pruned.endswith(".pt2")):
        state = _read(pruned, dense)
        fitting, norms = reference.fitting(state)
        model, found = network_of(fitting, state, pruned)
        return reference.against(model, fitting, norms, found)
    model = program_in(pruned) if isinstance(pruned, str) else _built(pruned)
    count_outputs(model, counted_outputs(dense))
    return reference.compared(model.to(next(dense.parameters()).device).eval())


def _built(pruned: Network) -> nn.Module:
    return build(subject_of(pruned), pruned.weights, pruned.seed)


def _read(path: str, dense: nn.Module) -> Mapping[str, Tensor]:
    try:
        state = state_in(path, dense)
    except OptionError as error:
        raise InputError(error.told) from error
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise InputError(f"{path!r} holds more than weights; expected a state dict alone")
    return state


def network_of(
    reference: Reference, state: Mapping[str, Tensor], name: str
) -> tuple[nn.Module, Recovered | None]:
    """The dense network, cut to the tensors of a pruned one, with these in it.

    And what is left of each, where these are all that it has.

    What modules keep of sizes follows, as it does where the network is cut by its groups.

    Args:
        reference: the dense network.
        state: tensors of the pruned one by name.
        name: where they are from, for errors.

    Raises:
        InputError: they are no part of the dense network's.
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
    found = reference.recovered(state)
    network, gone = aliased(model, requires_grad=True), _gone(reference, state, found)
    followed = _cut_so(reference, gone)
    cut_labels(network, followed.trace, gone, followed.repeated)
    _untie(network, state)
    others = named_tensors(network)
    for key, value in state.items():
        others[key].data = value.to(others[key].device)
    return network, found if others.keys() == state.keys() else None


def _untie(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give each layer a tensor of its own where a file has two for what is one in the network."""
    held: dict[int, int] = {}
    for name, tensor in named_tensors(network).items():
        if isinstance(tensor, nn.Parameter) and name in state:
            place = state[name].data_ptr()
            if held.setdefault(id(tensor), place) != place:
                owner, _, part = name.rpartition(".")
                setattr(network.get_submodule(owner), part, nn.Parameter(tensor.detach()))


def _cut_so(reference: Reference, gone: NDArray[np.bool_]) -> Labelled:
    """The network with its channels followed, in the way of which whole sets have gone.

    Where attention can lose whole heads or channels of each, this tells which number follows.
    """
    yet = (labelled(reference.model, reference.inputs, heads) for heads in HEADS)
    for followed in chain([reference.followed], yet):
        of = followed.classes.of[1 : followed.trace.base]
        went = gone[1 : followed.trace.base]
        if not np.intersect1d(of[went], of[~went]).size:
            return followed
    return reference.followed


def _gone(reference: Reference, state: Mapping[str, Tensor], found: Recovered) -> NDArray[np.bool_]:
    """What has gone of the dense network: of tensors that are in no state dict, what meets it."""
    trace = reference.followed.trace
    gone = reference.gone(found)
    of = partition(trace, [])
    met = np.isin(of, np.setdiff1d(of[gone], 0))
    told = {reference.first[name] for name in state}
    for name, dim in trace.starts:
        if name not in told:
            labels = trace.labels(name, dim)
            gone[labels] = met[labels]
    return gone
