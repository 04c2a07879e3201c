"""Which layers must be cut together."""

from collections.abc import Sequence

from analysis.records import DependencyGroup, Study, SubjectStudy, ratio_text
from analysis.reporting.coupling import Coupling, excluded_roots
from analysis.reporting.figures.drawing import Legend
from analysis.reporting.figures.graph import fills, graph
from analysis.reporting.section import Absent, Block, Section, gist_of
from analysis.reporting.tables import Table, count, share
from analysis.reporting.words import first, listed

__all__ = ["section"]

_TITLE = "Which layers must be cut together"


def section(study: Study, couplings: Sequence[Coupling]) -> Section | Absent:
    """The dependency graph of each network."""
    blocks = [
        _block(subject, coupling)
        for subject, coupling in zip(study.subjects, couplings, strict=True)
        if subject.groups
    ]
    if not blocks:
        return Absent(_TITLE, "DepGraph could trace none of the networks")
    return Section(
        "groups",
        _TITLE,
        (
            "A channel is in several layers: the layer that makes it, the norm that scales it, "
            "and every layer that reads it. One cut must remove it from all of them. DepGraph "
            "(Fang et al., 2023) finds these dependency groups by tracing the network. An "
            "addition joins all of its operands, so a whole stage of residual blocks shares one "
            "group.",
        ),
        blocks=tuple(blocks),
        tests=("tests/case_study/test_dependency_groups.py", "tests/unit/groups/test_depgraph.py"),
        gist=gist_of((subject.info.name, _counted(subject)) for subject in study.subjects),
    )


def _block(subject: SubjectStudy, coupling: Coupling) -> Block:
    joined = [group for group in subject.groups if group.additions]
    skips = sum(len(group.additions) for group in joined)
    sentences = []
    if joined:
        widest = max(joined, key=lambda group: len(group.layers))
        sentences.append(
            f"{skips} additions join {len(joined)} of the groups across layers; the largest, "
            f"`{widest.root}`, couples {len(widest.layers)} layers by their output."
        )
    inside = [group for group in joined if _is_depthwise(group)]
    if joined and not inside and any(map(_is_depthwise, subject.groups)):
        sentences.append(
            "Expansion channels, which a depthwise convolution filters, are in none of the joined "
            "groups. They can be cut without changing a skip connection."
        )
    if subject.outside:
        outside = [f"`{each.layer}` ({each.kind}: {each.why})" for each in subject.outside]
        sentences.append(f"Layers in none of them are never cut: {listed(outside)}.")
    table = _group_table(subject, coupling)
    picture = graph(subject, coupling, _legend(subject, coupling), table.anchor)
    return Block(
        subject.info.name, tuple(sentences), (picture,), (table, _member_table(subject, coupling))
    )


def _counted(subject: SubjectStudy) -> str:
    additions = sum(len(group.additions) for group in subject.groups)
    products = sum(len(group.products) for group in subject.groups)
    parts = [
        f"{number} {what}{'' if number == 1 else 's'}"
        for number, what in (
            (len(subject.groups), "group"), (additions, "addition"), (products, "product"),
        )
        if number
    ]  # fmt: skip
    return ", ".join(parts)


def _is_depthwise(group: DependencyGroup) -> bool:
    return any(member.kind.startswith("depthwise") for member in group.members)


def _legend(subject: SubjectStudy, coupling: Coupling) -> tuple[Legend, ...]:
    colours = fills(subject, coupling)
    return tuple(
        Legend(
            coupling.keys[group.root],
            number,
            colours[group.root],
            group.root,
            _described(subject, group),
        )
        for number, group in enumerate(subject.groups, 1)
        if group.root in colours
    )


_NAMED = 6
"""Layers that are named where a group is described."""


def _described(subject: SubjectStudy, group: DependencyGroup) -> str:
    """The description of a highlighted group: its layers and their share of the MACs."""
    names = list(dict.fromkeys(member.layer for member in group.members))
    macs = _macs(subject, group)
    cost = "" if macs is None else f" They do {macs} of the MACs."
    accounts = [
        f" At {ratio_text(run.config.ratio)} it lost {found.removed} ({found.reason})."
        for run in subject.headline_runs[-1:]
        for found in run.verification.groups
        if found.root == group.root
    ]
    return (
        f"{group.root}: {group.width} channels in {len(names)} layers: "
        f"{first(names, _NAMED)}.{cost}{''.join(accounts)}"
    )


def _macs(subject: SubjectStudy, group: DependencyGroup) -> str | None:
    """The share of the MACs in the layers of a group, which overlap with other groups'."""
    if not subject.costs.layers:
        return None
    rows = subject.costs.by_layer()
    layers = {member.layer for member in group.members} & rows.keys()
    return share(sum(rows[layer].macs for layer in layers) / (subject.costs.macs or 1))


def _group_table(subject: SubjectStudy, coupling: Coupling) -> Table:
    runs = [run for run in subject.headline_runs if run.verification.groups]
    excluded = excluded_roots(runs[-1]) if runs else None
    return Table(
        f"{subject.info.name}: dependency groups",
        (
            "number",
            "root",
            "width",
            "layers cut on their output",
            "layers cut on their input",
            "MACs of its layers",
            "joined by additions in",
            "joined by products in",
            f"under {subject.headline[0]}",
        ),
        tuple(
            (
                str(number),
                group.root,
                count(group.width),
                str(sum(member.axis == "out" for member in group.members)),
                str(sum(member.axis == "in" for member in group.members)),
                _macs(subject, group) or "-",
                listed(group.additions) or "-",
                listed(group.products) or "-",
                "-" if excluded is None else "excluded" if group.root in excluded else "prunable",
            )
            for number, group in enumerate(subject.groups, 1)
        ),
        keys=tuple(coupling.keys[group.root] for group in subject.groups),
    )


def _member_table(subject: SubjectStudy, coupling: Coupling) -> Table:
    members = [(group, member) for group in subject.groups for member in group.members]
    return Table(
        f"{subject.info.name}: members of each group, and why they belong to it",
        ("group", "layer", "kind", "axis", "width", "coupled by"),
        tuple(
            (
                group.root,
                member.layer,
                f"pointwise {member.kind}" if member.pointwise else member.kind,
                member.axis,
                str(member.width),
                f"{member.coupling} in {member.via}" if member.via else member.coupling,
            )
            for group, member in members
        ),
        wide=True,
        keys=tuple(coupling.keys[group.root] for group, _ in members),
    )
