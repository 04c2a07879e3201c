"""Networks given on the command line, and what a session says of the prunings it looked at."""

import argparse
import json
import os
import shlex
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from analysis.command_line.arguments import check_references
from analysis.command_line.values import paths_of, ratios_of, size_of
from analysis.environment import versions
from analysis.errors import AnalysisError, InputError, in_options
from analysis.processes.shared_cache import SharedCache
from analysis.pytest_plugin import gate
from analysis.pytest_plugin.items import bound_to, holds_baseline
from analysis.records import (
    BUDGET,
    IMPORTANCES,
    POLICIES,
    RATIOS,
    SCOPES,
    CostTable,
    Network,
    Request,
    Run,
    Study,
    SubjectInfo,
    SubjectStudy,
)
from analysis.reporting import prunings
from analysis.reporting.files import check_writable

__all__ = ["OPTIONS", "PRUNINGS", "add_defaults", "configure"]

PRUNINGS: pytest.StashKey[list[Any]] = pytest.StashKey()
"""What the session was given to look at, each an `analysis.pytest_plugin.prunings.Pruning`."""

_PROPERTY = "pruning-analysis-run"
"""The property of a test that tells which pruning it looked at; junit's file shows it."""

_REFUSED = "pruning-analysis-bad-input"
"""The property of a test that could not look: why not."""

_FOLDER = "pruning-analysis"
"""In pytest's own temporary folder: what its processes share."""

_SUITE = "analysis.suite"


