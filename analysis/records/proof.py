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
        """Whether CI passes."""
        return self.is_equal or self in (Verdict.MIXED, Verdict.CONSISTENT)


CURED = (Verdict.WRONG, Verdict.BROKEN, Verdict.UNPRUNABLE, Verdict.TIMEOUT)
"""Verdicts that a cut by the groups can improve on."""


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
"""The verdicts, the one that proves the least first."""


@dataclass(frozen=True)
class Verification:
    """The answer of the proof.

    Attributes:
        verdict: see `Verdict`.
        reason: one line; empty when exact.
        max_rel_error: greatest absolute difference of the outputs over the greatest absolute
            output of the masked dense network, in float64; None where no comparison was made, or
            operators decided and no number did.
        first_divergence: the first module, in forward order, whose output departs; None if none.
        groups: asked against done, one entry a group.
        heads: asked against done where whole heads of attention were asked for, or went.
        unmet_heads: why a ratio of heads that was asked takes none; empty if it does.
        unmet: what was asked of single layers and no group takes up, in words.
        unseen: groups whose channels may go and that the pruner's graph does not hold, by name;
            empty where the network's own groups were not looked at (`analysis.verify`).
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
    unseen: tuple[str, ...] = ()
    requested_unknown: str = ""
    structure: str = ""
    unexercised: tuple[str, ...] = ()
    cuts: tuple[Cut, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    macs: Sizes | None = None
    params: Sizes | None = None

    @property
    def idle(self) -> tuple[str, ...]:
        """The modules that the example inputs do not use, in words."""
        itself = "parameters of the model itself"
        return tuple(f"`{name}`" if name else itself for name in self.unexercised)

    @property
    def kept(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The dense index of each channel left, by layer and axis (``out``, ``in``).

        Only axes that were cut are listed. A norm or a depthwise convolution has its channels under
        ``out``; a parameter that no layer owns has its own name.
        """
        kept: dict[str, dict[str, tuple[int, ...]]] = {}
        for cut in self.cuts:
            if cut.layer.rpartition(".")[0] not in kept:  # a layer's tensors are cut as it is
                kept.setdefault(cut.layer, {})[cut.axis] = cut.kept
        return kept


@dataclass(frozen=True)
class Counterexample:
    """A short script that reproduces a failing pruning, or why there is none.

    Attributes:
        script: Python text that imports torch and torch-pruning alone; empty if there is none.
        verdict: the verdict that it reproduces; None if there is none.
        why: why there is none, in a line; empty if there is one.
    """

    script: str = ""
    verdict: Verdict | None = None
    why: str = ""


@dataclass(frozen=True)
class Mismatch:
    """The result of cutting one layer without its group, and of cutting its group.

    Attributes:
        block: the module that owns the layer (the residual block).
        layers: the layers that were cut alone.
        channels: how many of their channels were cut.
        raised_in: the module whose forward raised; empty if none did.
        function: the operation that raised, e.g. ``add``.
        shapes: shapes of its tensors.
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
    """How many faults of one kind were planted in one network, and what detected them.

    Attributes:
        subject: the network.
        kind: what was planted.
        of_weights: whether the fault is in the weights of a layer.
        planted: in how many modules it was planted, one at a time.
        seen_by_shape: how many the output shape, or an error, shows.
        changed: how many change a layer's output or the network's, on random inputs in float64.
        seen_by_proof: how many the proof detects.
        located: of how many of those the proof names the module.
    """

    subject: str
    kind: str
    of_weights: bool
    planted: int
    seen_by_shape: int
    changed: int
    seen_by_proof: int
    located: int
