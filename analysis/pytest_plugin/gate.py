"""The gate: a fixture that records results of tests, and the comparison at the end.

Workers of pytest-xdist compare their own tests with the baseline. The process that started them
reads and writes the file, and compares what all of them recorded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analysis.errors import InputError, an
from analysis.gate.baseline import (
    Key,
    Row,
    changes,
    compare,
    from_json,
    merge,
    rows_of,
    to_json,
)
from analysis.gate.baseline_csv import dump, read
from analysis.pytest_plugin.items import bound_to, holds_baseline
from analysis.records import Run
from analysis.reporting.files import check_writable, write_text

__all__ = ["OPTIONS", "Baseline", "baseline", "baseline_of", "configure", "is_asked"]

_PROPERTY = "pruning-analysis-baseline"
"""The property of a test with its rows, which is in junit's file."""

_HANDED = "pruning-analysis-baseline"
"""The key under which workers get the file and report left-out tests."""

_NARROWING = (
    "keyword",
    "markexpr",
    "deselect",
    "ignore",
    "ignore_glob",
    "lf",
    "stepwise",
)
"""pytest's options that leave tests out."""

_ENDED = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)
"""Exit codes of a session that ran all tests it collected."""

_NOTHING = "no test recorded anything for the baseline: use the baseline fixture"


@dataclass(frozen=True)
class _Held:
    """The expected rows, and the hint for differences."""

    rows: tuple[Row, ...]
    accept: str


_HELD: pytest.StashKey[_Held] = pytest.StashKey()
"""Set in every process that checks; elsewhere tests only record."""


class Baseline:
    """Records the numbers of a test and, with ``--check-baseline``, compares them."""

    def __init__(self, properties: list[tuple[str, object]], held: _Held | None) -> None:
        self._properties = properties
        self._held = held
        self._rows: tuple[Row, ...] = ()

    def check(self, model: str, run: Run) -> None:
        """Record a run and, with ``--check-baseline``, compare it.

        Check one run in each test: runs after a failing one count as missing.

        Args:
            model: the name of the network, as the file has it.
            run: one pruning of it.

        Raises:
            AssertionError: a line for each value that is worse, better or not in the file.
            InputError: a name is not a line of text.
        """
        __tracebackhide__ = True
        if not isinstance(run, Run):
            raise InputError(
                f"baseline.check was given {an(type(run).__name__)} for {model!r}; expected the "
                "`.run` of analysis.pipeline.prune_and_prove"
            )
        rows = rows_of(model, run)
        self._record(rows)
        if self._held:
            places = {row.key[:-1] for row in rows}
            expected = [row for row in self._held.rows if row.key[:-1] in places]
            differences = compare(expected, rows, complete=True)
            if differences:
                lines = [difference.text for difference in differences]
                raise AssertionError("\n".join([*lines, self._held.accept]))

    def _record(self, rows: tuple[Row, ...]) -> None:
        self._rows += rows
        others = [entry for entry in self._properties if entry[0] != _PROPERTY]
        self._properties[:] = [*others, (_PROPERTY, to_json(self._rows))]


@pytest.fixture
def baseline(request: pytest.FixtureRequest) -> Baseline:
    """Compare a pruning with the accepted numbers: ``baseline.check("mobilenet_v2", run)``."""
    return baseline_of(request.node)


def baseline_of(item: pytest.Item) -> Baseline:
    """The baseline of a test."""
    return Baseline(item.user_properties, item.config.stash.get(_HELD, None))


OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "--baseline",
        {
            "dest": "baseline_file",
            "metavar": "FILE",
            "help": "the accepted numbers (default: reports/baseline.csv below the root directory)",
        },
    ),
    (
        "--check-baseline",
        {
            "dest": "check_baseline",
            "action": "store_true",
            "help": "fail if a pruning is worse, better, new or missing",
        },
    ),
    (
        "--update-baseline",
        {
            "dest": "update_baseline",
            "action": "store_true",
            "help": "accept the numbers found; exit with 1 if that changes the file",
        },
    ),
)
"""The gate's options, with what argparse gets for each."""


