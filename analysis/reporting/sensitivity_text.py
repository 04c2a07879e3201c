"""What the command sensitivity prints, and its heat map."""

from typing import Any

from analysis.records import (
    CutAlone,
    GroupSensitivity,
    Sensitivity,
    SubjectInfo,
    Suggestion,
    ratio_text,
)
from analysis.reporting import as_json
from analysis.reporting.tables import as_markdown, share

__all__ = ["as_data", "picture", "sensitivity"]


def sensitivity(found: Sensitivity, command: str, how: dict[str, Any]) -> str:
    """One line a group with its loss at each ratio, why some are not known, and what follows.

    Args:
        found: what was measured.
        command: that makes what is suggested; empty for none.
        how: further arguments of `analysis.prune`, by name.
    """
    (name, value), *_ = found.dense
    lines = [f"what {name} ({value:.4g} dense) loses when one group alone is cut:", _table(found)]
    lines += [f"`{group.name}`: {why}" for group in found.groups for why in _whys(group)]
    if found.suggestion is not None:
        lines += ["", *_suggested(found, found.suggestion, how)]
    return "\n".join([*lines, *filter(None, [command, found.why_not])])


def _table(found: Sensitivity) -> str:
    ratios = [cut.ratio for group in found.groups[:1] for cut in group.cuts]
    rows = [(_called(group), str(group.width), *map(_loss, group.cuts)) for group in found.groups]
    return as_markdown(["group", "channels", *(ratio_text(ratio) for ratio in ratios)], rows)


def _called(group: GroupSensitivity) -> str:
    more = len(group.layers) - 1
    return f"{group.name} and {more} more" if more else group.name


def _loss(cut: CutAlone) -> str:
    """The loss; a cut that was not made, or not measured, has none."""
    if cut.lost is not None:
        return f"{cut.lost:.4g}"
    return "not cut" if cut.is_none else "unknown"


def _whys(group: GroupSensitivity) -> list[str]:
    """Why ratios have no loss, each reason once with its ratios."""
    by_reason: dict[str, list[str]] = {}
    for cut in group.cuts:
        if cut.lost is None:
            by_reason.setdefault(cut.why or "its metric is no finite number", []).append(
                ratio_text(cut.ratio)
            )
    everywhere = len(by_reason) == 1 and all(cut.lost is None for cut in group.cuts)
    return [
        why if everywhere else f"at {', '.join(ratios)}: {why}" for why, ratios in by_reason.items()
    ]


def _suggested(found: Sensitivity, suggestion: Suggestion, how: dict[str, Any]) -> list[str]:
    name = found.dense[0][0]
    lines = [
        f"suggested ({suggestion.method}): {suggestion.macs:,} MACs and {suggestion.params:,} "
        f"parameters are left, and a loss of {suggestion.loss:.4g} of {name} is predicted, the sum "
        "of what the groups lose alone"
    ]
    if found.run is not None:
        lines.append(_proved(found))
    asked = (
        {"ratios_by_layer": dict(suggestion.ratios_by_layer)}
        if suggestion.is_by_layer
        else {"widths": dict(suggestion.widths)}
    )
    words = ", ".join(f"{name}={value!r}" for name, value in {**asked, **how}.items())
    return [*lines, f"analysis.prune(model, inputs, {words})"]


def _proved(found: Sensitivity) -> str:
    run = found.run
    assert run is not None
    verdict = f"pruned: {run.verification.verdict}, {share(run.macs.share)} of the MACs left"
    failed = "".join(f"; fails {check.name}: {check.message}" for check in run.failures)
    if not run.metrics:
        return f"{verdict}{failed or f'; {run.verification.reason}'}"
    return f"{verdict}, {run.metrics[0].lost:.4g} of {run.metrics[0].name} lost{failed}"


def as_data(info: SubjectInfo, found: Sensitivity, command: str) -> dict[str, Any]:
    """What ``sensitivity --json`` prints."""
    suggestion = found.suggestion
    return {
        **as_json.head(info),
        "dense": dict(found.dense),
        "groups": [_group(group) for group in found.groups],
        "suggestion": suggestion
        and {
            "ratios_by_layer": dict(suggestion.ratios_by_layer),
            "widths": dict(suggestion.widths),
            "loss": suggestion.loss,
            "macs": suggestion.macs,
            "params": suggestion.params,
            "method": suggestion.method,
            "is_by_layer": suggestion.is_by_layer,
            "command": command or None,
        },
        "why_not": found.why_not,
        "runs": as_json.verify(info, [found.run] if found.run else [])["runs"],
    }


def _group(group: GroupSensitivity) -> dict[str, Any]:
    return {
        "name": group.name,
        "layers": list(group.layers),
        "width": group.width,
        "cuts": [
            {
                "ratio": cut.ratio,
                "kept": cut.kept,
                "macs": cut.macs,
                "params": cut.params,
                "lost": cut.lost,
                "metrics": {each.name: as_json.finite(each.pruned) for each in cut.metrics},
                "why": cut.why,
            }
            for cut in group.cuts
        ],
    }


def picture(found: Sensitivity, name: str) -> str:
    """The SVG of the losses by group and ratio; what was not cut, or not measured, says so."""
    from analysis.reporting.figures.heat import heat_map

    return heat_map(
        f"sensitivity-{name}",
        f"{name}: loss of {found.dense[0][0]} when one group is cut",
        [_called(group) for group in found.groups],
        [ratio_text(cut.ratio) for group in found.groups[:1] for cut in group.cuts],
        [[cut.lost for cut in group.cuts] for group in found.groups],
        [[_loss(cut) for cut in group.cuts] for group in found.groups],
    )
