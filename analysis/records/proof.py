"""What the proof says of a pruned network."""

from dataclasses import dataclass
from enum import StrEnum

from analysis.records.costs import Sizes
from analysis.records.pruning import Attribute, Cut, GroupAccount, HeadAccount

__all__ = [
    "CURED",
    "STRENGTH",
    "Counterexample",
    "FaultCount",
    "Mismatch",
    "Verdict",
    "Verification",
]


class Verdict(StrEnum):
    """What the proof says of a pruned network."""

    EXACT = "exact"
    RENORMALIZED = "renormalized"
    MIXED = "mixed"
    WRONG = "wrong"
    BROKEN = "broken"
    UNPRUNABLE = "unprunable"
    TIMEOUT = "timeout"
    UNCHANGED = "unchanged"
    CONSISTENT = "consistent"

    @property
    def is_equal(self) -> bool:
        """Whether the pruned network was shown to equal the masked dense one."""
        return self in (Verdict.EXACT, Verdict.RENORMALIZED)

    @property
    def passes(self) -> bool:
        """Whether CI may go on."""
        return self.is_equal or self in (Verdict.MIXED, Verdict.CONSISTENT)


CURED = (Verdict.WRONG, Verdict.BROKEN, Verdict.UNPRUNABLE)
"""Verdicts that a cut by the groups as they are may do better than."""


STRENGTH = (
    Verdict.WRONG,
    Verdict.BROKEN,
    Verdict.UNPRUNABLE,
    Verdict.TIMEOUT,
    Verdict.UNCHANGED,
    Verdict.CONSISTENT,
    Verdict.MIXED,
    Verdict.RENORMALIZED,
    Verdict.EXACT,
)
"""Verdicts by how much they prove, the least first."""


@dataclass(frozen=True)
class Verification:
    """The answer of the proof.

    Attributes:
        verdict: see `Verdict`.
        reason: one line; empty when exact.
        max_rel_error: greatest absolute difference of the outputs over the greatest absolute
            output of the masked dense network, in float64; None where no comparison was made.
        first_divergence: the first module, in forward order, whose output departs; None if none.
        groups: asked against done, one entry a group.
        heads: asked against done where whole heads of attention were asked for, or went.
        unmet_heads: why a ratio of heads that was asked takes none; empty if it does.
        unmet: what was asked of single layers and no group takes up, in words.
        requested_unknown: why what was asked of the groups is not known; empty if it is.
        structure: ``proved``: every operator is the dense network's, over the channels that stay,
            so that both compute the same for all inputs that take the path of the example inputs;
            or ``not lined up: `` and why; empty where no comparison was made.
        unexercised: modules that own parameters of which eval mode uses none on the example inputs.
        cuts: every axis that lost channels, numbered as before the first step.
        attributes: numbers that modules keep of sizes, and that the pruner set.
        macs: multiply-accumulates before the first step, and after this one, by fvcore's rules;
            None where the channels could not be followed.
        params: parameters, likewise.
    """

    verdict: Verdict
    reason: str = ""
    max_rel_error: float | None = None
    first_divergence: str | None = None
    groups: tuple[GroupAccount, ...] = ()
    heads: tuple[HeadAccount, ...] = ()
    unmet_heads: str = ""
    unmet: tuple[str, ...] = ()
    requested_unknown: str = ""
    structure: str = ""
    unexercised: tuple[str, ...] = ()
    cuts: tuple[Cut, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    macs: Sizes | None = None
    params: Sizes | None = None

    @property
    def idle(self) -> tuple[str, ...]:
        """What is not exercised, in words."""
        itself = "parameters of the model itself"
        return tuple(f"`{name}`" if name else itself for name in self.unexercised)

    @property
    def kept(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """By layer and axis (``out``, ``in``): which dense channel each one that is left was.

        Of the axes that were cut. What treats channels alone (a norm, a depthwise convolution) has
        its channels under ``out``; a parameter that no layer owns stands under its own name.
        """
        kept: dict[str, dict[str, tuple[int, ...]]] = {}
        for cut in self.cuts:
            if cut.layer.rpartition(".")[0] not in kept:  # a layer's tensors are cut as it is
                kept.setdefault(cut.layer, {})[cut.axis] = cut.kept
        return kept


@dataclass(frozen=True)
class Counterexample:
    """A short script that shows a pruning that does not pass, or why there is none.

    Attributes:
        script: Python text that imports torch and torch-pruning alone; empty if there is none.
        verdict: what it shows; None if there is none.
        why: why there is none, in a line; empty if there is one.
    """

    script: str = ""
    verdict: Verdict | None = None
    why: str = ""


@dataclass(frozen=True)
class Mismatch:
    """What happens when one layer is cut without its group, and when its group is cut.

    Attributes:
        block: the module that owns the layer (the residual block).
        layers: the layers that were cut alone.
        channels: how many of their channels were cut.
        raised_in: the module whose forward raised; empty if nothing did.
        function: the operation that refused, e.g. ``add``.
        shapes: shapes of the tensors it refused.
        error: the message of the error.
        group: verification of DepGraph's own group for the same root and channels.
    """

    block: str
    layers: tuple[str, ...]
    channels: int
    raised_in: str
    function: str
    shapes: tuple[tuple[int, ...], ...]
    error: str
    group: Verification


@dataclass(frozen=True)
class FaultCount:
    """How many faults of one kind were planted in one network, and what saw them.

    Attributes:
        subject: the network.
        kind: what was planted.
        of_weights: whether that is in the weights of a layer, and not in what else a module is.
        planted: in how many modules, one at a time.
        seen_by_shape: noticed by running the network and looking at its output shape.
        changed: made a layer's output or the network's differ, on random inputs in float64.
        seen_by_proof: noticed by the proof.
        located: of those, how many were traced to the very module.
    """

    subject: str
    kind: str
    of_weights: bool
    planted: int
    seen_by_shape: int
    changed: int
    seen_by_proof: int
    located: int