def is_asked(config: pytest.Config) -> bool:
    """Whether the session checks or updates a baseline."""
    return bool(_given(config, "check_baseline") or _given(config, "update_baseline"))


def _given(config: pytest.Config, option: str) -> Any:
    """The value of an option; None if a conftest uses its name for another option."""
    return getattr(config.option, option, None)


def configure(config: pytest.Config) -> None:
    """Read the file before any test runs.

    Raises:
        pytest.UsageError: the file, or the options together, cannot be used.
    """
    if config.option.collectonly or not is_asked(config):
        return
    if _given(config, "check_baseline") and _given(config, "update_baseline"):
        raise pytest.UsageError("give --check-baseline or --update-baseline, not both")
    judge = _Checker if _given(config, "check_baseline") else _Updater
    try:
        plugin = _Worker(config) if hasattr(config, "workerinput") else judge(config)
    except InputError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(plugin)


class _Tests:
    """Marks the tests that may record something, so that skipped ones are known."""

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        holds = any(map(holds_baseline, bound_to(item)))
        if holds or "baseline" in getattr(item, "fixturenames", ()):
            item.user_properties.append((_PROPERTY, to_json(())))


class _Worker(_Tests):
    """In a worker of pytest-xdist: compares its tests, and reports left-out ones."""

    def __init__(self, config: Any) -> None:
        self._output = config.workeroutput
        if _HANDED in config.workerinput:
            text, name = config.workerinput[_HANDED]
            config.stash[_HELD] = _Held(read(text, name), _accept(name))

    def pytest_deselected(self) -> None:
        self._output[_HANDED] = True


