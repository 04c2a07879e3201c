"""Fetch what the user names: ``package.module:attribute`` or ``path/to/file.py:attribute``."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from analysis.errors import InputError, did_you_mean

__all__ = ["load_callable"]


def load_callable(reference: str, what: str) -> Any:
    """Import the callable that ``reference`` names.

    Args:
        reference: ``package.module:attribute`` or ``path/to/file.py:attribute``.
        what: what it is for, as the error message should call it ("model factory").

    Raises:
        InputError: malformed, no such module, file or attribute, the import raised, or the
            attribute cannot be called.
    """
    location, colon, attribute = reference.rpartition(":")
    if not colon or not location or not attribute:
        example = f"{reference}:function" if reference.endswith(".py") else "file.py:function"
        raise InputError(
            f"{what} {reference!r} is not of the form package.module:function or "
            f"path/to/file.py:function; say which function, as in {example}"
        )
    module = _load_file(location, what) if location.endswith(".py") else _load(location, what)
    try:
        target = getattr(module, attribute)
    except AttributeError:
        names = [name for name in vars(module) if not name.startswith("_")]
        hint = did_you_mean(attribute, names, f"it defines {', '.join(names) or 'nothing'}")
        raise InputError(f"{what} {reference!r}: {location} has no {attribute!r}; {hint}") from None
    if not callable(target):
        raise InputError(
            f"{what} {reference!r} is a {type(target).__name__}; expected something to call"
        )
    return target


def _load(name: str, what: str) -> ModuleType:
    # As with ``python -m``; the ``pytest`` command leaves the folder it is called in out.
    here = str(Path.cwd())
    if not {here, ""} & set(sys.path):
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise InputError(f"{what}: cannot import {name!r}: {_describe(error)}") from error


def _load_file(location: str, what: str) -> ModuleType:
    path = Path(location)
    if not path.is_file():
        raise InputError(f"{what}: no file {location!r}; expected path/to/file.py:function")
    name, folder = _name_of(path), str(path.resolve().parent)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Importable siblings and picklable classes, as when the file is run as a script.
    sys.modules[name] = module
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{what}: {location!r} does not import: {_describe(error)}") from error
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)  # for what is imported when a function is called
    return module


def _name_of(path: Path) -> str:
    """The file's name, or a longer one where another module has that."""
    known = sys.modules.get(path.stem)
    file = getattr(known, "__file__", None)
    if known is None or (file and Path(file).resolve() == path.resolve()):
        return path.stem
    return "_".join(path.resolve().with_suffix("").parts[1:])


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
