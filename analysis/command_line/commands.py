"""The commands: what each does with its options, and what it prints.

The work is done by a child process, so that it can be ended, and this one needs no torch; a report
has processes of its own.
"""

import shlex
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from tqdm import tqdm

from analysis.checks import CATALOGUE, OF_PRUNING, SHIPPED, named
from analysis.command_line import scaffold, sensing
from analysis.command_line.advising import ways
from analysis.command_line.answers import Answer, answered
from analysis.command_line.arguments import (
    check_outputs,
    check_references,
    compared_of,
    ratios_of,
    request_of,
)
from analysis.command_line.options import parser
from analysis.command_line.prepared import Given, loaded, prepared, run_of, runs_of
from analysis.command_line.timing import latency
from analysis.environment import OWN, explained
from analysis.errors import BudgetExceededError, InputError, OptionError
from analysis.gate.advising import advised
from analysis.gate.comparison import compared, is_regression
from analysis.grid import telling
from analysis.grid.cells import once
from analysis.grid.cluster import Cluster
from analysis.grid.described import cells_of
from analysis.grid.engine import Executor, missing
from analysis.grid.engine import run as run_cells
from analysis.grid.local import Local
from analysis.grid.records import Records
from analysis.network.model_names import BUILT_IN
from analysis.processes.workers import deaf_to_interrupts
from analysis.records import (
    CURED,
    MINIMIZING,
    SAVED,
    Comparison,
    Counterexample,
    Point,
    Run,
    Sensitivity,
    Thresholds,
)
from analysis.reporting import (
    advice_text,
    as_json,
    comparison_text,
    costs_text,
    dot,
    files,
    groups_text,
    sensitivity_text,
    text,
)
from analysis.reporting import diff as reporting_diff
from analysis.reporting.read_back import runs_in
from analysis.sensitivities.scanning import scanned

__all__ = [
    "advise",
    "checks",
    "compare",
    "diff",
    "grid",
    "groups",
    "init",
    "latency",
    "macs",
    "prune",
    "report",
    "sensitivity",
    "verify",
]


def groups(options: Namespace) -> Answer:
    """List the groups, the excluded ones marked; 1 if an audit or the lint fails."""
    if options.lint and options.pruner:
        raise InputError(
            "--lint checks the list of --ignore, and your own pruner has its own: leave out "
            "--pruner, and give its list as --ignore file.py:function"
        )
    if options.dot:
        files.check_writable(options.dot)
    with prepared(options, "reading groups") as given:
        # The lint explains a wrong list; the groups alone refuse it.
        found, lint = given.ask("lint") if options.lint else (given.ask("groups"), None)
        outside = given.ask("outside")
        audited = given.ask("audit", given.budget) if options.audit else None
        why = given.ask("why", options.why) if options.why is not None else None
    if options.dot:
        files.write_text(options.dot, dot.of_groups(found))
    data = as_json.groups(given.info, given.request.policy, found, outside, audited, lint, why)
    said = why or groups_text.groups(found, outside, audited, lint, members=options.members)
    passed = all(each.passed for each in audited or ()) and (lint is None or lint.passed)
    return answered(options, data, said, passed=passed)


def verify(options: Namespace) -> Answer:
    """Prune at each ratio and prove the result; 1 if a verdict or a check does not pass."""
    if options.shipped:
        return _shipped(options)
    names = _named_checks(options.checks)
    if options.minimize and options.widths:
        raise InputError("--minimize needs a ratio; leave out --widths")
    if options.minimize:
        files.check_writable(options.minimize)
    with prepared(options, options.model) as given:
        runs = runs_of(given, given.request.configs, names)
        failing = [run for run in runs if not run.verification.verdict.passes]
        asked = [
            run.config
            for run in failing
            if run.verification.verdict in CURED and not options.widths
        ]
        cured = [run_of(given, replace(config, cut="groups"), names) for config in asked]
        found = _minimized(given, failing) if options.minimize else None
    passed = all(run.passed for run in runs)
    data, said = as_json.verify(given.info, runs), text.runs(runs)
    if found is not None:
        if found.script:
            files.write_text(options.minimize, found.script)
        data |= {
            "minimized": {"file": options.minimize if found.script else None, "why": found.why}
        }
        said += "\n" + text.counterexample(found, options.minimize)
    if cured:
        cure = _prune_command(options)
        data |= {"cured": as_json.verify(given.info, cured)["runs"], "cure": cure}
        said = "\n".join([said, text.cured(cured, cure)])
    return answered(options, data, said, passed=passed)


