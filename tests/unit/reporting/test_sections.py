"""The sections: their order, their tests and checks, and numbers worked out by hand."""

import configparser
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from analysis.checks import CATALOGUE
from analysis.errors import InputError
from analysis.records import (
    Channels,
    CheckResult,
    Config,
    CostTable,
    DependencyGroup,
    DependencyMember,
    GroupAccount,
    LayerCost,
    Reason,
    Run,
    Sizes,
    Study,
    SubjectInfo,
    SubjectStudy,
    Verdict,
    Verification,
)
from analysis.reporting import markdown, outcomes
from analysis.reporting.coupling import coupled, excluded_roots, shares
from analysis.reporting.evidence import evidence
from analysis.reporting.figures.graph import fills, graph
from analysis.reporting.read_back import runs_in
from analysis.reporting.report import sections_of, write_report
from analysis.reporting.section import Section
from analysis.reporting.sections import proof, verdict
from analysis.reporting.words import at_least

ROOT = Path(__file__).parents[3]


def layer(name: str, macs: int, kind: str = "Conv2d") -> LayerCost:
    return LayerCost(name, kind, macs, 10, (("conv", macs),), (macs, 0, 0, 0, 0), (1, 4, 6, 6), 1)


def costs(**macs: int) -> CostTable:
    rows = tuple(layer(name, value) for name, value in macs.items())
    return CostTable(rows, sum(macs.values()), 10 * len(rows), (), ())


def member(name: str, axis: str, width: int) -> DependencyMember:
    return DependencyMember(name, "Conv2d", axis, width, "root", "", (), tuple(range(width)))


# first (8 channels, may go) -> second (4, held) -> third (4, the output, held)
FIRST = DependencyGroup(
    "first", 8, (member("first", "out", 8), member("second", "in", 8)), (), False
)
SECOND = DependencyGroup(
    "second", 4, (member("second", "out", 4), member("third", "in", 4)), (), False
)
THIRD = DependencyGroup("third", 4, (member("third", "out", 4),), (), True)

ACCOUNTS = (
    GroupAccount("first", 8, 4, 4, Reason.PRUNED),
    GroupAccount("second", 4, 0, 0, Reason.IGNORED),
    GroupAccount("third", 4, 0, 0, Reason.IGNORED),
)


def run(ratio: float = 0.5, verdict: Verdict = Verdict.EXACT, **more) -> Run:
    checks = (
        CheckResult("equivalent_to_masked", verdict.passes, "" if verdict.passes else "it departs"),
        CheckResult("ratio_met", False, "missed", known="it rounds"),
    )
    return Run(
        Config(ratio),
        Verification(verdict, "" if verdict.passes else "it departs", 1e-15, groups=ACCOUNTS),
        Channels(8, 4, 4),
        Sizes(30, 20),
        Sizes(700, 400),
        Sizes(120, 80),
        costs(first=200, second=100, third=100),
        checks=checks,
        **more,
    )


def network(*runs: Run, name: str = "net") -> SubjectStudy:
    return SubjectStudy(
        SubjectInfo(name, (3, 6, 6), "random", 0),
        ("classifier", "global"),
        costs(first=400, second=200, third=100),
        runs,
        (FIRST, SECOND, THIRD),
    )


def study(*subjects: SubjectStudy, **more) -> Study:
    return Study((("torch", "2"),), subjects, "python -m analysis report net", **more)


def test_a_layer_is_locked_where_nothing_it_makes_or_reads_may_go() -> None:
    subject = network(run())
    assert excluded_roots(run()) == {"second", "third"}
    found = shares(subject, coupled(subject, 0), run())
    assert [(entry.layer, entry.before, entry.after, entry.is_locked) for entry in found] == [
        ("first", 400, 200, False),
        ("second", 200, 100, False),  # held, but what it reads narrows
        ("third", 100, 100, True),
    ]


