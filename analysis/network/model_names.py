"""Names of models and weights, checked without importing torchvision."""

import re
from importlib import util
from pathlib import Path

from analysis.errors import InputError, OptionError, did_you_mean

__all__ = [
    "BUILT_IN",
    "check_name",
    "no_default_weights",
    "no_weights",
    "torchvision_names",
    "unknown_model",
]

BUILT_IN = ("mobilenet_v2_cifar",)
"""The models of this package."""

_REGISTERED = re.compile(
    r"""^@register_model\((?:name=["'](?P<given>\w+)["'])?\).*?^def (?P<function>\w+)""",
    re.MULTILINE | re.DOTALL,
)
"""A builder in torchvision's source, with its own or a given name."""


def torchvision_names() -> list[str]:
    """The names that ``torchvision.models.list_models`` gives, read from torchvision's source.

    Importing it takes twice as long as importing torch. Empty if there is no source to read.
    """
    spec = util.find_spec("torchvision")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    texts = (
        path.read_text("utf-8") for root in roots for path in Path(root).glob("models/**/*.py")
    )
    found = (match for text in texts for match in _REGISTERED.finditer(text))
    return sorted(match["given"] or match["function"] for match in found)


def check_name(name: str) -> None:
    """Refuse a name of no model.

    Raises:
        InputError: says which is closest.
    """
    known = torchvision_names()
    if known and name not in (*known, *BUILT_IN):
        raise unknown_model(name, known)


def unknown_model(name: str, known: list[str]) -> InputError:
    """The error for an unknown model."""
    hint = did_you_mean(name, [*known, *BUILT_IN], "see torchvision.models.list_models()")
    if Path(name).is_dir():
        hint = f"{name!r} is a folder: compare takes a file of it, verify --shipped the folder"
    return InputError(
        f"unknown model {name!r}; expected a torchvision name, package.module:factory or "
        f"path/to/file.py:factory; {hint}"
    )


def no_default_weights(name: str) -> InputError:
    """The error for the user's own network, for which torchvision has no weights."""
    return OptionError(
        "weights",
        f"default: torchvision publishes none for {name!r}; use random, or the path of "
        "a state dict",
    )


def no_weights(path: str) -> InputError:
    """The error for a file of weights that is not there."""
    return OptionError(
        "weights",
        f"{path!r}: no such file, so it cannot be read; expected random, default, or "
        "the path of a state dict",
    )
