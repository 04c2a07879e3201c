"""The decorator and the suite as users meet them: pytest in a folder of its own."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
from drawn import part

import analysis.pytest_plugin.parametrizing  # noqa: F401
from analysis.checks import CATALOGUE

pytestmark = pytest.mark.usefixtures("everything_is_imported")

NETS = """
import torch
import torch_pruning as tp
from pathlib import Path
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 10, 1)
        self.head = nn.Linear(10, 4)

    def between(self, x):
        return x

    def forward(self, x):
        x = self.between(self.norm(self.first(x)))
        return self.head(self.second(x.relu()).mean((2, 3)))

class Flipped(Net):
    def between(self, x):
        return x.flip(1)

def needs(argument): ...
def fails(): raise ValueError("no\\ndata")
def nothing(): ...
def images(): return torch.randn(2, 3, 9, 9)

def counted(model, inputs, ratio):
    with Path("built").open("a") as file:
        file.write(f"{ratio} ")
    return tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=ratio,
        ignored_layers=[model.head],
    )

def foreign(model, inputs, ratio): return counted(Net(), inputs, ratio)
def text(model, inputs, ratio): return "pruned"
"""

FOUR_LINES = """
from analysis import parametrize_with_checks
from mine import *

@parametrize_with_checks({})
def test_net(check):
    check()
