"""Requested widths: how many channels to leave of a group, by any of its layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.errors import InputError, did_you_mean
from analysis.pruning.expected import Expected
from analysis.records import Group, checked_widths

__all__ = ["widths_of"]


def widths_of(
    found: Sequence[Expected], groups: Sequence[Group], asked: Mapping[str, Any]
) -> dict[str, int]:
    """How many channels of each group to keep, by root.

    Args:
        found: the groups in the form in which they are cut, with excluded ones marked.
        groups: the true groups.
        asked: by group or layer, how many channels to keep.

    Raises:
        InputError: a width is not possible; names the layer and possible widths.
    """
    named: dict[str, tuple[str, int]] = {}
    for name, width in checked_widths(asked).items():
        place = _place(found, groups, name)
        each, group = found[place], groups[place]
        kept = _of_group(each, group, name, width)
        root = each.group.root
        other, before = named.setdefault(root, (name, kept))
        if before != kept:
            raise InputError(
                f"widths: `{other}` ({asked[other]}) and `{name}` ({width}) are of one group, "
                f"`{root}`, and channels of one go in both; ask for one width"
            )
    return {root: kept for root, (_, kept) in named.items()}


def _place(found: Sequence[Expected], groups: Sequence[Group], name: str) -> int:
    """Which group is meant."""
    roots = [each.group.root for each in found]
    if name in roots:
        return roots.index(name)
    places = [place for place, group in enumerate(groups) if name in group.layers]
    if len(places) == 1:
        return places[0]
    if places:
        own = ", ".join(f"`{roots[place]}`" for place in places)
        raise InputError(f"widths: `{name}` has channels of several groups; ask for one of {own}")
    known = [*roots, *(layer for group in groups for layer in group.layers)]
    hint = did_you_mean(name, known, "the command groups lists them")
    raise InputError(
        f"widths: no group and no layer that makes channels is called {name!r}; {hint}"
    )


def _of_group(each: Expected, group: Group, name: str, width: int) -> int:
    """How many channels of the group are kept for this width of a layer."""
    own = [member for member in group.members if member.layer == name and member.axis == "out"]
    times, rest = (
        divmod(own[0].width, each.group.width) if own and name != each.group.root else (1, 0)
    )
    if rest or (own and len(set().union(*own[0].positions)) < times * each.group.width):
        raise InputError(
            f"widths: `{name}` makes a part of the channels of a group; ask for `{each.group.root}`"
        )
    whole = each.group.width * times
    if width > whole:
        raise InputError(f"widths: `{name}` has {whole} channels, and {width} are to be left of it")
    if width < whole and (each.group.ignored or not group.together):
        why = group.held or "it is excluded"
        raise InputError(f"widths: `{name}` keeps all of its {whole} channels: {why}")
    can_have = [left * times for left in _left_by_sets(group)]
    if width not in can_have:
        below, above = (
            [n for n in can_have if n < width][-1:],
            [n for n in can_have if n > width][:1],
        )
        raise InputError(
            f"widths: `{name}` cannot have {width} channels; the nearest that it can are "
            f"{' and '.join(map(str, below + above))}"
        )
    return width // times


def _left_by_sets(group: Group) -> list[int]:
    """The possible widths of a group, in order, as sets are removed whole."""
    gone = 1  # bit n is set where n channels may go
    for channels in group.together:
        gone |= gone << len(channels)
    return [n for n in range(1, group.width + 1) if gone >> (group.width - n) & 1]
