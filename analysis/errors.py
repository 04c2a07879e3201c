"""What can go wrong, one class per kind of trouble.

Every message is one line that says what was given, what was expected and what to do.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from traceback import extract_tb

__all__ = [
    "AnalysisError",
    "BudgetExceededError",
    "InputError",
    "InstallationError",
    "OptionError",
    "OutOfMemoryError",
    "UnprunableError",
    "WorkerError",
    "did_you_mean",
    "in_options",
    "upstream",
]


class AnalysisError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(AnalysisError):
    """The user gave something that cannot be used: a model, an option, an input, an output path."""


class OptionError(InputError):
    """An option's value cannot be used; each door names the option in its own words.

    Args:
        option: as Python calls it.
        told: the value, and why.
    """

    def __init__(self, option: str, told: str) -> None:
        super().__init__(option, told)
        self.option, self.told = option, told

    def __str__(self) -> str:
        return f"{self.option}={self.told}"


def in_options(error: AnalysisError) -> str:
    """What an error says where options are words of a command."""
    if isinstance(error, OptionError):
        return f"--{error.option.replace('_', '-')} {error.told}"
    return str(error)


class InstallationError(InputError):
    """The installed packages do not import."""


class UnprunableError(AnalysisError):
    """torch-pruning, or the user's pruner, raised while it traced or pruned a network."""


class WorkerError(AnalysisError):
    """The process that does the work died, or raised what is no error of ours.

    ``was_told_to_end`` tells that somebody outside ended it, which says nothing of the work.
    """

    was_told_to_end = False


class OutOfMemoryError(WorkerError):
    """The work held more memory than it may.

    Args:
        limit: bytes that it may hold.
        step: what was running.
    """

    def __init__(self, limit: float, step: str) -> None:
        super().__init__(limit, step)
        self.limit, self.step = limit, step

    def __str__(self) -> str:
        return f"more than {self.limit / 1e9:.3g} GB of memory while {self.step or 'starting'}"


class BudgetExceededError(BaseException):
    """The work did not end within its time budget.

    Like KeyboardInterrupt it is no Exception: code that handles a failing forward or copy must
    not take the end of the time for one.

    ``step`` names what was running; it is filled in on the way up by
    `analysis.processes.budgets.step`. ``at`` says what was looked at, if that is known.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")
        self.seconds = seconds
        self.step = ""
        self.at = ""

    @property
    def story(self) -> str:
        """The message, and what was running."""
        return f"{self} while {self.step or 'starting'}{self.at}"


def did_you_mean(name: str, known: Iterable[str], otherwise: str, *, cutoff: float = 0.6) -> str:
    """The hint of a message about an unknown name: the closest known one, or something else."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {close[0]!r}?" if close else otherwise


@contextmanager
def upstream(step: str, blame: Callable[[BaseException], str] | None = None) -> Iterator[None]:
    """Turn whatever foreign code raises inside the block into `UnprunableError`.

    Only calls into that code belong inside: an error of our own must not look like a verdict.
    ``blame`` names what the code was looking at.
    """
    try:
        yield
    except AnalysisError:
        raise
    except Exception as error:
        place = blame(error) if blame else ""
        raised = f"{step} raised {type(error).__name__}{_message(error)}"
        raise UnprunableError(f"at {place}: {raised}" if place else raised) from error


def _message(error: BaseException) -> str:
    """What an error says; of one that says nothing, as an assertion, the line that raised it."""
    said = " ".join(str(error).split())
    if said:
        return f": {said}"
    last = extract_tb(error.__traceback__)[-1]
    return f" ({'/'.join(PurePath(last.filename).parts[-2:])}:{last.lineno}: {last.line})"
