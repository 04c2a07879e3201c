"""Rows of accepted numbers: their fields, differences, and refused files."""

from dataclasses import replace

import pytest

from analysis.errors import InputError
from analysis.gate.baseline import (
    METRICS,
    Kind,
    Row,
    changes,
    compare,
    from_json,
    merge,
    rows_of,
    to_json,
)
from analysis.gate.baseline_csv import dump, read
from analysis.records import (
    STRENGTH,
    Channels,
    CheckResult,
    Config,
    GroupAccount,
    Reason,
    Run,
    Sizes,
    Verdict,
    Verification,
)

FILE = "reports/baseline.csv"
HEADER = "model,policy,scope,ratio,metric,expected,tolerance,better\n"
MACS = Row("net", "classifier", "global", 0.5, "macs", 300, 0, "lower")
PROVED = Row("net", "classifier", "global", 0.5, "verdict", "exact", 0, "higher")


def a_run(**changed) -> Run:
    """Of 100 channels 60 were requested and 50 removed; one group of four lost none of these."""
    groups = (
        GroupAccount("cut", 60, 50, 50, Reason.PRUNED),
        GroupAccount("dropped", 10, 10, 0, Reason.WOULD_EMPTY),
        GroupAccount("kept", 20, 0, 0, Reason.KEPT),
        GroupAccount("unasked", 10, None, 0, Reason.UNTRACED),
    )
    run = Run(
        config=Config(0.5, "local", policy="skip-channels"),
        verification=Verification(Verdict.MIXED, "a softmax", groups=groups),
        channels=Channels(100, 60, 50),
        params=Sizes(900, 200),
        macs=Sizes(1000, 300),
        bytes_=Sizes(9000, 4000),
        costs=None,
        checks=(CheckResult("a", True), CheckResult("b", False, "no"), CheckResult("c", False)),
    )
    return replace(run, **changed)


def found(**changed) -> dict[str, int | str]:
    return {row.metric: row.value for row in rows_of("net", a_run(**changed))}


def test_a_run_has_a_row_for_each_metric() -> None:
    assert found() == {
        "verdict": "mixed",
        "channels_requested": 60,
        "channels_removed": 50,
        "groups_dropped": 1,
        "macs": 300,
        "params": 200,
        "bytes": 4000,
        "checks_failed": 2,
    }


def test_rows_carry_the_runs_configuration_and_the_metrics_direction() -> None:
    rows = rows_of("net", a_run())
    assert {row.key[:4] for row in rows} == {("net", "skip-channels", "local", 0.5)}
    assert {row.metric: row.better for row in rows} == {
        "verdict": "higher",
        "channels_requested": "equal",
        "channels_removed": "higher",
        "groups_dropped": "lower",
        "macs": "lower",
        "params": "lower",
        "bytes": "lower",
        "checks_failed": "lower",
    }
    assert {row.tolerance for row in rows} == {0}


@pytest.mark.parametrize(
    ("changed", "without"),
    [
        ({"macs": Sizes(1000, None)}, "macs"),
        ({"params": Sizes(900, None)}, "params"),
        ({"bytes_": Sizes(9000, None)}, "bytes"),
        ({"channels": Channels(100, None, 50)}, "channels_requested"),
        ({"checks": ()}, "checks_failed"),
    ],
)
def test_what_a_run_does_not_know_has_no_row(changed, without) -> None:
    assert set(METRICS) - set(found(**changed)) == {without}


def test_nothing_left_is_a_number_too() -> None:
    assert found(macs=Sizes(1000, 0))["macs"] == 0


@pytest.mark.parametrize("model", ["", "two\nlines", "a\rreturn", "nul\0", "\u2028", "\ud800"])
def test_a_model_without_a_name_in_one_line_is_refused(model) -> None:
    with pytest.raises(InputError, match=r"^model '.*'; expected a name in one line$"):
        rows_of(model, a_run())


def test_rows_travel_as_json() -> None:
    rows = rows_of("net", a_run())
    assert from_json(to_json(rows)) == rows


def test_a_file_reads_as_it_was_written_by_hand() -> None:
    text = (
        HEADER + "net,classifier,global,0.5,macs,300,0,lower\n"
        '"a,""b""",none,local,0,verdict,exact,0,higher\n'
        "net,classifier,global,0.5,bytes,7,1.5,equal\n"
    )
    assert read(text, FILE) == (
        MACS,
        Row('a,"b"', "none", "local", 0.0, "verdict", "exact", 0, "higher"),
        Row("net", "classifier", "global", 0.5, "bytes", 7, 1.5, "equal"),
    )


