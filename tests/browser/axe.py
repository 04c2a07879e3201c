"""Violations of accessibility that axe-core finds."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

__all__ = ["findings", "pale", "thin"]

GRAVE = ("serious", "critical")

# Rows with the same tags and classes are alike to axe, which is slow over thousands of them; of a
# picture it reads the name alone.
THIN = """() => {
    document.querySelectorAll("svg > :not(title, desc)").forEach(one => one.remove());
    for (const body of document.querySelectorAll("tbody")) {
        const seen = {};
        for (const row of [...body.rows]) {
            const kind = [...row.querySelectorAll("*"), row]
                .map(one => one.localName + "." + one.getAttribute("class")).join();
            if (kind in seen) row.remove();
            seen[kind] = true;
        }
    }
}"""


def thin(page: Page) -> None:
    """Keep one row of each kind in each table, and the title and description of each picture."""
    page.evaluate(THIN)


def findings(page: Page) -> list[str]:
    """Each violation that axe calls serious or critical, a pale text among them."""
    return _violations(page, {})


def pale(page: Page) -> list[str]:
    """Each text that is too pale: the one rule that depends on the colour scheme."""
    return _violations(page, {"runOnly": ["color-contrast"]})


def _violations(page: Page, options: dict[str, Any]) -> list[str]:
    answer = Axe().run(page, options={"resultTypes": ["violations"], **options}).response
    run = {rule["id"] for kind in ("passes", "violations") for rule in answer[kind]}
    found = [] if "color-contrast" in run else ["axe did not look at the contrast"]
    return found + [
        f"{rule['id']} ({rule['impact']}): {node['target'][0]}: {node['failureSummary']}"
        for rule in answer["violations"]
        if rule["impact"] in GRAVE
        for node in rule["nodes"][:5]
    ]
