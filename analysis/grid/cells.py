"""A cell: one piece of work that needs nothing of the others, and all that decides its answer."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from analysis.errors import InputError, an

__all__ = ["Cell", "once"]


@dataclass(frozen=True)
class Cell:
    """One piece of work, as data.

    Attributes:
        name: what progress and messages call it.
        task: ``package.module:function``, what does the work.
        arguments: what the function takes; data and records alone where the answer is kept.
        subject: cells of one subject share what is known of it, in one process after another.
        versions: of the packages that the answer depends on.
        files: by path, the digest of each file that the answer depends on.
        budget: seconds; None is no limit.
        memory: bytes that its process may hold; None is its share of the machine's.
    """

    name: str
    task: str
    arguments: tuple[Any, ...]
    subject: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    budget: float | None = None
    memory: float | None = None

    @property
    def module(self) -> str:
        """What a process imports to do it."""
        return self.task.partition(":")[0]

    @property
    def function(self) -> str:
        """The function's own name."""
        return self.task.partition(":")[2]

    @property
    def content(self) -> dict[str, Any]:
        """All that decides the answer; limits decide only whether there is one.

        Raises:
            InputError: an argument is no data.
        """
        return {
            "task": self.task,
            "arguments": _data(self.arguments),
            "versions": dict(self.versions),
            "files": dict(self.files),
        }

    @cached_property
    def digest(self) -> str:
        """Of its content: cells of one digest have one answer."""
        text = json.dumps(self.content, sort_keys=True)
        return sha256(text.encode()).hexdigest()


def once(cells: Iterable[Cell]) -> list[Cell]:
    """Of cells that have one answer the first."""
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.digest, cell)
    return list(first.values())


def _data(value: Any) -> Any:
    """A value as JSON has it."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple | list):
        return [_data(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _data(each) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _data(getattr(value, field.name)) for field in fields(value)}
    raise InputError(
        f"a cell is data, and is given {an(type(value).__name__)}; give the name of a policy, or "
        "package.module:function in place of a function"
    )
