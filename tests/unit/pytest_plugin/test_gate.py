"""The gate as users meet it: pytest in a folder of its own, prunings made by hand, no torch.

Sessions run inside this process where that makes no difference, for it takes a tenth of the time;
``--runpytest=subprocess`` gives each a process of its own.
"""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

# Imported here because what a session inside this process imports is forgotten after it, and
# numpy cannot be imported twice.
import analysis.reporting.files  # noqa: F401

# What the tests below import: a pruning at a ratio, whose numbers are all known.
PRUNINGS = """
from analysis.records import *

def run(ratio=0.5, macs=300, verdict="exact"):
    groups = (
        GroupAccount("one", 60, 50, 50, Reason.PRUNED),
        GroupAccount("two", 40, 10, 0, Reason.WOULD_EMPTY),
    )
    return Run(
        Config(ratio),
        Verification(Verdict(verdict), groups=groups),
        Channels(100, 60, 50),
        params=Sizes(900, 200),
        macs=Sizes(1000, macs),
        bytes_=Sizes(9000, 4000),
        costs=None,
        checks=(CheckResult("a", True), CheckResult("b", False)),
    )
"""

TWO = """
import pytest
from prunings import run

def test_half(baseline):
    baseline.check("net", run(0.5))

@pytest.mark.slow
def test_most(baseline):
    baseline.check("net", run(0.8, macs=100))
"""

HEADER = "model,policy,scope,ratio,metric,expected,tolerance,better\n"


def rows(ratio: float, macs: str = "300,0,lower") -> str:
    """What a pruning made by hand comes to, written by hand."""
    return (
        f"net,classifier,global,{ratio},bytes,4000,0,lower\n"
        f"net,classifier,global,{ratio},channels_removed,50,0,higher\n"
        f"net,classifier,global,{ratio},channels_requested,60,0,equal\n"
        f"net,classifier,global,{ratio},checks_failed,1,0,lower\n"
        f"net,classifier,global,{ratio},groups_dropped,1,0,lower\n"
        f"net,classifier,global,{ratio},macs,{macs}\n"
        f"net,classifier,global,{ratio},params,200,0,lower\n"
        f"net,classifier,global,{ratio},verdict,exact,0,higher\n"
    )


HALF = rows(0.5)
MOST = rows(0.8, "100,0,lower")
PER_RUN = 8

ONE_PROCESS = ()
TWO_PROCESSES = ("-p", "xdist", "-n", "2")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch) -> pytest.Pytester:
    """A folder with two tests that record, no baseline yet, and no plugin but ours."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\naddopts = -p pruning-analysis\nmarkers = slow")
    pytester.makepyfile(prunings=PRUNINGS, test_two=TWO)
    pytester.mkdir("reports")
    return pytester


def write(project: pytest.Pytester, text: str) -> bytes:
    path = project.path / "reports" / "baseline.csv"
    path.write_text(text)
    return path.read_bytes()


def content(project: pytest.Pytester, name: str = "baseline.csv") -> str:
    return (project.path / "reports" / name).read_text()


def files(project: pytest.Pytester) -> list[str]:
    """All that lies in the reports' folder, what is left over from writing included."""
    return sorted(os.listdir(project.path / "reports"))


