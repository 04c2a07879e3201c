"""Layers of a pruned network that read the wrong channels."""

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.network.labels.records import Step, Trace
from analysis.proof.lines import by_line, kind_of, site_of
from analysis.proof.staying import Staying

__all__ = ["conflicts"]

_SHOWN = 3
"""How many channels an explanation lists."""


def conflicts(
    dense: Trace, here: Sequence[Step], there: Sequence[Step], staying: Staying
) -> Iterator[tuple[str, str]]:
    """Layers that read the wrong channels, with an explanation, as far as both networks line up.

    Args:
        dense: the pass over the dense network.
        here: its operators.
        there: those of the pruned network.
        staying: what the cut leaves.
    """
    lines = zip(by_line(here), by_line(there), strict=False)
    for step, other in (pair for here, there in lines for pair in zip(here, there, strict=False)):
        if site_of(step) != site_of(other) or kind_of(step) != kind_of(other):
            return
        for before, after in zip(step.reads, other.reads, strict=False):
            axis = before.tensor, before.dim
            if axis not in dense.starts or before.labels.ndim != 1:
                continue
            kept = ~staying.removed[dense.labels(*axis)]
            right, found = before.labels, staying.translated(after.labels)
            if len(right) != len(kept) or found.ndim != 1:
                continue
            right = np.where(staying.removed[right], 0, right)[kept]
            wrong = [
                f"{place} should carry {_channel(dense, one)} and carries {_channel(dense, two)}"
                for place, (one, two) in enumerate(zip(right, found, strict=False))
                if one != two
            ]
            if wrong:
                layer = step.place.module
                yield (
                    layer,
                    f"{len(wrong)} of the {len(found)} input channels of `{layer}` are others: "
                    + ", ".join(wrong[:_SHOWN]),
                )


def _channel(trace: Trace, label: int) -> str:
    if label <= 0:
        return "none"
    name, dim = trace.axis_at(label)
    if not name:
        return "several"
    layer = name.rpartition(".")[0] or name
    return f"channel {label - trace.starts[name, dim]} of `{layer}`"