"""

SMALL = ("--input-size", "3,8,8")


@pytest.fixture
def session(pytester, monkeypatch):
    """Writes the test file, runs pytest on it; ``-p no:randomly`` and the like are not needed."""
    pytester.makepyfile(mine=NETS)
    monkeypatch.syspath_prepend(pytester.path)

    def run(arguments: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(test_net=FOUR_LINES.format(arguments))
        return pytester.runpytest("-p", "no:cacheprovider", *options)

    return run


def suite(pytester, *options: str) -> pytest.RunResult:
    pytester.makepyfile(mine=NETS)
    return pytester.runpytest("--pyargs", "analysis.suite", *options)


def test_there_is_a_test_for_each_check_and_ratio_with_a_readable_id(session) -> None:
    result = session("Net, input_size=(3, 8, 8), ratios=[0.3, 0.5]", "--collect-only", "-q")
    ids = [line.partition("[")[2].rstrip("]") for line in result.outlines if "[" in line]
    assert ids == [f"Net-{ratio}-{check}" for ratio in (0.3, 0.5) for check in CATALOGUE]


def test_targets_replace_ratios_and_are_checked(session) -> None:
    arguments = "Net, input_size=(3, 8, 8), targets={'macs': 0.6}"
    result = session(arguments, "-k", "meets_target or equivalent", "-v")
    result.assert_outcomes(passed=2, deselected=len(CATALOGUE) - 2)
    result.stdout.fnmatch_lines(["*Net-macs=0.6-meets_target* PASSED*"])
    missed = f"{arguments.replace('0.6', '0.01')}, ratios=[0.5]"
    result = session(missed, "-k", "meets_target")
    result.assert_outcomes(failed=1, deselected=len(CATALOGUE) - 1)
    result.stdout.fnmatch_lines(["*at most 1.0% of the MACs are to be left, and *"])


def test_a_metric_is_held_to_its_tolerance(session) -> None:
    measured = (
        "Net, input_size=(3, 8, 8), ratios=[0.5], evaluate=lambda model: len(model.state_dict())"
    )
    told = "thresholds=__import__('analysis.records').records.Thresholds(metric_loss=0)"
    session(f"{measured}, {told}", "-k", "metrics_held").assert_outcomes(
        passed=1, deselected=len(CATALOGUE) - 1
    )
    lower = measured.replace("len(model.state_dict())", "next(model.parameters()).shape[0]")
    result = session(f"{lower}, {told}", "-k", "metrics_held")
    result.assert_outcomes(failed=1, deselected=len(CATALOGUE) - 1)
    result.stdout.fnmatch_lines(["*at most 0 may be lost, and metric * became *"])


def test_four_lines_pass_a_sound_network(session) -> None:
    result = session("Net, input_size=(3, 8, 8), ratios=[0.5]")
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] + outcomes.get("skipped", 0) == len(CATALOGUE)
    assert outcomes.keys() <= {"passed", "skipped"}
    result.stdout.fnmatch_lines(["| Net * | classifier | *0.5 | exact *|"])


def test_four_lines_fail_a_network_that_is_cut_wrongly_with_the_layer(session) -> None:
    result = session("Flipped, input_size=(3, 8, 8), ratios=[0.5], scope='local'")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(
        [
            ">*check()",
            "E*CheckFailedError: wrong: *: `second` is the first to differ,*channels of `second`*",
            "FAILED test_net.py::test_net[[]Flipped-0.5-equivalent_to_masked]*",
        ]
    )
    # The user's own line is all there is of a trace.
    result.stdout.no_fnmatch_line("*parametrizing.py*")


def test_a_check_is_selected_by_name_and_no_other_runs(session, pytester) -> None:
    result = session("Net, inputs=images, ratios=[0.5], pruner=counted", "-k", "0.5-forward_runs")
    result.assert_outcomes(passed=1, deselected=len(CATALOGUE) - 1)
    # The structure is rebuilt, and so the pruner made again, for a check that was not selected.
    assert (pytester.path / "built").read_text() == "0.5 "


@pytest.mark.parametrize("dist", part(["load", "worksteal"]))
def test_processes_share_one_pruning_a_ratio(session, pytester, dist: str) -> None:
    options = ("-n", "2", "--dist", dist, "-k", "not survives and not ranked")
    result = session("Net, inputs=images, ratios=[0.3, 0.5], pruner=counted", *options)
    wanted = [name for name in CATALOGUE if "survives" not in name and "ranked" not in name]
    result.assert_outcomes(passed=2 * len(wanted))
    assert sorted((pytester.path / "built").read_text().split()) == ["0.3", "0.5"]
    rows = [line for line in result.outlines if line.startswith("| Net")]
    assert len(rows) == 2


def test_a_failure_that_is_expected_is_one_with_its_reason(session) -> None:
    expected = "expected_failures={'equivalent_to_masked': 'the flip is cut by its own pruner'}"
    result = session(
        f"Flipped, input_size=(3, 8, 8), ratios=[0.5], scope='local', {expected}", "-rx"
    )
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes()["xfailed"] == 1
    result.stdout.fnmatch_lines(
        ["XFAIL *equivalent_to_masked] - the flip is cut by its own pruner*"]
    )


def test_an_expected_failure_may_be_of_one_ratio(session) -> None:
    # 8 - int(8 * 0.05) = 8 and 10 - int(10 * 0.05) = 10 channels are asked: both are dropped.
    expected = "{'0.95-no_group_dropped': 'too much', '0.95-something_removed': 'too much'}"
    options = "input_size=(3, 8, 8), scope='local', ratios=[0.5, 0.95]"
    result = session(f"Net, {options}, expected_failures={expected}", "-k", "dropped or something")
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["xfailed"]) == (2, 2), result.outlines


def test_an_expected_failure_that_passes_fails(session) -> None:
    options = "ratios=[0.5], input_size=(3, 8, 8), expected_failures={'forward_runs': 'it did'}"
    result = session(f"Net, {options}", "-k", "forward_runs")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["forward_runs passes, though expected to fail (it did); take*"])


REFUSED = {
    "no reason": ("Net, expected_failures={'forward_runs': ' '}", "has no reason"),
    "no such check": ("Net, expected_failures={'runs': 'so'}", "unknown check 'runs'"),
    "no such ratio": (
        "Net, ratios=[0.5], expected_failures={'0.7-forward_runs': 'so'}",
        "'0.7-forward_runs' is of no test; the ratios are 0.5",
    ),
    "no ratios": ("Net, ratios=[]", "no ratio was given"),
    "one ratio": ("Net, ratios=0.5", "ratios 0.5; expected a list of numbers in [0, 1)"),
    "text": ("Net, ratios=['a']", "pruning ratio 'a'; expected a number in [0, 1)"),
    "all": ("Net, ratios=[1.0]", "pruning ratio 1.0; expected a number in [0, 1)"),
    "scope": ("Net, scope='some'", "scope 'some'; expected one of global, local"),
    "importance": ("Net, importance='l3'", "importance 'l3'; expected one of l1, l2"),
    "policy": ("Net, ignore='classifer'", "unknown policy 'classifer'; did you mean 'classifier'?"),
    "all checks": ("Net, expected_failures={'all': 'so'}", "unknown check 'all'"),
    "a list of checks": (
        "Net, expected_failures=['forward_runs']",
        "expected_failures is a list; expected a dict of reasons by check",
    ),
    "size of text": ("Net, input_size='3,8,8'", "input_size '3,8,8'; expected a tuple of whole"),
    "size of one": ("Net, input_size=8", "input_size 8; expected a tuple of whole numbers"),
    "no budget": ("Net, budget=0", "budget 0; expected a positive number of seconds, or None"),
    "text for a budget": ("Net, budget='x'", "budget 'x'; expected a positive number"),
    "thresholds": ("Net, thresholds=3", "thresholds 3; expected analysis.records.Thresholds"),
    "seed": ("Net, seed='a'", "seed 'a'; expected a whole number"),
    "round to": ("Net, round_to='x'", "round_to 'x'; expected a whole number"),
    "no weights": ("Net, weights=None", "weights None; expected random, default or the path"),
    "policy of one layer": ("Net, ignore=Net().head", "ignored layers are given as one Linear"),
    "misspelt policy": ("Net, ignore='classifer'", "did you mean 'classifier'?"),
    "network": ("Net()", "the factory is a Net; expected a function without arguments"),
    "torchvision": ("'resnet19'", "unknown model 'resnet19'"),
    "pruner": ("Net, pruner='mine'", "pruner 'mine' is not of the form package.module:function"),
    "pruner of two": (
        "Net, pruner=lambda model, inputs: None",
        "the pruner function '<lambda>' cannot be called with (model, inputs, ratio)",
    ),
    "built pruner": ("Net, pruner=3", "pruner 3; expected a function of (model, inputs, ratio)"),
}


def test_arguments_that_cannot_be_used_are_a_line_each_where_tests_are_collected(pytester) -> None:
    names = {f"test_{place}.py": name for place, name in enumerate(REFUSED)}
    for file, name in names.items():
        (pytester.path / file).write_text(FOUR_LINES.format(REFUSED[name][0]))
    pytester.makepyfile(mine=NETS)
    result = pytester.runpytest("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=len(names))
    _, *parts = re.split(r"^_+ ERROR collecting (.+) _+$", result.stdout.str(), flags=re.MULTILINE)
    said = dict(zip(parts[::2], parts[1::2], strict=True))
    assert said.keys() == names.keys()
    for file, name in names.items():
        lines = said[file].splitlines()
        (line,) = [line for line in lines if line.startswith("parametrize_with_checks: ")]
        assert REFUSED[name][1] in line, name
    result.stdout.no_fnmatch_line("*Traceback*")


UNUSABLE = {
    "needs arguments": ("needs", "raised TypeError*expected a function that takes no argument"),
    "raises": ("fails", "model factory 'fails' raised ValueError: no data"),
    "no module": ("nothing", "returned a NoneType; expected an nn.Module"),
    "refused inputs": (
        "Net, input_size=(1, 8, 8)",
        "does not run on 1x8x8: `first` raised in conv2d on (1, 1, 8, 8) and (8, 3, 3, 3)",
    ),
    "refused own inputs": (
        "Net, inputs={'x': __import__('torch').zeros(1, 4, 5, 5)}",
        "does not run on (x=a tensor of shape (1, 4, 5, 5)): `first` raised in conv2d",
    ),
    "inputs that raise": ("Net, inputs=fails", "inputs=fails raised ValueError: no data"),
    "text for a pruner": ("Net, pruner=text", "the pruner is a str; expected one of"),
    "pruner of another": ("Net, pruner=foreign", "the pruner was built on another Net"),
    "device": ("Net, device='abacus'", "device='abacus' cannot be used"),
    "weights": ("Net, weights='no.pt'", "weights='no.pt': no such file"),
}


@pytest.mark.parametrize(("arguments", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_network_that_cannot_be_analysed_is_a_usage_error_of_one_line(
    session, arguments: str, message: str
) -> None:
    result = session(f"{arguments}, ratios=[0.5]", "-k", "forward_runs or something")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.parseoutcomes()["failed"] == 2
    (line,) = [line for line in result.outlines if line.startswith("ERROR: ")]
    for words in message.split("*"):
        assert words in line
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_ratio_given_twice_is_one(session) -> None:
    result = session("Net, input_size=(3, 8, 8), ratios=[0.5, 0.5]", "-k", "forward_runs")
    result.assert_outcomes(passed=1, deselected=len(CATALOGUE) - 1)


def test_as_many_tests_are_collected_as_are_reported(session, pytester) -> None:
    net = "Net, input_size=(3, 8, 8), ratios=[0.5]"
    result = session(net)
    reported = sum(result.parseoutcomes().values())
    result.stdout.fnmatch_lines([f"collected {reported} items"])
    held = session(net, "--collect-only", "--update-baseline", "--baseline=pruning.csv")
    held.stdout.fnmatch_lines([f"collected {reported + 1} items", "*held_to_baseline*"])


def test_a_second_session_of_a_process_looks_again(session) -> None:
    net = "Net, input_size=(3, 8, 8), ratios=[0.5]"
    for check in ("something_removed", "forward_runs"):
        session(net, "-k", check).assert_outcomes(passed=1, deselected=len(CATALOGUE) - 1)


def test_two_tests_of_a_folder_with_brackets_have_each_its_own(session, pytester) -> None:
    folder = pytester.mkdir("of[1]")
    text = FOUR_LINES.format("Net, input_size=(3, 8, 8), ratios=[0.5], round_to=16")
    other = "\n@parametrize_with_checks(Net, input_size=(3, 8, 8), ratios=[0.5])\n"
    other += "def test_plain(check): check()\n"
    (folder / "test_both.py").write_text(text + other)
    result = pytester.runpytest("-k", "something_removed")
    result.assert_outcomes(passed=1, failed=1, deselected=2 * (len(CATALOGUE) - 1))
    result.stdout.fnmatch_lines(["FAILED *test_net*", "*1 failed, 1 passed*"])


def test_a_factory_that_takes_longer_than_the_budget_is_named(session, pytester) -> None:
    result = session(
        "lambda: __import__('time').sleep(30), ratios=[0.5], budget=1", "-k", "forward_runs"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: *no answer within 1 s while *; give it a larger budget"])


def test_what_fails_inside_is_asked_once(session, pytester) -> None:
    """A pruner that is no error of ours breaks, and breaks no second time."""
    pytester.makepyfile(
        odd="""
        from pathlib import Path
        from mine import Net

        class Odd(Net):
            def named_parameters(self, *args, **kwargs):
                with Path("asked").open("a") as file:
                    file.write("x")
                raise KeyError("gone")

        def odd():
            return Odd()
        """
    )
    result = session("'odd:odd', input_size=(3, 8, 8), ratios=[0.5]", "-k", "not survives")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert (pytester.path / "asked").read_text() == "x"
    result.stdout.fnmatch_lines(["ERROR: KeyError: 'gone' (*odd.py:*"])


def test_subtests_and_properties_are_those_of_the_test(session, pytester) -> None:
    pytester.makepyfile(
        mine=NETS,
        test_more="""
        from analysis import parametrize_with_checks
        from mine import Net

        @parametrize_with_checks(Net, input_size=(3, 8, 8), ratios=[0.5])
        def test_net(check, subtests):
            with subtests.test("alone"):
                check()
            with subtests.test("with its run"):
                assert check.run.verification.verdict.passes
                assert (check.subject, check.ratio) == ("Net", 0.5)
        """,
    )
    result = pytester.runpytest("test_more.py", "-k", "forward_runs", "--junit-xml=junit.xml")
    result.assert_outcomes(passed=1, deselected=len(CATALOGUE) - 1)
    (found,) = ET.parse(pytester.path / "junit.xml").findall(".//property")
    output = json.loads(found.get("value", ""))
    assert (output["subject"], output["ratio"], output["verdict"]) == ("Net", 0.5, "exact")


def test_what_failed_last_runs_again_alone(session, pytester) -> None:
    pytester.makepyfile(
        mine=NETS, test_net=FOUR_LINES.format("Flipped, input_size=(3, 8, 8), ratios=[0.5]")
    )
    quick = ("-k", "equivalent or forward")
    pytester.runpytest(*quick).assert_outcomes(passed=1, failed=1, deselected=len(CATALOGUE) - 2)
    again = pytester.runpytest("--lf", *quick)
    assert again.parseoutcomes()["failed"] == 1
    assert "passed" not in again.parseoutcomes()


def test_numbers_are_held_without_a_fixture(session, pytester) -> None:
    net = "Net, input_size=(3, 8, 8), ratios=[0.5], scope='local'"
    quick = ("-k", "held_to or forward", "--baseline=accepted.csv")
    assert session(net, *quick, "--update-baseline").ret == pytest.ExitCode.TESTS_FAILED
    kept = session(net, *quick, "--check-baseline")
    kept.assert_outcomes(passed=2, deselected=len(CATALOGUE) - 1)
    kept.stdout.fnmatch_lines(["8 rows are as accepted.csv expects"])
    file = pytester.path / "accepted.csv"
    rows = file.read_text().splitlines()
    # 4 and 5 of 8 and 10 channels stay: 3*9*4*36 + 2*4*36 + 4*5*36 + 5*4 MACs and no more.
    macs = 27 * 4 * 36 + 2 * 4 * 36 + 4 * 5 * 36 + 5 * 4
    assert f"Net,classifier,local,0.5,macs,{macs},0,lower" in rows
    file.write_text(file.read_text().replace(f"macs,{macs}", f"macs,{macs - 1}"))
    worse = session(net, *quick, "--check-baseline")
    assert worse.ret == pytest.ExitCode.TESTS_FAILED
    worse.stdout.fnmatch_lines(
        [f"E*REGRESSION Net classifier local 0.5 macs: expected {macs - 1}*"]
    )


def test_the_suite_looks_at_networks_without_a_test_file(pytester) -> None:
    quick = ("--ratios", "0.5", "--scope", "local", "-k", "equivalent or something")
    models = ("--model", "mine:Net", "--model", "mine.py:Flipped")
    result = suite(pytester, *models, *SMALL, *quick, "--report=report")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "pruning-analysis: torch *, torch-pruning *",
            "networks: mine:Net, mine.py:Flipped",
            "| mine:Net * exact *",
            "| mine.py:Flipped * wrong *",
            "wrote report/index.html",
            "wrote report/report.md",
            "wrote report/results.json",
        ]
    )
    page = (pytester.path / "report/report.md").read_text()
    assert "### mine.py:Flipped" in page
    assert re.search(r"mine.py:Flipped .* equivalent_to_masked +\| failed +\| wrong: ", page)
    output = json.loads((pytester.path / "report/results.json").read_text())
    assert output["schema"] == 1
    verdicts = [run["verdict"] for subject in output["subjects"] for run in subject["runs"]]
    assert sorted(verdicts) == ["exact", "wrong"]
    names = {check["name"] for check in output["subjects"][0]["runs"][0]["checks"]}
    assert names == {"something_removed", "equivalent_to_masked"}


def test_the_suite_takes_its_defaults_from_the_ini_file(pytester) -> None:
    pytester.makeini(
        """
        [pytest]
        pruning_model =
            mine:Net
        pruning_input_size = 3,8,8
        pruning_ratios = 0.25
        pruning_ignore_layers = skip-channels
        """
    )
    result = suite(pytester, "-k", "forward_runs", "-v")
    result.assert_outcomes(passed=1, deselected=len(CATALOGUE) - 1)
    result.stdout.fnmatch_lines(
        ["*mine:Net-0.25-forward_runs*PASSED*", "| mine:Net | skip-channels *"]
    )


def test_pytests_own_option_names_the_policy_where_it_is_no_path(pytester) -> None:
    options = ("--model", "mine:Net", *SMALL, "--ratios", "0.5", "-k", "forward_runs")
    result = suite(pytester, *options, "--ignore", "skip-channels", "-n", "1")
    result.stdout.fnmatch_lines(["| mine:Net | skip-channels *"])
    wrong = suite(pytester, *options, "--ignore", "skip-chanels")
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(["ERROR: unknown policy 'skip-chanels'; did you mean *"])
    both = suite(pytester, *options, "--ignore=none", "--ignore-layers=classifier")
    both.stderr.fnmatch_lines(["ERROR: --ignore-layers: one policy is expected, not *"])


def test_a_layer_that_a_network_has_not_ends_the_session_before_any_test(pytester) -> None:
    options = ("--model", "mine:Net", *SMALL, "--ratios", "0.5", "--ignore-layers", "heads")
    result = suite(pytester, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert "'heads'" in line
    result.stdout.no_fnmatch_line("*collected *")


def test_what_is_not_right_ends_with_the_line_that_leads_to_a_pruning_that_is(session) -> None:
    result = session("Flipped, input_size=(3, 8, 8), ratios=[0.5]", "-k", "equivalent")
    result.stdout.fnmatch_lines(
        ["*analysis.prune(model, example_inputs, 0.5), or `pruning-analysis prune MODEL *"]
    )
    kept = "Net, input_size=(3, 8, 8), ratios=[0.5], round_to=16"
    fails = session(kept, "-k", "something_removed")
    fails.assert_outcomes(failed=1, deselected=len(CATALOGUE) - 1)
    fails.stdout.no_fnmatch_line("*analysis.prune(*")


BAD = {
    "no network": ((), "needs a network; give one with --model"),
    "no such module": (("--model", "nowhere:f"), "cannot import 'nowhere'"),
    "no such file": (("--model", "nowhere.py:f"), "no file 'nowhere.py'"),
    "no such attribute": (("--model", "mine.py:Ne"), "has no 'Ne'; did you mean 'Net'?"),
    "no function named": (("--model", "mine.py"), "as in mine.py:function"),
    "a factory that raises": (("--model", "mine:fails"), "raised ValueError: no data"),
    "refused inputs": (("--model", "mine:Net", "--input-size", "1,8,8"), "does not run on 1x8x8"),
    "ratios": (("--model", "mine:Net", "--ratios", "half"), "ratios are numbers in [0, 1)"),
    "size": (("--model", "mine:Net", "--input-size", "3x8"), "'3x8' is not a size"),
    "scope": (("--model", "mine:Net", "--scope", "some"), "scope 'some'"),
    "importance": (("--model", "mine:Net", "--importance", "l3"), "importance 'l3'"),
    "device": (("--model", "mine:Net", "--device", "abacus"), "--device 'abacus'"),
    "report": (("--model", "mine:Net", *SMALL, "--report", "mine.py"), "cannot write"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD)
def test_bad_options_are_a_usage_error_before_any_test_runs(
    pytester, options: tuple[str, ...], message: str
) -> None:
    result = suite(pytester, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert message in line


def test_a_network_without_the_suite_is_a_usage_error(pytester) -> None:
    pytester.makepyfile("def test_theirs(): ...")
    result = pytester.runpytest("--model", "mine:Net")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --model gives a network to the suite, which is not run*"])


def test_pytests_own_option_keeps_its_paths(pytester) -> None:
    """A folder to ignore need not be there, as in a clean checkout."""
    pytester.makeini("[pytest]\naddopts = --ignore=build\n")
    quick = ("--ratios", "0.5", "-k", "forward_runs")
    result = suite(pytester, "--model", "mine:Net", *SMALL, *quick)
    result.stdout.fnmatch_lines(["| mine:Net | classifier *"])


def test_paths_of_the_ini_file_start_there(pytester, monkeypatch) -> None:
    pytester.makeini("[pytest]\npruning_model = mine.py:Net\npruning_input_size = 3,8,8\n")
    pytester.makepyfile(mine=NETS)
    monkeypatch.chdir(pytester.mkdir("below"))
    quick = ("--ratios", "0.5", "-k", "forward_runs")
    result = pytester.runpytest("--pyargs", "analysis.suite", *quick)
    assert result.parseoutcomes()["passed"] == 1


def test_values_of_options_are_no_places_to_look_for_tests(pytester) -> None:
    """pytest reads its arguments before it knows ours; the conftest below must still be found."""
    pytester.makeini("[pytest]\ntestpaths = tests\n")
    folder = pytester.mkdir("tests")
    (folder / "conftest.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--mine'); parser.addoption('--model')\n"
    )
    (folder / "test_it.py").write_text(
        "def test_it(pytestconfig): assert pytestconfig.getoption('--mine') == '1'\n"
    )
    other = pytester.mkdir("report")
    (other / "conftest.py").write_text("raise RuntimeError('this is no place for tests')\n")
    (pytester.path / "numbers.csv").write_text("")
    options = ("--mine", "1", "--report", "report", "--baseline", "numbers.csv")
    pytester.runpytest(*options).assert_outcomes(passed=1)


def test_an_option_that_a_conftest_has_taken_is_left_to_it(pytester) -> None:
    pytester.makeconftest(
        """
        def pytest_addoption(parser):
            for name in ("--model", "--device", "--report", "--baseline", "--scope"):
                parser.addoption(name, default="theirs")
        """
    )
    pytester.makepyfile(
        """
        def test_theirs(pytestconfig):
            assert pytestconfig.getoption("--model") == "mine"
            assert pytestconfig.getoption("--report") == "theirs"
        """
    )
    pytester.runpytest("--model", "mine").assert_outcomes(passed=1)
    none = suite(pytester)
    none.stderr.fnmatch_lines(["*pruning_model in the ini file (--model is a conftest's)*"])
    pytester.makeini("[pytest]\npruning_model = mine:Net\npruning_input_size = 3,8,8\n")
    result = suite(pytester, "--ratios", "0.5", "-k", "forward_runs")
    assert result.parseoutcomes()["passed"] == 1


def test_a_session_without_prunings_hears_nothing(pytester) -> None:
    pytester.makepyfile("def test_theirs(): ...")
    result = pytester.runpytest()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= prunings =*")
