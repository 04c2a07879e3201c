"""A dependency group highlighted wherever the page draws or lists it."""

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

__all__ = ["dark", "focused", "groups", "lit", "pointed", "roots"]

# Every so many groups are gone to: all are lit by the same code.
STEP = 5

GROUPS = """place => [...new Set([...document.querySelectorAll(place)]
    .map(one => one.dataset.group))].sort()"""

STATE = """group => {
    const all = name => [...document.querySelectorAll(name)];
    const figure = all("figure.graph").find(
        one => one.querySelector(`svg [data-group="${group}"]`));
    return {
        unlit: all(`[data-group="${group}"]:not(.lit)`).length,
        stray: all(`.lit:not([data-group="${group}"])`).length,
        lit: all(".lit").length,
        lighting: document.body.classList.contains("lighting"),
        about: figure?.querySelector("output.about")?.textContent ?? "",
    };
}"""

# A point where the mouse meets the group and nothing that lies over it.
POINT = """group => {
    for (const one of document.querySelectorAll(`figure.graph svg [data-group="${group}"]`)) {
        one.scrollIntoView({block: "center", inline: "center"});
        const box = one.getBoundingClientRect();
        for (let down = 1; down < 8; down++) for (let along = 1; along < 8; along++) {
            const x = box.x + box.width * along / 8, y = box.y + box.height * down / 8;
            const hit = document.elementFromPoint(x, y)?.closest("svg [data-group]");
            if (hit?.dataset.group === group) return [x, y];
        }
    }
    return null;
}"""


def groups(page: Page, place: str = "figure.graph svg [data-group]") -> list[str]:
    """The groups that the elements of a place belong to."""
    return page.evaluate(GROUPS, place)


def roots(path: Path) -> dict[str, str]:
    """The root layer of each group, from the JSON file beside the page."""
    subjects = json.loads((path.parent / "results.json").read_text())["subjects"]
    return {
        f"{one}-{other}": group["root"]
        for one, subject in enumerate(subjects)
        for other, group in enumerate(subject["groups"])
    }


def pointed(page: Page, roots: dict[str, str]) -> list[str]:
    """Point at groups of every graph, and away from them."""
    found = []
    for group in groups(page)[::STEP]:
        if not (point := page.evaluate(POINT, group)):
            found.append(f"group {group}: nowhere to point at")
            continue
        page.mouse.move(*point)
        found += lit(page, group, roots[group])
        page.mouse.move(0, 0)
        found += dark(page, group)
    return found


def focused(page: Page, roots: dict[str, str]) -> list[str]:
    """Go to the buttons of groups and on, and there and out again with Escape."""
    found = []
    for group in groups(page)[::STEP]:
        button = page.locator(f'ul.groups > li[data-group="{group}"] > button.group')
        for leave in (button.blur, lambda: page.keyboard.press("Escape")):
            button.focus()
            found += lit(page, group, roots[group])
            leave()
            found += dark(page, group)
    return found


def lit(page: Page, group: str, root: str) -> list[str]:
    """What is wrong while a group should be highlighted: all of it, nothing else, described."""
    state = page.evaluate(STATE, group)
    return [f"group {group}: {what}" for what in _amiss(state, root)]


def dark(page: Page, group: str) -> list[str]:
    """What is amiss once nothing should be lit."""
    state = page.evaluate(STATE, group)
    left = {name: state[name] for name in ("lit", "lighting") if state[name]}
    return [f"group {group}: {left} is left"] if left else []


def _amiss(state: dict[str, Any], root: str) -> list[str]:
    found = [f"{state[name]} elements {name}" for name in ("unlit", "stray") if state[name]]
    if not state["lit"]:
        found.append("nothing is lit")
    if not state["lighting"]:
        found.append("the page does not know it is lighting")
    if root not in state["about"] or "%" not in state["about"]:
        found.append(f"its root is {root}, described as `{state['about']}`")
    return found
