"""The page as a whole: quiet, in order, and for everybody."""

import os
from pathlib import Path
from typing import Literal

import pytest
from browser import axe, contrast, first_look, layout, outline, pictures
from browser.visiting import LOOKS, Look, Visit, Visitor, exercise, unfold
from playwright.sync_api import Page

SCREEN = [look for look in LOOKS if look.media == "screen"]


def test_nothing_is_raised_and_nothing_is_loaded(visit: Visit) -> None:
    exercise(visit.page)
    assert visit.findings == []


def test_sections_have_headings_and_links_lead_to_them(page: Page) -> None:
    assert outline.findings(page) == []


def test_every_picture_has_a_title_a_description_and_a_data_table(page: Page) -> None:
    assert pictures.findings(page) == []


def test_the_link_of_a_picture_shows_its_table_also_where_it_is_folded(page: Page) -> None:
    assert pictures.links_that_show_nothing(page) == []


def test_without_javascript_everything_is_there(visitor: Visitor, report: Path) -> None:
    assert outline.missing_without_script(visitor, report) == []


@pytest.mark.parametrize("look", SCREEN, ids=str)
def test_axe_finds_nothing_serious(visitor: Visitor, report: Path, look: Look) -> None:
    page = visitor.open(report, look).page
    unfold(page)
    axe.thin(page)
    assert axe.findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_words_in_pictures_stand_out(
    visitor: Visitor, report: Path, scheme: Literal["light", "dark"]
) -> None:
    page = visitor.open(report, Look(scheme=scheme)).page
    unfold(page)
    assert contrast.findings(page) == []


@pytest.mark.parametrize(("width", "height"), first_look.SCREENS)
def test_the_first_screen_holds_verdict_and_picture(
    visitor: Visitor, report: Path, width: int, height: int
) -> None:
    page = visitor.open(report, Look(width, height=height)).page
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{report.parent.name}-first-{width}.png")
    assert first_look.findings(page) == []


def test_everything_else_folds(page: Page) -> None:
    assert first_look.folds(page) == []


def test_no_table_is_wider_than_its_page(page: Page) -> None:
    unfold(page)
    assert first_look.wide_tables(page) == []


@pytest.mark.parametrize("script", [True, False])
def test_what_folds_is_printed(visitor: Visitor, report: Path, script: bool) -> None:
    page = visitor.open(report, Look(718, media="print", script=script)).page
    assert first_look.not_printed(page) == []


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_everything_fits(visitor: Visitor, report: Path, look: Look) -> None:
    page = visitor.open(report, look).page
    keep(page, f"{report.parent.name}-{look}")
    unfold(page)
    assert layout.findings(page) == []


def test_the_committed_page_is_light_enough_to_send(committed: Path) -> None:
    assert committed.stat().st_size < 1_000_000


def keep(page: Page, name: str) -> None:
    """A picture of the whole page, of paper a PDF, in the folder that SCREENSHOTS names."""
    if not (folder := os.environ.get("SCREENSHOTS")):
        return
    if "print" in name:
        page.pdf(path=f"{folder}/{name}.pdf")
    else:
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)