def test_a_file_is_ordered_by_name_then_ratio_as_a_number() -> None:
    rows = [
        replace(MACS, ratio=0.25, model="b"),
        replace(MACS, ratio=0.5, metric="params"),
        replace(MACS, ratio=1e-05),
        replace(MACS, ratio=0.125, scope="local"),
        MACS,
        replace(MACS, policy="all", tolerance=2.5),
        replace(MACS, ratio=0.0, tolerance=1234567.0),
    ]
    expected = (
        HEADER + "b,classifier,global,0.25,macs,300,0,lower\n"
        "net,all,global,0.5,macs,300,2.5,lower\n"
        "net,classifier,global,0.0,macs,300,1234567,lower\n"
        "net,classifier,global,1e-05,macs,300,0,lower\n"
        "net,classifier,global,0.5,macs,300,0,lower\n"
        "net,classifier,global,0.5,params,300,0,lower\n"
        "net,classifier,local,0.125,macs,300,0,lower\n"
    )
    assert dump(rows) == dump(reversed(rows)) == expected
    assert dump(read(expected, FILE)) == expected


def test_a_name_with_commas_and_quotes_reads_as_it_was_written() -> None:
    rows = rows_of('my models/"x, y".py:net', a_run())
    assert set(read(dump(rows), FILE)) == set(rows)


def test_blank_lines_and_other_line_ends_are_no_rows() -> None:
    text = HEADER + "\nnet,classifier,global,0.5,macs,300,0,lower\n\n"
    assert read(text, FILE) == read(text.replace("\n", "\r\n"), FILE) == (MACS,)


GOOD = "net,classifier,global,0.5,macs,300,0,lower\n"
SOME = "net,classifier,global,0.3,macs,400,0,lower\n"


BAD = [
    ("", 1, "the file is empty; expected the columns model,policy,"),
    ("\n  \n", 2, "columns: unknown '  ', missing model,policy,scope"),
    ("\n\n", 1, "the file is empty"),
    (HEADER.replace("tolerance", "slack"), 1, "columns: unknown 'slack', missing tolerance;"),
    (HEADER.replace(",better", ""), 1, "columns: missing better; expected model,policy,"),
    (HEADER.replace("better", "better,"), 1, "columns: unknown ''; expected model,"),
    (HEADER.replace("better", "better,note"), 1, "columns: unknown 'note'; expected model,"),
    (HEADER.replace("model,policy", "policy,model"), 1, "columns: twice or in another order"),
    (HEADER.replace("better", "better,model"), 1, "columns: twice or in another order"),
    (GOOD, 1, "columns: unknown 'net,classifier,global,0.5,macs,300,0,lower', mis"),
    ("x" * 500, 1, f"columns: unknown '{'x' * 60}...', missing"),
    (HEADER + GOOD + SOME.replace(",lower", ""), 3, "7 fields; expected 8: model,policy,"),
    (HEADER + GOOD + "<<<<<<< HEAD\n" + SOME, 3, "1 fields; expected 8"),
    (HEADER + GOOD + SOME.replace("0,lower", "0,lower,"), 3, "9 fields; expected 8"),
    (HEADER + GOOD + '"net' + SOME[3:] + SOME, 3, "unexpected end of data; expected CSV"),
    (HEADER + GOOD + '"net"s' + SOME[3:], 3, "',' expected after '\"'; expected CSV"),
    (HEADER + GOOD + SOME.replace("net", "n\0t"), 3, "a NUL character; expected CSV"),
    (HEADER + GOOD + SOME.replace("net", "n" * 200_000), 3, "field larger than field limit"),
    (HEADER + '"two\nlines"' + SOME[3:], 2, r"model 'two\nlines'; expected a name in one"),
    (HEADER + '"two\n' * 3, 2, "',' expected after"),
    (HEADER + GOOD + SOME[3:], 3, "model ''; expected a name in one line"),
    (HEADER + SOME.replace("classifier", ""), 2, "policy ''; expected a name in one line"),
    (HEADER + GOOD + "\n" + SOME.replace("macs", "time"), 4, "metric 'time'; expected one of"),
    (HEADER + GOOD + SOME.replace("global", "all"), 3, "scope 'all'; expected one of global,"),
    (HEADER + SOME.replace("lower", "less"), 2, "better 'less'; expected one of lower, higher"),
    (HEADER + SOME.replace("macs,400", "verdict,good"), 2, "verdict 'good'; expected one of"),
    (HEADER + SOME.replace("macs,400", "verdict,400"), 2, "verdict '400'; expected one of"),
    (HEADER + SOME.replace("0.3", "30 %"), 2, "ratio '30 %'; expected a number in [0, 1)"),
    (HEADER + SOME.replace("0.3", "1"), 2, "ratio '1'; expected a number in [0, 1)"),
    (HEADER + SOME.replace("0.3", "-0.1"), 2, "ratio '-0.1'; expected a number in [0, 1)"),
    (HEADER + SOME.replace("0.3", "nan"), 2, "ratio 'nan'; expected a number in [0, 1)"),
    (HEADER + SOME.replace("400", "exact"), 2, "value 'exact'; expected a whole number"),
    (HEADER + SOME.replace("400", "4.5"), 2, "value '4.5'; expected a whole number"),
    (HEADER + SOME.replace("400", "inf"), 2, "value 'inf'; expected a whole number"),
    (HEADER + SOME.replace("400", "nan"), 2, "value 'nan'; expected a whole number"),
    (HEADER + SOME.replace("400", "-4"), 2, "value '-4'; expected a whole number"),
    (HEADER + SOME.replace("400", ""), 2, "value ''; expected a whole number"),
    (HEADER + SOME.replace("400", "4" * 9999), 2, "value '444"),
    (HEADER + SOME.replace(",0,", ",-1,"), 2, "tolerance '-1'; expected a finite number of at"),
    (HEADER + SOME.replace(",0,", ",inf,"), 2, "tolerance 'inf'; expected a finite number"),
    (HEADER + SOME.replace(",0,", ",nan,"), 2, "tolerance 'nan'; expected a finite number"),
    (HEADER + SOME.replace(",0,", ",1 %,"), 2, "tolerance '1 %'; expected a finite number"),
    (HEADER + SOME.replace(",0,", ",,"), 2, "tolerance ''; expected a finite number"),
    (
        HEADER + SOME.replace("macs,400,0,", "verdict,exact,1,"),
        2,
        "tolerance '1' of a verdict; expected 0",
    ),
    (
        HEADER + SOME + GOOD + SOME.replace("0.3", "0.30"),
        4,
        "net classifier global 0.3 macs: is in line 2 too; keep one",
    ),
]