def _shipped(options: Namespace) -> Answer:
    """Hold what was pruned elsewhere to the dense network; 1 if it does not pass."""
    for name in ("ratios", "minimize"):
        if getattr(options, name):
            raise InputError(f"--shipped is a network that was pruned; leave out --{name}")
    if not Path(options.shipped).exists():
        raise InputError(f"--shipped {options.shipped!r}: no such file or folder")
    names = SHIPPED if options.checks is None else _named_checks(options.checks)
    with prepared(options, options.model) as given:
        (run,) = runs_of(given, [given.request.config(0.0)], names)
    data = as_json.verify(given.info, [run]) | {"shipped": options.shipped}
    return answered(options, data, text.shipped(options.shipped, run), passed=run.passed)


def _minimized(given: "Given", failing: list[Run]) -> Counterexample:
    """The script for the first run that fails."""
    if not failing:
        return Counterexample(why="no verdict fails")
    ask, config, verdict = given.worker.call, failing[0].config, failing[0].verification.verdict
    try:
        found: Counterexample = ask("minimized", given.request, config, verdict, budget=_MINIMIZING)
    except BudgetExceededError as error:
        return Counterexample(why=error.reason)
    return found


_MINIMIZING = 3 * MINIMIZING
"""Time limits for minimizing and for running the result, in seconds."""


def _prune_command(options: Namespace, **others: Any) -> str:
    """The command that asks the same of a pruning by the groups, but for some other options."""
    usual = parser().parse_args(["prune", options.model])
    given = vars(options) | others
    words = [
        word
        for name, value in vars(usual).items()
        if name not in ("command", "model", "json", "checks") and given.get(name, value) != value
        for word in _words(name, given[name])
    ]
    return f"{OWN} prune {shlex.join([options.model, *words])}"


def advise(options: Namespace) -> Answer:
    """Prune to the targets in several ways and recommend one; 1 if none passes."""
    if not options.target:
        raise InputError("advise prunes to a target; give one, as --target macs=0.5")
    if options.ratios:
        raise InputError("advise seeks the ratios that meet the target; leave out --ratios")
    if options.picture:
        files.check_writable(options.picture)
    with prepared(options, options.model) as given:
        points = [
            Point(run_of(replace(given, request=request), config, OF_PRUNING), command)
            for request in ways(given.request, options.ignore, given.of)
            for config in request.configs
            for command in [
                _prune_command(
                    options,
                    ignore=request.policy,
                    scope=request.scope,
                    importance=request.importance,
                    save="pruned",
                )
            ]
        ]
    found = advised(points)
    if options.picture:
        picture = _imported("analysis.reporting.advice_text").picture
        files.write_text(options.picture, picture(found, options.model))
    data = advice_text.as_data(given.info, found)
    passed = found.recommended is not None
    return answered(options, data, advice_text.advice(found), passed=passed)


def sensitivity(options: Namespace) -> Answer:
    """Measure what each group alone costs; 1 if what it suggests does not pass, or nothing does."""
    sensing.check(options)
    kept = Records(options.records) if options.records else None
    with prepared(options, options.model) as given:
        request = replace(given.request, scope="local")
        groups = given.of(request, "cut_alone", options.ratios)
        dense, groups = scanned(
            request,
            groups,
            Local(options.workers or 0),
            kept,
            budget=options.budget,
            fresh=options.fresh,
        )
        found = Sensitivity(tuple(dense.items()), groups)
        if request.targets:
            found = sensing.suggested(given, request, found)
    command = _suggested_command(options, found)
    if options.picture:
        picture = _imported("analysis.reporting.sensitivity_text").picture
        files.write_text(options.picture, picture(found, options.model))
    data = sensitivity_text.as_data(given.info, found, command)
    said = sensitivity_text.sensitivity(found, command, sensing.how(request))
    return answered(options, data, said, passed=found.passed)


def _suggested_command(options: Namespace, found: Sensitivity) -> str:
    """The command that makes what is suggested; empty where its widths are in no file."""
    if not options.save or found.suggestion is None:
        return ""
    files.write_text(options.save, sensing.widths_text(dict(found.suggestion.widths)))
    return _prune_command(options, ratios=None, widths=options.save, save="pruned")


