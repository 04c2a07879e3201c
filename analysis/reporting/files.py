"""Write a file whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analysis.errors import InputError

__all__ = ["check_folder", "check_writable", "read_json", "write_text", "written_whole"]


def check_writable(path: str | Path) -> None:
    """Fail before the work starts if the file could not be written after it.

    Raises:
        InputError: says which path and why.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"cannot write {str(path)!r}: it is a folder; give a file")
    with _refusing(path, "path"), tempfile.TemporaryFile(dir=_there_already(target.parent)):
        pass


def _there_already(folder: Path) -> Path:
    """A folder, or the nearest one around it that exists: a refusal leaves no empty folders."""
    return next(each for each in (folder, *folder.parents) if each.exists())


@contextmanager
def _refusing(path: str | Path, what: str) -> Iterator[None]:
    """Turn an error of the file system into one line that says what to give instead."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write {str(path)!r}: {error.strerror}; give a {what} that can be written"
        ) from error


def check_folder(path: str | Path, names: Collection[str]) -> None:
    """Fail before the work starts if a folder could not be written after it.

    Args:
        path: of the folder.
        names: of the files that may be replaced.

    Raises:
        InputError: it is a file, holds other files, or cannot be made.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_dir():
        raise InputError(f"cannot write {str(path)!r}: it is a file; give a folder")
    with _refusing(path, "folder"):
        other = target.is_dir() and any(each.name not in names for each in target.iterdir())
        if other:
            raise InputError(
                f"cannot write {str(path)!r}: it holds other files than {', '.join(names)}; give a "
                "new folder, or one with these alone, to replace them"
            )
        with tempfile.TemporaryDirectory(dir=_there_already(target.parent)):
            pass


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A new folder, which takes the place of another once all has been written.

    Raises:
        InputError: it cannot; what was there is untouched.
    """
    target = Path(path).resolve()
    with _refusing(path, "folder"):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield beside
        # What is private while it is made is for everyone the folder around it is for.
        mask = _umask()
        beside.chmod(0o777 & ~mask)
        for file in beside.iterdir():
            file.chmod(0o666 & ~mask)
        _put_in_place(beside, target)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(made: Path, target: Path) -> None:
    """Rename a folder to where another may be, which is put back where that fails."""
    if not target.is_dir():
        os.replace(made, target)
        return
    before = made.with_name(f"{made.name}.before")
    os.replace(target, before)
    try:
        os.replace(made, target)
    except BaseException:
        os.replace(before, target)
        raise
    shutil.rmtree(before, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file of a report's folder holds.

    Raises:
        InputError: it is no JSON; says where.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: {error}; expected JSON, write it again or remove it") from error
    return found


def write_text(path: str | Path, text: str) -> Path:
    """Write ``text`` beside ``path`` and rename it there.

    Raises:
        InputError: the path cannot be written; what was there is untouched.
    """
    target = Path(path)
    check_writable(target)
    with _refusing(path, "path"):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with (
            _refusing(path, "path"),
            os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file,
        ):
            file.write(text)
        # mkstemp makes private files; a report is for everyone the folder is for.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
