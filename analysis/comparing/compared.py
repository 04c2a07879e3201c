"""Whether one network is a pruning of another: recover the map of channels, then prove it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.comparing.evidence import values_of
from analysis.comparing.meeting import Conflict, conflict
from analysis.comparing.recovering import Recovered, recovered
from analysis.comparing.telling import (
    ambiguous_of,
    as_merged,
    inferred_of,
    moved_of,
    said_of,
    turned_norms,
    untied_of,
)
from analysis.errors import ChannelsNotFoundError, InputError
from analysis.groups.inspecting import Labelled, labelled
from analysis.network.float64 import in_float64, widened
from analysis.network.inference import (
    Inputs,
    aliased,
    copy_of,
    left_as_found,
    map_tensors,
    named_tensors,
    outputs_of,
    relative_error,
)
from analysis.network.labels.tracing import state_of
from analysis.network.layers import axis_of
from analysis.network.merging import merged, norms_lacking
from analysis.network.outputs import only_outputs
from analysis.network.owners import layer_of
from analysis.network.restoring import restored
from analysis.network.usable import check_usable
from analysis.proof.comparing import TOLERANCE, random_inputs
from analysis.proof.distinct_values import distinct_alias
from analysis.proof.other_sizes import Noted
from analysis.proof.proving import prove
from analysis.pruning.by_groups import RankedSets, removals_of
from analysis.pruning.expected import expected
from analysis.records import Comparison, Cut, Removal, Verdict, Verification, merge_cuts

__all__ = ["Reference", "compare"]


def compare(
    dense: nn.Module,
    pruned: nn.Module,
    example_inputs: Inputs,
    *,
    outputs: Sequence[str] = (),
) -> Comparison:
    """Whether ``pruned`` is a right pruning of ``dense``, and which channels it kept.

    It does not matter how the network was pruned. The kept channels are found by the values that
    both networks share or, if the weights were trained since, by the nearest values. Neither
    network is changed.

    Args:
        dense: the dense network.
        pruned: the pruned network, whose tensors have the same names.
        example_inputs: a tensor, a tuple or a dict.
        outputs: the outputs to compare, as in `analysis.verify`.

    Returns:
        ``exact`` and the verdicts of `analysis.verify` if the weights are the dense network's;
        ``consistent`` if they were trained since, and the dense network's own weights, cut the same
        way, are proved; ``wrong`` if no choice of channels explains all tensors.

    Raises:
        InputError: the networks have different structures, the pruned one is larger, the dense one
            does not run on the inputs, or the weights moved so far that the kept channels cannot be
            found.
    """
    check_usable(pruned)
    with (
        restored(dense),
        restored(pruned),
        left_as_found(dense),
        left_as_found(pruned),
        only_outputs(dense, outputs),
        only_outputs(pruned, outputs),
    ):
        return Reference.of(dense, example_inputs).compared(pruned)


@dataclass(frozen=True, eq=False)
class Reference:
    """A dense network that others are compared with.

    Attributes:
        model: the network.
        inputs: example inputs.
        followed: its labelled pass.
        noted: its operators on the inputs.
    """

    model: nn.Module
    inputs: Inputs
    followed: Labelled
    noted: Noted

    @classmethod
    def of(cls, model: nn.Module, inputs: Inputs) -> "Reference":
        """Run the labelled pass of a network, which is not changed.

        Raises:
            InputError: it cannot be analysed as it is, or does not run on the inputs.
        """
        check_usable(model)
        followed = labelled(model, inputs)
        return cls(model, inputs, followed, Noted.of(model, inputs, followed.trace))

    @cached_property
    def first(self) -> dict[str, str]:
        """The name of each tensor in the labelled pass; tied ones share one."""
        tensors = named_tensors(self.model)
        known = {id(tensor): name for name, tensor in state_of(self.model).items()}
        return {name: known.get(id(tensor), name) for name, tensor in tensors.items()}

    def fitting(self, names: Collection[str]) -> tuple["Reference", dict[str, str]]:
        """It with the batch norms merged of which none of these names is a tensor.

        And by norm the layer that it is merged into; as it is where that does not explain them.
        """
        norms = norms_lacking(self.model, names)
        found = merged(self.model, self.inputs, norms) if norms else None
        if found is None or set(names) - named_tensors(found[0]).keys():
            return self, {}
        return Reference.of(found[0], self.inputs), found[1]

    def compared(self, pruned: nn.Module) -> Comparison:
        """Compare a network with it, in eval mode; see `compare`.

        Only train/eval flags and the random state change.
        """
        return self.against(pruned, *self.fitting(named_tensors(pruned)))

    def against(
        self,
        pruned: nn.Module,
        fitting: "Reference",
        norms: Mapping[str, str],
        found: Recovered | None = None,
    ) -> Comparison:
        """Compare a network with what `fitting` gives; what is left of each tensor may be known."""
        if not norms:
            return fitting.alike(pruned, found)
        others = named_tensors(pruned)
        check_fits(named_tensors(fitting.model), others)
        found = found or fitting.recovered(others)
        one, other = named_tensors(self.model), named_tensors(fitting.model)
        turned = tuple(turned_norms(found, norms, one, other, others))
        found = replace(found, unexplained=(*found.unexplained, *turned))
        return as_merged(fitting.alike(pruned, found), norms)

    def alike(self, pruned: nn.Module, found: Recovered | None = None) -> Comparison:
        """Compare a network that has the same tensors; what is left of each may be known."""
        tensors, others = named_tensors(self.model), named_tensors(pruned)
        check_fits(tensors, others)
        found = found or self.recovered(others)
        pruning = _Pruning(self, found, pruned)
        verification = pruning.verification()
        return Comparison(
            verification=replace(verification, cuts=pruning.cuts),
            kept=pruning.kept,
            inferred=tuple(inferred_of(found)),
            moved=tuple(moved_of(found, tensors, others)),
            ambiguous=tuple(ambiguous_of(found)),
            untied=tuple(untied_of(tensors, others)),
        )

    def recovered(self, others: Mapping[str, Tensor]) -> Recovered:
        """The kept positions of each tensor, given other tensors of the same names."""
        tensors = named_tensors(self.model)
        kept = {
            name: tensor
            for name, tensor in others.items()
            if self.first[name] in self.floating or tensor.shape == tensors[name].shape
        }
        dense = {name: values_of(tensors[name].to(each.dtype)) for name, each in kept.items()}
        return recovered(
            self.followed, dense, {name: values_of(each) for name, each in kept.items()}, self.first
        )

    @cached_property
    def floating(self) -> frozenset[str]:
        """Names of the tensors in the labelled pass."""
        return frozenset(state_of(self.model))

    def gone(self, found: Recovered) -> NDArray[np.bool_]:
        """For each label of the pass, whether its position was removed."""
        trace = self.followed.trace
        gone = np.zeros(trace.count, bool)
        for (name, dim), own in found.positions.items():
            if (self.first[name], dim) in trace.starts:
                gone[np.delete(trace.labels(self.first[name], dim), own)] = True
        return gone


def check_fits(dense: Mapping[str, Tensor], pruned: Mapping[str, Tensor]) -> None:
    """Refuse tensors that cannot be parts of a dense network's.

    Raises:
        InputError: names the first that is not.
    """
    masked = any(name.endswith("_mask") for name in pruned.keys() - dense.keys())
    hint = "; make masks permanent with torch.nn.utils.prune.remove" if masked else ""
    for names, here, there in (
        (dense.keys() - pruned.keys(), "dense", "pruned"),
        (pruned.keys() - dense.keys(), "pruned", "dense"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(
                f"the {there} network has no `{min(names)}`{more}, which the {here} one has; "
                f"expected two networks of one structure, with the same names{hint}"
            )
    for name, tensor in pruned.items():
        before, after = tuple(dense[name].shape), tuple(tensor.shape)
        if len(before) != len(after) or any(n > m for n, m in zip(after, before, strict=False)):
            raise InputError(
                f"`{name}` is {after} in the pruned network and {before} in the dense one; "
                "expected no dimension to be larger: give the dense network first"
            )


class _Pruning:
    """One pruned network, judged."""

    def __init__(self, reference: Reference, found: Recovered, pruned: nn.Module) -> None:
        self._reference, self._found = reference, found
        self._given, self._pruned = pruned, _in_types_of(reference.model, pruned)

    @cached_property
    def removals(self) -> list[Removal]:
        """The removed positions, in the form that the proof takes."""
        reference = self._reference
        followed, gone = reference.followed, reference.gone(self._found)
        removals = removals_of(RankedSets(followed, expected(followed, ()), {}), gone)
        of_none = gone & (followed.group_of < 0)
        for name, dim in followed.trace.starts:
            own = of_none[followed.trace.labels(name, dim)]
            if (
                own.any()
            ):  # axes without channels of a layer: inputs of the network, taps of a kernel
                removals.append(self._alone(name, dim, tuple(np.flatnonzero(own).tolist())))
        return removals

    def _alone(self, name: str, dim: int, places: tuple[int, ...]) -> Removal:
        """The cut of an axis that is in no group, of its layer or of its tensor alone."""
        followed = self._reference.followed
        layer, tensor = layer_of(name), named_tensors(self._reference.model)[name]
        width = tensor.shape[dim]
        of_layer = axis_of(followed.modules.get(layer), tensor, dim)
        if of_layer:
            return Removal(layer, places, (Cut(layer, of_layer, width, places),))
        axis = "in" if (name, dim) in followed.readers else "out"
        return Removal(name, places, (Cut(name, axis, width, places, dim),))

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """Every axis that lost positions."""
        return tuple(cut for cut in merge_cuts(self.removals) if cut.removed)

    @cached_property
    def kept(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The kept channels by layer and axis, in the order of the pruned network."""
        kept = Verification(Verdict.EXACT, cuts=self.cuts).kept
        for group in self._reference.followed.groups if self._orders else ():
            for member in group.members:
                own = self._orders.get((member.tensor, member.dim))
                known = kept.get(member.layer, {}).get(member.axis)
                if own is not None and known == tuple(sorted(own.tolist())):
                    kept[member.layer][member.axis] = tuple(own.tolist())
        return kept

    @cached_property
    def _orders(self) -> dict[tuple[str, int], NDArray[np.int64]]:
        """Axes that are in another order than in the dense network."""
        positions = self._found.positions
        return {axis: own for axis, own in positions.items() if (own[1:] < own[:-1]).any()}

    @property
    def _doubted_order(self) -> tuple[str, int] | None:
        """An axis of a trained tensor in another order, of which not every slice is clear.

        For channels in their dense order weaker evidence is enough.
        """
        found = self._found
        axes = (axis for axis in self._orders if axis in found.margins)
        return next((axis for axis in axes if not found.known[axis].all()), None)

    def verification(self) -> Verification:
        """The verdict and its limits."""
        reference, found = self._reference, self._found
        trace = reference.followed.trace
        clash = conflict(trace, self._pruned, reference.inputs, found, reference.first)
        if clash is not None and clash.is_sure:
            return Verification(
                Verdict.WRONG,
                f"no choice of channels explains all layers: {clash.text}",
                first_divergence=clash.layer,
                structure=f"not lined up: {clash.text}",
            )
        unsure = clash is not None and found.trained
        if unsure or found.unexplained or self._doubted_order is not None:
            raise ChannelsNotFoundError(_too_far(found, clash, self._doubted_order))
        answer = self._trained() if found.trained else self._original()
        if answer.verdict.passes and not self.cuts and not self._orders:
            reason = "; ".join(filter(None, ["no channel was removed", answer.reason]))
            return Verification(Verdict.UNCHANGED, reason)
        if answer.verdict.passes and self._orders:
            answer = self._in_its_own_order(answer)
        return answer

    def _original(self) -> Verification:
        """The verdict if all values are the dense network's, to the precision of the pruned."""
        reference = self._reference
        dense = _in_types_of(reference.model, _in_types_of(self._given, reference.model))
        return prove(
            dense, self._in_dense_order(), self.removals, reference.inputs, reference.noted
        )

    def _trained(self) -> Verification:
        """The verdict on the dense network's own values, cut as the pruned network is."""
        dense = distinct_alias(self._reference.model, self._reference.inputs)
        restored = self._in_dense_order()
        values = named_tensors(dense)
        for name, tensor in named_tensors(restored).items():
            tensor.data = self._left_of(name, values[name], tensor)
        answer = prove(dense, restored, self.removals, self._reference.inputs)
        if not answer.verdict.passes:
            return answer
        reason = said_of(self._found, self._reference.model, self._pruned, answer)
        return replace(answer, verdict=Verdict.CONSISTENT, reason=reason, max_rel_error=None)

    def _left_of(self, name: str, tensor: Tensor, found: Tensor) -> Tensor:
        if self._reference.first[name] not in self._reference.floating:
            return tensor if tensor.shape == found.shape else found.data
        value = tensor.data if isinstance(tensor, nn.Parameter) else tensor.data.clone()
        for dim in range(value.dim()):
            kept = torch.from_numpy(np.sort(self._found.positions[name, dim]))
            if len(kept) < value.shape[dim]:  # what is whole shares its memory
                value = value.index_select(dim, kept.to(value.device))
        return value

    def _in_dense_order(self) -> nn.Module:
        """A copy of the pruned network with its channels in the order of the dense one."""
        network = aliased(self._pruned, requires_grad=True)
        for name, tensor in state_of(network).items():
            for dim in (dim for dim in range(tensor.dim()) if (name, dim) in self._orders):
                order = torch.from_numpy(np.argsort(self._orders[name, dim]))
                tensor.data = tensor.data.index_select(dim, order.to(tensor.device))
        return network

    def _in_its_own_order(self, answer: Verification) -> Verification:
        """The verdict on a network whose channels are in another order than the dense one's."""
        layer = next(iter(self._orders))[0].rpartition(".")[0]
        before, after = (
            _computed(network, self._reference.inputs)
            for network in (self._in_dense_order(), self._pruned)
        )
        error = max(relative_error(*pair) for pair in zip(before, after, strict=True))
        if error > TOLERANCE:
            return Verification(
                Verdict.WRONG,
                f"the channels of `{layer}` are in another order, and the network computes "
                f"something else than with these in the order of the dense one (relative error "
                f"{error:.2g})",
                max_rel_error=error,
                first_divergence=layer,
            )
        order = f"channels are in another order than in the dense network, first those of `{layer}`"
        return replace(answer, reason="; ".join(filter(None, [answer.reason, order])))


