"""What the commands print on a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from analysis.records import (
    COLUMNS,
    CONVENTIONS,
    OWN_PRUNER,
    CostTable,
    Counterexample,
    CurvePoint,
    RatioCurve,
    Reach,
    Reason,
    Run,
    Savings,
    Scaling,
    Study,
    Verdict,
)
from analysis.reporting.tables import (
    RUN_HEADERS,
    as_markdown,
    bound,
    checks_passed,
    count,
    layer_name,
    left,
    run_cells,
    share,
)
from analysis.reporting.words import counted_by

__all__ = [
    "asked_alike",
    "catalogue",
    "counterexample",
    "cured",
    "failures",
    "macs",
    "pruned",
    "run_notes",
    "run_table",
    "runs",
    "scopes",
    "summary",
]


def catalogue(found: Sequence[tuple[str, str, str, bool]]) -> str:
    """One line a check."""
    table = as_markdown(
        ("check", "holds if", "needs", "verify"),
        [
            (name, meaning.rstrip("."), needs or "-", "yes" if of_pruning else "if named")
            for name, meaning, needs, of_pruning in found
        ],
    )
    return (
        f"{table}\n"
        "verify runs those about the pruning itself, and others with --checks NAME,NAME or "
        "--checks all; pytest runs all of them"
    )


def runs(found: Sequence[Run]) -> str:
    """What was asked of all, one line a run, then what failed."""
    return "\n".join([asked_alike(found), run_table(found), *scopes(found), *run_notes(found)])


def pruned(found: Sequence[Run], written: Mapping[str, str]) -> str:
    """As `runs`, and what a cut by the groups set, left whole, and was written to."""
    lines = [runs(found)]
    for run in found:
        at, verification = f"ratio {run.config.ratio:g}: ", run.verification
        if verification.verdict.is_equal and verification.reason:
            lines.append(f"{at}{verification.reason}")
        numbers = [
            f"`{each.name}` of {f'`{each.module}`' if each.module else 'the model'} "
            f"{each.before} -> {each.after}"
            for each in verification.attributes
        ]
        if numbers:
            more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
            lines.append(f"{at}set {', '.join(numbers[:_SHOWN])}{more}")
    lines += [f"wrote {path} ({_WRITTEN[what]})" for what, path in written.items()]
    return "\n".join(lines)


def counterexample(found: Counterexample, path: str) -> str:
    """Where the script is that shows a failure, or why there is none."""
    if not found.script:
        return f"no script, and nothing written: {found.why}"
    return f"wrote {path} (shows `{found.verdict}` without this package)"


_SHOWN = 6
"""Attributes that are listed; a count says how many more there are."""

_WRITTEN = {
    "save": "make it again with analysis.load_pruned",
    "onnx": "an ONNX file",
    "export": "of torch.export",
}


def cured(found: Sequence[Run]) -> str:
    """The same prunings by the groups as they are; the command that makes them follows."""
    return "\n".join(
        ["the same, cut by the groups as they are:", run_table(found), *run_notes(found), _TO_MAKE]
    )


_TO_MAKE = "which is what this command makes:"


def run_table(found: Sequence[Run]) -> str:
    """One line a run."""
    return as_markdown(
        (
            "ratio",
            "verdict",
            "rel. error",
            "prunable",
            "asked",
            "removed",
            "MACs left",
            "as asked",
            "params left",
            "as asked",
            "bytes left",
            "checks",
        ),
        [
            (
                f"{run.config.ratio:g}",
                run.verification.verdict,
                "-" if error is None else f"{error:.0e}",
                count(run.channels.prunable),
                count(run.channels.requested),
                count(run.channels.removed),
                left(run.macs),
                share(run.macs.share_requested),
                left(run.params),
                share(run.params.share_requested),
                left(run.bytes_),
                checks_passed(run),
            )
            for run in found
            for error in [run.verification.max_rel_error]
        ],
    )


def run_notes(found: Sequence[Run]) -> list[str]:
    """What the table does not say: what failed, and what is short of what was asked."""
    failures = [
        (
            run,
            f"{_every_or(names, len(run.checks))}: {message}",
        )
        for run in found
        for message, names in _by_text((c.name, c.message) for c in run.checks if not c.passed)
    ]
    skipped = [
        (run, f"skipped {names}: {why}")
        for run in found
        for why, names in _by_text((c.name, c.skipped) for c in run.checks if c.skipped)
    ]
    mixed = [
        (run, f"mixed: {run.verification.reason}")
        for run in found
        if run.verification.verdict is Verdict.MIXED
    ]
    short = [
        (
            run,
            f"group {group.root}: asked {group.requested} of {group.width}, removed "
            f"{group.removed}: {group.reason}",
        )
        for run in found
        for group in run.verification.groups
        if group.requested is not None and group.removed < group.requested
    ]
    unknown = [
        (run, f"what was asked is not known: {run.verification.requested_unknown}")
        for run in found
        if run.verification.requested_unknown
    ]
    frozen = [
        (run, f"no gradient reaches {', '.join(roots)}: frozen, and so not pruned")
        for run in found
        if (roots := [g.root for g in run.verification.groups if g.reason is Reason.FROZEN])
    ]
    dropped = [run for run in found if any(g.is_dropped for g in run.verification.groups)]
    told = _once([*failures, *mixed, *short, *unknown, *frozen, *skipped])
    return [*told, *([_advice(dropped)] if dropped else [])]


def _once(notes: Iterable[tuple[Run, str]]) -> list[str]:
    """Each note once, with the ratios that it is of."""
    ratios: dict[str, dict[str, None]] = {}
    for run, note in notes:
        ratios.setdefault(note, {})[f"{run.config.ratio:g}"] = None
    return [
        f"{'ratio' if len(own) == 1 else 'ratios'} {', '.join(own)}: {note}"
        for note, own in ratios.items()
    ]


def _every_or(names: str, count: int) -> str:
    """Names of checks, or that these are all."""
    return "every check" if names.count(",") + 1 == count > 1 else names


def _by_text(named: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each text once, with the names that have it."""
    names: dict[str, list[str]] = {}
    for name, text in named:
        names.setdefault(text, []).append(name)
    return [(text, ", ".join(own)) for text, own in names.items()]