@pytest.mark.parametrize(("text", "line", "message"), BAD, ids=[message for _, _, message in BAD])
def test_what_is_no_baseline_is_refused_with_file_and_line(text, line, message) -> None:
    with pytest.raises(InputError) as caught:
        read(text, FILE)
    said = str(caught.value)
    assert said.startswith(f"{FILE}:{line}: {message}")
    assert len(said.splitlines()) == 1
    assert len(said) < 300


def kinds(expected: Row, *values: int | str) -> list[str]:
    """What comparing with each value says, in the words of the kinds; - for no difference."""
    answers = [
        compare([expected], [replace(expected, value=value)], complete=True) for value in values
    ]
    return [answer[0].kind.value if answer else "-" for answer in answers]


def test_more_macs_are_a_regression_and_fewer_a_win() -> None:
    assert kinds(MACS, 299, 300, 301) == ["WIN", "-", "REGRESSION"]


def test_fewer_channels_removed_are_a_regression_and_more_a_win() -> None:
    removed = replace(MACS, metric="channels_removed", better="higher")
    assert kinds(removed, 299, 300, 301) == ["REGRESSION", "-", "WIN"]


def test_where_values_should_be_equal_any_change_is_a_regression() -> None:
    assert kinds(replace(MACS, better="equal"), 299, 300, 301) == ["REGRESSION", "-", "REGRESSION"]


@pytest.mark.parametrize(
    ("better", "answers"),
    [
        ("lower", ["WIN", "-", "-", "-", "-", "REGRESSION"]),
        ("higher", ["REGRESSION", "-", "-", "-", "-", "WIN"]),
        ("equal", ["REGRESSION", "-", "-", "-", "-", "REGRESSION"]),
    ],
)
def test_the_tolerance_belongs_to_both_sides_and_to_what_it_reaches(better, answers) -> None:
    row = replace(MACS, tolerance=10, better=better)
    assert kinds(row, 289, 290, 299, 301, 310, 311) == answers


def test_the_rows_own_tolerance_and_direction_count_not_those_of_the_found_row() -> None:
    loose = replace(MACS, tolerance=1000, better="higher")
    assert compare([MACS], [replace(loose, value=301)], complete=True)[0].kind is Kind.REGRESSION
    assert compare([loose], [replace(MACS, value=301)], complete=True) == ()


