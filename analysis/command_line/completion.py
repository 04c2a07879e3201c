"""A script for a shell that completes commands and options, made of the options themselves."""

import argparse
from collections.abc import Iterator
from typing import Any

from analysis.environment import OWN

__all__ = ["PrintCompletion"]

_FILES = ("FILE", "MODEL", ".json")
_FOLDERS = ("DIR",)
"""Words in the metavar of options whose value is a path."""


class PrintCompletion(argparse.Action):
    """Prints the script and exits; shtab, which writes it, is an extra."""

    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: Any, shell: Any, *_: Any
    ) -> None:
        """Print it, or say what is missing."""
        try:
            import shtab
        except ImportError:
            parser.error(f"--print-completion needs shtab: pip install '{OWN}[completion]'")
        if shell not in shtab.SUPPORTED_SHELLS:
            expected = ", ".join(shtab.SUPPORTED_SHELLS)
            parser.error(f"--print-completion {shell!r}; expected one of {expected}")
        for action in _actions(parser):
            if _holds(action, _FILES):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif _holds(action, _FOLDERS):
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell))
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def _holds(action: argparse.Action, words: tuple[str, ...]) -> bool:
    return any(word in str(action.metavar) for word in words)
