"""What each command does with its options, and what it prints.

The work is done by a child process, so that it can be ended, and this one needs no torch; a report
has processes of its own.
"""

import shlex
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from tqdm import tqdm

from analysis.checks import CATALOGUE, OF_PRUNING, named
from analysis.command_line import scaffold
from analysis.command_line.arguments import (
    check_outputs,
    check_references,
    compared_of,
    ratios_of,
    request_of,
)
from analysis.command_line.options import parser
from analysis.environment import OWN, explained
from analysis.errors import BudgetExceededError, InputError
from analysis.gate.comparison import compared, is_regression
from analysis.grid import telling
from analysis.grid.cluster import Cluster
from analysis.grid.described import cells_of
from analysis.grid.engine import Executor, missing
from analysis.grid.engine import run as run_cells
from analysis.grid.local import Local
from analysis.grid.records import Records
from analysis.network.model_names import BUILT_IN
from analysis.processes.workers import Worker, deaf_to_interrupts
from analysis.records import (
    CURED,
    MINIMIZING,
    RATIOS,
    SAVED,
    Comparison,
    Config,
    Counterexample,
    Request,
    Run,
    SubjectInfo,
    timed_out,
)
from analysis.reporting import (
    as_json,
    comparison_text,
    costs_text,
    dot,
    files,
    groups_text,
    text,
)
from analysis.reporting import diff as reporting_diff
from analysis.reporting.read_back import runs_in

__all__ = [
    "Answer",
    "checks",
    "compare",
    "diff",
    "grid",
    "groups",
    "init",
    "macs",
    "prune",
    "report",
    "verify",
]


@dataclass(frozen=True)
class Answer:
    """What a command says, and the exit status."""

    status: int
    text: str


def groups(options: Namespace) -> Answer:
    """List the groups, the excluded ones marked; 1 if an audit or the lint fails."""
    if options.lint and options.pruner:
        raise InputError(
            "--lint looks at the list of --ignore, and a pruner of your own has its own: leave out "
            "--pruner, and give that list as --ignore file.py:function"
        )
    if options.dot:
        files.check_writable(options.dot)
    with _prepared(options, "reading groups", 1) as given:
        # A list that is wrong is what the lint is for; the groups alone refuse it.
        found, lint = given.ask("lint") if options.lint else (given.ask("groups"), None)
        outside = given.ask("outside")
        audited = given.ask("audit", given.budget) if options.audit else None
        why = given.ask("why", options.why) if options.why is not None else None
    if options.dot:
        files.write_text(options.dot, dot.of_groups(found))
    data = as_json.groups(given.info, given.request.policy, found, outside, audited, lint, why)
    said = why or groups_text.groups(found, outside, audited, lint, members=options.members)
    passed = all(each.passed for each in audited or ()) and (lint is None or lint.passed)
    return _answer(options, data, said, passed=passed)


def verify(options: Namespace) -> Answer:
    """Prune at each ratio and prove the result; 1 if a verdict or a check does not pass."""
    ratios, names = ratios_of(options), _named_checks(options.checks)
    if options.minimize and options.widths:
        raise InputError("--minimize shows what a ratio does; leave out --widths")
    if options.minimize:
        files.check_writable(options.minimize)
    with _prepared(options, options.model, len(ratios)) as given:
        runs = _runs(given, ratios, names)
        failing = [run for run in runs if not run.verification.verdict.passes]
        asked = [
            run.config
            for run in failing
            if run.verification.verdict in CURED and not options.widths
        ]
        cured = [_run(given, replace(config, cut="groups"), names) for config in asked]
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
        cure = _pruning_by_groups(options)
        data |= {"cured": as_json.verify(given.info, cured)["runs"], "cure": cure}
        said = "\n".join([said, text.cured(cured), cure])
    return _answer(options, data, said, passed=passed)


def _minimized(given: "_Given", failing: list[Run]) -> Counterexample:
    """The script for the first run that fails."""
    if not failing:
        return Counterexample(why="no verdict fails")
    ask, config, verdict = given.worker.call, failing[0].config, failing[0].verification.verdict
    try:
        found: Counterexample = ask("minimized", given.request, config, verdict, budget=_MINIMIZING)
    except BudgetExceededError as error:
        return Counterexample(why=error.story)
    return found


_MINIMIZING = 3 * MINIMIZING
"""Seconds for cutting down and for running what comes of it; what does not end is ended."""


def _pruning_by_groups(options: Namespace) -> str:
    """The command that asks the same of a pruning by the groups as they are."""
    usual = parser().parse_args(["prune", options.model])
    words = [
        word
        for name, value in vars(usual).items()
        if name not in ("command", "model", "json", "checks") and hasattr(options, name)
        for own in [getattr(options, name)]
        if own != value
        for word in (f"--{name.replace('_', '-')}", _spelled(own))
    ]
    return f"{OWN} prune {shlex.join([options.model, *words])}"


