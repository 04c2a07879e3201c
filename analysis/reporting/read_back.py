"""The prunings of a ``results.json``, as the records that it was written from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.errors import InputError
from analysis.records import (
    Channels,
    CheckResult,
    Config,
    GroupAccount,
    Reason,
    Run,
    Sizes,
    Verdict,
    Verification,
)
from analysis.reporting.as_json import SCHEMA
from analysis.reporting.files import read_json

__all__ = ["runs_in"]


def runs_in(path: str | Path) -> tuple[tuple[str, Run], ...]:
    """Each network's name with each of its prunings.

    Of a run only what can change from one report to the next is read: verdict, channels, costs,
    checks.

    Raises:
        InputError: there is no such file, or it is not what a report writes.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: no such file; expected the results.json of a report")
    data = read_json(file)
    try:
        if (schema := data["schema"]) != SCHEMA:
            raise ValueError(f"schema {schema!r} and not {SCHEMA}")
        return tuple(_runs(data))
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        problem = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: {problem}; expected the results.json of a report") from error


def _runs(data: dict[str, Any]) -> Iterator[tuple[str, Run]]:
    for subject in data["subjects"]:
        for run in subject["runs"]:
            yield subject["subject"]["name"], _run(run)


def _run(entry: dict[str, Any]) -> Run:
    return Run(
        _config(entry),
        Verification(
            Verdict(entry["verdict"]),
            entry["reason"],
            entry["max_rel_error"],
            groups=tuple(map(_group, entry["groups"])),
        ),
        Channels(**entry["channels"]),
        params=_sizes(entry["params"]),
        macs=_sizes(entry["macs"]),
        bytes_=_sizes(entry["bytes"]),
        costs=None,
        checks=tuple(
            CheckResult(check["name"], check["passed"], check["message"], skipped=check["skipped"])
            for check in entry["checks"]
        ),
    )


def _config(entry: dict[str, Any]) -> Config:
    # A pruner of the user's own ranks by what it likes.
    ranked = {} if entry["importance"] is None else {"importance": entry["importance"]}
    return Config(
        entry["ratio"],
        entry["scope"],
        policy=entry["ignore"],
        round_to=entry["round_to"],
        max_pruning_ratio=entry["max_pruning_ratio"],
        **ranked,
    )


def _group(entry: dict[str, Any]) -> GroupAccount:
    return GroupAccount(
        entry["root"],
        entry["width"],
        entry["requested"],
        entry["removed"],
        Reason(entry["reason"]),
        entry["scope"],
    )


def _sizes(entry: dict[str, Any]) -> Sizes:
    return Sizes(entry["before"], entry["after"], entry.get("requested"))
