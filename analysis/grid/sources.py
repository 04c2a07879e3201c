"""What of a user's own code and files an answer depends on, read without importing any of it."""

import ast
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from analysis.environment import OWN, PACKAGES, versions
from analysis.records import Request

__all__ = ["depends_on", "digests", "imported_packages", "made_with", "references", "sources"]

_PACKAGE = Path(__file__).parents[1]

_ONLY_SHOWS = {
    "command_line",
    "pytest_plugin",
    "suite",
    "sections",
    "results",
    "figures",
    "templates",
}
"""Folders of this package of which no answer depends: they ask, and show."""


def made_with(packages: Iterable[str] = ()) -> tuple[tuple[str, str], ...]:
    """The versions that an answer depends on, of this package by its source."""
    of_packages = versions({*PACKAGES, *packages} - {OWN, "python"})
    told = {
        **of_packages,
        OWN: f"{versions((OWN,))[OWN]} {_own_source()}",
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    return tuple(sorted(told.items()))


_Pairs = tuple[tuple[str, str], ...]


def depends_on(references: tuple[str, ...], weights: str) -> tuple[_Pairs, _Pairs]:
    """The versions and the files that decide an answer.

    Args:
        references: to code of the user's own.
        weights: as a network names them.
    """
    code = [path for reference in references for path in sources(reference)]
    data = [weights] if weights not in ("random", "default") else []
    return made_with(imported_packages(code)), digests([*code, *data])


def references(request: Request) -> tuple[str, ...]:
    """The code of the user's own that a request names."""
    network = request.network
    given = (network.name, network.inputs, request.ignore, request.pruner, request.evaluate)
    return tuple(text for text in given if isinstance(text, str) and ":" in text)


@cache
def _own_source() -> str:
    """Of this package's code: between two releases its version stays."""
    paths = sorted(_PACKAGE.rglob("*.py"))
    decides = (p for p in paths if _ONLY_SHOWS.isdisjoint(p.relative_to(_PACKAGE).parts))
    code = [path.read_bytes() for path in decides]
    return sha256(b"".join(code)).hexdigest()[:12]


def digests(paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The digest of each file, by its path."""
    return tuple((path, _digest(path)) for path in sorted(set(paths)))


def _digest(path: str) -> str:
    return sha256(Path(path).read_bytes()).hexdigest()


def sources(reference: str) -> tuple[str, ...]:
    """The files behind ``file.py:function`` or ``package.module:function``.

    They are the file and what it imports from folders of the user's own; installed packages are
    distinguished by their versions.
    """
    location = reference.rpartition(":")[0]
    is_file = location.endswith(".py")
    pending = [Path(location)] if is_file else [*_files_of(location, _roots())]
    found: dict[str, None] = {}
    while pending:
        path = _from_here(pending.pop())
        if str(path) not in found and path.is_file():
            found[str(path)] = None
            pending += (file for _, files in _imports(path) for file in files)
    return tuple(found)


def imported_packages(paths: Iterable[str]) -> tuple[str, ...]:
    """The installed packages that these files import."""
    names = {
        name.partition(".")[0]
        for path in paths
        for name, files in _imports(Path(path))
        if not files
    }
    known = _packages()
    return tuple(sorted({package for name in names for package in known.get(name, ())} - {OWN}))


@cache
def _packages() -> dict[str, list[str]]:
    return {name: list(of) for name, of in metadata.packages_distributions().items()}


def _imports(path: Path) -> list[tuple[str, list[Path]]]:
    """The modules that a file imports, each with its files where it is the user's own."""
    try:
        with tokenize.open(path) as source:
            tree = ast.parse(source.read())
    except (SyntaxError, ValueError):
        return []
    found: list[tuple[str, list[Path]]] = []
    for node in ast.walk(tree):
        for name, level in _names(node):
            folders = [path.parents[level - 1]] if level else [path.parent, *_roots()]
            found.append((name, _files_of(name, folders)))
    return found


def _names(node: ast.AST) -> Iterator[tuple[str, int]]:
    """What a statement imports, and how many folders up it is looked for; 0 is anywhere."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, 0) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        # What is imported from a package may be a module, too.
        inside = (f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names)
        yield from ((name, node.level) for name in (node.module, *inside) if name)


def _files_of(module: str, folders: Iterable[Path]) -> list[Path]:
    """The file of a module and those of the packages around it, in the first folder with any."""
    parts = module.split(".")
    places = [Path(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    names = [name for place in places for name in (place.with_suffix(".py"), place / "__init__.py")]
    for folder in folders:
        files = [folder / name for name in names if (folder / name).is_file()]
        if files:
            return files
    return []


def _roots() -> tuple[Path, ...]:
    """Where a user's own modules are imported from."""
    paths = sysconfig.get_paths()
    installed = [Path(paths[name]).resolve() for name in ("stdlib", "purelib", "platlib")]
    folders = dict.fromkeys([Path.cwd(), *(Path(name).resolve() for name in sys.path)])
    return tuple(
        folder
        for folder in folders
        if folder.is_dir()
        and folder != _PACKAGE.parent
        and not any(folder.is_relative_to(place) for place in installed)
    )


def _from_here(path: Path) -> Path:
    """A path relative to the folder of this process where it is below it."""
    full, here = path.resolve(), Path.cwd()
    return full.relative_to(here) if full.is_relative_to(here) else full
