"""The entry of the command line: read the options, run the command, turn errors into a line."""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from types import FrameType
from typing import NoReturn

from analysis import environment
from analysis.command_line.options import parser
from analysis.environment import OWN
from analysis.errors import AnalysisError, InputError, in_options

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if all checks pass, 1 if one fails, 2 on bad input, 130 if interrupted, 143 if terminated,
        129 if its terminal is closed.
    """
    # Users cannot fix warnings of third parties while tracing.
    warnings.simplefilter("ignore")
    command = ""
    try:
        with _heard():
            options = parser().parse_args(argv)
            command = options.command
            return _doctor() if command == "doctor" else _run(options)
    except AnalysisError as error:
        print(f"{OWN} {command}: {in_options(error)}", file=sys.stderr)
        return 2
    except _TerminatedError as error:
        with suppress(OSError):  # the terminal that is closed
            print(f"terminated; {_kept(command)}", file=sys.stderr)
        return 128 + int(error.args[0])
    except KeyboardInterrupt:
        print(f"interrupted; {_kept(command)}", file=sys.stderr)
        return 130


def _kept(command: str) -> str:
    """What is there of a command that was ended."""
    if command == "grid":
        return "what was done is kept; run it again to do the rest"
    if command == "sensitivity":
        return "what was measured is kept in --records, if they were given"
    return "nothing was written"


class _TerminatedError(BaseException):
    """The process was asked to end, by the signal of this number."""


_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask a process to end; the second is that of a terminal that is closed."""


@contextmanager
def _heard() -> Iterator[None]:
    """Handle these like Ctrl-C: child processes end, and temporary folders are removed."""
    before = {}
    for number in _ENDING:
        with suppress(ValueError):  # not the main thread
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                before[number] = signal.signal(number, _terminated)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    raise _TerminatedError(number)


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
