"""The two collections: what is measured of each network, and what its record holds."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis.errors import AnalysisError, BudgetExceededError, WorkerError
from analysis.processes.workers import Worker
from analysis.records import SCOPES, NetworkPruned, Verdict
from analysis.zoo.networks import NETWORKS, PACKAGES, PackagedNetwork
from analysis.zoo.running import Gathered, Record
from analysis.zoo.subjects import SUBJECTS, ZooSubject

__all__ = ["OTHERS", "TORCHVISION"]

_PLAIN_SECONDS = 60.0
"""For a model without its recipe: group building that ends at all ends sooner."""

_AUDITS = 4
"""As many cuts as may use up the time of an audit; DepGraph's reading of the network is one."""


def _proved(worker: Worker, name: str, subject: ZooSubject, budget: float) -> Record:
    """A model of torchvision, and the same without its recipe where it has one."""
    record = _answer(worker, name, subject, budget, with_recipe=True)
    if subject.recipe is not None:
        plain = _answer(worker, name, subject, min(budget, _PLAIN_SECONDS), with_recipe=False)
        record["untold"] = {key: plain[key] for key in ("verdict", "reason")}
    record["by_groups"] = _by_groups(worker, name, budget)
    return record


def _by_groups(worker: Worker, name: str, budget: float) -> Record:
    """The same network cut by its groups, by scope."""
    return {scope: _part(worker, "by_groups", name, scope, budget=budget) for scope in SCOPES}


def _answer(
    worker: Worker, name: str, subject: ZooSubject, budget: float, *, with_recipe: bool
) -> Record:
    try:
        return asdict(worker.call("prove", name, with_recipe, budget=budget))
    except BudgetExceededError as error:
        return _failed(name, subject, Verdict.TIMEOUT, error.reason, budget)
    except WorkerError as error:
        return _failed(name, subject, Verdict.BROKEN, str(error), None)


def _failed(
    name: str, subject: ZooSubject, verdict: Verdict, reason: str, seconds: float | None
) -> Record:
    return {
        "name": name,
        "task": subject.task,
        "sizes": subject.sizes,
        "told": subject.recipe.summary if subject.recipe else "",
        "verdict": verdict.value,
        "reason": reason,
        "max_rel_error": None,
        "removed": None,
        "params_before": None,
        "params_after": None,
        "seconds": seconds,
    }


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
    look=_proved,
    sorted_by="task",
    failures=_unproved,
    line=_line,
    known=Path(__file__).with_name("expected_failures.json"),
    heavy=frozenset({"vit_h_14", "regnet_y_128gf"}),
)
"""Failures: of the ``verdict``, of ``untold`` (without its recipe), and ``by groups``."""


def _examined(worker: Worker, name: str, subject: PackagedNetwork, budget: float) -> Record:
    """A network of another package, each part under the budget by itself."""
    started = time.monotonic()
    parts = {
        "groups": _part(worker, "groups", name, budget=budget),
        "audit": _part(worker, "audit", name, budget / _AUDITS, budget=budget),
        "costs": _part(worker, "costs", name, budget=budget),
        "pruned": _part(worker, "pruned", name, budget=budget),
        "by_groups": _by_groups(worker, name, budget),
    }
    seconds = round(time.monotonic() - started, 1)
    return {"name": name, "package": subject.package, "seconds": seconds, **parts}


def _part(worker: Worker, part: str, *arguments: Any, budget: float) -> Record:
    try:
        return asdict(worker.call(part, *arguments, budget=budget))
    except BudgetExceededError as error:
        if part in ("pruned", "by_groups"):
            return asdict(NetworkPruned(Verdict.TIMEOUT, error.reason))
        return {"unanswered": error.reason}
    except AnalysisError as error:
        return {"unanswered": str(error)}


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
    look=_examined,
    sorted_by="package",
    failures=_unanswered,
    line=_parts_line,
    known=Path(__file__).with_name("expected_failures_of_networks.json"),
    packages=PACKAGES,
    extra="networks",
    store=Path(".zoo/networks"),
)
"""What does not pass: ``verdict`` as the proof says, any other part if it is ``unanswered``."""
