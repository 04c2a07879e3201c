"""What the commands print on a terminal."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from analysis.errors import several
from analysis.records import (
    OWN_PRUNER,
    Counterexample,
    Reason,
    Run,
    Study,
    Verdict,
    ratio_text,
)
from analysis.reporting.tables import (
    METRIC_HEADERS,
    RUN_HEADERS,
    as_markdown,
    bound,
    checks_passed,
    count,
    left,
    metric_cells,
    run_cells,
    share,
)

__all__ = [
    "asked_alike",
    "by_text",
    "catalogue",
    "counterexample",
    "cured",
    "failures",
    "metrics",
    "once",
    "pruned",
    "run_notes",
    "run_table",
    "runs",
    "scopes",
    "shipped",
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
    tables = [run_table(found), *scopes(found), *metrics(found)]
    return "\n".join([asked_alike(found), *tables, *run_notes(found)])


def shipped(path: str, run: Run) -> str:
    """The verdict on what was pruned elsewhere, what is left, and what failed."""
    verification = run.verification
    head = ": ".join(filter(None, [path, verification.verdict, verification.reason]))
    asked = [f"at most {target.words}" for target in run.config.targets]
    tables = [run_table([run]), *metrics([run])]
    return "\n".join([head, *asked, *tables, *run_notes([run])])


def pruned(found: Sequence[Run], written: Mapping[str, str]) -> str:
    """Like `runs`, with attributes that were set, groups left whole, and written files."""
    lines = [runs(found)]
    for run in found:
        at, verification = f"ratio {ratio_text(run.config.ratio)}: ", run.verification
        told = {check.message for check in run.checks if not check.passed}
        if verification.verdict.is_equal and verification.reason not in {"", *told}:
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
    """The path of the script that shows a failure, or why there is none."""
    if not found.script:
        return f"no script, and nothing written: {found.why}"
    return f"wrote {path} (shows `{found.verdict}` without this package)"


_SHOWN = 6
"""How many attributes are listed."""

_WRITTEN = {
    "save": "load it with analysis.load_pruned",
    "onnx": "an ONNX file",
    "export": "of torch.export",
}


def cured(found: Sequence[Run], command: str) -> str:
    """The same prunings by groups, and the command that makes them where it makes any."""
    lines = ["the same prunings by groups:", run_table(found), *run_notes(found)]
    if any(run.verification.verdict.passes for run in found):
        lines += ["this command makes them:", command]
    return "\n".join(lines)


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
                ratio_text(run.config.ratio),
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
    """Notes below the table: failures, and groups that lost less than requested."""
    failures = [
        (
            run,
            f"{_every_or(names, len(run.checks))}: {message}",
        )
        for run in found
        for message, names in by_text(_failing(run))
    ]
    skipped = [
        (run, f"skipped {names}: {why}")
        for run in found
        for why, names in by_text((c.name, c.skipped) for c in run.checks if c.skipped)
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
            f"{group.removed}: {group.reason_in_words}",
        )
        for run in found
        for group in run.verification.groups
        if group.requested is not None and group.removed < group.requested
    ]
    held = [
        (run, f"left whole: {roots}: {why}")
        for run in found
        for why, roots in by_text(
            (group.root, group.why)
            for group in run.verification.groups
            if group.why and not (group.requested or group.removed)
        )
    ]
    unseen = [
        (run, f"left whole: {', '.join(own)}: in no group of torch-pruning's; prune cuts them")
        for run in found
        if (own := run.verification.unseen)
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
    told = once([*failures, *mixed, *short, *held, *unseen, *unknown, *frozen, *skipped])
    return [*told, *([_advice(dropped)] if dropped else [])]


def _failing(run: Run) -> Iterator[tuple[str, str]]:
    """Each check that fails with its message; why a verdict does not pass is said with that."""
    verdict, reason = run.verification.verdict, run.verification.reason
    for check in run.checks:
        if not check.passed:
            is_reason = reason.startswith(check.message) and not verdict.passes
            yield check.name, f"{verdict}: {reason}" if is_reason else check.message


def once(notes: Iterable[tuple[Run, str]]) -> list[str]:
    """Each note once, with the ratios that it is of."""
    ratios: dict[str, dict[str, None]] = {}
    for run, note in notes:
        ratios.setdefault(note, {})[ratio_text(run.config.ratio)] = None
    return [
        f"{'ratio' if len(own) == 1 else 'ratios'} {', '.join(own)}: {note}"
        for note, own in ratios.items()
    ]


def _every_or(names: str, count: int) -> str:
    """Names of checks, or that these are all."""
    return "every check" if names.count(",") + 1 == count > 1 else names


def by_text(named: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
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
        "dropped groups keep all their channels: macs --sweep 0:0.9:0.1 shows from which ratio on; "
        f"{smaller} may avoid that, --max-dropped allows it"
    )


def asked_alike(found: Sequence[Run]) -> str:
    """The request that all runs share, in a line."""
    config = found[0].config
    parts = [f"ignore: {config.policy}", f"ranked {config.scope}ly"]
    if config.policy != OWN_PRUNER:
        parts.append(f"importance {config.importance}")
    if config.round_to:
        parts.append(f"round to {config.round_to}")
    if config.max_pruning_ratio < 1:
        parts.append(f"cap {config.max_pruning_ratio:g}")
    if config.widths:
        parts.append(f"widths by {several(len(config.widths), 'layer')}")
    parts += [f"at most {target.words}" for target in config.targets]
    if config.fold_bn:
        parts.append("MACs and parameters with batch norms folded")
    return ", ".join(parts)


def scopes(found: Sequence[Run]) -> list[str]:
    """Requested and removed channels by scope, if several scopes rank several groups."""
    rows = [
        (
            ratio_text(run.config.ratio),
            scope.name,
            ratio_text(scope.ratio),
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


def metrics(found: Sequence[Run]) -> list[str]:
    """What the user's own metrics lose, where any are measured."""
    rows = [
        (ratio_text(run.config.ratio), *metric_cells(metric))
        for run in found
        for metric in run.metrics
    ]
    return ["", as_markdown(("ratio", *METRIC_HEADERS), rows)] if rows else []


def failures(study: Study) -> list[str]:
    """Why a study does not pass: unexpected failures of checks; see `Study.passed`."""
    return [
        f"{subject.info.name}, {run.config.policy}, {run.config.scope}, "
        f"{ratio_text(run.config.ratio)}: {check.name}: {check.message}"
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