def _option(name: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return name, {"dest": f"pruning_{name[2:].replace('-', '_')}", "default": None, **more}


OPTIONS = (
    _option(
        "--model",
        action="append",
        metavar="MODEL",
        help="torchvision name, pkg.mod:factory or file.py:factory; may be repeated",
    ),
    _option("--input-size", metavar="C,H,W", help="of one input (default: 3,224,224)"),
    _option("--inputs", metavar="PKG.MOD:FUNCTION", help="returns what forward takes"),
    _option("--outputs", metavar="PATH,PATH", help="which outputs count (default: all)"),
    _option("--ratios", metavar="R,R,...|START:STOP:STEP", help="default: 0.3,0.5,0.8"),
    _option(
        "--ignore-layers",
        metavar="POLICY|NAME,NAME|PKG.MOD:FUNCTION",
        help="residual-blocks, skip-channels, classifier (default), none, names of layers, or a "
        "function; the suite takes a policy from pytest's own --ignore, too",
    ),
    _option("--scope", metavar="|".join(SCOPES), help="default: global"),
    _option("--importance", metavar="|".join(IMPORTANCES), help="default: l1"),
    _option(
        "--pruner",
        metavar="PKG.MOD:FUNCTION",
        help="(model, inputs, ratio) -> your own pruner, or that and a function to call "
        "between its steps",
    ),
    _option("--weights", metavar="random|default|FILE", help="default: random"),
    _option("--device", metavar="DEVICE", help="where the networks run (default: cpu)"),
    _option(
        "--report",
        metavar="DIR",
        help="write index.html, report.md and results.json of what was looked at",
    ),
)
"""The suite's options, with what argparse gets for each."""


def add_defaults(parser: pytest.Parser) -> None:
    """Each option of the suite has a default in the ini file: ``pruning_ratios`` and so on."""
    for name, told in OPTIONS:
        kind: Any = "linelist" if name == "--model" else "string"
        default: Any = [] if name == "--model" else ""
        text = f"default of {name}: {told['help']}"
        parser.addini(told["dest"], text, type=kind, default=default)


def configure(config: pytest.Config) -> None:
    """Load every network that is given, so that bad input is refused before any test runs.

    Raises:
        pytest.UsageError: says what was given, and what is expected.
    """
    is_worker = hasattr(config, "workerinput")
    try:
        if _asks_for_suite(config):
            resolved = import_module("analysis.opened").resolved
            requests = [resolved(request) for request in _requests(config)]
            prunings = import_module("analysis.pytest_plugin.prunings")
            config.stash[PRUNINGS] = [
                prunings.Pruning(request, ratio) for request in requests for ratio in request.ratios
            ]
            if not (is_worker or config.option.collectonly):
                for request in requests:
                    prunings.load(request)
        config.pluginmanager.register(_Looked(), "pruning-analysis-looked")
        if not is_worker:
            config.pluginmanager.register(_Teller(config), "pruning-analysis-teller")
    except AnalysisError as error:
        raise pytest.UsageError(in_options(error)) from error


def _asks_for_suite(config: pytest.Config) -> bool:
    """Whether the suite is among what is collected; to give networks for nothing is an error.

    Raises:
        pytest.UsageError: a network was given on the command line, and no suite.
    """
    folder = Path(__file__).parents[1] / "suite"
    places = [argument.split("::")[0] for argument in config.args]
    if any(place.startswith(_SUITE) or Path(place).is_relative_to(folder) for place in places):
        return True
    if getattr(config.option, "pruning_model", None):
        raise pytest.UsageError(
            f"--model gives a network to the suite, which is not run; add --pyargs {_SUITE}"
        )
    return False


def _value(config: pytest.Config, name: str) -> Any:
    """Of an option: what was given, else what the ini file says; None if neither."""
    option = f"pruning_{name}"
    given = getattr(config.option, option, None)
    if given is not None:
        return given
    told = config.getini(option)
    if isinstance(told, list):
        return [_from_here(config, text) for text in told] or None
    return _from_here(config, told) if told else None


def _from_here(config: pytest.Config, text: str) -> str:
    """A value of the ini file, whose paths start at that file, as seen from the working folder."""
    path, colon, function = text.partition(":")
    if config.inipath is None or Path(path).exists():
        return text
    there = config.inipath.parent / path
    return f"{os.path.relpath(there)}{colon}{function}" if there.is_file() else text


def _requests(config: pytest.Config) -> list[Request]:
    """One for each network.

    Raises:
        InputError: an option cannot be used, as far as that can be said without torch.
        pytest.UsageError: no network was given; or a value is no number, or no size.
    """
    models = _value(config, "model")
    if not models:
        is_ours = hasattr(config.option, "pruning_model")
        how = "--model" if is_ours else "pruning_model in the ini file (--model is a conftest's)"
        raise pytest.UsageError(
            f"{_SUITE} looks at networks, and none was given; give one with {how}: "
            "package.module:factory, path/to/file.py:factory or a torchvision name"
        )

    def read(name: str, reader: Any, default: Any) -> Any:
        text = _value(config, name)
        try:
            return default if text is None else reader(text)
        except argparse.ArgumentTypeError as error:
            raise pytest.UsageError(f"--{name.replace('_', '-')}: {error}") from None

    def given(name: str, default: str) -> str:
        return str(_value(config, name) or default)

    requests = [
        Request(
            Network(
                model,
                read("input_size", size_of, None),
                given("weights", "random"),
                inputs=_value(config, "inputs"),
                device=given("device", "cpu"),
                outputs=read("outputs", paths_of, ()),
            ),
            ratios=read("ratios", ratios_of, RATIOS),
            ignore=_policy(config),
            scope=given("scope", "global"),
            importance=given("importance", "l1"),
            pruner=_value(config, "pruner"),
            budget=BUDGET,
        )
        for model in dict.fromkeys(models)
    ]
    for request in requests:
        check_references(request)
    return requests


def _policy(config: pytest.Config) -> str:
    """The policy; ``--ignore`` is pytest's, for paths, and takes a policy here as well.

    Raises:
        pytest.UsageError: two policies were given.
    """
    paths = config.option.ignore or []
    given = [text for text in paths if ":" in text or get_close_matches(text, POLICIES)]
    named = [*dict.fromkeys([*given, *filter(None, [_value(config, "ignore_layers")])])]
    if len(named) > 1:
        raise pytest.UsageError(
            f"--ignore-layers: one policy is expected, not {' and '.join(named)}"
        )
    if given:
        config.option.ignore = [text for text in paths if text not in given] or None
        config.option.pruning_ignore_layers = named[0]
    return named[0] if named else "classifier"


class _Looked:
    """In every process that runs tests: shares what is expensive, and notes what was looked at."""

    @pytest.hookimpl(wrapper=True)
    def pytest_pycollect_makeitem(self, collector: pytest.Collector) -> Generator[None, Any, Any]:
        """Hold prunings to a baseline where that is asked, and collect no test of it elsewhere."""
        made = yield
        if not isinstance(made, list) or gate.is_asked(collector.config):
            return made
        return [item for item in made if not any(map(holds_baseline, bound_to(item)))]

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """A test of a baseline records what it finds like one that asks for the fixture."""
        for bound in filter(holds_baseline, bound_to(item)):
            bound.baseline = gate.baseline_of(item)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Only the checks that are left are worth their time, and one process is enough."""
        if session.config.option.collectonly:
            return
        wanted: dict[Any, set[str]] = {}
        places: dict[Any, str] = {}
        networks: dict[int, str] = {}
        for item in session.items:
            for bound in bound_to(item):
                pruning = bound.pruning
                # The numbers are those of the whole catalogue, whatever else is looked at.
                names = {bound.name} if bound.name in pruning.names else pruning.names
                wanted.setdefault(pruning, set()).update(names)
                test = item.nodeid.removesuffix(f"[{item.callspec.id}]")  # type: ignore[attr-defined]
                places.setdefault(pruning, f"{test} {pruning.subject} {pruning.ratio!r}")
        is_told = bool(_value(session.config, "report"))
        # A session without prunings needs no folder.
        cache = _cache_of(session.config) if wanted else None
        for number, (pruning, checks) in enumerate(wanted.items()):
            # Every process numbers them alike: keys sort as the tests stand.
            key = f"{number:06} {places[pruning]}"
            network = (
                networks.setdefault(id(pruning.request), f"network of {key}") if is_told else ""
            )
            pruning.share(cache, key, checks, network)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Say what the test has looked at, whether it passes or not."""
        try:
            return (yield)
        finally:
            for bound in bound_to(item):
                if bound.pruning.refused:
                    item.user_properties.append((_REFUSED, bound.pruning.refused))
                if bound.pruning.is_done:
                    item.user_properties.append((_PROPERTY, _told(bound.pruning, bound.name)))


def _cache_of(config: Any) -> SharedCache | None:
    """In pytest's temporary folder: a worker's is in that of the process that started it.

    None where pytest has none, as with ``-p no:tmpdir``.
    """
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is None:
        return None
    folder: Path = factory.getbasetemp()
    return SharedCache((folder.parent if hasattr(config, "workerinput") else folder) / _FOLDER)


def _told(pruning: Any, check: str) -> str:
    run, info = pruning.run, pruning.info
    return json.dumps(
        {
            "subject": info.name,
            "input_size": info.input_size,
            "weights": info.weights,
            "seed": info.seed,
            "outputs": info.outputs,
            "policy": run.config.policy,
            "ratio": run.config.ratio,
            "verdict": run.verification.verdict.value,
            "macs": [run.macs.before, run.macs.after],
            "params": [run.params.before, run.params.after],
            "key": pruning.key,
            "network": pruning.network,
            "check": check,
        }
    )


class _Teller:
    """In the process that the user started: a header, a table, and the files of a report."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._found: dict[str, dict[str, Any]] = {}
        self._refused: list[str] = []
        self._known: dict[tuple[str, str], str] = {}
        self._lines: list[str] = []
        self._folder = None if config.option.collectonly else _value(config, "report")
        if self._folder:
            check_writable(Path(self._folder) / "results.json")

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Versions and networks, where networks were given."""
        prunings = config.stash.get(PRUNINGS, [])
        if not prunings:
            return []
        installed = ", ".join(f"{name} {version}" for name, version in versions().items())
        names = ", ".join(dict.fromkeys(pruning.subject for pruning in prunings))
        return [f"pruning-analysis: {installed}", f"networks: {names}"]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect what tests looked at, and why they could not."""
        for name, value in report.user_properties:
            if name == _PROPERTY:
                told = json.loads(str(value))
                self._found.setdefault(told["key"], told)
                if report.skipped and hasattr(report, "wasxfail"):
                    self._known[told["key"], told["check"]] = report.wasxfail
            elif name == _REFUSED and value not in self._refused:
                self._refused.append(str(value))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, whole or not at all; bad input is no failing check."""
        if self._refused and session.exitstatus == pytest.ExitCode.TESTS_FAILED:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
            self._lines += [f"ERROR: {reason}" for reason in self._refused]
        if not self._folder or session.exitstatus == pytest.ExitCode.INTERRUPTED:
            return
        if not self._found:
            self._lines.append("no pruning was looked at, so no report was written")
            return
        try:
            self._lines += [f"wrote {path}" for path in self._write(Path(self._folder))]
        except (InputError, OSError) as error:
            self._lines.append(str(error))
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write(self, folder: Path) -> list[Path]:
        cache = _cache_of(self._config)
        if cache is None:
            raise InputError("--report needs pytest's temporary folder; leave out -p no:tmpdir")
        found: dict[str, SubjectStudy] = {}
        for told in self._in_order():
            run = cache.get(told["key"])
            if run is not None:
                run = self._with_known(told["key"], run)
                network = told["network"]
                so_far = found.get(network) or cache.get(network) or _bare(told, run)
                found[network] = replace(so_far, runs=(*so_far.runs, run))
        # matplotlib takes its time, which sessions without a report are spared.
        write_report = import_module("analysis.reporting.report").write_report
        return list(write_report(self._study(found.values()), str(folder)))

    def _with_known(self, key: str, run: Run) -> Run:
        """The run with the reasons of the failures that were expected."""
        checks = (
            replace(check, known=self._known.get((key, check.name), check.known))
            for check in run.checks
        )
        return replace(run, checks=tuple(checks))

    def _study(self, subjects: Iterable[SubjectStudy]) -> Study:
        given = _without_report(map(str, self._config.invocation_params.args))
        return Study(
            versions=tuple(versions().items()),
            subjects=tuple(subjects),
            command=shlex.join(["pytest", *given]),
            refused=tuple(self._refused),
        )

    def _in_order(self) -> list[dict[str, Any]]:
        """As the tests stand, whichever process was done first."""
        return [self._found[key] for key in sorted(self._found)]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """A row for each pruning."""
        if self._found or self._lines:
            terminalreporter.write_sep("=", "prunings")
        if self._found:
            terminalreporter.write_line(prunings.table(self._in_order()))
        for line in self._lines:
            terminalreporter.write_line(line)


def _without_report(arguments: Iterable[str]) -> Iterator[str]:
    """What else a session was called with: where a report goes does not change it."""
    rest = iter(arguments)
    for text in rest:
        if text == "--report":
            next(rest, None)
        elif not text.startswith("--report="):
            yield text


def _bare(told: dict[str, Any], run: Run) -> SubjectStudy:
    """What is known of a network beside its prunings, where no more could be found out."""
    size = told["input_size"]
    info = SubjectInfo(
        told["subject"],
        None if size is None else tuple(size),
        told["weights"],
        told["seed"],
        tuple(told["outputs"]),
    )
    dense = CostTable((), run.macs.before, run.params.before, (), ())
    return SubjectStudy(info, (run.config.policy, run.config.scope), dense, ())