def _advice(dropped: Sequence[Run]) -> str:
    """What to do about groups that drop out of these runs."""
    is_local = all(run.config.scope == "local" for run in dropped)
    smaller = "a smaller ratio" if is_local else "a smaller ratio or --scope local"
    return (
        "groups that drop out keep all their channels: macs --sweep shows from which ratio on they "
        f"do; {smaller} may spare them, --max-dropped lets them"
    )


def asked_alike(found: Sequence[Run]) -> str:
    """What all runs were asked alike, in a line."""
    config = found[0].config
    parts = [f"ignore: {config.policy}", f"ranked {config.scope}ly"]
    if config.policy != OWN_PRUNER:
        parts.append(f"importance {config.importance}")
    if config.round_to:
        parts.append(f"round to {config.round_to}")
    if config.max_pruning_ratio < 1:
        parts.append(f"cap {config.max_pruning_ratio:g}")
    if config.widths:
        parts.append(f"widths by {len(config.widths)} layers")
    return ", ".join(parts)


def scopes(found: Sequence[Run]) -> list[str]:
    """Asked against done where several scopes rank several groups each."""
    rows = [
        (
            f"{run.config.ratio:g}",
            scope.name,
            f"{scope.ratio:g}",
            count(scope.groups),
            count(scope.channels.prunable),
            count(scope.channels.requested),
            count(scope.channels.removed),
            *(
                "-" if saved is None else count(round(saved))
                for quantity in (scope.macs, scope.params)
                for saved in (quantity.requested, quantity.removed)
            ),
        )
        for run in found
        if len(run.scopes) > 1 and any(scope.groups > 1 for scope in run.scopes)
        for scope in run.scopes
    ]
    headers = (
        "ratio",
        "ranked together",
        "ratio asked",
        "prunable",
        "asked",
        "removed",
        "MACs asked",
        "MACs saved",
        "params asked",
        "params saved",
    )
    return ["", as_markdown(headers, rows)] if rows else []


