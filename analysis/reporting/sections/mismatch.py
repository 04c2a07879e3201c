"""What a cut of one layer alone breaks."""

from analysis.records import Mismatch, Study, SubjectStudy, Verdict
from analysis.reporting.section import Absent, Block, Section, gist_of
from analysis.reporting.tables import Table, bound

__all__ = ["section"]

_TITLE = "What a naive cut breaks"


def section(study: Study) -> Section | Absent:
    """The mismatch at every skip connection and depthwise convolution, reproduced."""
    blocks = [
        _block(subject) for subject in study.subjects if subject.residual or subject.depthwise
    ]
    if not blocks:
        return Absent(_TITLE, "no skip connection or depthwise convolution was cut alone")
    return Section(
        "mismatch",
        _TITLE,
        (
            "Cutting one layer without its group breaks the network. Here half of the channels of "
            "each residual block's projection, and of its batch norm, are cut alone: the addition "
            "raises, because its operands have different widths. A depthwise convolution that is "
            "cut without its expansion raises on its input. For comparison, DepGraph's group for "
            "the same layer and channels is cut and proved.",
        ),
        blocks=tuple(blocks),
        tests=("tests/case_study/test_residual_mismatch.py",),
        gist=gist_of((subject.info.name, _raised(subject)) for subject in study.subjects),
    )


def _block(subject: SubjectStudy) -> Block:
    sentences: list[str] = []
    tables: list[Table] = []
    for found, what, layer in (
        (subject.residual, "skip connections", "projection"),
        (subject.depthwise, "depthwise convolutions", "depthwise convolution"),
    ):
        if not found:
            continue
        raised = sum(bool(entry.error) for entry in found)
        proved = sum(entry.group.verdict is Verdict.EXACT for entry in found)
        sentences.append(
            f"{raised} of {len(found)} {what} raise when cut alone; {proved} of {len(found)} are "
            "exact when their group is cut."
        )
        tables.append(_table(f"{subject.info.name}: {layer} cut alone", found, wide=bool(tables)))
    first = next((entry for entry in (*subject.residual, *subject.depthwise) if entry.error), None)
    if first:
        sentences.append(
            f"In `{first.block}`, with {first.channels} channels of `{first.layers[0]}` cut: "
            f"`{first.function}` of {' and '.join(_shapes(first))} raises “{first.error}”."
        )
    return Block(subject.info.name, tuple(sentences), tables=tuple(tables))


def _raised(subject: SubjectStudy) -> str:
    found = (*subject.residual, *subject.depthwise)
    raised = sum(bool(entry.error) for entry in found)
    return f"{raised} of {len(found)} layers raise when cut alone" if found else ""


def _shapes(entry: Mismatch) -> list[str]:
    return ["x".join(map(str, shape)) for shape in entry.shapes]


def _table(caption: str, found: tuple[Mismatch, ...], *, wide: bool) -> Table:
    return Table(
        caption,
        (
            "block",
            "cut alone",
            "channels",
            "raised in",
            "operation",
            "shapes",
            "error",
            "its group",
        ),
        tuple(
            (
                entry.block,
                entry.layers[0],
                str(entry.channels),
                entry.raised_in,
                entry.function,
                " and ".join(_shapes(entry)),
                entry.error,
                f"{entry.group.verdict} ({bound(entry.group)})",
            )
            for entry in found
        ),
        wide=wide,
    )
