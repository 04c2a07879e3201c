"""The groups as a graph for Graphviz: layers make the channels of groups and read them."""

from collections.abc import Sequence

from analysis.errors import several
from analysis.records import Group

__all__ = ["of_groups"]


def of_groups(found: Sequence[Group]) -> str:
    """A directed graph: a box for each layer, an ellipse for each group, in the order of both."""
    layers = dict.fromkeys(member.layer for group in found for member in group.members)
    lines = [
        "digraph groups {",
        "  rankdir=LR;",
        "  node [fontname=monospace];",
        *(f"  {_quoted(layer)} [shape=box];" for layer in layers),
    ]
    for place, group in enumerate(found):
        label = f"{several(group.width, 'channel')}\\n{group.held or group.together_in_words}"
        style = ", style=dashed" if group.held or group.ignored else ""
        lines.append(f'  g{place} [shape=ellipse, label="{_escaped(label)}"{style}];')
        for axis, arrow in (("out", "{layer} -> {group}"), ("in", "{group} -> {layer}")):
            for layer in dict.fromkeys(m.layer for m in group.members if m.axis == axis):
                lines.append(f"  {arrow.format(layer=_quoted(layer), group=f'g{place}')};")
    return "\n".join([*lines, "}", ""])


def _quoted(name: str) -> str:
    return f'"{_escaped(name)}"'


def _escaped(name: str) -> str:
    return name.replace('"', '\\"')