def test_the_four_questions_are_answered_at_the_top() -> None:
    subject = network(run(0.3), run(0.5))
    section = verdict.section(study(subject), [coupled(subject, 0)])
    answers = {answer.question: answer.text for answer in section.blocks[0].answers}
    assert answers["Is it safe?"].startswith("Yes, at 0.3 and 0.5 under `classifier`, ranked glob")
    # 400 of 700 MACs and 20 of 30 parameters are left
    assert "42.9% fewer MACs and 33.3% fewer parameters" in answers["What did 50 % save?"]
    assert "4 of 8 prunable channels were removed" in answers["What did 50 % save?"]
    rest = answers["Which layers hold the rest?"]
    assert "Layers that no ratio changes hold 25.0% of what is left." in rest
    assert "`first` (50.0%)" in rest
    assert (section.lead, section.passed) == ("Proved.", True)
    assert section.paragraphs[0] == (
        "All 2 prunings are exact: equal to the masked dense network (relative error <= 1e-12)."
    )


def test_what_changed_since_an_earlier_report_is_a_section_of_its_own(tmp_path) -> None:
    before, after = network(run(0.3), run(0.5)), network(run(0.3), run(0.5, Verdict.WRONG))
    write_report(study(before), str(tmp_path / "before"))
    earlier = runs_in(tmp_path / "before" / "results.json")
    # What a report wrote is what a report reads.
    against = {each.anchor: each for each in sections_of(study(before), str(tmp_path), earlier)}
    assert against["against"].gist == "Prunings compared: nothing changed"
    changed = {each.anchor: each for each in sections_of(study(after), str(tmp_path), earlier)}
    assert changed["against"].tables[0].rows == (
        ("worse", "`net`", "classifier, global, 0.5",
         "verdict exact → wrong (it departs); checks that fail now: equivalent_to_masked"),
    )  # fmt: skip
    write_report(study(after), str(tmp_path / "after"), earlier)
    assert "exact → wrong" in (tmp_path / "after" / "index.html").read_text()
    assert 'id="against"' not in (tmp_path / "before" / "index.html").read_text()


def test_a_wrong_pruning_is_said_to_be_wrong_with_its_reason() -> None:
    subject = network(run(0.3), run(0.5, Verdict.WRONG))
    section = verdict.section(study(subject), [coupled(subject, 0)])
    assert (section.lead, section.passed) == ("Not proved.", False)
    assert section.paragraphs[0].startswith("Of 2 prunings 1 is wrong and 1 is exact: equal to")
    safe = section.blocks[0].answers[0].text
    assert safe == (
        "No, at 0.3 and 0.5 under `classifier`, ranked globally: at 0.5 it is wrong: it departs."
    )
    shown = proof.section(study(subject))
    (failing, *_) = shown.tables
    where = ("net", "classifier", "global", "0.5")
    assert (*where, "equivalent_to_masked", "failed", "it departs") in failing.rows
    assert (*where, "ratio_met", "expected to fail", "it rounds") in failing.rows
    assert shown.gist == "1 exact, 1 wrong; checks: 1 passed, 1 failed, 2 expected to fail"


def test_a_right_pruning_that_fails_a_check_is_distinguished() -> None:
    missed = replace(run(), checks=(CheckResult("ratio_met", False, "missed"),))
    subject = network(missed)
    section = verdict.section(study(subject), [coupled(subject, 0)])
    assert (section.lead, section.passed) == ("Proved, but checks failed.", False)


def test_where_nothing_is_proved_nothing_is_said_to_be_equal() -> None:
    subject = network(run(0.5, Verdict.WRONG))
    section = verdict.section(study(subject), [coupled(subject, 0)])
    assert section.paragraphs[0] == "1 pruning is wrong."


def test_what_cannot_be_equal_is_not_said_to_be() -> None:
    mixed = replace(
        run(), verification=Verification(Verdict.MIXED, "softmax mixes", 0.1, groups=ACCOUNTS)
    )
    subject = network(run(0.3), mixed)
    section = verdict.section(study(subject), [coupled(subject, 0)])
    assert section.lead == "Proved."  # the verdict passes, with a warning
    assert section.paragraphs[0].startswith("Of 2 prunings 1 is mixed and 1 is exact: equal to")
    warning = "1 read their channels in the right order, with the original weights, but no equality"
    assert warning in section.paragraphs[0]
    assert "softmax mixes" in section.paragraphs[0]


def test_a_network_that_could_not_be_analysed_is_named() -> None:
    subject = network(run())
    output = study(subject, refused=("model factory 'bad' raised ValueError",))
    assert not output.passed
    section = verdict.section(output, [coupled(subject, 0)])
    assert (section.lead, section.passed) == ("Proved, but not for all networks.", False)
    assert any("model factory 'bad' raised" in text for text in section.paragraphs)


