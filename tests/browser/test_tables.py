"""Tables that can be sorted and filtered, by mouse and by keyboard."""

from pathlib import Path

from browser import filtering, keyboard, sorting
from browser.visiting import Visitor, unfold
from playwright.sync_api import Locator, Page

DIRECTIONS = ("ascending", "descending")


def not_sorted(head: Locator, direction: str) -> str:
    """What is amiss with the column below a heading, by the texts on the page."""
    if (output := head.get_attribute("aria-sort")) != direction:
        return f"aria-sort is {output}"
    place = head.evaluate("one => one.cellIndex") + 1
    cells = head.page.locator("table.data", has=head).locator(f"tbody td:nth-child({place})")
    return sorting.out_of_order([text.strip() for text in cells.all_text_contents()], direction)


def test_a_press_on_a_heading_sorts_and_a_second_one_turns_it_round(page: Page) -> None:
    assert sorting.findings(page) == []


def test_every_kind_of_column_was_among_those_sorted(visitor: Visitor, committed: Path) -> None:
    """Else the test above would show little."""
    tables = sorting.tables(visitor.open(committed).page)
    columns = [list(column) for rows in tables for column in zip(*rows, strict=True)]
    seen = set().union(*map(sorting.kinds, columns))
    assert seen == {"text", "number", "dash", "percent", "thousands"}


def test_a_filter_shows_the_rows_with_the_text_and_their_number(page: Page) -> None:
    unfold(page)
    assert filtering.findings(page) == []


def test_the_keyboard_alone_types_into_a_filter(page: Page) -> None:
    keyboard.reveal(page, "input.filter")
    assert keyboard.tab_to(page, "input.filter")
    assert keyboard.shows_focus(page)
    page.keyboard.type("no such row")
    output = page.locator("output.rows").nth(
        page.evaluate("[...document.querySelectorAll('.filter')].indexOf(document.activeElement)")
    )
    assert output.inner_text().startswith("0 of ")


def test_the_keyboard_alone_reaches_a_heading_and_sorts(page: Page) -> None:
    keyboard.reveal(page, "button.sort")
    assert keyboard.tab_to(page, "button.sort")
    assert keyboard.shows_focus(page)
    for direction in DIRECTIONS:
        page.keyboard.press("Enter")
        assert not not_sorted(page.locator("th", has=page.locator(":focus")), direction)


def test_a_click_of_the_mouse_sorts(page: Page) -> None:
    unfold(page)
    head = page.locator("table.data:visible thead th").first
    for direction in DIRECTIONS:
        head.locator("button.sort").click()
        assert not not_sorted(head, direction)
