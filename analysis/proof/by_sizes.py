"""Two networks lined up by sizes alone, where these show that one is the other without channels.

If no operator of the dense network moves channels or takes anything over those that went, each
does to the channels that stay what it did to all of them: as long as it is the same operator, on
the same operands and with the same arguments, and its result has lost in size what went, and no
more. No label need be carried through the pruned network to see that. Where sizes do not show it,
labels say whether the two are one, and why not.
"""

import numpy as np
from torch import nn

from analysis.groups.retracing import retraced, sizes_tell
from analysis.network.inference import Inputs, aliased
from analysis.network.labels.reasons import OUTPUT
from analysis.network.labels.records import Trace
from analysis.proof.constants import Constants, OtherArgumentsError
from analysis.proof.exercised import forgetful
from analysis.proof.staying import Removed

__all__ = ["one_by_sizes"]


def one_by_sizes(pruned: nn.Module, inputs: Inputs, trace: Trace, removed: Removed) -> Trace | None:
    """The pass of a pruned network that sizes show to be the dense one without some labels.

    Args:
        pruned: not changed; the values of its tensors are what the cut leaves of the dense ones.
        inputs: those of the pass.
        trace: the pass over the dense network.
        removed: for each label of it whether its position has gone.

    Returns:
        The pass, without labels; None where sizes do not show it.
    """
    if not _sizes_tell(trace, removed):
        return None
    try:
        found = retraced(
            lambda: forgetful(aliased(pruned, requires_grad=False), inputs), inputs, trace, removed
        )
    except Exception:
        return None  # labels say where it raises
    return found if found is not None and _are_given_alike(trace, found) else None


def _sizes_tell(trace: Trace, removed: Removed) -> bool:
    """Whether channels keep their order and meet those that go with them, and none is held."""
    held = [each.labels for each in trace.holds if each.why != OUTPUT]
    return (
        sizes_tell(trace)
        and not any(removed[labels].any() for labels in held)
        and not any(len(each.changed(removed)) for each in trace.combined)
        and all(np.array_equal(removed[edge.one], removed[edge.other]) for edge in trace.edges)
    )


def _are_given_alike(trace: Trace, found: Trace) -> bool:
    """Whether arguments beside tensors are the same, but for sizes that operators take as such."""
    constants = Constants()
    try:
        for step, other in zip(trace.calls, found.calls, strict=True):
            constants.check(step, other)
    except OtherArgumentsError:
        return False
    return not constants.scaled
