"""The grid that a TOML file describes, as cells."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from analysis.checks import CATALOGUE, OF_PRUNING
from analysis.errors import InputError, did_you_mean
from analysis.grid import sources
from analysis.grid.cells import Cell
from analysis.records import (
    CUTS,
    IMPORTANCES,
    RATIOS,
    SCOPES,
    Network,
    Request,
    Timing,
    checked_ratios,
    excluded,
)

__all__ = ["MEASURES", "cells_of"]

MEASURES: dict[str, tuple[str, ...]] = {
    "proof": OF_PRUNING,
    "costs": (),
    "trips": tuple(name for name in CATALOGUE if name.startswith("survives_")),
    "latency": (),
    "all": tuple(CATALOGUE),
}
"""By measure, the checks that it runs; verdict, channels and costs are in every record.

``latency`` times each pruning beside its dense network."""


def cells_of(
    path: str | Path,
    check: Callable[[Request], None],
    *,
    budget: float | None = None,
    memory: float | None = None,
) -> list[Cell]:
    """The cells of a grid: every subject in every way that the file asks for.

    Args:
        path: of the TOML file.
        check: refuses a request that names what is not there.
        budget: seconds for each cell.
        memory: bytes for each cell.

    Raises:
        InputError: says where in the file something cannot be used, and what is expected.
    """
    names, requests = _read(Path(path), check)
    depends_on = cache(sources.depends_on)
    cells = []
    for request in requests:
        versions, files = depends_on(sources.references(request), request.network.weights)
        cells.append(
            Cell(
                _name(request),
                "analysis.grid.work:prove",
                (request, names),
                subject=repr(request.network),
                versions=versions,
                files=files,
                budget=budget,
                memory=memory,
            )
        )
    return cells


def _name(request: Request) -> str:
    how = "its own pruner" if request.pruner else f"{request.policy} {request.scope}"
    unusual = [
        value
        for value, usual in ((request.importance, IMPORTANCES[0]), (request.cut, CUTS[0]))
        if value != usual
    ]
    return " ".join([request.network.name, f"{request.ratios[0]:g}", how, *unusual])


def _one_of(known: Any) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value not in known:
            hint = did_you_mean(str(value), known, f"expected one of {', '.join(known)}")
            raise InputError(f"{value!r} is not known; {hint}")
        return value

    return check


_Checks = Mapping[str, Callable[[Any], Any]]

_AXES: _Checks = {
    "ratios": lambda ratio: checked_ratios([ratio])[0],
    "policies": excluded,
    "scopes": _one_of(SCOPES),
    "importances": _one_of(IMPORTANCES),
    "cuts": _one_of(CUTS),
    "measures": _one_of(MEASURES),
}
"""What may stand at the top, each with a list of values, and what refuses one."""

_USUAL: Mapping[str, list[Any]] = {
    "ratios": list(RATIOS),
    "policies": ["classifier"],
    "scopes": [SCOPES[0]],
    "importances": [IMPORTANCES[0]],
    "cuts": [CUTS[0]],
    "measures": ["proof"],
}


def _of_network(name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        value = tuple(value) if isinstance(value, list) else value
        return getattr(Network("", **{name: value}), name)

    return check


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{value!r} is of type {type(value).__name__}; expected a string")
    return value


_OF_SUBJECT: _Checks = {
    "model": _text,
    "pruner": _text,
    **{
        name: _of_network(name)
        for name in ("input_size", "inputs", "outputs", "weights", "seed", "device")
    },
}


def _read(path: Path, check: Callable[[Request], None]) -> tuple[tuple[str, ...], list[Request]]:
    """The checks that are run, and what is asked."""
    text = _Text(path)
    content = text.content
    subjects = content.pop("subject", None)
    text.refuse_unknown(content, [*_AXES, "subject"])
    axes = {name: _axis(text, name, values) for name, values in {**_USUAL, **content}.items()}
    if not isinstance(subjects, list) or not subjects:
        raise InputError(f"{path}: no subject; expected [[subject]] tables, each with a model")
    requests = [
        request
        for number, subject in enumerate(subjects)
        for request in _requests(text, number, subject, axes, check)
    ]
    names = {name for measure in axes["measures"] for name in MEASURES[measure]}
    return tuple(name for name in CATALOGUE if name in names), requests


def _axis(text: "_Text", name: str, values: Any) -> list[Any]:
    with text.at(name):
        if not isinstance(values, list) or not values:
            raise InputError(f"{name} = {values!r}; expected a list of values")
        plain = [tuple(value) if isinstance(value, list) else value for value in values]
        if any(isinstance(value, dict) for value in plain):
            raise InputError(f"{name} = {values!r}; expected no table in the list")
        return list(dict.fromkeys(_AXES[name](value) for value in plain))


def _requests(
    text: "_Text",
    number: int,
    subject: dict[str, Any],
    axes: Mapping[str, list[Any]],
    check: Callable[[Request], None],
) -> Iterator[Request]:
    """One subject in every way; a pruner of the user's own has its own policy and scope."""
    text.refuse_unknown(subject, _OF_SUBJECT, number)
    given = {}
    for name, value in subject.items():
        with text.at(name, number):
            given[name] = _OF_SUBJECT[name](value)
    with text.at("", number):
        if "model" not in given:
            raise InputError('a subject without a model; expected model = "..."')
        pruner = given.pop("pruner", None)
        network = Network(given.pop("model"), **given)
        ways = _USUAL if pruner else axes
        order = [ways[name] for name in ("policies", "scopes", "importances", "cuts")]
        timing = Timing(layers=False) if "latency" in axes["measures"] else None
        for policy, scope, importance, cut, ratio in product(*order, axes["ratios"]):
            request = Request(
                network,
                (ratio,),
                policy,
                scope,
                importance,
                cut=cut,
                pruner=pruner,
                latency=timing,
            )
            check(request)
            yield request


class _Text:
    """A TOML file, and where in it something stands.

    Raises:
        InputError: it cannot be read, or is no TOML.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            text = path.read_text("utf-8")
            self.content = tomllib.loads(text)
        except OSError as error:
            raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from error
        except ValueError as error:
            raise InputError(f"{path}: {error}; expected TOML") from error
        self._lines = _lines(text)

    def refuse_unknown(self, table: Any, known: Any, subject: int = -1) -> None:
        """Refuse what is no table, or has a key that is none of these."""
        with self.at("", subject):
            if not isinstance(table, dict):
                raise InputError(f"{table!r}; expected a table")
        for name in table:
            with self.at(name, subject):
                if name not in known:
                    hint = did_you_mean(name, known, f"expected one of {', '.join(known)}")
                    raise InputError(f"unknown key {name!r}; {hint}")

    @contextmanager
    def at(self, name: str, subject: int = -1) -> Iterator[None]:
        """An error for what cannot be used, with the line of its key or of its subject."""
        try:
            yield
        except InputError as error:
            line = self._lines.get((subject, name)) or self._lines.get((subject, ""))
            raise InputError(f"{self._path}{f':{line}' if line else ''}: {error}") from error


_HEADER = re.compile(r"\s*\[\[?\s*([A-Za-z_-]+)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*["']?([\w-]+)["']?\s*=""")


def _lines(text: str) -> dict[tuple[int, str], int]:
    """By subject, or -1 for the top, and key: its line. Python's reader of TOML does not tell."""
    found: dict[tuple[int, str], int] = {}
    subject = -1
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            found.setdefault((-1, header[1]), number)
            subject += header[1] == "subject"
            found.setdefault((subject, ""), number)
        elif key := _KEY.match(line):
            found.setdefault((subject, key[1]), number)
    return found
