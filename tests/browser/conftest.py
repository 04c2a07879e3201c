"""A real browser, the pages to look at, and a way to open them.

The browser is the machine's own, or the one that CHROMIUM names; none is downloaded.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.visiting import Visit, Visitor
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "reports" / "index.html"

# What stands before --input-size on the command line that writes a user's own page.
MODELS = ["tests/nets.py:Residual", "tests/nets.py:Concat"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
# How long the page may take.
SECONDS = 120
MISSING = "no chromium on this machine: apt-get install chromium"
EXECUTABLE = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--page", metavar="FILE", help="look at this page alone (tests/browser)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of ``report`` looks at the committed page and at a user's, or at the one given."""
    if "report" in metafunc.fixturenames:
        given = metafunc.config.getoption("page")
        pages = ["given"] if given else ["committed", "network"]
        metafunc.parametrize("report", pages, indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not EXECUTABLE:
        for item in items:
            item.add_marker(pytest.mark.skip(MISSING))


@pytest.fixture(scope="session")
def executable() -> str:
    found = shutil.which(str(EXECUTABLE))
    assert found, f"CHROMIUM={EXECUTABLE} is no executable: name one, or unset it"
    return found


@pytest.fixture(scope="session")
def browser(executable: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # The sandbox refuses root, which CI is; the pages are our own files.
        started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def committed(pytestconfig: pytest.Config) -> Path:
    """The committed page, or the one given instead."""
    return Path(pytestconfig.getoption("page") or COMMITTED).resolve()


@pytest.fixture(scope="session", autouse=True)
def making(
    executable: str, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path | None]:
    """The folder of a user's page, which is made while the first tests look at another.

    The first process of pytest-xdist makes it for all of them.
    """
    if pytestconfig.getoption("page"):
        yield None
        return
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if worker else base) / "network"
    if worker not in ("", "gw0"):
        yield folder
        return
    folder.mkdir()
    command = ["-m", "analysis", "report", *MODELS, "--input-size", "3,6,6", "--out", str(folder)]
    with (folder / "said.txt").open("w+") as said:
        making = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=said, stderr=said, text=True
        )
        yield folder
        making.wait(timeout=SECONDS)  # another process may still look at it


@pytest.fixture(scope="session")
def network(making: Path | None, committed: Path) -> Path:
    """The page of a user's own networks; the one given instead."""
    if making is None:
        return committed
    page, end = making / "index.html", time.monotonic() + SECONDS
    # Each file is written whole; the page is the first of them.
    while not page.exists():
        assert time.monotonic() < end, (making / "said.txt").read_text()
        time.sleep(0.2)
    return page


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Path:
    name = "network" if request.param == "network" else "committed"
    return request.getfixturevalue(name)


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    visitor = Visitor(browser)
    yield visitor
    visitor.close()


@pytest.fixture
def visit(visitor: Visitor, report: Path) -> Visit:
    """The page as it opens in a wide light window, with nothing done to it."""
    return visitor.open(report)


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit.page
