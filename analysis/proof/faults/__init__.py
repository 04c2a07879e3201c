"""Faults that keep every shape, which a check of shapes cannot detect.

Each plants itself in one module of a pruned network, in place.
"""

from analysis.proof.faults.elsewhere import FAULTS_ELSEWHERE
from analysis.proof.faults.of_weights import FAULTS_OF_WEIGHTS
from analysis.proof.faults.sites import Site, calls_of, sites
from analysis.records import Verification

__all__ = ["FAULTS", "FAULTS_OF_WEIGHTS", "Site", "calls_of", "is_named", "sites"]

FAULTS = FAULTS_OF_WEIGHTS | FAULTS_ELSEWHERE
"""Kinds of fault: each takes a site, and says whether it could be planted there."""


def is_named(module: str, answer: Verification) -> bool:
    """Whether an answer names a module, or a tensor of it, as the place of the fault."""
    if answer.first_divergence == module:
        return True
    places = (f"`{module}`", f"`{module}.") if module else ("the model's own forward", "the output")
    return any(name in answer.reason for name in places)