def macs(
    dense: CostTable,
    found: Sequence[Run],
    reach: tuple[Reach, Savings] | None = None,
    curve: RatioCurve | None = None,
    point: CurvePoint | None = None,
) -> str:
    """One line a layer with what each ratio leaves of it; answers to a sweep, a target, widths.

    The table of layers is left out where only such an answer is asked for.
    """
    parts = [] if (reach or curve or point) and not found else [_layers(dense, found)]
    if curve:
        parts.append(_swept(curve))
    if reach:
        parts.append(_reached(*reach, dense.unit))
    if point:
        parts.append(f"the widths leave {_left_at(point, dense, dense.unit)}\n{counted_by(dense)}")
    return "\n\n".join(parts)


def _left_at(point: CurvePoint, dense: CostTable | CurvePoint, unit: str = "MACs") -> str:
    """What a point leaves of the dense network."""
    return (
        f"{count(point.macs)} of {count(dense.macs)} {unit} ({point.macs / dense.macs:.2%}) "
        f"and {count(point.params)} of {count(dense.params)} parameters "
        f"({point.params / dense.params:.2%})"
    )


def _swept(curve: RatioCurve) -> str:
    """One line a ratio, those marked at which asking for more leaves more, or groups drop out."""
    back = {
        after: f"more parameters than {before:g} leaves"
        for after, before in curve.more_params.items()
    }
    back |= {turn.after.ratio: f"more than {turn.before.ratio:g} leaves" for turn in curve.turns}
    unit = CONVENTIONS[curve.convention].unit
    table = as_markdown(
        ("ratio", unit, "left", "parameters", "left", "non-monotonic", "groups that drop out"),
        [
            (
                f"{point.ratio:g}",
                count(point.macs),
                share(point.macs / curve.dense_macs),
                count(point.params),
                share(point.params / curve.dense_params),
                back.get(point.ratio, "-"),
                ", ".join(f"{group.root} ({group.reason})" for group in dropped) or "-",
            )
            for point, dropped in zip(curve.points, curve.dropped, strict=True)
        ],
    )
    reasons = [
        f"ratio {ratios}: not known: {why}"
        for why, ratios in _by_text((f"{ratio:g}", why) for ratio, why in curve.unknown)
    ]
    return "\n".join([table, *reasons])


def _layers(dense: CostTable, found: Sequence[Run]) -> str:
    """The rows sum to the total, and the columns of a row to its MACs."""
    after = [run.costs.by_layer() for run in found if run.costs]
    ratios = [f"MACs at {run.config.ratio:g}" for run in found if run.costs]
    shown = [place for place, macs in enumerate(dense.columns) if macs]
    rows = [
        (
            layer_name(row.layer),
            row.kind,
            count(row.calls),
            "x".join(map(str, row.shape)) or "-",
            count(row.params),
            *(count(row.columns[place]) for place in shown),
            count(row.macs),
            share(row.macs / dense.macs if dense.macs else 0.0),
            *(count(costs[row.layer].macs if row.layer in costs else 0) for costs in after),
        )
        for row in dense.layers
    ]
    totals = [run.costs.macs for run in found if run.costs]
    columns = [count(dense.columns[place]) for place in shown]
    last = (count(dense.params), *columns, count(dense.macs), "100.0%", *map(count, totals))
    names = [COLUMNS[place] for place in shown]
    table = as_markdown(
        ("layer", "kind", "calls", "output", "parameters", *names, dense.unit, "share", *ratios),
        [*rows, ("total", "", "", "", *last)],
    )
    lacking = [
        (run, f"not counted: {run.verification.verdict}: {run.verification.reason}")
        for run in found
        if run.costs is None
    ]
    return "\n".join([table, counted_by(dense), not_counted(dense), *_once(lacking)])


