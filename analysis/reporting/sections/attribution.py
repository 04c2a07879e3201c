"""Which groups pay for the saving."""

from collections.abc import Sequence

from analysis.records import PolicyAccount, Study, SubjectStudy, ratio_text
from analysis.reporting.coupling import Coupling
from analysis.reporting.figures.waterfall import waterfall
from analysis.reporting.section import Absent, Block, Section, gist_of
from analysis.reporting.tables import Table, count, share
from analysis.reporting.words import scoped

__all__ = ["section"]

_TITLE = "Attribution of the saving"


def section(study: Study, couplings: Sequence[Coupling]) -> Section | Absent:
    """From all MACs to those left, group by group."""
    found = [
        block
        for subject, coupling in zip(study.subjects, couplings, strict=True)
        if (block := _block(subject, coupling))
    ]
    if not found:
        return Absent(_TITLE, "what each group saves could not be predicted for any network")
    return Section(
        "attribution",
        _TITLE,
        (
            "A layer between two groups becomes cheaper when either is cut. Each group's share of "
            "the saving is its Shapley value (Shapley, 1953): the mean, over all orders of "
            "cutting the groups, of what its cut saves. For this polynomial it is computed "
            "exactly, because a product of two widths is shared by halves. The shares sum to the "
            "whole saving.",
        ),
        blocks=tuple(block for _, block in found),
        tests=("tests/unit/costs/test_cost_model.py",),
        gist=gist_of((block.subject, gist) for gist, block in found),
    )


def _block(subject: SubjectStudy, coupling: Coupling) -> tuple[str, Block] | None:
    """The group that saves most, in a line, and the saving of each group."""
    entry = subject.account(*subject.headline)
    if entry is None or entry.savings is None or not entry.savings.point.ratio:
        return None
    groups = sorted(entry.savings.groups, key=lambda group: -group.macs)
    saved = sum(group.macs for group in groups)
    if saved <= 0:
        return None
    first = groups[0]
    table = _table(subject, coupling, entry)
    gist = f"`{first.root}` saves most: {first.macs / saved:.1%} of the saving"
    return gist, Block(
        subject.info.name,
        drawings=(waterfall(subject, coupling, entry, table.anchor),),
        tables=(table,),
    )


def _table(subject: SubjectStudy, coupling: Coupling, entry: PolicyAccount) -> Table:
    curve, savings = entry.curve, entry.savings
    assert savings is not None
    groups = sorted(savings.groups, key=lambda group: -group.macs)
    return Table(
        f"{subject.info.name}: what each group saves at ratio {ratio_text(savings.point.ratio)} "
        f"under {entry.policy}, {scoped(entry.scope)}",
        (
            "group",
            "channels",
            "removed",
            "MACs saved",
            "of all MACs",
            "parameters saved",
            "of all parameters",
            "MACs of its first channel",
            "parameters of its first channel",
        ),
        tuple(
            (
                group.root,
                count(group.width),
                count(group.removed),
                count(round(group.macs)),
                share(group.macs / curve.dense_macs),
                count(round(group.params)),
                share(group.params / curve.dense_params),
                count(round(group.macs_of_one)),
                count(round(group.params_of_one)),
            )
            for group in groups
        ),
        wide=True,
        keys=tuple(coupling.keys.get(group.root, "") for group in groups),
    )
