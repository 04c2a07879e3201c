"""Files are written whole, tables are readable, a page loads nothing."""

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from jsonschema import Draft202012Validator
from nets import Chain, inputs_for, make

from analysis import count_macs
from analysis.errors import InputError
from analysis.records import Network, Request, Sizes, Study, Verdict, Verification
from analysis.reporting import files, markdown, page
from analysis.reporting.report import write_report
from analysis.reporting.section import Absent, Section
from analysis.reporting.sections import asked, versions
from analysis.reporting.stages import stages
from analysis.reporting.tables import Table, as_markdown, bound, count, left
from analysis.study import study


@pytest.fixture(scope="module")
def small_study() -> Study:
    """A real study of a small network, in one process."""
    return study([Request(Network("tests/nets.py:Residual", (3, 6, 6)))], workers=1)


@pytest.fixture(scope="module")
def written(small_study: Study, tmp_path_factory):
    """Its report, which no test changes."""
    folder = tmp_path_factory.mktemp("written")
    write_report(small_study, str(folder))
    return folder


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path, monkeypatch) -> None:
    target = tmp_path / "report.md"
    target.write_text("old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_a_file_in_the_way_of_a_folder_is_refused(tmp_path) -> None:
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(InputError, match="cannot write"):
        files.check_writable(tmp_path / "reports" / "results.json")


def test_what_is_only_checked_leaves_no_folder_and_what_is_written_makes_it(tmp_path) -> None:
    target = tmp_path / "deep" / "down" / "page.html"
    files.check_writable(target)
    files.check_folder(tmp_path / "deep" / "saved", ["record.json"])
    assert not [*tmp_path.iterdir()]
    files.write_text(target, "x")
    with files.written_whole(tmp_path / "other" / "saved") as made:
        (made / "record.json").write_text("{}")
    assert target.read_text() == "x"
    assert (tmp_path / "other" / "saved" / "record.json").exists()


def test_others_may_read_what_was_written(tmp_path) -> None:
    target = files.write_text(tmp_path / "page.html", "x")
    mask = os.umask(0)
    os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~mask


def test_numbers_are_aligned_right_and_words_left() -> None:
    assert as_markdown(("layer", "MACs"), [("a", "1,200"), ("bcdefg", "7")]).splitlines() == [
        "| layer  |  MACs |",
        "| ------ | ----: |",
        "| a      | 1,200 |",
        "| bcdefg |     7 |",
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [(6e-16, "<= 1e-12"), (1e-12, "<= 1e-12"), (3e-11, "<= 1e-09"), (0.25, "0.2"), (None, "-")],
)
def test_errors_at_rounding_level_are_written_as_a_bound(error, text) -> None:
    assert bound(Verification(Verdict.EXACT, max_rel_error=error)) == text


def test_unknown_numbers_are_dashes() -> None:
    assert (count(None), left(Sizes(5, None)), left(Sizes(200, 50))) == ("-", "-", "25.0%")


def test_blocks_sum_to_the_total() -> None:
    model = make(Chain)
    costs = count_macs(model, inputs_for(model))
    assert sum(stage.macs for stage in stages(costs)) == costs.macs
    assert sum(stage.params for stage in stages(costs)) == costs.params


def test_the_page_loads_nothing_and_says_what_it_is(written) -> None:
    loaded: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes) -> None:
            for name, value in attributes:
                if name in ("src", "href", "xlink:href", "data") and not value.startswith("#"):
                    loaded.append(value)
            assert tag not in ("link", "img", "iframe")

    text = (written / "index.html").read_text()
    Links().feed(text)
    assert loaded == []
    assert "@import" not in text
    # In styles and attributes a reference may only point inside the page.
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert '<html lang="en">' in text


def test_ids_of_the_pictures_are_distinct(written) -> None:
    ids = re.findall(r'<clipPath id="([^"]+)"', (written / "index.html").read_text())
    assert len(ids) == len(set(ids)) > 0


def test_pictures_hold_real_text(written) -> None:
    svg = (written / "tests-nets.py-Residual-curve.svg").read_text()
    assert re.search(r"<text[^>]*>pruning ratio asked</text>", svg)


def test_the_results_are_what_the_schema_beside_them_says(written) -> None:
    schema, results = (
        json.loads((written / name).read_text()) for name in ("results.schema.json", "results.json")
    )
    Draft202012Validator(schema).validate(results)


def test_the_same_bytes_are_made_again_and_rounding_level_errors_do_not_reach_them(
    small_study: Study, written, tmp_path
) -> None:
    def nudged(run):
        error = run.verification.max_rel_error
        if error is None:
            return run
        verification = replace(run.verification, max_rel_error=error + 1e-15)
        return replace(run, verification=verification)

    subject = small_study.subjects[0]
    other = replace(subject, runs=tuple(nudged(run) for run in subject.runs))
    write_report(replace(small_study, subjects=(other,)), str(tmp_path / "nudged"))
    again = sorted(path.name for path in (tmp_path / "nudged").iterdir())
    assert again == sorted(path.name for path in written.iterdir())
    for name in again:
        assert (tmp_path / "nudged" / name).read_bytes() == (written / name).read_bytes()