def test_large_numbers_are_compared_to_the_last_unit() -> None:
    assert kinds(replace(MACS, value=2**60), 2**60 + 1) == ["REGRESSION"]


def test_verdicts_are_ordered_by_what_they_prove() -> None:
    order = ["wrong", "broken", "unprunable", "timeout", "unchanged", "consistent"]
    order += ["mixed"]
    order += ["renormalized", "exact"]
    for place, verdict in enumerate(order):
        answers = ["REGRESSION"] * place + ["-"] + ["WIN"] * (len(order) - place - 1)
        assert kinds(replace(PROVED, value=verdict), *order) == answers


def test_every_verdict_has_a_place_in_the_order() -> None:
    assert sorted(STRENGTH) == sorted(Verdict)


def test_a_row_that_nobody_expected_is_new() -> None:
    (difference,) = compare([], [MACS], complete=False)
    assert (difference.kind, difference.expected, difference.found) == (Kind.NEW, None, MACS)


def test_a_row_that_was_not_found_is_missing_only_in_a_complete_run() -> None:
    (difference,) = compare([MACS], [], complete=True)
    assert (difference.kind, difference.expected, difference.found) == (Kind.MISSING, MACS, None)
    assert compare([MACS], [], complete=False) == ()


def test_differences_come_in_the_order_of_the_file() -> None:
    rows = [replace(MACS, ratio=ratio) for ratio in (0.8, 0.3)]
    worse = [replace(PROVED, value="wrong"), *(replace(row, value=999) for row in rows)]
    answer = compare([*rows, PROVED], [*worse, replace(MACS, model="a")], complete=True)
    assert [(each.kind.value, (each.expected or each.found).name) for each in answer] == [
        ("NEW", "a classifier global 0.5 macs"),
        ("REGRESSION", "net classifier global 0.3 macs"),
        ("REGRESSION", "net classifier global 0.5 verdict"),
        ("REGRESSION", "net classifier global 0.8 macs"),
    ]


@pytest.mark.parametrize(
    ("expected", "now", "text"),
    [
        (
            [replace(MACS, tolerance=1.5)],
            [replace(MACS, value=320)],
            "REGRESSION net classifier global 0.5 macs: expected 300, found 320 "
            "(tolerance 1.5, better: lower)",
        ),
        (
            [MACS],
            [replace(MACS, value=280)],
            "WIN net classifier global 0.5 macs: expected 300, found 280 "
            "(tolerance 0, better: lower), better than expected: accept it",
        ),
        (
            [],
            [PROVED],
            "NEW net classifier global 0.5 verdict: expected nothing, found exact "
            "(tolerance 0, better: higher)",
        ),
        (
            [PROVED],
            [],
            "MISSING net classifier global 0.5 verdict: expected exact, found nothing "
            "(tolerance 0, better: higher)",
        ),
    ],
)
def test_a_difference_is_one_line_that_says_it_all(expected, now, text) -> None:
    (difference,) = compare(expected, now, complete=True)
    assert difference.text == text


LOOSE = replace(MACS, tolerance=25, better="equal")


def test_accepting_takes_the_value_and_keeps_tolerance_and_direction() -> None:
    rows = merge([LOOSE], [replace(MACS, value=280)], complete=True)
    assert rows == (replace(LOOSE, value=280),)


def test_accepting_keeps_rows_that_were_not_found_unless_the_run_is_complete() -> None:
    other = replace(MACS, ratio=0.3)
    assert merge([LOOSE, other], [PROVED], complete=False) == (other, LOOSE, PROVED)
    assert merge([LOOSE, other], [PROVED], complete=True) == (PROVED,)


def test_what_was_accepted_no_longer_differs() -> None:
    now = [replace(MACS, value=1), replace(PROVED, value="wrong"), replace(MACS, ratio=0.1)]
    accepted = merge([LOOSE, replace(MACS, ratio=0.9)], now, complete=True)
    assert compare(accepted, now, complete=True) == ()


def test_changes_are_reported_even_within_the_tolerance() -> None:
    before = [LOOSE, PROVED, replace(MACS, ratio=0.3)]
    after = [replace(LOOSE, value=301), PROVED, replace(MACS, ratio=0.8)]
    assert changes(before, after) == (
        "net classifier global 0.3 macs: 300 -> nothing",
        "net classifier global 0.5 macs: 300 -> 301",
        "net classifier global 0.8 macs: nothing -> 300",
    )