def prune(options: Namespace) -> Answer:
    """Prune by the groups as they are and prove it; 1 if a verdict or a check does not pass."""
    ratios, names = ratios_of(options), _named_checks(options.checks)
    targets = {
        name: path
        for name in ("save", "onnx", "export")
        if (path := getattr(options, name)) is not None
    }
    if targets and len(ratios) > 1:
        raise InputError(
            f"--{next(iter(targets))} with {len(ratios)} ratios; expected one, as "
            f"--ratios {ratios[0]:g}"
        )
    for name, path in targets.items():
        if name == "save":
            files.check_folder(path, SAVED)
        else:
            files.check_writable(path)
    with _prepared(options, options.model, len(ratios)) as given:
        runs = _runs(given, ratios, names, targets)
    written = targets if all(run.verification.verdict.passes for run in runs) else {}
    data = as_json.verify(given.info, runs) | {"written": written}
    passed = all(run.passed for run in runs)
    return _answer(options, data, text.pruned(runs, written), passed=passed)


def compare(options: Namespace) -> Answer:
    """Tell which channels of one network are left in another; 1 if that is no right pruning."""
    request, pruned = compared_of(options)
    with _loaded(options, request, "comparing", 1) as given:
        found: Comparison = given.ask("compare", pruned)
    data = as_json.comparison(given.info, options.pruned, found)
    return _answer(options, data, comparison_text.comparison(found), passed=found.passed)


def _named_checks(names: tuple[str, ...] | None) -> tuple[str, ...]:
    """Those that are about the pruning itself where none is named; ``all`` is every one."""
    if names is None:
        return OF_PRUNING
    return tuple(CATALOGUE) if names == ("all",) else named(names)


def checks(options: Namespace) -> Answer:
    """List the catalogue of checks: what each means and needs, and where it runs."""
    found = [
        (name, check.meaning, check.needs, check.of_pruning) for name, check in CATALOGUE.items()
    ]
    return _answer(options, as_json.catalogue(found), text.catalogue(found))


def diff(options: Namespace) -> Answer:
    """Compare two reports; 1 if anything got worse."""
    check_outputs(options)
    before, after = runs_in(options.before), runs_in(options.after)
    changes = compared(before, after)
    said = reporting_diff.markdown(changes, after)
    return _answer(
        options, reporting_diff.as_data(changes), said, passed=not is_regression(changes)
    )


def grid(options: Namespace) -> Answer:
    """Prune in every way that a file describes, what is not done yet; 1 if a cell does not pass."""
    if options.resources and options.scheduler is None:
        raise InputError("--resources are those of a cluster's workers; give its --scheduler")
    kept = Records(options.records)
    cells = cells_of(options.grid, check_references, budget=options.budget, memory=options.memory)
    if options.dry_run:
        todo = missing(cells, kept, fresh=options.fresh)
        return Answer(0, telling.planned(cells, todo, kept.others(cells)))
    files.check_writable(kept.folder / "record")
    executor = _executor(options)
    found = run_cells(cells, executor, kept, fresh=options.fresh, title="grid")
    passed, said = telling.ended(found, kept.others(cells))
    return Answer(0 if passed else 1, said)


def _executor(options: Namespace) -> Executor:
    """This machine, or the cluster that the options name."""
    if options.scheduler is None:
        return Local(options.workers or 0)
    return Cluster(options.scheduler, options.resources)


def macs(options: Namespace) -> Answer:
    """Show where the MACs and parameters are, before and after each ratio, and find a ratio.

    1 where the network that a ratio leaves does not run, and so has none.
    """
    predicted = [name for name in ("target", "sweep") if getattr(options, name) is not None]
    if predicted and options.pruner:
        raise InputError(
            f"--{predicted[0]} asks for torch-pruning's MagnitudePruner, and what a ratio asks of "
            "a pruner of your own is not defined; leave out --pruner, or give --ratios"
        )
    ratios, convention = options.ratios or (), options.convention
    if ratios and convention != "fvcore":
        raise InputError(
            f"pruned networks are counted by fvcore, not {convention}; leave out --ratios or "
            "--convention"
        )
    with _prepared(options, options.model, len(ratios)) as given:
        costs, _ = given.ask("costs", convention)
        runs = _runs(given, ratios, OF_PRUNING)
        reach = curve = left = None
        if options.sweep is not None:
            curve = given.ask("sweep", options.sweep, options.cut, convention)
        if options.target is not None:
            reach = given.ask("reach", options.target, options.target_of, options.cut, convention)
        if options.widths and not ratios:
            left = given.ask("left", options.widths, convention)
    data = as_json.macs(given.info, costs, runs, reach, curve, left, options.cut)
    passed = all(run.costs is not None for run in runs)
    return _answer(options, data, costs_text.macs(costs, runs, reach, curve, left), passed=passed)


