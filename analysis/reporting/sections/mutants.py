"""Whether the proof is able to fail."""

from collections.abc import Iterable

from analysis.records import FaultCount, Study
from analysis.reporting.figures.mutants import mutants
from analysis.reporting.section import Absent, Section
from analysis.reporting.tables import Table
from analysis.reporting.words import listed

__all__ = ["section"]

_TITLE = "Could the proof fail?"
_COUNTS = ("planted", "seen_by_shape", "changed", "seen_by_proof", "located")


_HEADERS = ("planted", "seen by shape", "change the function", "seen by the proof", "named")


def _others(count: int) -> str:
    if not count:
        return "."
    return (
        f"; the other {count} act on a dead channel or a bound that the random inputs do not "
        "reach, and only show in the weights and operators, which must be the "
        "original ones."
    )


def _counted(found: Iterable[FaultCount]) -> tuple[int, ...]:
    found = list(found)
    return tuple(sum(getattr(fault, count) for fault in found) for count in _COUNTS)


def _rows(groups: Iterable[tuple[str, Iterable[FaultCount]]]) -> tuple[tuple[str, ...], ...]:
    return tuple((name, *map(str, _counted(found))) for name, found in groups)


def section(study: Study) -> Section | Absent:
    """Faults planted in pruned networks, and what detects them."""
    found = [fault for fault in study.faults if fault.planted]
    if not found:
        return Absent(_TITLE, "no fault was planted, because no network is pruned rightly by half")
    names = listed([f"`{name}`" for name in dict.fromkeys(fault.subject for fault in found)])
    planted, shape, changed, proof, located = _counted(found)
    both = Table(
        "faults planted in weights and elsewhere",
        ("faults", *_HEADERS),
        _rows(
            (name, [fault for fault in found if fault.of_weights is of_weights])
            for name, of_weights in (("weights", True), ("not weights", False))
        ),
    )
    table = Table(
        "faults planted, one at a time",
        ("fault", *_HEADERS),
        _rows(
            (kind, [fault for fault in found if fault.kind == kind])
            for kind in dict.fromkeys(fault.kind for fault in found)
        ),
    )
    return Section(
        "mutants",
        _TITLE,
        (
            "A proof that cannot fail proves nothing. So networks are pruned by half, rightly, "
            "and then one fault at a time is planted that keeps every shape. Faults in weights "
            "are those of pruning scripts: swapped channels, the wrong slice, statistics that "
            "were not cut. Others change a slope or stride, an activation, a flag, a table or a "
            "hook.",
            f"Of {planted} faults in {names}, the output's shape shows {shape}. The proof detects "
            f"{proof}, and names the right module {located} times. {changed} change an output of "
            "a layer or of the network" + _others(planted - changed),
        ),
        (mutants(found, table.anchor),),
        (both, table),
        gist=f"of {planted} planted faults the output's shape shows {shape}, the proof {proof}",
        tests=("tests/case_study/test_safe_pruning.py", "tests/unit/proof/test_faults.py"),
    )
