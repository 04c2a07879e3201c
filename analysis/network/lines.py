"""Lines of the user's code, not of torch or this package."""

import linecache
import os
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType

import torch

__all__ = ["frames_of", "line_of_user", "raised_at", "said"]

_NOT_THE_USERS = tuple(f"{Path(file).parent}{os.sep}" for file in (torch.__file__, __file__))


def frames_of(trace: TracebackType | None) -> list[FrameType]:
    """The frames of a traceback, the innermost first."""
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames[::-1]


def line_of_user(frame: FrameType | None) -> tuple[str, int]:
    """The file and line of the innermost frame of the user's code; empty if there is none."""
    while frame is not None and not _is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def raised_at(error: BaseException) -> str:
    """The line of the user's code that raised an error; empty if there is none."""
    trace, last = error.__traceback__, ("", 0)
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        last = (file, trace.tb_lineno) if _is_users(file) else last
        trace = trace.tb_next
    return said(*last) if last[0] else ""


def said(file: str, line: int) -> str:
    """A line with its text."""
    text = linecache.getline(file, line).strip()
    return f"{_short(Path(file))}:{line}" + (f": {text}" if text else "")


@cache
def _is_users(file: str) -> bool:
    return not file.startswith(_NOT_THE_USERS)


def _short(path: Path) -> str:
    """A path from the working directory, or from where packages are installed."""
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    parts = path.parts
    if "site-packages" in parts:
        return "/".join(parts[parts.index("site-packages") + 1 :])
    return str(path)