class _Judge(_Tests):
    """Collects what all tests recorded, and compares it at the end of the session.

    Attributes:
        path: of the file.
        name: of the file, as the user gave it.
        text: of the file; None if there is none.
        expected: its rows.
        found: what tests recorded, by key.
        conflicts: rows that were recorded with two values.
        stopped: whether some collected tests did not run.
        distrusts_failures: whether a failed test may not have recorded everything.
    """

    distrusts_failures = False

    def __init__(self, config: pytest.Config) -> None:
        self.path, self.name = _place(config)
        self.text = _text_of(self.path, self.name)
        self.expected = () if self.text is None else read(self.text, self.name)
        self.found: dict[Key, Row] = {}
        self.conflicts: list[str] = []
        self.stopped = False
        self._unfinished: set[str] = set()
        self._recorded: set[str] = set()
        self._left_out = False
        self._lines: list[str] = []
        self._passed = True

    def conclude(self, complete: bool) -> None:
        """Compare or write; ``complete``: whether every expected row had to be found."""
        raise NotImplementedError

    def say(self, *lines: str, passed: bool = True) -> None:
        """Add to the summary; differences fail the session."""
        self._lines += lines
        self._passed &= passed

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.stopped |= report.failed

    def pytest_deselected(self) -> None:
        self._left_out = True

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._left_out |= _HANDED in getattr(node, "workeroutput", {})

    def pytest_keyboard_interrupt(self) -> None:
        self.stopped = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        texts = [str(value) for name, value in report.user_properties if name == _PROPERTY]
        was_left = report.skipped and not hasattr(report, "wasxfail")
        if report.failed or (was_left and texts):
            self._unfinished.add(report.nodeid)
        for row in (row for text in texts for row in from_json(text)):
            self._recorded.add(report.nodeid)
            self._collect(row, report.nodeid)

    def _collect(self, row: Row, test: str) -> None:
        known = self.found.setdefault(row.key, row)
        if known.value != row.value:
            line = (
                f"{row.name}: recorded as {known.value}, and as {row.value} by {test}; give runs "
                "that differ in more than these names another model name"
            )
            # Each phase of a test reports its properties again.
            self.conflicts += [line] if line not in self.conflicts else []

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.stopped |= bool(session.shouldstop or session.shouldfail)
        self.stopped |= session.exitstatus not in _ENDED
        try:
            self._judge(self._gap(session))
        except (InputError, OSError) as error:
            self.say(str(error), passed=False)
        if not self._passed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _gap(self, session: pytest.Session) -> str:
        """Why expected rows may be missing; empty if they must be found."""
        asked = any(getattr(session.config.option, name, None) for name in _NARROWING)
        if self.stopped:
            return "the run was stopped"
        # A folder may hold all tests; a file or a test is a part.
        named = any("::" in each or each.endswith(".py") for each in session.config.args)
        if asked or named or self._left_out:
            return "the run was narrowed"
        unfinished = self._unfinished - (set() if self.distrusts_failures else self._recorded)
        return "a test failed or was skipped before it recorded any" if unfinished else ""

    def _judge(self, gap: str) -> None:
        if not self.found and not self.stopped:
            self.say(_NOTHING, passed=False)
            return
        self.say(*self.conflicts, passed=not (self.conflicts or self.stopped))
        self.conclude(complete=not gap)
        unseen = sum(row.key not in self.found for row in self.expected)
        if gap and unseen:
            self.say(f"{unseen} rows of the baseline were not checked, because {gap}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._lines:
            terminalreporter.write_sep("=", "baseline")
        for line in self._lines:
            terminalreporter.write_line(line)


class _Checker(_Judge):
    """Compares the session with the file, and writes the found rows beside it."""

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config)
        if self.text is None:
            raise InputError(f"{self.name}: no such file; make it with --update-baseline")
        config.stash[_HELD] = _Held(self.expected, _accept(self.name))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[_HANDED] = (self.text, self.name)

    def conclude(self, complete: bool) -> None:
        found, beside = self.found.values(), _beside(self.path)
        differences = compare(self.expected, found, complete=complete)
        self.say(*(difference.text for difference in differences), passed=not differences)
        if self.conflicts:  # there are several values
            return
        if differences:
            _write(beside, dump(merge(self.expected, found, complete=complete)))
            self.say(_accept(self.name))
            return
        if complete:
            beside.unlink(missing_ok=True)
        self.say(f"{len(found)} rows are as {self.name} expects")


class _Updater(_Judge):
    """Writes the found rows to the file."""

    distrusts_failures = True

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config)
        check_writable(self.path)

    def conclude(self, complete: bool) -> None:
        if self.stopped or self.conflicts:
            why = "the run was stopped" if self.stopped else "a row was recorded with two values"
            self.say(f"nothing was written, because {why}", passed=False)
            return
        rows = merge(self.expected, self.found.values(), complete=complete)
        text = dump(rows)
        if text == self.text:
            self.say("nothing changed")
            return
        _write(self.path, text)
        changed = changes(self.expected, rows) or ("the same rows, in the usual layout",)
        self.say(*changed, f"wrote {self.name}", passed=False)


def _place(config: pytest.Config) -> tuple[Path, str]:
    """Where the file is, and a name for it that holds where pytest was called."""
    here, given = config.invocation_params.dir, _given(config, "baseline_file")
    if given is not None:
        return here / given, given
    path = config.rootpath / "reports" / "baseline.csv"
    return path, str(path.relative_to(here) if path.is_relative_to(here) else path)


def _text_of(path: Path, name: str) -> str | None:
    """The file's text; None if there is no file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{name}:{line}: {error.reason}; expected CSV in UTF-8") from error
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}; expected a CSV file") from error


def _beside(path: str | Path) -> Path:
    return Path(path).with_suffix(".new.csv")


def _accept(name: str) -> str:
    return f"if that is meant, accept with --update-baseline, or copy {_beside(name)} over it"


def _write(path: Path, text: str) -> None:
    write_text(path.resolve(), text)  # a link stays one
