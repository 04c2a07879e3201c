"""Import what the user names: ``package.module:attribute`` or ``path/to/file.py:attribute``."""

import ast
import importlib
import importlib.util
import sys
import tokenize
from pathlib import Path
from types import ModuleType
from typing import Any

from analysis.errors import InputError, did_you_mean

__all__ = ["check_reference", "load_callable"]


def load_callable(reference: str, what: str) -> Any:
    """Import the callable that ``reference`` names.

    Args:
        reference: ``package.module:attribute`` or ``path/to/file.py:attribute``.
        what: its purpose, for the error message ("model factory").

    Raises:
        InputError: malformed, no such module, file or attribute, the import raised, or the
            attribute cannot be called.
    """
    location, attribute = _parts(reference, what)
    module = _load_file(location, what) if location.endswith(".py") else _load(location, what)
    try:
        target = getattr(module, attribute)
    except AttributeError:
        raise _missing(reference, what, _own(module)) from None
    if not callable(target):
        raise InputError(
            f"{what} {reference!r} is of type {type(target).__name__}; expected something to call"
        )
    return target


def check_reference(reference: str, what: str) -> None:
    """Refuse at once what `load_callable` would refuse after an import of torch.

    Nothing is imported: the source is read, and if it is not conclusive, nothing is refused.

    Args:
        reference: as `load_callable`.
        what: as `load_callable`.

    Raises:
        InputError: malformed, no such file or package, no Python, or no such name in the file.
    """
    location, attribute = _parts(reference, what)
    if not location.endswith(".py"):
        _search_here()
        package = location.partition(".")[0]
        if package not in sys.modules and importlib.util.find_spec(package) is None:
            raise InputError(
                f"{what}: cannot import {location!r}: ModuleNotFoundError: No module named "
                f"{package!r}"
            )
        return
    path = _file(location, what)
    try:
        with tokenize.open(path) as source:
            tree = ast.parse(source.read(), location)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{what}: {location!r} does not import: {_describe(error)}") from error
    defined, imported = _defined(tree), _imported(tree)
    if defined is not None and attribute not in {*defined, *imported}:
        raise _missing(reference, what, defined)


def _own(module: ModuleType) -> list[str]:
    """What a module holds that was not imported into it, as far as that shows."""
    return [
        name
        for name, value in vars(module).items()
        if not isinstance(value, ModuleType)
        and getattr(value, "__module__", module.__name__) == module.__name__
    ]


def _imported(tree: ast.Module) -> set[str]:
    """The names that a module imports, anywhere in it."""
    return {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def _defined(tree: ast.Module) -> dict[str, None] | None:
    """The names that a module defines itself, in order; None if its source does not show all."""
    names: list[str] = []
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
            # A decorator may register, and a function may write, what it is not named for.
            inside = {type(inner) for inner in ast.walk(node)}
            if node.decorator_list or ast.Global in inside or node.name == "__getattr__":
                return None
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return None
        elif isinstance(node, ast.Call | ast.Subscript) or (
            isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        ):
            if not isinstance(node, ast.Name):
                return None  # locals()["net"] = ..., exec(...), register(...)
            names.append(node.id)
        else:
            pending += ast.iter_child_nodes(node)
    return dict.fromkeys(names)


def _parts(reference: str, what: str) -> tuple[str, str]:
    location, colon, attribute = reference.rpartition(":")
    if not colon or not location or not attribute:
        example = f"{reference}:function" if reference.endswith(".py") else "file.py:function"
        raise InputError(
            f"{what} {reference!r} is not of the form package.module:function or "
            f"path/to/file.py:function; say which function, as in {example}"
        )
    return location, attribute


def _missing(reference: str, what: str, defined: Any) -> InputError:
    location, _, attribute = reference.rpartition(":")
    names = [name for name in defined if not name.startswith("_")]
    hint = did_you_mean(attribute, names, f"it defines {', '.join(names) or 'nothing'}")
    return InputError(f"{what} {reference!r}: {location} has no {attribute!r}; {hint}")


def _search_here() -> None:
    """As with ``python -m``: commands and pytest leave the folder they are called in out."""
    here = str(Path.cwd())
    if not {here, ""} & set(sys.path):
        sys.path.append(here)


def _load(name: str, what: str) -> ModuleType:
    _search_here()
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise InputError(f"{what}: cannot import {name!r}: {_describe(error)}") from error


def _file(location: str, what: str) -> Path:
    path = Path(location)
    if not path.is_file():
        raise InputError(f"{what}: no file {location!r}; expected path/to/file.py:function")
    return path


def _load_file(location: str, what: str) -> ModuleType:
    path = _file(location, what)
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