def _reached(reach: Reach, savings: Savings, unit: str) -> str:
    """The ratio that meets a target or why none does, what holds it up, and who saves what."""
    name = {"macs": unit, "params": "parameters"}[reach.quantity]
    dense, point = reach.dense, reach.point or reach.least
    known = "is known to leave" if reach.gap else "leaves"
    head = reach.falls_short or (
        f"ratio {_at_least(point.ratio)} is the smallest that {known} at most {reach.target:.1%} "
        f"of the {name}"
    )
    left = f"there, {_left_at(point, dense, unit)} are left"
    held = as_markdown(
        ("layer", f"{name} left", "of what is left", "why"),
        [
            (layer_name(row.layer), count(row.left), share(row.share), row.why)
            for row in reach.holders
        ],
    )
    least = (
        f"the least that any ratio {'is known to leave' if reach.unknown else 'leaves'}, at "
        f"{_at_least(reach.least.ratio)}, is "
        f"{reach.least.macs / dense.macs:.2%} of the {unit} and "
        f"{reach.least.params / dense.params:.2%} of the parameters; most of it is in:"
    )
    return "\n".join(
        [
            f"{head}: {left}",
            *([reach.gap] if reach.gap else []),
            *([_bend(reach.scaling, name)] if reach.scaling else []),
            "",
            least,
            held,
            "",
            "where the saving comes from:",
            _who_saves(savings, dense.macs - point.macs, unit),
        ]
    )


def _bend(form: Scaling, name: str) -> str:
    whole = form.at(0)
    return (
        f"with a share r of every prunable group gone, {form.square / whole:.1%} (1 - r)^2 + "
        f"{form.line / whole:.1%} (1 - r) + {form.constant / whole:.1%} of the {name} are left: "
        "the last part no ratio touches"
    )


def _who_saves(savings: Savings, saved: int, unit: str) -> str:
    """What each group has to do with a saving of so many MACs."""
    return as_markdown(
        (
            "group",
            "channels",
            "removed",
            f"{unit} saved",
            "share",
            "parameters saved",
            f"{unit} of one",
        ),
        [
            (
                group.root,
                count(group.width),
                count(group.removed),
                count(round(group.macs)),
                share(group.macs / max(saved, 1)),
                count(round(group.params)),
                count(round(group.macs_of_one)),
            )
            for group in sorted(savings.groups, key=lambda group: -group.macs)
            if group.removed
        ],
    )


def _at_least(ratio: float) -> str:
    """A ratio with six digits, rounded up, so that it still asks for as many channels."""
    return f"{ceil(ratio * 1e6) / 1e6:g}"


def not_counted(costs: CostTable) -> str:
    """The gap of the total, in a sentence."""
    operators = ", ".join(f"{name.split('::')[-1]} ({times}x)" for name, times in costs.uncounted)
    uncalled = ", ".join(costs.uncalled)
    by = costs.convention
    by += f"'s rules, on another trace ({costs.not_traced})" if costs.not_traced else ""
    return (
        f"Not counted by {by}: {operators or 'nothing'}. "
        f"Layers with parameters that were never called: {uncalled or 'none'}."
    )


def failures(study: Study) -> list[str]:
    """Why a study does not pass: the checks that fail and are not known to; see `Study.passed`."""
    return [
        f"{subject.info.name}, {run.config.policy}, {run.config.scope}, {run.config.ratio:g}: "
        f"{check.name}: {check.message}"
        for subject, run in study.judged
        for check in run.checks
        if not (check.passed or check.known)
    ]


def summary(study: Study) -> str:
    """The table that ends a report run."""
    return as_markdown(
        (
            *RUN_HEADERS,
            "verdict",
            "rel. error",
            "asked",
            "removed",
            "MACs left",
            "params left",
        ),
        [
            (
                *run_cells(subject, run),
                run.verification.verdict,
                bound(run.verification),
                count(run.channels.requested),
                count(run.channels.removed),
                left(run.macs),
                left(run.params),
            )
            for subject in study.subjects
            for run in subject.runs
        ],
    )
