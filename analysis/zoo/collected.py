"""The two collections: what is measured of each network, and what its record holds."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from analysis.grid.records import End, How
from analysis.records import SCOPES, NetworkPruned, Verdict
from analysis.zoo.networks import NETWORKS, PACKAGES, PackagedNetwork
from analysis.zoo.running import Gathered, Part, Record
from analysis.zoo.subjects import SUBJECTS, ZooSubject

__all__ = ["OTHERS", "TORCHVISION"]

_PLAIN_SECONDS = 60.0
"""For a model without its recipe: group building that ends at all ends sooner."""

_AUDITS = 4
"""As many cuts as may use up the time of an audit; DepGraph's reading of the network is one."""


def _of_torchvision(subject: ZooSubject, budget: float) -> dict[str, Part]:
    """A model of torchvision, the same without its recipe where it has one, and by its groups."""
    told = {"told": Part("prove", (True,), budget)}
    if subject.recipe is not None:
        told["untold"] = Part("prove", (False,), min(budget, _PLAIN_SECONDS))
    return told | _by_groups(budget)


def _by_groups(budget: float) -> dict[str, Part]:
    """The same network cut by its groups, by scope."""
    return {scope: Part("by_groups", (scope,), budget) for scope in SCOPES}


def _proved(name: str, subject: ZooSubject, ends: Mapping[str, End]) -> Record:
    record = _answer(name, subject, ends["told"])
    if "untold" in ends:
        plain = _answer(name, subject, ends["untold"])
        record["untold"] = {key: plain[key] for key in ("verdict", "reason")}
    record["by_groups"] = {scope: _pruned(ends[scope]) for scope in SCOPES}
    return record


def _answer(name: str, subject: ZooSubject, end: End) -> Record:
    if end.how is None:
        return dict(end.answer)
    return {
        "name": name,
        "task": subject.task,
        "sizes": subject.sizes,
        "told": subject.recipe.summary if subject.recipe else "",
        "verdict": (Verdict.TIMEOUT if end.how is How.TIME else Verdict.BROKEN).value,
        "reason": end.why,
        "max_rel_error": None,
        "removed": None,
        "params_before": None,
        "params_after": None,
        "seconds": end.limit if end.how is How.TIME else None,
    }


def _pruned(end: End) -> Record:
    """The verdict on a cut, which may be that it took too long."""
    if end.how is How.TIME:
        return asdict(NetworkPruned(Verdict.TIMEOUT, end.why))
    return _answered(end)


def _answered(end: End) -> Record:
    return dict(end.answer) if end.how is None else {"unanswered": end.why}


def _unproved(record: Record) -> dict[str, str]:
    answers = {"verdict": record, "untold": record.get("untold")}
    return {
        place: answer["verdict"]
        for place, answer in answers.items()
        if answer and not Verdict(answer["verdict"]).is_equal
    } | _not_by_groups(record)


def _not_by_groups(record: Record) -> dict[str, str]:
    """Scopes in which a cut by the groups does not pass."""
    found = {
        f"by groups, {scope}": answer.get("verdict", _UNANSWERED)
        for scope, answer in record.get("by_groups", {}).items()
    }
    return {
        place: verdict
        for place, verdict in found.items()
        if verdict == _UNANSWERED or not Verdict(verdict).passes
    }


def _line(record: Record) -> str:
    error = record["max_rel_error"]
    shown = "" if error is None else f" {error:.0e}"
    return (
        f"{record['name']}: {record['verdict']}{shown} in {record['seconds']} s {record['reason']}"
        f"; {_told_by_groups(record)}"
    )


def _told_by_groups(record: Record) -> str:
    answers = record.get("by_groups", {}).items()
    words = (f"{scope} {each.get('verdict') or each['unanswered']}" for scope, each in answers)
    return f"by its groups: {', '.join(words)}"


TORCHVISION = Gathered(
    name="zoo",
    subjects=SUBJECTS,
    module="analysis.zoo.proving",
    parts=_of_torchvision,
    record=_proved,
    sorted_by="task",
    failures=_unproved,
    line=_line,
    known=Path(__file__).with_name("expected_failures.json"),
    heavy=frozenset({"vit_h_14", "regnet_y_128gf"}),
)
"""Failures: of the ``verdict``, of ``untold`` (without its recipe), and ``by groups``."""


def _of_packages(subject: PackagedNetwork, budget: float) -> dict[str, Part]:
    """What is asked of a network of another package, each part under the budget by itself."""
    return {
        "groups": Part("groups", (), budget),
        "audit": Part("audit", (budget / _AUDITS,), budget),
        "costs": Part("costs", (), budget),
        "pruned": Part("pruned", (), budget),
        **_by_groups(budget),
    }


def _examined(name: str, subject: PackagedNetwork, ends: Mapping[str, End]) -> Record:
    return {
        "name": name,
        "package": subject.package,
        **{part: _answered(ends[part]) for part in _PARTS},
        "pruned": _pruned(ends["pruned"]),
        "by_groups": {scope: _pruned(ends[scope]) for scope in SCOPES},
    }


def _unanswered(record: Record) -> dict[str, str]:
    """Parts without an answer, and a verdict that does not say equal."""
    found = {part: _UNANSWERED for part in _PARTS if "unanswered" in record[part]}
    verdict = record["pruned"].get("verdict", _UNANSWERED)
    passes = verdict != _UNANSWERED and Verdict(verdict).is_equal
    found |= _not_by_groups(record)
    return found if passes else {**found, "verdict": verdict}


_UNANSWERED = "unanswered"
_PARTS = ("groups", "audit", "costs")


def _parts_line(record: Record) -> str:
    groups, audit, costs, pruned = (record[part] for part in (*_PARTS, "pruned"))
    parts = {
        "groups": lambda: f"{groups['prunable']} of {groups['groups']} groups prunable",
        "audit": lambda: ", ".join(f"{n} {what}" for what, n in audit["counts"].items()),
        "costs": lambda: costs["reason"] or f"{costs['macs_left']:,} of {costs['macs']:,} MACs",
    }
    words = [record[part].get("unanswered") or parts[part]() for part in _PARTS]
    reason = pruned.get("reason", pruned.get("unanswered"))
    verdict = f"{pruned.get('verdict', 'no verdict')} {reason}".rstrip()
    return f"{record['name']}: {'; '.join([*words, verdict, _told_by_groups(record)])}"


OTHERS = Gathered(
    name="networks",
    subjects=NETWORKS,
    module="analysis.zoo.examining",
    parts=_of_packages,
    record=_examined,
    sorted_by="package",
    failures=_unanswered,
    line=_parts_line,
    known=Path(__file__).with_name("expected_failures_of_networks.json"),
    packages=PACKAGES,
    extra="networks",
)
"""What does not pass: ``verdict`` as the proof says, any other part if it is ``unanswered``."""
