"""What axe-core finds wrong for readers with a screen reader or weak eyes."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

__all__ = ["findings", "thin"]

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
    """Leave one row of each kind in each table, and of a picture what tells of it."""
    page.evaluate(THIN)


def findings(page: Page) -> list[str]:
    """Each violation that axe calls serious or critical, a pale text among them."""
    told: dict[str, Any] = Axe().run(page, options={"resultTypes": ["violations"]}).response
    run = {rule["id"] for kind in ("passes", "violations") for rule in told[kind]}
    found = [] if "color-contrast" in run else ["axe did not look at the contrast"]
    return found + [
        f"{rule['id']} ({rule['impact']}): {node['target'][0]}: {node['failureSummary']}"
        for rule in told["violations"]
        if rule["impact"] in GRAVE
        for node in rule["nodes"][:5]
    ]