def check(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    return project.runpytest("--check-baseline", *options)


def update(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    return project.runpytest("--update-baseline", *options)


def summary(result: pytest.RunResult) -> list[str]:
    """The lines of the section on the baseline."""
    lines = result.outlines
    (start,) = [place for place, line in enumerate(lines) if line.strip("= ") == "baseline"]
    length = next(place for place, line in enumerate(lines[start + 1 :]) if line.startswith("="))
    return lines[start + 1 : start + 1 + length]


ACCEPT = "if that is meant, accept with --update-baseline, or copy reports/baseline.new.csv over it"
REGRESSION = (
    "REGRESSION net classifier global 0.5 macs: expected 299, found 300 "
    "(tolerance 0, better: lower)"
)


def test_what_is_as_expected_passes_and_an_old_proposal_goes(project) -> None:
    before = write(project, HEADER + HALF + MOST)
    (project.path / "reports" / "baseline.new.csv").write_text("old")
    result = check(project)
    assert result.ret == 0
    assert summary(result) == ["16 rows are as reports/baseline.csv expects"]
    assert content(project).encode() == before
    assert files(project) == ["baseline.csv"]


def test_without_an_option_tests_only_record(project) -> None:
    write(project, HEADER + HALF.replace("300", "1"))
    result = project.runpytest("--junit-xml=junit.xml")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*= baseline =*")
    assert files(project) == ["baseline.csv"]
    (value,) = [
        found.get("value")
        for found in ET.parse(project.path / "junit.xml").iterfind(".//property")
        if found.get("value", "").count('"ratio": 0.8')
    ]
    found = {row["metric"]: row["value"] for row in json.loads(value)}
    assert found == {
        "bytes": 4000,
        "channels_removed": 50,
        "channels_requested": 60,
        "checks_failed": 1,
        "groups_dropped": 1,
        "macs": 100,
        "params": 200,
        "verdict": "exact",
    }


@pytest.mark.parametrize("processes", [ONE_PROCESS, TWO_PROCESSES])
def test_a_regression_fails_the_very_test_and_names_the_row(project, processes) -> None:
    before = write(project, HEADER + rows(0.5, "299,0,lower") + MOST)
    result = check(project, *processes)
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*___ test_half ___*", f"E *{REGRESSION}", f"E *{ACCEPT}"])
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")
    assert summary(result) == [REGRESSION, ACCEPT]
    assert content(project).encode() == before
    assert content(project, "baseline.new.csv") == HEADER + HALF + MOST


@pytest.mark.parametrize(
    ("expected", "kind", "says"),
    [
        (HALF.replace("300", "301") + MOST, "WIN", "better than expected: accept it"),
        (HALF.replace("exact", "mixed") + MOST, "WIN", "better than expected: accept it"),
        (HALF.replace("requested,60", "requested,61") + MOST, "REGRESSION", "better: equal"),
        (HALF.replace("checks_failed,1", "checks_failed,0") + MOST, "REGRESSION", "found 1"),
        (
            HALF.replace(HALF.splitlines()[0] + "\n", "") + MOST,
            "NEW",
            "expected nothing, found 4000",
        ),
    ],
)
def test_whatever_differs_fails_and_is_proposed(project, expected, kind, says) -> None:
    write(project, HEADER + expected)
    result = check(project)
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    difference, how = summary(result)
    assert difference.startswith(f"{kind} net classifier global 0.5 ")
    assert says in difference
    assert how == ACCEPT
    assert content(project, "baseline.new.csv") == HEADER + HALF + MOST


def test_a_change_within_the_tolerance_passes(project) -> None:
    write(project, HEADER + rows(0.5, "290,10,equal") + MOST)
    assert check(project).ret == 0


OLD = rows(0.9)


@pytest.mark.parametrize("processes", [ONE_PROCESS, TWO_PROCESSES])
def test_rows_that_nobody_recorded_fail_a_run_whose_tests_pass(project, processes) -> None:
    write(project, HEADER + HALF + MOST + OLD)
    result = check(project, *processes)
    assert result.ret == 1
    result.assert_outcomes(passed=2)
    *differences, how = summary(result)
    assert [line.split(":")[0] for line in differences] == [
        "MISSING " + " ".join(line.split(",")[:5]) for line in OLD.splitlines()
    ]
    assert how == ACCEPT
    assert content(project, "baseline.new.csv") == HEADER + HALF + MOST


DESELECTING = """
def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=items[1:])
    del items[1:]
"""


@pytest.mark.parametrize(
    "narrowing",
    [
        ("-k", "half"),
        ("-m", "not slow"),
        ("--deselect", "test_two.py::test_most"),
        ("test_two.py::test_half",),
        (*TWO_PROCESSES, "-k", "half"),
        ("test_two.py", "--deselect", "test_two.py::test_most"),
    ],
)
def test_a_run_of_some_tests_does_not_report_the_rows_of_others_as_missing(
    project, narrowing
) -> None:
    write(project, HEADER + HALF + MOST)
    (project.path / "reports" / "baseline.new.csv").write_text("of a whole run")
    result = check(project, *narrowing)
    assert result.ret == 0
    assert summary(result) == [
        "8 rows are as reports/baseline.csv expects",
        "8 rows of the baseline were not checked, because the run was narrowed",
    ]
    assert files(project) == ["baseline.csv", "baseline.new.csv"]


@pytest.mark.parametrize(
    "asked",
    [("-k", "test_"), ("-m", "slow or not slow"), ("--deselect", "x"), ("--lf",), ("--sw",)],
)
def test_a_run_that_was_asked_to_leave_tests_out_is_narrowed_though_none_was(
    project, asked
) -> None:
    write(project, HEADER + HALF + MOST + OLD)
    result = check(project, *asked)
    assert result.ret == 0
    assert summary(result)[-1].startswith("8 rows of the baseline were not checked")


@pytest.mark.parametrize("processes", [ONE_PROCESS, TWO_PROCESSES])
def test_tests_that_a_plugin_leaves_out_narrow_the_run(project, processes) -> None:
    write(project, HEADER + HALF + MOST)
    project.makeconftest(DESELECTING)
    result = check(project, *processes)
    assert result.ret == 0
    assert summary(result)[1].endswith("because the run was narrowed")


@pytest.mark.parametrize("processes", [ONE_PROCESS, ("-p", "xdist", "-n", "1")])
def test_what_a_stopped_run_did_not_reach_is_not_missing(project, processes) -> None:
    write(project, HEADER + HALF.replace("300", "299") + MOST)
    result = check(project, "-x", *processes)
    assert result.ret != 0
    assert summary(result) == [
        REGRESSION,
        ACCEPT,
        "8 rows of the baseline were not checked, because the run was stopped",
    ]
    assert content(project, "baseline.new.csv") == HEADER + HALF + MOST


BROKEN = """
def test_most(baseline):
    raise RuntimeError("before it recorded")
"""


@pytest.mark.parametrize("option", ["--check-baseline", "--update-baseline"])
def test_the_rows_of_a_test_that_fails_before_it_records_are_kept(project, option) -> None:
    write(project, HEADER + HALF.replace("300", "299") + MOST)
    project.makepyfile(test_two=TWO.split("@")[0] + BROKEN)
    result = project.runpytest(option)
    assert result.ret == 1
    assert "8 rows of the baseline were not checked, because a test failed" in summary(result)[-1]
    written = "baseline.csv" if "update" in option else "baseline.new.csv"
    assert content(project, written) == HEADER + HALF + MOST


def test_an_expected_failure_does_not_hide_a_difference(project) -> None:
    write(project, HEADER + HALF + MOST.replace("100", "99"))
    project.makepyfile(test_two=TWO.replace("mark.slow", "mark.xfail"))
    result = check(project)
    result.assert_outcomes(passed=1, xfailed=1)
    assert result.ret == 1
    assert summary(result)[0].startswith("REGRESSION net classifier global 0.8 macs:")


@pytest.mark.parametrize("processes", [ONE_PROCESS, TWO_PROCESSES])
def test_an_update_makes_the_file_and_exits_1_once(project, processes) -> None:
    first = update(project, *processes)
    first.assert_outcomes(passed=2)
    assert first.ret == 1
    assert content(project) == HEADER + HALF + MOST
    assert summary(first)[0] == "net classifier global 0.5 bytes: nothing -> 4000"
    assert summary(first)[-1] == "wrote reports/baseline.csv"
    assert len(summary(first)) == 2 * PER_RUN + 1
    second = update(project)
    assert second.ret == 0
    assert summary(second) == ["nothing changed"]
    assert files(project) == ["baseline.csv"]


def test_an_update_keeps_tolerances_and_directions_and_drops_what_is_gone(project) -> None:
    write(project, HEADER + rows(0.5, "290,20,equal") + MOST + OLD)
    result = update(project)
    result.assert_outcomes(passed=2)
    assert result.ret == 1
    assert content(project) == HEADER + rows(0.5, "300,20,equal") + MOST
    changed = summary(result)
    assert changed[0] == "net classifier global 0.5 macs: 290 -> 300"
    assert changed[1] == "net classifier global 0.9 bytes: 4000 -> nothing"
    assert len(changed) == 1 + PER_RUN + 1


def test_an_update_by_some_tests_keeps_the_rows_of_others(project) -> None:
    write(project, HEADER + HALF.replace("300", "1") + MOST + OLD)
    result = update(project, "-k", "half")
    assert result.ret == 1
    assert content(project) == HEADER + HALF + MOST + OLD
    assert summary(result) == [
        "net classifier global 0.5 macs: 1 -> 300",
        "wrote reports/baseline.csv",
        "16 rows of the baseline were not checked, because the run was narrowed",
    ]


def test_an_update_puts_the_rows_into_their_usual_order(project) -> None:
    write(project, HEADER + MOST + HALF)
    assert summary(update(project))[0] == "the same rows, in the usual layout"
    assert content(project) == HEADER + HALF + MOST


IMPORTING = "import nothing_of_that_name"
EXITING = """
import pytest

def test_exits():
    pytest.exit("enough", 0)
"""
FAILING = """
def test_fails():
    assert False
"""
INTERRUPTING = """
def test_interrupts():
    raise KeyboardInterrupt
"""


@pytest.mark.parametrize(
    ("last", "options"),
    [
        (IMPORTING, ONE_PROCESS),
        (IMPORTING, ("--continue-on-collection-errors",)),
        (IMPORTING, TWO_PROCESSES),
        (EXITING, ONE_PROCESS),
        (FAILING, ("-x",)),
    ],
)
def test_an_update_that_did_not_run_to_its_end_writes_nothing(project, last, options) -> None:
    before = write(project, HEADER + HALF.replace("300", "1") + MOST)
    project.makepyfile(test_zz_last=last)
    result = update(project, *options)
    assert result.ret != 0
    assert "nothing was written, because the run was stopped" in summary(result)
    assert content(project).encode() == before
    assert files(project) == ["baseline.csv"]


def test_an_update_that_broke_down_writes_nothing(project) -> None:
    before = write(project, HEADER + HALF.replace("300", "1") + MOST)
    project.makeconftest("def pytest_runtest_logfinish(nodeid):\n    assert 'half' in nodeid")
    assert update(project).ret == 3
    assert content(project).encode() == before


def test_an_interrupted_update_writes_nothing(project) -> None:
    before = write(project, HEADER + HALF.replace("300", "1") + MOST)
    project.makepyfile(test_zz_last=INTERRUPTING)
    result = project.runpytest_subprocess("--update-baseline")
    assert result.ret == 2
    assert "nothing was written, because the run was stopped" in summary(result)
    assert content(project).encode() == before
    assert files(project) == ["baseline.csv"]


@pytest.mark.parametrize(
    ("option", "text", "says"),
    [
        ("--check-baseline", HEADER + "net\n", "reports/baseline.csv:2: 1 fields; expected 8"),
        ("--update-baseline", HEADER + "net\n", "reports/baseline.csv:2: 1 fields; expected 8"),
        ("--update-baseline", "", "reports/baseline.csv:1: the file is empty; expected the col"),
        ("--check-baseline", None, "reports/baseline.csv: no such file; make it with --update-b"),
    ],
)
@pytest.mark.parametrize("processes", [ONE_PROCESS, TWO_PROCESSES])
def test_a_file_that_is_no_baseline_ends_the_run_before_it_starts(
    project, option, text, says, processes
) -> None:
    before = None if text is None else write(project, text)
    result = project.runpytest(option, *processes)
    assert result.ret == 4
    assert result.errlines[0].startswith(f"ERROR: {says}")
    assert [line for line in result.errlines if line] == result.errlines[:1]
    assert files(project) == ([] if before is None else ["baseline.csv"])
    assert before is None or content(project).encode() == before


def test_a_file_that_is_not_text_is_named_with_its_line(project) -> None:
    path = project.path / "reports" / "baseline.csv"
    path.write_bytes(HEADER.encode() + b"caf\xe9" + HALF.encode())
    result = check(project)
    assert result.ret == 4
    assert result.errlines[0].startswith(
        "ERROR: reports/baseline.csv:2: invalid continuation byte;"
    )


@pytest.mark.parametrize("option", ["--check-baseline", "--update-baseline"])
def test_a_folder_is_no_baseline(project, option) -> None:
    result = project.runpytest(option, "--baseline=reports")
    assert result.ret == 4
    assert "reports: Is a directory; expected a CSV file" in result.errlines[0]


def test_checking_and_updating_at_once_is_refused(project) -> None:
    result = check(project, "--update-baseline")
    assert result.ret == 4
    assert result.errlines[0] == "ERROR: give --check-baseline or --update-baseline, not both"


def test_the_file_is_the_roots_own_or_where_the_caller_points(project) -> None:
    write(project, HEADER + HALF + MOST)
    below = project.mkdir("below")
    (below / "other.csv").write_text(HEADER + HALF.replace("300", "299") + MOST)
    os.chdir(below)
    own = check(project, "..")
    assert own.ret == 0
    assert str(project.path / "reports" / "baseline.csv") in summary(own)[0]
    other = check(project, "--baseline=other.csv", "..")
    assert other.ret == 1
    assert summary(other)[-1].endswith("or copy other.new.csv over it")
    assert (below / "other.new.csv").read_text() == HEADER + HALF + MOST


@pytest.mark.parametrize("option", ["--check-baseline", "--update-baseline"])
def test_a_run_in_which_nothing_was_recorded_is_an_error(project, option) -> None:
    before = write(project, HEADER + HALF + MOST)
    project.makepyfile(test_two="def test_nothing():\n    pass")
    result = project.runpytest(option)
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    assert summary(result) == [
        "no test recorded anything for the baseline: use the baseline fixture"
    ]
    assert content(project).encode() == before


def test_looking_at_the_tests_without_running_them_is_none(project) -> None:
    assert check(project, "--collect-only").ret == 0


SAME = """
import pytest
from prunings import run

@pytest.mark.parametrize("macs", [300, {}])
def test_half(baseline, macs):
    baseline.check("net", run(macs=macs))
"""


@pytest.mark.parametrize("option", ["--check-baseline", "--update-baseline"])
def test_one_row_with_two_values_is_an_error_and_neither_is_written(project, option) -> None:
    before = write(project, HEADER + rows(0.5, "1,0,lower"))
    project.makepyfile(test_two=SAME.format(500))
    result = project.runpytest(option, *TWO_PROCESSES)
    assert result.ret == 1
    (line,) = [line for line in summary(result) if "recorded as" in line]
    assert line.startswith("net classifier global 0.5 macs: recorded as ")
    assert {"300", "500"} < set(line.replace(",", "").split())
    assert content(project).encode() == before
    assert files(project) == ["baseline.csv"]


def test_one_row_with_one_value_may_be_recorded_often(project) -> None:
    write(project, HEADER + HALF)
    project.makepyfile(
        test_two=SAME.format(300) + "\ndef test_parts(baseline, subtests):\n"
        "    for _ in range(2):\n"
        "        with subtests.test():\n"
        "            baseline.check('net', run())\n"
    )
    result = check(project)
    assert result.ret == 0
    assert summary(result) == ["8 rows are as reports/baseline.csv expects"]


def test_a_test_may_record_several_prunings(project) -> None:
    write(project, HEADER + HALF + MOST)
    project.makepyfile(
        test_two="from prunings import run\n\n"
        "def test_all(baseline):\n"
        "    baseline.check('net', run())\n"
        "    baseline.check('net', run(0.8, macs=100))\n"
    )
    assert check(project).ret == 0


INTERRUPTED_WRITE = """
import os
rename = os.replace

def replace(source, target):
    if str(target).endswith(".csv"):
        raise KeyboardInterrupt
    rename(source, target)

os.replace = replace
"""


def test_an_interruption_while_the_file_is_written_leaves_the_old_one_whole(project) -> None:
    before = write(project, HEADER + HALF.replace("300", "1") + MOST)
    project.makeconftest(INTERRUPTED_WRITE)
    result = project.runpytest_subprocess("--update-baseline")
    assert result.ret != 0
    result.stderr.fnmatch_lines(["KeyboardInterrupt*"])
    assert content(project).encode() == before
    assert files(project) == ["baseline.csv"]


# Each of two sessions waits until the other is as far, so that both write at the same time.
MEETING = """
import os, pathlib, time
from prunings import run

def test_many(baseline):
    me = os.environ["MACS"]
    for place in range(50):
        baseline.check(f"net{place:02}", run(macs=int(me)))
    pathlib.Path(f"arrived-{me}").touch()
    deadline = time.monotonic() + 60
    while len(list(pathlib.Path().glob("arrived-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""


def test_two_updates_at_once_leave_one_whole_file(project) -> None:
    project.makepyfile(test_two=MEETING)
    command = [sys.executable, "-m", "pytest", "--update-baseline", "-p", "no:cacheprovider"]
    sessions = [
        subprocess.Popen(
            command,
            cwd=project.path,
            env={**os.environ, "MACS": macs},
            stdout=subprocess.DEVNULL,
        )
        for macs in ("111", "222")
    ]
    assert [session.wait(timeout=120) for session in sessions] == [1, 1]
    names = [f"net{place:02}" for place in range(50)]
    whole = [
        HEADER + "".join(rows(0.5, f"{macs},0,lower").replace("net", name) for name in names)
        for macs in ("111", "222")
    ]
    assert content(project) in whole
    assert files(project) == ["baseline.csv"]


def test_a_folder_that_cannot_be_written_is_said_before_any_test_runs(project) -> None:
    (project.path / "file").touch()
    result = update(project, "--baseline=file/baseline.csv")
    assert result.ret == 4
    assert "file/baseline.csv" in result.errlines[0]


def test_every_pytest_of_the_environment_has_the_fixture(project, monkeypatch) -> None:
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    project.makeini("[pytest]\nmarkers = slow")
    result = project.runpytest_subprocess("-W", "error")
    assert result.ret == 0
    result.assert_outcomes(passed=2)


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, analysis.pytest_plugin\n"
        "assert not {'torch', 'numpy', 'matplotlib', 'torch_pruning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


OTHER = """
from prunings import run

def test_other(baseline):
    baseline.check("other", run(0.5))
"""


@pytest.mark.parametrize("narrowing", [("test_other.py",), ("--ignore", "test_two.py")])
def test_a_file_that_is_named_or_left_out_narrows_the_run(project, narrowing) -> None:
    project.makepyfile(test_other=OTHER)
    write(project, HEADER + HALF + MOST + HALF.replace("net,", "other,"))
    assert check(project, *narrowing).ret == 0
    before = content(project)
    assert project.runpytest("--update-baseline", *narrowing).ret == 0
    assert content(project) == before


def test_the_rows_of_a_test_that_was_skipped_are_kept(project) -> None:
    leaving = OTHER.replace(
        "    baseline", "    import pytest; pytest.skip('no network')\n    baseline"
    )
    project.makepyfile(test_other=leaving)
    write(project, HEADER + HALF + MOST + HALF.replace("net,", "other,"))
    before = content(project)
    result = check(project)
    assert result.ret == 0
    assert "because a test failed or was skipped before it recorded any" in summary(result)[-1]
    assert project.runpytest("--update-baseline").ret == 0
    assert content(project) == before


def test_a_value_that_a_run_no_longer_has_fails_its_test_in_a_narrowed_run_too(project) -> None:
    project.makepyfile(test_two=TWO.replace("run(0.5)", "run(0.5, macs=None)"))
    write(project, HEADER + HALF + MOST)
    result = check(project, "-k", "half")
    result.assert_outcomes(failed=1)
    assert summary(result)[0].startswith("MISSING net classifier global 0.5 macs") or any(
        line.startswith("E ") and "MISSING net classifier global 0.5 macs" in line
        for line in result.outlines
    )


def test_what_is_no_run_is_refused_in_a_line(project) -> None:
    project.makepyfile(test_two="def test_none(baseline):\n    baseline.check('net', None)\n")
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*baseline.check was given a NoneType for 'net'; expected*"])


def test_a_link_to_a_baseline_stays_one(project) -> None:
    real = project.path / "real.csv"
    real.write_text(HEADER + HALF.replace("300", "299") + MOST)
    (project.path / "reports" / "baseline.csv").symlink_to(real)
    assert project.runpytest("--update-baseline").ret == 1
    assert (project.path / "reports" / "baseline.csv").is_symlink()
    assert real.read_text() == HEADER + HALF + MOST
