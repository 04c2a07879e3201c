"""Errors, one class for each kind of problem.

Every message is one line that says what was given, what was expected and what to do.
"""

import difflib
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from traceback import FrameSummary, extract_tb

__all__ = [
    "AnalysisError",
    "BudgetExceededError",
    "ChannelsNotFoundError",
    "InputError",
    "InstallationError",
    "OptionError",
    "OutOfMemoryError",
    "UnprunableError",
    "WorkerError",
    "an",
    "did_you_mean",
    "in_options",
    "several",
    "upstream",
]


class AnalysisError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(AnalysisError):
    """A model, an option, an input or an output path cannot be used."""


class OptionError(InputError):
    """An option's value cannot be used. Python and the command line name the option differently.

    Args:
        option: its name in Python.
        detail: the value, and why it cannot be used.
    """

    def __init__(self, option: str, detail: str) -> None:
        super().__init__(option, detail)
        self.option, self.detail = option, detail

    def __str__(self) -> str:
        return f"{self.option}={self.detail}"


def in_options(error: AnalysisError) -> str:
    """The error's message with options as the command line names them."""
    if isinstance(error, OptionError):
        return f"--{error.option.replace('_', '-')} {error.detail}"
    return str(error)


class InstallationError(InputError):
    """The installed packages do not import."""


class ChannelsNotFoundError(InputError):
    """Weights were trained too far for the channels that a network kept to be found by them."""


class UnprunableError(AnalysisError):
    """torch-pruning, or the user's pruner, raised while it traced or pruned a network."""


class WorkerError(AnalysisError):
    """The worker process died, or raised an error that is not one of this package.

    ``was_told_to_end`` says that somebody else ended it, which says nothing of the work.
    """

    was_told_to_end = False


class OutOfMemoryError(WorkerError):
    """The work used more memory than its limit.

    Args:
        limit: bytes.
        step: what was running.
    """

    def __init__(self, limit: float, step: str) -> None:
        super().__init__(limit, step)
        self.limit, self.step = limit, step

    def __str__(self) -> str:
        return f"more than {self.limit / 1e9:.3g} GB of memory while {self.step or 'starting'}"


class BudgetExceededError(BaseException):
    """The work did not end within its time budget.

    Like KeyboardInterrupt it is not an Exception, so that code which handles a failing forward or
    copy does not catch it.

    ``step`` names what was running; `analysis.processes.budgets.step` sets it. ``at`` says what was
    being analysed, if that is known.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")
        self.seconds = seconds
        self.step = ""
        self.at = ""

    @property
    def reason(self) -> str:
        """The message, and the step that was running."""
        return f"{self} while {self.step or 'starting'}{self.at}"


def an(word: str) -> str:
    """A word with its article, such as the name of a class: ``an int``, ``a Linear``."""
    spelled = word.isupper() and word[0] in "AEFHILMNORSX"  # as in an LSTM
    vowel = word[:1].lower() in "aeio" or word[:2].lower() == "up"
    return f"{'an' if spelled or (vowel and not word.isupper()) else 'a'} {word}"


def several(count: int, noun: str) -> str:
    """A number of things: ``1 tensor``, ``2 tensors``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def did_you_mean(name: str, known: Iterable[str], otherwise: str, *, cutoff: float = 0.6) -> str:
    """The hint of a message about an unknown name: the closest known one, or something else."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {close[0]!r}?" if close else otherwise


@contextmanager
def upstream(step: str, blame: Callable[[BaseException], str] | None = None) -> Iterator[None]:
    """Turn any exception of foreign code inside the block into `UnprunableError`.

    Only calls into that code belong inside, because an error of this package must not become a
    verdict. ``blame`` names what the code was processing.
    """
    try:
        yield
    except AnalysisError:
        raise
    except Exception as error:
        place = blame(error) if blame else ""
        raised = f"{step} raised {type(error).__name__}{_message(error)}{_line_of_user(error)}"
        raise UnprunableError(f"at {place}: {raised}" if place else raised) from error


def _line_of_user(error: BaseException) -> str:
    """The innermost line of code that is not installed, nor of this package; empty if none is."""
    installed = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(_OWN_FOLDER))
    own = [
        frame
        for frame in extract_tb(error.__traceback__)
        if not frame.filename.startswith((*installed, "<"))
    ]
    if not own or not str(error).strip():
        return ""  # the message is the line itself
    return f" ({_said(own[-1])})"


_OWN_FOLDER = Path(__file__).parent


def _said(frame: FrameSummary) -> str:
    return f"{'/'.join(PurePath(frame.filename).parts[-2:])}:{frame.lineno}: {frame.line}"


def _message(error: BaseException) -> str:
    """The error's message; if it is empty, as of a bare assertion, the line that raised."""
    said = " ".join(str(error).split())
    if said:
        return f": {said}"
    return f" ({_said(extract_tb(error.__traceback__)[-1])})"