@pytest.mark.parametrize(
    ("ratio", "printed"),
    [(0.3591, 0.36), (0.35, 0.35), (0.1 + 0.2, 0.3), (0.4504, 0.46), (0.995, 0.995)],
)
def test_the_ratio_that_is_advised_reaches_its_target(ratio, printed) -> None:
    assert at_least(ratio) == pytest.approx(printed, abs=1e-12)


def test_a_layer_behind_a_concatenation_is_locked_only_if_all_it_reads_is_held() -> None:
    free = DependencyGroup(
        "free", 4, (member("free", "out", 4), member("join", "in", 4)), (), False
    )
    kept = DependencyGroup(
        "kept", 4, (member("kept", "out", 4), member("join", "in", 4)), (), False
    )
    join = DependencyGroup("join", 2, (member("join", "out", 2),), (), True)
    accounts = (
        GroupAccount("kept", 4, 0, 0, Reason.IGNORED),
        GroupAccount("free", 4, 0, 0, Reason.KEPT),
        GroupAccount("join", 2, 0, 0, Reason.IGNORED),
    )
    same = costs(free=9, kept=9, join=9)
    done = replace(run(), costs=same, verification=Verification(Verdict.EXACT, groups=accounts))
    subject = replace(network(done), costs=same, groups=(kept, free, join))
    locked = {entry.layer: entry.is_locked for entry in shares(subject, coupled(subject, 0), done)}
    assert locked == {"free": False, "kept": True, "join": False}


def test_names_cannot_break_the_markdown(tmp_path) -> None:
    write_report(study(network(run(), name="a|b\n<script>")), str(tmp_path))
    text = (tmp_path / "report.md").read_text()
    assert re.search(r"(?<!\\)<script>", text) is None
    rows = [line for line in text.splitlines() if line.startswith("| a")]
    assert rows
    assert all("a\\|b" in row for row in rows)


def test_a_name_with_dollars_or_an_underscore_is_drawn_as_it_is(tmp_path) -> None:
    write_report(study(network(run(), name="_$x$^2$")), str(tmp_path))
    assert "_$x$^2$" in (tmp_path / "index.html").read_text()


def test_a_damaged_file_of_the_folder_is_refused(tmp_path) -> None:
    (tmp_path / "junit.xml").write_text("{")
    with pytest.raises(InputError, match=r"junit\.xml.*expected what pytest"):
        write_report(study(network(run()), is_case_study=True), str(tmp_path))


def test_another_policy_than_the_one_asked_for_does_not_decide() -> None:
    other = replace(run(0.5, Verdict.UNCHANGED), config=Config(0.5, policy="residual-blocks"))
    assert study(network(run(), other)).passed
    assert not study(network(run(), other), is_case_study=True).passed
    assert not study(network(other)).passed  # nothing of what was asked for is there


def test_sections_without_data_are_named_at_the_end(tmp_path) -> None:
    sections = sections_of(study(network(run()), is_case_study=True), str(tmp_path))
    assert [section.anchor for section in sections] == ["verdict", "proof", "asked", "layers",
                                                        "groups", "made-with"]  # fmt: skip
    absent = {row[0]: row[1] for table in sections[-1].tables for row in table.rows}
    assert absent["What a naive cut breaks"] == (
        "no skip connection or depthwise convolution was cut alone"
    )


def test_a_page_of_a_users_networks_says_nothing_of_the_case_study(tmp_path) -> None:
    """Neither the outcomes of this project's tests, nor other versions of torch-pruning."""
    (tmp_path / "junit.xml").write_text("{")  # is not even read
    outputs_cut = replace(run(0.5, Verdict.BROKEN), config=Config(0.5, policy="none"))
    output = sections_of(study(network(run(), outputs_cut)), str(tmp_path))
    of_case = {"mismatch", "versions"}
    assert not {section.anchor for section in output} & of_case
    by_name = {section.anchor: section for section in output}
    absent = [cell for table in by_name["made-with"].tables for row in table.rows for cell in row]
    assert "What a naive cut breaks" not in absent
    shown = [table for name in ("proof", "asked") for table in by_name[name].tables]
    assert shown
    assert not [row for table in shown for row in table.rows if "none" in row]


