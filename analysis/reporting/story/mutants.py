"""Whether the proof is able to fail."""

from analysis.records import Study
from analysis.reporting.figures.mutants import mutants
from analysis.reporting.section import Absent, Section
from analysis.reporting.tables import Table
from analysis.reporting.words import listed

__all__ = ["section"]

_TITLE = "Could the proof fail?"
_COUNTS = ("planted", "seen_by_shape", "changed", "seen_by_proof", "located")


def _others(count: int) -> str:
    if not count:
        return "."
    return (
        f"; the other {count} meet a channel that is dead on the inputs drawn, and can show in the "
        "weights alone, which must be the original ones."
    )


def section(study: Study) -> Section | Absent:
    """Faults planted in pruned networks, and what sees them."""
    found = [fault for fault in study.faults if fault.planted]
    if not found:
        return Absent(
            _TITLE, "no fault was planted, for want of a network that is pruned rightly by half"
        )
    names = listed([f"`{name}`" for name in dict.fromkeys(fault.subject for fault in found)])
    planted, shape, changed, proof, located = (
        sum(getattr(fault, count) for fault in found) for count in _COUNTS
    )
    table = Table(
        "faults planted, one at a time",
        ("fault", "planted", "seen by shape", "change the function", "seen by the proof", "named"),
        tuple(
            (
                kind,
                *(
                    str(sum(getattr(f, count) for f in found if f.kind == kind))
                    for count in _COUNTS
                ),
            )
            for kind in dict.fromkeys(fault.kind for fault in found)
        ),
    )
    return Section(
        "mutants",
        _TITLE,
        (
            "A proof that cannot fail proves nothing. So networks are pruned by half, rightly, and "
            "then damaged the way pruning scripts damage them, one place at a time, keeping every "
            "shape: channels swapped, the wrong slice kept, statistics left behind.",
            f"{planted} faults in {names}: running the network and looking at the shape of its "
            f"output noticed {shape}, the proof {proof}, and it named the very layer {located} "
            f"times. {changed} change what a layer or the network puts out"
            + _others(planted - changed),
        ),
        (mutants(found, table.anchor),),
        (table,),
        tests=("tests/case_study/test_safe_pruning.py", "tests/unit/proof/test_faults.py"),
    )
