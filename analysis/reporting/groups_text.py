"""What the command ``groups`` prints on a terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence

from analysis.errors import several
from analysis.records import Audited, Group, Lint, Misread, Outside
from analysis.reporting.tables import LOCK_HEADERS, as_markdown, count, lock_cells, share

__all__ = ["groups"]

_SHOWN = 4
"""Channels that are listed for each layer that is misread."""


def groups(
    found: Sequence[Group],
    outside: Sequence[Outside] = (),
    audited: Sequence[Audited] | None = None,
    lint: Lint | None = None,
    *,
    members: bool = False,
) -> str:
    """One line for each group, with its members, the audit or the lint if requested.

    Layers in no group are listed, too. The lint is printed alone, because it is about the ignored
    layers.
    """
    rest = [f"in no group: {each.layer} ({each.kind}): {each.why}" for each in outside]
    if lint is not None:
        return "\n".join([*rest, _linted(lint)]) + _audit(audited)
    overview = as_markdown(
        ("group", "width", "together", "layers", "coupled by", "MACs", "params", "excluded"),
        [
            (
                group.name,
                str(group.width),
                group.together_in_words,
                str(len({each.layer for each in group.members})),
                ", ".join(_counted(group)) or "-",
                count(group.macs),
                count(group.params),
                "ignored" if group.ignored else "-",
            )
            for group in found
        ],
    )
    held = [
        f"group {group.name}: no channel can be removed: {group.held}"
        for group in found
        if group.held and not (group.is_output and group.ignored)
    ]
    excluded = sum(group.ignored for group in found)
    last = f"{several(len(found), 'group')}, {excluded} excluded"
    parts = [overview, _members(found) if members else "", "\n".join([*held, *rest]), last]
    return "\n\n".join(filter(None, parts)) + _audit(audited)


def _counted(group: Group) -> Iterator[str]:
    """Why the channels go together, and how often."""
    times = Counter[str]()
    for each in group.couplings:
        times[each.why] += each.times
    for why in times:
        # Every layer reads one before it, and most have a norm behind them.
        if why not in ("sequence", "normalisation", "elementwise"):
            yield f"{times[why]} x {why}" if times[why] > 1 else why


def _members(found: Sequence[Group]) -> str:
    return as_markdown(
        ("group", "layer", "kind", "axis", "width", "tensor", "dim"),
        [
            (
                group.name,
                member.layer,
                member.kind,
                member.axis,
                str(member.width),
                member.tensor,
                str(member.dim),
            )
            for group in found
            for member in group.members
        ],
    )


def _linted(lint: Lint) -> str:
    locks = as_markdown(LOCK_HEADERS, map(lock_cells, lint.locks))
    # The table says which groups need not be excluded.
    findings = [
        f"{'error' if finding.is_error else 'note'}: {finding.kind}: {finding.message}"
        for finding in lint.findings
        if finding.kind != "unneeded"
    ]
    unneeded = sum(finding.kind == "unneeded" for finding in lint.findings)
    errors = sum(finding.is_error for finding in lint.findings)
    last = f"lint: {several(errors, 'error')}"
    if unneeded:
        last += (
            f"; {unneeded} of the {len(lint.locks)} excluded groups need not be: they are no "
            "output, and the network runs without some of their channels"
        )
    reach = [
        f"not changed by any ratio, {each.policy}: {share(each.macs)} of the MACs, "
        f"{share(each.params)} of the parameters"
        for each in lint.untouched
    ]
    shared = ["MACs that two groups lock together count for both"] if len(lint.locks) > 1 else []
    return "\n".join([*([locks] if lint.locks else []), *shared, *findings, *reach, last])


def _audit(audited: Sequence[Audited] | None) -> str:
    if audited is None:
        return ""
    alike: dict[tuple[str, str], list[Audited]] = {}
    for each in audited:
        if each.audit != "same":
            alike.setdefault((each.audit, each.why), []).append(each)
    lines = [line for found in alike.values() for line in _audited(found)]
    counts = Counter(each.audit for each in audited)
    words = ", ".join(f"{number} {audit}" for audit, number in counts.items())
    return "\n".join(["", "", *lines, f"audit: {words}"])


def _audited(alike: Sequence[Audited]) -> Iterator[str]:
    """One line for all groups with the same reason."""
    first = alike[0]
    named = ", ".join(each.name for each in alike)
    yield f"group{'s' if len(alike) > 1 else ''} {named}: {first.audit}: {first.why}"
    for each in alike:
        for entry in each.misread[:_SHOWN] if each.audit == "misread" else ():
            yield f"  {_misread(entry)}"


def _misread(entry: Misread) -> str:
    shown = ", ".join(
        f"position {place} is taken for {_channel(believed, 'none')} and carries "
        f"{_channel(found, 'none')}"
        for place, believed, found in list(
            zip(entry.places, entry.believed, entry.found, strict=True)
        )[:_SHOWN]
    )
    return f"{several(len(entry.places), 'position')} of {entry.layer}: {shown}"


def _channel(number: int | None, otherwise: str) -> str:
    return otherwise if number is None else f"channel {number}"