def test_what_failed_has_one_word_and_one_colour_wherever_it_is_shown(tmp_path) -> None:
    write_report(study(network(run(0.3), run(0.5, Verdict.WRONG))), str(tmp_path))
    page = (tmp_path / "index.html").read_text().partition("<main>")[2]
    output = re.findall(r'<span class="failed">([^<]*)</span>', page)
    # Once in the line of the section, then by pruning, and by check.
    assert output.count("1 failed") == 3
    assert {"1 wrong", "wrong", "failed"} <= {*output}
    rest = re.sub(r'<span class="failed">.*?</span>', "", page)
    assert [text for text in re.findall(r">([^<]*)<", rest) if re.search(r"\bfailed\b", text)] == [
        "checks that failed, and those that are expected to"  # a caption
    ]


def test_a_section_of_what_failed_is_unfolded_and_no_other(tmp_path) -> None:
    write_report(study(network(run(0.3), run(0.5, Verdict.WRONG))), str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    unfolded = re.findall(r'<section id="([^"]*)">\n<details class="section" open>', page)
    assert unfolded == ["proof"]
    write_report(study(network(run(0.3))), str(tmp_path / "good"))
    assert " open>" not in (tmp_path / "good" / "index.html").read_text()


def gate(name: str, shape: tuple[int, ...]) -> LayerCost:
    return LayerCost(name, "Conv2d", 1, 1, (("conv", 1),), (1, 0, 0, 0, 0), shape, 1)


def test_the_groups_are_drawn_with_kinds_joins_and_colours_that_differ_in_sight() -> None:
    """A block that widens, filters, is gated and added to what it read; then thirty layers."""

    def of(layer: str, kind: str, axis: str, width: int, at: int, **more) -> DependencyMember:
        own = (layer, kind, axis, width, "", "", (), tuple(range(width)))
        return DependencyMember(*own, position=at, **more)

    stage = DependencyGroup(
        "stem", 8,
        (of("stem", "Conv2d", "out", 8, 0), of("b.wide", "Conv2d", "in", 8, 1, pointwise=True),
         of("b.back", "Conv2d", "out", 8, 5, pointwise=True)),
        ("b",), False,
    )  # fmt: skip
    inner = DependencyGroup(
        "b.wide", 24,
        (of("b.wide", "Conv2d", "out", 24, 1, pointwise=True),
         of("b.filter", "depthwise Conv2d", "out", 24, 2),
         of("b.gate.up", "Conv2d", "out", 24, 4, pointwise=True),
         of("b.back", "Conv2d", "in", 24, 5, pointwise=True)),
        (), False, products=("b.gate",),
    )  # fmt: skip
    chain = [
        DependencyGroup(
            f"c{at}", 4, (of(f"c{at}", "Conv2d", "out", 4, at), of(f"c{at + 1}", "Conv2d", "in", 4,
                                                                  at + 1)), (), False,
        )
        for at in range(10, 40)
    ]  # fmt: skip
    table = CostTable(
        (gate("b.gate.up", (1, 24, 1, 1)), gate("b.back", (1, 8, 6, 6))), 2, 2, (), ()
    )
    subject = replace(network(run()), groups=(stage, inner, *chain), costs=table)
    coupling = coupled(subject, 0)
    output = graph(subject, coupling, (), "table").svg
    words = re.findall(r"<text[^>]*>([^<]+)</text>", output)
    kinds = dict(pairwise(words))
    assert kinds["stem"] == "convolution"
    assert kinds["b.wide"] == "pointwise"
    assert kinds["b.filter"] == "depthwise"
    assert kinds["b.gate.up"] == "squeeze-excite"
    assert kinds["b.back"] == "pointwise"
    assert (kinds["b"], kinds["b.gate"]) == ("addition", "product")
    assert ("8 → 24" in words, "24 → 8" in words) == (True, True)
    # Each number is in every box of its group: 1 is made twice, and read once.
    assert words.count("1") == 3
    colours = fills(subject, coupling)
    order = list(colours)
    assert len(set(colours.values())) == 12
    for place, root in enumerate(order):
        assert colours[root] not in {colours[other] for other in order[place + 1 : place + 7]}


def test_a_study_of_nothing_makes_a_page_that_says_so(tmp_path) -> None:
    write_report(study(), str(tmp_path))
    assert "Nothing was pruned, so nothing was proved." in (tmp_path / "report.md").read_text()


def test_a_network_of_which_only_prunings_are_known_makes_a_page(tmp_path) -> None:
    """As of pytest's sessions in which it could not be traced."""
    bare = SubjectStudy(
        SubjectInfo("net", None, "random", 0), ("classifier", "global"),
        CostTable((), 700, 30, (), ()), (run(),),
    )  # fmt: skip
    write_report(study(bare), str(tmp_path))
    assert "1 pruning is exact: equal to" in (tmp_path / "index.html").read_text()


JUNIT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_one[0.3]" time="1"/>
<testcase classname="tests.unit.test_a" name="test_one[0.5]"><failure message="no"/></testcase>
<testcase classname="tests.unit.test_a" name="test_two"><skipped type="pytest.xfail"/></testcase>
<testcase classname="tests.unit.test_a" name="test_two"><skipped type="pytest.skip"/></testcase>
<testcase classname="tests.unit.test_b" name="test_three"/>
</testsuite></testsuites>"""


def test_a_section_names_its_tests_with_their_outcome(tmp_path) -> None:
    (tmp_path / "junit.xml").write_text(JUNIT)
    ended = outcomes.read(str(tmp_path))
    files = ("tests/unit/test_a.py", "tests/unit/test_b.py", "tests/unit/test_c.py")
    section = Section("s", "S", tests=files)
    case_study = study(network(run()), is_case_study=True)
    one, two, three = evidence(section, case_study, ended)
    assert (one.outcome, one.passed) == ("1 passed, 1 failed, 1 expected to fail, 1 skipped", False)
    assert one.parts == (
        ("test_one", "1 passed, 1 failed"), ("test_two", "1 expected to fail, 1 skipped"),
    )  # fmt: skip
    assert (two.outcome, two.passed) == ("1 passed", True)
    assert (three.outcome, three.passed) == ("not run in this run", None)
    output = markdown.render([(section, (one, two, three))])
    assert "`tests/unit/test_b.py` (1 passed)" in output


def test_our_tests_are_not_said_to_hold_another_network(tmp_path) -> None:
    section = Section("s", "S", tests=("tests/unit/test_a.py",), checks=("ratio_met",))
    assert [entry.name for entry in evidence(section, study(network(run())), {})] == ["ratio_met"]


def test_a_section_names_its_checks_with_their_outcome() -> None:
    section = Section("s", "S", checks=("equivalent_to_masked", "ratio_met", "cap_held"))
    subject = network(run(0.3), run(0.5, Verdict.WRONG))
    first, second = evidence(section, study(subject), {})
    assert (first.outcome, first.passed) == ("prunings: 1 passed, 1 failed", False)
    assert (second.outcome, second.passed) == ("prunings: 2 expected to fail", True)


def test_every_check_of_the_catalogue_is_cited_by_a_section(tmp_path) -> None:
    checks = tuple(CheckResult(name, True) for name in CATALOGUE)
    sections = sections_of(study(network(replace(run(), checks=checks))), str(tmp_path))
    assert {name for section in sections for name in section.checks} == set(CATALOGUE)


def test_a_damaged_junit_file_is_refused(tmp_path) -> None:
    (tmp_path / "junit.xml").write_text(JUNIT[:100])
    with pytest.raises(InputError, match=r"junit\.xml.*expected what pytest --junit-xml writes"):
        outcomes.read(str(tmp_path))


def test_text_that_looks_like_markup_is_harmless_in_a_picture(tmp_path) -> None:
    evil = f"net<b>{quoteattr('&')}"
    write_report(study(network(run(), name=evil)), str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    assert "<b>" not in page


def test_every_test_that_is_cited_exists_and_is_run_for_the_report() -> None:
    sources = (ROOT / "analysis/reporting/sections").glob("*.py")
    cited = {
        name for path in sources for name in re.findall(r'"(tests/.*?\.py)"', path.read_text())
    }
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    run = tox["report"]["cited"].split()
    assert len(cited) > 10
    assert not [name for name in cited if not (ROOT / name).exists()]
    elsewhere = "tests/versions/test_kinds_of_layers.py"  # tox run -m matrix
    assert not [name for name in cited - {elsewhere} if not name.startswith(tuple(run))]
    assert not [place for place in run if not any(name.startswith(place) for name in cited)]