def _computed(model: nn.Module, inputs: Inputs) -> Sequence[Tensor]:
    """The outputs in float64 on random inputs, or on the example inputs if it refuses those."""
    network = aliased(model, requires_grad=False)
    with in_float64(network):
        try:
            return outputs_of(network, random_inputs(inputs))
        except Exception:
            return outputs_of(network, map_tensors(inputs, widened))


def _in_types_of(other: nn.Module, model: nn.Module) -> nn.Module:
    """A copy of a model with the dtypes of another one; itself if they are the same."""
    types = {name: tensor.dtype for name, tensor in named_tensors(other).items()}
    if all(tensor.dtype == types[name] for name, tensor in named_tensors(model).items()):
        return model
    copied = copy_of(model)
    for name, tensor in named_tensors(copied).items():
        tensor.data = tensor.data.to(types[name])
    return copied


def _too_far(found: Recovered, clash: Conflict | None, order: tuple[str, int] | None) -> str:
    """Why the kept channels cannot be found."""
    if found.unexplained:
        name, dim = found.unexplained[0]
        count = len(found.unexplained) - 1
        more = f" and of {count} more" if count else ""
        why = (
            f"slices of the trained `{name}` along dimension {dim}{more} are nearer to others of "
            "the dense network than to those that they should be"
        )
    elif clash is not None:
        why = clash.text
    else:
        assert order is not None
        why = (
            f"the trained `{order[0]}` may be in another order along dimension {order[1]}, and its "
            "slices are not clearly nearer to some of the dense network than to others"
        )
    return (
        f"the kept channels cannot be found: {why}; the folder that prune --save or save_pruned "
        "wrote has them: put the file there, and give it to verify --shipped"
    )