def prune(options: Namespace) -> Answer:
    """Prune by groups and prove it; 1 if a verdict or a check does not pass."""
    ratios, names = ratios_of(options), _named_checks(options.checks)
    paths = {
        name: path
        for name in ("save", "onnx", "export")
        if (path := getattr(options, name)) is not None
    }
    if paths and len(ratios) > 1:
        raise InputError(
            f"--{next(iter(paths))} with {len(ratios)} ratios; expected one, as "
            f"--ratios {ratios[0]:g}"
        )
    for name, path in paths.items():
        if name == "save":
            files.check_folder(path, SAVED)
        else:
            files.check_writable(path)
    with prepared(options, options.model) as given:
        runs = runs_of(given, given.request.configs, names, paths)
    written = paths if all(run.may_be_kept for run in runs) else {}
    data = as_json.verify(given.info, runs) | {"written": written}
    passed = all(run.passed for run in runs)
    return answered(options, data, text.pruned(runs, written), passed=passed)


def compare(options: Namespace) -> Answer:
    """Find the channels of one network that another kept; 1 if the pruning is not right."""
    request, pruned = compared_of(options)
    try:
        with loaded(options, request, "comparing", 1) as given:
            found: Comparison = given.ask("compare", pruned)
    except OptionError as error:
        if error.option != "weights" or options.factory is None:
            raise
        raise InputError(
            f"DENSE {error.detail}; expected the dense network, then the pruned one"
        ) from error
    data = as_json.comparison(given.info, options.pruned, found)
    return answered(options, data, comparison_text.comparison(found), passed=found.passed)


def _named_checks(names: tuple[str, ...] | None) -> tuple[str, ...]:
    """The named checks; by default those about the pruning itself, with ``all`` every one."""
    if names is None:
        return OF_PRUNING
    return tuple(CATALOGUE) if names == ("all",) else named(names)


def checks(options: Namespace) -> Answer:
    """List the catalogue of checks: what each means and needs, and where it runs."""
    found = [
        (name, check.meaning, check.needs, check.of_pruning) for name, check in CATALOGUE.items()
    ]
    return answered(options, as_json.catalogue(found), text.catalogue(found))


def diff(options: Namespace) -> Answer:
    """Compare two reports; 1 if anything got worse."""
    check_outputs(options)
    before, after = runs_in(options.before), runs_in(options.after)
    changes = compared(before, after)
    said = reporting_diff.markdown(changes, after)
    return answered(
        options, reporting_diff.as_data(changes), said, passed=not is_regression(changes)
    )


def grid(options: Namespace) -> Answer:
    """Prune in every way that a file describes, what is not done yet; 1 if a cell does not pass."""
    if options.resources and options.scheduler is None:
        raise InputError("--resources are those of a cluster's workers; give its --scheduler")
    kept = Records(options.records)
    limits = {"budget": options.budget, "memory": options.memory}
    described = cells_of(options.grid, check_references, **limits)
    cells = once(described)
    notes = telling.notes(len(described) - len(cells), kept.others(cells))
    if options.dry_run:
        todo = missing(cells, kept, fresh=options.fresh)
        return Answer(0, telling.planned(cells, todo, notes))
    files.check_writable(kept.folder / "record")
    executor = _executor(options)
    found = run_cells(cells, executor, kept, fresh=options.fresh, title="grid")
    passed, said = telling.ended(found, notes)
    return Answer(0 if passed else 1, said)


def _executor(options: Namespace) -> Executor:
    """This machine, or the cluster that the options name."""
    if options.scheduler is None:
        return Local(options.workers or 0)
    return Cluster(options.scheduler, options.resources)


