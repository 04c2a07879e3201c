"""The page as a whole: quiet, in order, and for everybody."""

import os
from pathlib import Path

import pytest
from browser import axe, contrast, cues, first_look, layout, outline, pictures
from browser.visiting import LOOKS, Look, Visit, Visitor, exercise, unfold
from playwright.sync_api import Page

WIDTHS = (1280, 360)


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


@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_serious(visitor: Visitor, report: Path, width: int) -> None:
    page = visitor.open(report, Look(width)).page
    unfold(page)
    axe.thin(page)
    assert axe.findings(page) == []
    page.emulate_media(color_scheme="dark")
    assert axe.pale(page) == []


def test_the_words_in_pictures_stand_out(page: Page) -> None:
    unfold(page)
    assert contrast.findings(page) == []
    page.emulate_media(color_scheme="dark")
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


def test_what_scrolls_on_a_phone_shows_that_there_is_more(visitor: Visitor, report: Path) -> None:
    page = visitor.open(report, Look(360)).page
    unfold(page)
    assert cues.findings(page, ".scroll") == []


@pytest.mark.parametrize("script", [True, False])
def test_what_folds_is_printed(visitor: Visitor, report: Path, script: bool) -> None:
    page = visitor.open(report, Look(718, media="print", script=script)).page
    assert first_look.not_printed(page) == []


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_everything_fits(visitor: Visitor, report: Path, look: Look) -> None:
    """Whatever the colours, which move nothing."""
    page = visitor.open(report, look).page
    keep(page, f"{report.parent.name}-{look}")
    unfold(page)
    assert layout.findings(page) == []


def test_the_committed_page_is_light_enough_to_send(committed: Path) -> None:
    assert committed.stat().st_size < 1_000_000


def keep(page: Page, name: str) -> None:
    """Pictures of the whole page, of paper a PDF, in the folder that SCREENSHOTS names."""
    if not (folder := os.environ.get("SCREENSHOTS")):
        return
    if "print" in name:
        page.pdf(path=f"{folder}/{name}.pdf")
        return
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=f"{folder}/{name}-{scheme}.png", full_page=True)
