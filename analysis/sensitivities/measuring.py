"""Which cuts are measured, and what was measured set beside the dense network."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from analysis.errors import InputError
from analysis.records import CutAlone, GroupSensitivity, Metric, Target, predictable

__all__ = ["Found", "asked", "costed", "with_metrics"]

Found = Mapping[str, float] | str
"""The metrics of a cut by name, or why there are none."""


def asked(groups: Iterable[GroupSensitivity]) -> Iterator[tuple[str, CutAlone]]:
    """The cuts by name of the group, those that leave as many channels once."""
    for group in groups:
        once = {cut.kept: cut for cut in reversed(group.cuts) if not cut.is_none}
        yield from ((group.name, cut) for cut in reversed(once.values()))


def with_metrics(
    groups: Iterable[GroupSensitivity],
    found: Mapping[tuple[str, int], Found],
    dense: Mapping[str, float],
    lower: Sequence[str],
) -> tuple[GroupSensitivity, ...]:
    """The groups with what was measured of them.

    Args:
        groups: not measured yet.
        found: by name and channels left.
        dense: the metrics of the dense network.
        lower: names of metrics of which less is better.
    """

    def measured(name: str, cut: CutAlone) -> CutAlone:
        metrics = found.get((name, cut.kept))
        if metrics is None:  # nothing was cut, as it says
            return cut
        if isinstance(metrics, str):
            return replace(cut, why=metrics)
        if metrics.keys() != dense.keys():
            return replace(cut, why=f"evaluate returned {', '.join(metrics)} of it")
        return replace(
            cut,
            metrics=tuple(
                Metric(each, value, metrics[each], None, each in lower)
                for each, value in dense.items()
            ),
        )

    return tuple(
        replace(group, cuts=tuple(measured(group.name, cut) for cut in group.cuts))
        for group in groups
    )


def costed(targets: Sequence[Target]) -> tuple[Target, ...]:
    """The targets, if what choices leave of them is known without a cut.

    Raises:
        InputError: one is of bytes or latency.
    """
    for target in predictable(targets):
        if target.quantity == "bytes":
            raise InputError(
                f"target {target}: a choice of ratios by group is costed in MACs and parameters; "
                "give params in its place"
            )
    return tuple(targets)