def report(options: Namespace) -> Answer:
    """Write the whole report; 1 if a run does not pass that is asked to (see `Study.judged`)."""
    files.check_writable(f"{options.out}/results.json")
    before = None if options.against is None else runs_in(options.against)
    # What is wrong with the options is wrong for every network, the case study's too.
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
        options.ratios or RATIOS,
        command=_repeated(options),
        budget=options.budget,
    )
    write_report = _imported("analysis.reporting.report").write_report
    with tqdm(desc="drawing the page", total=1, unit="page", disable=None, leave=False):
        written = write_report(result, options.out, before)
    lines = [text.summary(result), *text.failures(result), *(f"wrote {path}" for path in written)]
    return Answer(0 if result.passed else 1, "\n".join(lines))


def init(options: Namespace) -> Answer:
    """Write what gates a network in a project; the network is built and run first."""
    scaffold.check_new(options.out)
    with _prepared(options, options.model, 0):
        pass
    given = dict(_not_usual(options, [options.model]))
    written = scaffold.write_new(options.out, scaffold.texts(options.model, given))
    run = f"run it: pytest {written[0]}"
    return Answer(0, "\n".join([*(f"wrote {path}" for path in written), run]))


def _imported(module: str) -> Any:
    """A module that imports torch or draws.

    An interrupt waits until it is imported: inside, compiled code makes an ImportError of it.

    Raises:
        InputError: the installed packages do not import.
    """
    try:
        with deaf_to_interrupts():
            return import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(explained(error)) from error


_SILENT = ("command", "model", "out")
"""Options that what is written does not depend on, and the networks, which are named first."""


def _not_usual(options: Namespace, named: list[str]) -> Iterator[tuple[str, Any]]:
    """Options that have another value than where only the networks are named."""
    usual = parser().parse_args([options.command, *named])
    for name, value in vars(options).items():
        if name not in _SILENT and value != getattr(usual, name):
            yield name, value


def _repeated(options: Namespace) -> str:
    """The command that makes a report again."""
    given = [
        (f"--{name.replace('_', '-')}", _spelled(value)) for name, value in _not_usual(options, [])
    ]
    words = [*options.model, *(word for pair in given for word in pair)]
    return f"{OWN} report {shlex.join(words)}" if words else "tox run -e report"


def _spelled(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass
class _Given:
    """A subject that a worker has loaded."""

    worker: Worker
    bar: Any
    request: Request
    info: SubjectInfo
    budget: float

    def ask(self, function: str, *arguments: Any) -> Any:
        """What a function of `analysis.command_line.jobs` answers within the budget.

        Raises:
            InputError: it did not; says in which step it was.
        """
        try:
            return self.worker.call(function, self.request, *arguments, budget=self.budget)
        except BudgetExceededError as error:
            raise InputError(f"{error.story}; give it more with --budget") from None


@contextmanager
def _prepared(options: Namespace, title: str, runs: int) -> Iterator[_Given]:
    """The subject that the options name, loaded."""
    with _loaded(options, request_of(options, options.model), title, runs) as given:
        yield given


@contextmanager
def _loaded(options: Namespace, request: Request, title: str, runs: int) -> Iterator[_Given]:
    """A subject, loaded by a worker that shows its steps on a terminal."""
    check_outputs(options)
    with (
        tqdm(total=runs, desc=title, unit="run", disable=None, leave=False) as bar,
        Worker("analysis.command_line.jobs", bar.set_postfix_str) as worker,
    ):
        info = worker.call("prepare", request)
        yield _Given(worker, bar, request, info, options.budget)


def _runs(
    given: _Given, ratios: Iterable[float], names: tuple[str, ...], *written: Mapping[str, str]
) -> list[Run]:
    """One run a ratio; a run that does not end within the budget is a verdict as well."""
    runs = []
    for ratio in ratios:
        runs.append(_run(given, given.request.config(ratio), names, *written))
        given.bar.update()
    return runs


def _run(given: _Given, config: Config, names: tuple[str, ...], *written: Mapping[str, str]) -> Run:
    ask = given.worker.call
    ask("ready")  # anew where the last run was ended
    try:
        run: Run = ask("run", given.request, config, names, *written, budget=given.budget)
    except BudgetExceededError as error:
        ask("prepare", given.request)  # loading it again is no part of the time
        costs, saved_bytes = given.ask("costs")
        return timed_out(config, error.story, costs, saved_bytes, names)
    return run


def _answer(options: Namespace, data: dict[str, Any], lines: str, *, passed: bool = True) -> Answer:
    status = 0 if passed else 1
    if options.json == "-":
        return Answer(status, as_json.dump(data).rstrip())
    if options.json:
        files.write_text(options.json, as_json.dump(data))
    return Answer(status, lines)