EVIL = "<script>alert(1)</script>`code`&\"'"


def test_what_comes_from_the_user_is_escaped(small_study: Study) -> None:
    section = Section("a", EVIL, (EVIL,), tables=(Table(EVIL, (EVIL,), ((EVIL,),)),))
    text = page.render(small_study, [(section, ())])
    assert "<script>alert" not in text
    assert "<code>code</code>" in text


def test_a_network_with_an_evil_name_makes_a_page_and_files(small_study: Study, tmp_path) -> None:
    (subject,) = small_study.subjects
    info = replace(subject.info, name=f"../{EVIL}")
    evil = replace(small_study, subjects=(replace(subject, info=info),), command=EVIL)
    paths = write_report(evil, str(tmp_path / "out"))
    assert {path.parent for path in paths} == {tmp_path / "out"}
    text = (tmp_path / "out" / "index.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_networks_of_one_name_are_distinguished(small_study: Study, tmp_path) -> None:
    twice = replace(small_study, subjects=small_study.subjects * 2)
    write_report(twice, str(tmp_path))
    text = (tmp_path / "index.html").read_text()
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert "tests/nets.py:Residual (2)" in text
    assert (tmp_path / "tests-nets.py-Residual-2-curve.svg").exists()


def test_bars_are_counted_in_a_unit_that_fits_them(small_study: Study, written) -> None:
    """The longest is the stem's: 36 positions of 4 x 27 products, 3,888 MACs."""
    assert max(row.macs for row in small_study.subjects[0].costs.layers) == 3888
    svg = (written / "tests-nets.py-Residual-layers.svg").read_text()
    assert ">thousand MACs; the whole bar is the dense layer<" in svg


def test_a_line_that_is_read_while_a_section_is_folded_is_in_the_markdown_too() -> None:
    text = markdown.render([(Section("s", "Title", ("Prose.",), gist="3 of 4 <went>"), ())])
    assert text == f"# {markdown.TITLE}\n\n## Title\n\n3 of 4 \\<went>.\n\nProse.\n"


def test_wide_tables_are_left_out_of_the_markdown_with_a_line() -> None:
    table = Table("all layers", ("layer",), (("a",),), wide=True)
    text = markdown.render([(Section("s", "Title", ("Prose.",), tables=(table,)), ())])
    assert "_all layers: see index.html._" in text
    assert "| a" not in text


def test_the_report_lists_requested_and_removed_channels(small_study: Study) -> None:
    """Of the case study every run; of a user's networks those that were asked for."""
    (subject,) = small_study.subjects
    assert asked.section(small_study).tables == ()
    found = asked.section(replace(small_study, is_case_study=True))
    table = found.tables[0]
    assert len(table.rows) == len(subject.runs)
    output = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    for run, row in zip(subject.runs, output, strict=True):
        groups = run.verification.groups
        assert row["asked"] == str(sum(group.requested for group in groups))
        assert row["removed"] == str(sum(group.removed for group in groups))
        short = [group for group in groups if group.removed < group.requested]
        assert row["groups short"] == str(len(short))
        sentence = f"`{run.config.policy}`, ranked {run.config.scope}ly, at {run.config.ratio:g}:"
        assert any(sentence in each for each in found.blocks[0].paragraphs) == bool(short)


def test_a_ratio_at_which_groups_drop_out_is_marked_in_picture_and_table(
    small_study: Study, written
) -> None:
    (subject,) = small_study.subjects
    drops = [groups for entry in subject.accounts for groups in entry.curve.dropped if groups]
    assert drops  # of four and eight channels all are asked at 0.95
    assert "groups drop out" in (written / "tests-nets.py-Residual-curve.svg").read_text()
    tables = {table.caption: table for table in asked.section(small_study).blocks[0].tables}
    assert len(tables[f"{subject.info.name}: ratios at which groups drop out"].rows) == len(drops)


HEAD = "model,policy,scope,ratio,metric,expected,tolerance,better\n"


def test_differences_between_versions_are_in_a_table(tmp_path) -> None:
    folder = tmp_path / "versions"
    folder.mkdir()
    assert isinstance(versions.section(str(tmp_path)), Absent)
    for version, verdict, params in (("1.0.0", "wrong", 5), ("2.0.0", "exact", 7)):
        rows = (
            f"net,none,local,0.5,verdict,{verdict},0,higher\n"
            f"net,none,local,0.5,params,{params},0,lower\n"
            "other,none,local,0.5,params,3,0,lower\n"
            f"third,none,local,0.5,macs,{params},0,lower\n"
        )
        (folder / f"torch-pruning-{version}.csv").write_text(HEAD + rows)
    section = versions.section(str(tmp_path))
    (table,) = section.tables
    assert table.headers[-2:] == ("1.0.0", "2.0.0")
    # If the verdict differs, so do the numbers; otherwise the numbers are listed.
    assert [(row[0], *row[-3:]) for row in table.rows] == [
        ("net", "verdict", "wrong", "exact"), ("third", "macs", "5", "7"),
    ]  # fmt: skip
    assert "1 are the same in all of them" in section.paragraphs[0]