def macs(options: Namespace) -> Answer:
    """Show where the MACs and parameters are, before and after each ratio, and find a ratio.

    1 if the network that a ratio leaves does not run.
    """
    predicted = [name for name in ("target", "sweep") if getattr(options, name)]
    if predicted and options.pruner:
        raise InputError(
            f"--{predicted[0]} predicts torch-pruning's MagnitudePruner and not your own pruner; "
            "leave out --pruner, or give --ratios"
        )
    ratios, convention = options.ratios or (), options.convention
    if options.fold_bn and convention != "fvcore":
        raise InputError(
            f"batch norms are folded in fvcore's count, not in {convention}'s; leave out --fold-bn "
            "or --convention"
        )
    if ratios and convention != "fvcore":
        raise InputError(
            f"pruned networks are counted by fvcore, not {convention}; leave out --ratios or "
            "--convention"
        )
    with prepared(options, options.model) as given:
        costs, _ = given.ask("costs", convention)
        # What is asked of other ratios is predicted, and what these leave is shown.
        configs = [replace(given.request.config(ratio), targets=()) for ratio in ratios]
        runs = runs_of(given, configs, OF_PRUNING)
        reach = curve = left = None
        if options.sweep is not None:
            curve = given.ask("sweep", options.sweep, options.cut, convention)
        if options.target:
            reach = given.ask("reach", options.cut, convention)
        if options.widths and not ratios:
            left = given.ask("left", options.widths, convention)
    data = as_json.macs(given.info, costs, runs, reach, curve, left, options.cut)
    passed = all(run.costs is not None for run in runs)
    return answered(options, data, costs_text.macs(costs, runs, reach, curve, left), passed=passed)


def report(options: Namespace) -> Answer:
    """Write the report; 1 if a run that must pass does not (see `Study.judged`)."""
    files.check_writable(f"{options.out}/results.json")
    before = None if options.against is None else runs_in(options.against)
    # Wrong options are wrong for every network, including the case study's.
    models = dict.fromkeys(options.model or BUILT_IN)
    requests = [request_of(options, model) for model in models]
    # Torch, and what draws, are imported once the arguments are known to be good.
    study = _imported("analysis.study")
    prepare = _imported("analysis.command_line.jobs").prepare
    requests = (
        [study.with_size(request) for request in requests]
        if options.model
        else [
            request_of(
                options,
                usual.network.name,
                input_size=usual.network.input_size,
                seed=usual.network.seed,
                ignore=usual.ignore,
            )
            for usual in study.CASE_STUDY
        ]
    )
    for request in requests:
        prepare(request)
    result = study.study(
        requests,
        ratios_of(options),
        command=_repeated(options),
        budget=options.budget,
    )
    write_report = _imported("analysis.reporting.report").write_report
    with tqdm(desc="drawing the page", total=1, unit="page", disable=None, leave=False):
        written = write_report(result, options.out, before)
    lines = [text.summary(result), *text.failures(result), *(f"wrote {path}" for path in written)]
    return Answer(0 if result.passed else 1, "\n".join(lines))


def init(options: Namespace) -> Answer:
    """Write the files that gate a network; the network is built and run first."""
    scaffold.check_new(options.out)
    with prepared(options, options.model):
        pass
    given = dict(_not_usual(options, [options.model]))
    if targets := given.pop("target", ()):
        given["targets"] = {target.quantity: target.limit for target in targets}
    if (loss := given.pop("metric_loss", None)) is not None:
        given["thresholds"] = Thresholds(metric_loss=loss)
    written = scaffold.write_new(options.out, scaffold.texts(options.model, given, options.out))
    inside = Path(options.out) == Path()
    run = f"run it: {'' if inside else f'cd {options.out} && '}pytest {written[0].name}"
    told = [f"wrote {path}" for path in written]
    return Answer(0, "\n".join([*told, *([] if inside else [scaffold.TO_MOVE]), run]))


def _imported(module: str) -> Any:
    """A module that imports torch or draws.

    An interrupt waits until the import ends: inside it, compiled code turns it into an ImportError.

    Raises:
        InputError: the installed packages do not import.
    """
    try:
        with deaf_to_interrupts():
            return import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(explained(error)) from error


_SILENT = ("command", "model", "out")
"""Options that do not change the report, and the networks, which are named first."""


def _not_usual(options: Namespace, named: list[str]) -> Iterator[tuple[str, Any]]:
    """Options that differ from their defaults."""
    usual = parser().parse_args([options.command, *named])
    for name, value in vars(options).items():
        if name not in _SILENT and value != getattr(usual, name):
            yield name, value


def _words(name: str, value: Any) -> list[str]:
    """An option as it is spelled; a switch has no value."""
    option = f"--{name.replace('_', '-')}"
    return [option] if value is True else [option, _spelled(value)]


def _repeated(options: Namespace) -> str:
    """The command that makes a report again."""
    given = (_words(name, value) for name, value in _not_usual(options, []))
    words = [*options.model, *(word for words in given for word in words)]
    return f"{OWN} report {shlex.join(words)}" if words else "tox run -e report"


def _spelled(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
