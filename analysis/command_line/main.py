"""The entry of the command line: read the options, run the command, turn errors into a line."""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from types import FrameType
from typing import Any, NoReturn

from analysis import environment
from analysis.command_line.options import parser
from analysis.environment import OWN
from analysis.errors import AnalysisError, InputError, in_options

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if all checks pass, 1 if one fails, 2 on bad input, 130 if interrupted, 143 if terminated.
    """
    # Users cannot fix warnings of third parties while tracing.
    warnings.simplefilter("ignore")
    command = ""
    before = _hear(_terminated)
    try:
        options = parser().parse_args(argv)
        command = options.command
        return _doctor() if command == "doctor" else _run(options)
    except AnalysisError as error:
        print(f"{OWN} {command}: {in_options(error)}", file=sys.stderr)
        return 2
    except _TerminatedError:
        print(f"terminated; {_kept(command)}", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print(f"interrupted; {_kept(command)}", file=sys.stderr)
        return 130
    finally:
        _hear(before)


def _kept(command: str) -> str:
    """What is there of a command that was ended."""
    if command == "grid":
        return "what was done is kept; run it again to do the rest"
    if command == "sensitivity":
        return "what was measured is kept in --records, if they were given"
    return "nothing was written"


class _TerminatedError(BaseException):
    """The process was asked to end."""


def _hear(handler: Any) -> Any:
    """Handle SIGTERM like Ctrl-C: child processes end, and temporary folders are removed."""
    with suppress(ValueError):  # not the main thread
        return signal.signal(signal.SIGTERM, handler)


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _TerminatedError


def _run(options: argparse.Namespace) -> int:
    from analysis.command_line import commands  # what the doctor does not need

    # The user's code may print; standard output is for the result alone.
    with redirect_stdout(sys.stderr):
        answer = getattr(commands, options.command)(options)
    status: int = answer.status
    try:
        print(answer.text, flush=True)
    except OSError as error:
        # Flushing would raise again.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        if not isinstance(error, BrokenPipeError):  # whose reader has read enough
            raise InputError(f"cannot write the answer: {error.strerror}") from error
    return status


def _doctor() -> int:
    for package, version in environment.versions().items():
        print(f"{package:15} {version}")
    troubles = environment.diagnose()
    for trouble in troubles:
        print(trouble, file=sys.stderr)
    if not troubles:
        print("versions and builds fit together, according to their metadata")
    return 1 if troubles else 0
