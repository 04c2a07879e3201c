"""A real browser, the pages to look at, and a way to open them.

The browser is the machine's own, or the one that CHROMIUM names; none is downloaded. A user's page
and the documentation site are made once for all processes of pytest-xdist, while the first tests
look at the committed page.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from browser.visiting import Visit, Visitor
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "reports" / "index.html"

# The networks of a user's own page.
MODELS = ["tests/nets.py:Residual", "tests/nets.py:Concat"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
# How long the page and the site may take.
SECONDS = 300
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


def make(folder: Path, command: list[str]) -> None:
    """Run a module of Python that writes a folder, which gets its name once it is whole."""
    part = folder.with_name(f"{folder.name}.part")
    ran = subprocess.run(
        [sys.executable, "-m", *command, str(part)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # A report is whole where a check fails, too; the site is strict.
    if ran.returncode == 0 or (part / "results.json").exists():
        part.rename(folder)
    folder.with_name(f"{folder.name}.said").write_text(ran.stdout + ran.stderr)


def wait_for(folder: Path) -> Path:
    """A folder that is made in the background, once it is whole."""
    said, end = folder.with_name(f"{folder.name}.said"), time.monotonic() + SECONDS
    while not said.exists():
        assert time.monotonic() < end, f"{folder.name} is not made within {SECONDS} s"
        time.sleep(0.2)
    assert folder.exists(), said.read_text()
    return folder


@pytest.fixture(scope="session", autouse=True)
def shared(
    executable: str, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The folder of what is made in the background, by the first two processes for all of them."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if worker else base
    commands = {
        "network": ["analysis", "report", *MODELS, "--input-size", "3,6,6", "--out"],
        "site": ["mkdocs", "build", "--strict", "-q", "-d"],
    }
    if pytestconfig.getoption("page"):
        commands.pop("network")
    threads = [
        Thread(target=make, args=(folder / name, command))
        for place, (name, command) in enumerate(commands.items())
        if worker in ("", f"gw{place}")
    ]
    for thread in threads:
        thread.start()
    yield folder
    for thread in threads:
        thread.join()  # another process may still look at what is made


@pytest.fixture(scope="session")
def network(shared: Path, committed: Path, pytestconfig: pytest.Config) -> Path:
    """The page of a user's own networks; the one given instead."""
    if pytestconfig.getoption("page"):
        return committed
    return wait_for(shared / "network") / "index.html"


@pytest.fixture(scope="session")
def site(shared: Path) -> Path:
    """The documentation site, as ``tox run -e docs`` builds it."""
    return wait_for(shared / "site")


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
