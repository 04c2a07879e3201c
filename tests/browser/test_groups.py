"""Dependency groups that are highlighted wherever they are on the page."""

from pathlib import Path

from browser import keyboard, lighting
from browser.visiting import unfold
from playwright.sync_api import Page

BUTTON = "button.group"


def test_the_graph_draws_the_groups_and_the_list_beneath_names_them(
    page: Page, report: Path
) -> None:
    drawn = lighting.groups(page)
    assert drawn
    assert set(drawn) <= set(lighting.roots(report))
    assert lighting.groups(page, "ul.groups > li[data-group]") == drawn
    assert page.locator(f"ul.groups > li > {BUTTON}").count() == len(drawn)


def test_a_group_is_found_outside_its_graph_too(page: Page) -> None:
    others = lighting.groups(page, "figure:not(.graph) svg [data-group]")
    rows = lighting.groups(page, "table.data tr[data-group], table.data td[data-group]")
    assert set(lighting.groups(page)) & set(others)
    assert set(lighting.groups(page)) & set(rows)


def test_the_mouse_on_a_group_lights_it_wherever_it_is_and_nothing_else(
    page: Page, report: Path
) -> None:
    unfold(page)
    assert lighting.pointed(page, lighting.roots(report)) == []


def test_the_keyboard_on_a_button_lights_its_group(page: Page, report: Path) -> None:
    unfold(page)
    assert lighting.focused(page, lighting.roots(report)) == []


def test_the_keyboard_alone_reaches_a_group_and_escape_puts_it_out(
    page: Page, report: Path
) -> None:
    keyboard.reveal(page, BUTTON)
    assert keyboard.tab_to(page, BUTTON)
    assert keyboard.shows_focus(page)
    group = page.locator(":focus").evaluate("one => one.closest('[data-group]').dataset.group")
    assert lighting.lit(page, group, lighting.roots(report)[group]) == []
    page.keyboard.press("Escape")
    assert lighting.dark(page, group) == []
