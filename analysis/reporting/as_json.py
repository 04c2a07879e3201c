"""The JSON of the commands and of the report (schema 1)."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from analysis.environment import versions
from analysis.records import (
    COLUMNS,
    OWN_PRUNER,
    Audited,
    Comparison,
    CostTable,
    CurvePoint,
    DependencyGroup,
    Group,
    GroupAccount,
    Lint,
    Metric,
    Mismatch,
    Outside,
    PolicyAccount,
    RatioCurve,
    Reach,
    Run,
    Saved,
    Savings,
    ScopeAccount,
    Sizes,
    Study,
    SubjectInfo,
    SubjectStudy,
    Target,
    Verification,
)
from analysis.reporting.tables import at_most, why_excluded
from analysis.reporting.words import at_least

__all__ = ["catalogue", "comparison", "dump", "finite", "groups", "head", "macs", "study", "verify"]

SCHEMA = 1


def dump(data: dict[str, Any]) -> str:
    """The text of a JSON file."""
    return json.dumps(data, indent=1) + "\n"


def head(info: SubjectInfo) -> dict[str, Any]:
    """What every file begins with."""
    return {"schema": SCHEMA, "versions": versions(), "subject": _subject(info)}


def _subject(info: SubjectInfo) -> dict[str, Any]:
    size = None if info.input_size is None else list(info.input_size)
    found = {"name": info.name, "input_size": size, "weights": info.weights, "seed": info.seed}
    return found | ({"outputs": list(info.outputs)} if info.outputs else {})


def verify(info: SubjectInfo, runs: Iterable[Run]) -> dict[str, Any]:
    """What ``verify --json`` prints."""
    return {**head(info), "runs": [{**_run(run), **_made(run)} for run in runs]}


def _made(run: Run) -> dict[str, Any]:
    """What the report leaves out: the map of a pruning, which is long, and its latency.

    The map has the dense index of each kept channel by layer, and the attributes that were set.
    """
    kept = {
        layer: {axis: list(channels) for axis, channels in axes.items()}
        for layer, axes in run.verification.kept.items()
    }
    numbers = [
        {"module": each.module, "name": each.name, "before": each.before, "after": each.after}
        for each in run.verification.attributes
    ]
    timed = {} if run.latency is None else {"latency": run.latency.as_data()}
    return {"kept": kept, "attributes": numbers, **timed}


def _run(run: Run) -> dict[str, Any]:
    verification, config = run.verification, run.config
    return {
        "ratio": config.ratio,
        "scope": config.scope,
        "importance": None if config.policy == OWN_PRUNER else config.importance,
        "ignore": config.policy,
        "round_to": config.round_to,
        "max_pruning_ratio": config.max_pruning_ratio,
        **({"widths": dict(config.widths)} if config.widths else {}),
        **({"targets": _targets(config.targets)} if config.targets else {}),
        **{name: True for name in ("sought", "fold_bn") if getattr(config, name)},
        "verdict": verification.verdict.value,
        "reason": verification.reason,
        "max_rel_error": finite(verification.max_rel_error),
        "structure": verification.structure,
        "unexercised": list(verification.unexercised),
        "first_divergence": verification.first_divergence,
        "channels": {
            "prunable": run.channels.prunable,
            "requested": run.channels.requested,
            "removed": run.channels.removed,
        },
        "groups": _groups(verification.groups),
        **({"heads": [asdict(each) for each in verification.heads]} if verification.heads else {}),
        **({"unmet_heads": verification.unmet_heads} if verification.unmet_heads else {}),
        **({"unmet": list(verification.unmet)} if verification.unmet else {}),
        **({"unseen": list(verification.unseen)} if verification.unseen else {}),
        "requested_unknown": verification.requested_unknown,
        "scopes": [_scope(scope) for scope in run.scopes],
        "params": _sizes(run.params) | {"requested": run.params.requested},
        "macs": _sizes(run.macs) | {"requested": run.macs.requested},
        "bytes": _sizes(run.bytes_),
        **({"metrics": [_metric(each) for each in run.metrics]} if run.metrics else {}),
        "checks": [
            {
                "name": check.name,
                "passed": check.passed,
                "message": check.message,
                "skipped": check.skipped,
            }
            for check in run.checks
        ],
    }


def _metric(metric: Metric) -> dict[str, Any]:
    values = {name: finite(getattr(metric, name)) for name in ("dense", "pruned", "finetuned")}
    return {"name": metric.name, **values, "lower_is_better": metric.lower_is_better}


def _targets(targets: Iterable[Target]) -> dict[str, float]:
    return {target.quantity: target.limit for target in targets}


def comparison(info: SubjectInfo, pruned: str, found: Comparison) -> dict[str, Any]:
    """What ``compare --json`` prints."""
    proof = found.verification
    return {
        **head(info),
        "pruned": pruned,
        "verdict": found.verdict,
        "reason": found.reason,
        "max_rel_error": finite(proof.max_rel_error),
        "first_divergence": proof.first_divergence,
        "structure": proof.structure,
        "kept": found.kept,
        "inferred": [{**asdict(each), "margin": finite(each.margin)} for each in found.inferred],
        "moved": dict(found.moved),
        "ambiguous": list(found.ambiguous),
        "untied": [asdict(each) for each in found.untied],
        "merged": dict(found.merged),
    }


def catalogue(found: Iterable[tuple[str, str, str, bool]]) -> dict[str, Any]:
    """The checks: name, meaning, what each needs, whether it is about the pruning itself."""
    keys = ("name", "meaning", "needs", "of_pruning")
    return {
        "schema": SCHEMA,
        "versions": versions(),
        "checks": [dict(zip(keys, entry, strict=True)) for entry in found],
    }


def _groups(accounts: Iterable[GroupAccount]) -> list[dict[str, Any]]:
    return [
        {
            "root": group.root,
            "width": group.width,
            "requested": group.requested,
            "removed": group.removed,
            "left": group.left,
            "reason": group.reason.value,
            "scope": group.scope,
            **({"why": group.why} if group.why else {}),
        }
        for group in accounts
    ]


def _scope(scope: ScopeAccount) -> dict[str, Any]:
    """Saved MACs and parameters, in whole numbers: requested and removed."""
    return {
        "name": scope.name,
        "ratio": scope.ratio,
        "groups": scope.groups,
        "channels": asdict(scope.channels),
        "macs": _saved(scope.macs),
        "params": _saved(scope.params),
    }


def _saved(saved: Saved) -> dict[str, int | None]:
    return {name: None if value is None else round(value) for name, value in asdict(saved).items()}


def finite(number: float | None) -> float | None:
    """JSON has no word for infinity."""
    return number if number is not None and isfinite(number) else None


def _sizes(sizes: Sizes) -> dict[str, int | None]:
    return {"before": sizes.before, "after": sizes.after}


def groups(
    info: SubjectInfo,
    policy: str,
    found: Iterable[Group],
    outside: Iterable[Outside] = (),
    audited: Sequence[Audited] | None = None,
    lint: Lint | None = None,
    why: str | None = None,
) -> dict[str, Any]:
    """What ``groups --json`` prints; audit, lint and explanation where they were asked for."""
    rows: list[dict[str, Any]] = [{**asdict(each), "layers": list(each.layers)} for each in found]
    for row, each in zip(rows, audited or (), strict=False):
        row["audit"], row["why"] = each.audit, each.why
        row["misread"] = [asdict(entry) for entry in each.misread]
    checked = {} if lint is None else {"lint": asdict(lint)}
    said = {} if why is None else {"why": why}
    rest = [asdict(each) for each in outside]
    return {**head(info), "ignore": policy, "groups": rows, "outside": rest, **checked, **said}


def _group(group: DependencyGroup) -> dict[str, Any]:
    return {
        "root": group.root,
        "width": group.width,
        "reason": why_excluded(group),
        "untraced": group.untraced,
        "is_output": group.is_output,
        "additions": list(group.additions),
        **({"products": list(group.products)} if group.products else {}),
        "members": [
            {
                "layer": member.layer,
                "kind": member.kind,
                "axis": member.axis,
                "width": member.width,
                "coupling": member.coupling,
                "via": member.via,
            }
            for member in group.members
        ],
    }


def macs(
    info: SubjectInfo,
    dense: CostTable,
    runs: Sequence[Run],
    reach: tuple[Reach, Savings] | None = None,
    curve: RatioCurve | None = None,
    left: CurvePoint | None = None,
    cut: str = "",
) -> dict[str, Any]:
    """What ``macs --json`` prints; ``target``, ``sweep`` and ``widths`` only if they were given."""
    return {
        **head(info),
        "convention": (
            "one multiply-accumulate (MAC) is what fvcore calls a flop"
            if dense.convention == "fvcore"
            else dense.convention
        ),
        "unit": dense.unit,
        "dense": _costs(dense),
        "runs": [
            {
                "ratio": run.config.ratio,
                "scope": run.config.scope,
                "importance": run.config.importance,
                "ignore": run.config.policy,
                "verdict": run.verification.verdict.value,
                **(_costs(run.costs) if run.costs else {"reason": run.verification.reason}),
            }
            for run in runs
        ],
        **({"cut": cut} if reach or curve else {}),
        **({"target": {**_reach(reach[0]), "savings": _savings(reach[1])}} if reach else {}),
        **({"sweep": _sweep(curve)} if curve else {}),
        **({"widths": {"macs": left.macs, "params": left.params}} if left else {}),
    }


def _sweep(curve: RatioCurve) -> list[dict[str, Any]]:
    back = {turn.after.ratio: turn.before.ratio for turn in curve.turns}
    params = curve.more_params
    return [
        {
            **_point(point),
            "leaves_more_than": back.get(point.ratio),
            "leaves_more_params_than": params.get(point.ratio),
            "dropped": _groups(dropped),
        }
        for point, dropped in zip(curve.points, curve.dropped, strict=True)
    ] + [
        {"ratio": ratio, "macs": None, "params": None, "unknown": why}
        for ratio, why in curve.unknown
    ]


def _reach(reach: Reach) -> dict[str, Any]:
    return {
        "of": reach.quantity,
        "share": reach.target,
        "targets": _targets(reach.targets),
        "ratio": reach.ratio,
        "reason": reach.reason,
        "point": _point(reach.point) if reach.point else None,
        "least": _point(reach.least),
        "held_up_by": [asdict(holder) for holder in reach.holders],
        "scaling": reach.scaling and asdict(reach.scaling),
        "unknown": [asdict(each) for each in reach.unknown],
    }


def _point(point: CurvePoint) -> dict[str, Any]:
    """Bytes where they are known."""
    return {name: value for name, value in asdict(point).items() if value is not None}


def _savings(savings: Savings) -> dict[str, Any]:
    return {
        "ratio": savings.point.ratio,
        "groups": [asdict(group) for group in savings.groups],
    }


def _costs(costs: CostTable) -> dict[str, Any]:
    return {
        "macs": costs.macs,
        "params": costs.params,
        "columns": dict(zip(COLUMNS, costs.columns, strict=True)),
        "layers": [
            {
                "layer": row.layer,
                "kind": row.kind,
                "macs": row.macs,
                "params": row.params,
                "operators": dict(row.operators),
                "columns": dict(zip(COLUMNS, row.columns, strict=True)),
                "output_shape": list(row.shape),
                "calls": row.calls,
            }
            for row in costs.layers
        ],
        "uncounted": dict(costs.uncounted),
        "uncalled": list(costs.uncalled),
    }


def study(content: Study) -> dict[str, Any]:
    """What ``results.json`` holds; ``results.schema.json`` says what each field means.

    Errors at rounding level differ between processors, so they are written as bounds; curves are
    rounded to a thousandth for the same reason.
    """
    return {
        "schema": SCHEMA,
        "versions": dict(content.versions),
        "command": content.command,
        "subjects": [_subject_study(subject) for subject in content.subjects],
        "faults": [
            {
                "subject": fault.subject,
                "kind": fault.kind,
                "of_weights": fault.of_weights,
                "planted": fault.planted,
                "seen_by_forward_and_shape": fault.seen_by_shape,
                "changed_the_function": fault.changed,
                "seen_by_proof": fault.seen_by_proof,
                "located": fault.located,
            }
            for fault in content.faults
        ],
    }


def _subject_study(subject: SubjectStudy) -> dict[str, Any]:
    return {
        "subject": _subject(subject.info),
        "headline": dict(zip(("ignore", "scope"), subject.headline, strict=True)),
        "groups": [_group(group) for group in subject.groups],
        **({"outside": [asdict(each) for each in subject.outside]} if subject.outside else {}),
        "ignored_layers": {policy: list(layers) for policy, layers in subject.ignored},
        "dense": _costs(subject.costs),
        "runs": [_bounded(run) for run in subject.runs],
        **({"cured": [_bounded(run) for run in subject.cured]} if subject.cured else {}),
        "layers_after": [
            {"ratio": run.config.ratio, **_costs(run.costs)}
            for run in subject.headline_runs
            if run.costs
        ],
        "residual_mismatch": [_mismatch(found) for found in subject.residual],
        "depthwise_mismatch": [_mismatch(found) for found in subject.depthwise],
        "costs": [_account(entry) for entry in subject.accounts],
        "ranking": [
            {
                "root": entry.root,
                "width": entry.width,
                "spearman": round(entry.correlation, 2),
                "same_channels": {f"{ratio:g}": round(same, 2) for ratio, same in entry.same},
            }
            for entry in subject.ranking
        ],
    }


def _account(entry: PolicyAccount) -> dict[str, Any]:
    """Rounded, so that two channels of nearly equal rank do not move a digit."""
    dense = {"macs": entry.curve.dense_macs, "params": entry.curve.dense_params}
    found: dict[str, Any] = {
        "ignore": entry.policy,
        "scope": entry.scope,
        "points": [_left(point, entry.curve) for point in entry.curve.points],
    }
    if entry.macs_scaling and entry.params_scaling and entry.reach and entry.savings:
        found |= {
            "scaling": {
                name: {term: round(value / dense[name], 4) for term, value in asdict(form).items()}
                for name, form in (("macs", entry.macs_scaling), ("params", entry.params_scaling))
            },
            "target": {
                "share": entry.reach.target,
                "ratio": None if entry.reach.ratio is None else at_least(entry.reach.ratio),
                "least": _left(entry.reach.least, entry.curve),
            },
            "savings": {
                "ratio": entry.savings.point.ratio,
                "groups": {
                    group.root: {
                        "removed": group.removed,
                        "macs": round(group.macs / dense["macs"], 4),
                        "params": round(group.params / dense["params"], 4),
                    }
                    for group in entry.savings.groups
                },
            },
        }
    return found


def _left(point: CurvePoint, curve: RatioCurve) -> dict[str, float]:
    return {
        "ratio": round(point.ratio, 3),
        "macs_left": round(point.macs / curve.dense_macs, 3),
        "params_left": round(point.params / curve.dense_params, 3),
    }


def _bounded(run: Run) -> dict[str, Any]:
    entry = _run(run)
    entry["max_rel_error"] = _bound(run.verification)
    if all(scope.groups == 1 for scope in run.scopes):
        del entry["scopes"]  # they are the groups
    return entry


def _mismatch(found: Mismatch) -> dict[str, Any]:
    return {
        "block": found.block,
        "cut_alone": list(found.layers),
        "channels": found.channels,
        "raised_in": found.raised_in,
        "function": found.function,
        "shapes": [list(shape) for shape in found.shapes],
        "error": found.error,
        "group_verdict": found.group.verdict.value,
        "group_max_rel_error": _bound(found.group),
    }


def _bound(verification: Verification) -> float | None:
    """The greatest error, or what it is at most where its last digits are rounding."""
    error = finite(verification.max_rel_error)
    return None if error is None else at_most(error) or float(f"{error:.1g}")
