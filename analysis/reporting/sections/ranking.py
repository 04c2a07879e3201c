"""What L1 ranks by."""

from analysis.records import Study, SubjectStudy, ratio_text
from analysis.reporting.section import Absent, Block, Section, gist_of
from analysis.reporting.tables import Table

__all__ = ["section"]

_TITLE = "What L1 ranks by"


def section(study: Study) -> Section | Absent:
    """torch-pruning's importance compared with the plain filter norm."""
    blocks = [_block(subject) for subject in study.subjects if subject.ranking]
    if not blocks:
        return Absent(_TITLE, "the importances were not compared")
    return Section(
        "ranking",
        _TITLE,
        (
            "torch-pruning's L1 importance is more than the filter norm. It sums |w| for every "
            "coupled layer: filters, the weights that read the channel, and |gamma| of batch "
            "norms, but not depthwise filters. It averages over the layers and divides by the "
            "group's mean, so that groups of different scale can be ranked together. The column "
            "`same` is the share of the lowest-ranked channels that the plain filter norm of the "
            "producing layers ranks lowest as well.",
        ),
        blocks=tuple(blocks),
        tests=("tests/case_study/test_l1_importance.py", "tests/unit/pruning/test_importances.py"),
        checks=("removed_as_ranked",),
        gist=gist_of((subject.info.name, _spread(subject)) for subject in study.subjects),
    )


def _spread(subject: SubjectStudy) -> str:
    found = [entry.correlation for entry in subject.ranking]
    if not found:
        return ""
    return f"rank correlation with the filter norm from {min(found):.2f} to {max(found):.2f}"


def _block(subject: SubjectStudy) -> Block:
    table = Table(
        f"{subject.info.name}: importance against the plain filter norm",
        (
            "group",
            "width",
            "Spearman",
            *(f"same at {ratio_text(ratio)}" for ratio, _ in subject.ranking[0].same),
        ),
        tuple(
            (
                entry.root,
                str(entry.width),
                f"{entry.correlation:.2f}",
                *(f"{same:.2f}" for _, same in entry.same),
            )
            for entry in subject.ranking
        ),
        wide=True,
    )
    return Block(subject.info.name, tables=(table,))
