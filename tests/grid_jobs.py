"""What the tests of grids have cells do: work that is well, hangs, dies, and does not stop."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from analysis.errors import InputError
from analysis.grid.cells import Cell
from analysis.grid.engine import run
from analysis.grid.local import Local
from analysis.grid.records import Records


def square(number: int, seconds: float = 0.0) -> dict[str, int]:
    time.sleep(seconds)
    return {"square": number**2}


def compute(number: int, seconds: float) -> int:
    """Takes so many seconds of a processor, however busy the machine is."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return number


def hang_in_native_code() -> None:
    """Holds the interpreter's lock, so that no alarm of Python's can end it."""
    ctypes.PyDLL(None).sleep(1000)


def allocate_without_end() -> None:
    held = []
    while True:
        held.append(bytearray(2**24))  # written, so it is held
        time.sleep(0.001)


def print_without_end() -> None:
    line = "x" * 10_000
    while True:
        print(line, flush=True)
        print(line, file=sys.stderr, flush=True)


def die(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)
    time.sleep(10)


def refuse() -> None:
    raise InputError("no such thing")


def noted(folder: str, number: int) -> int:
    """Leaves a line for each time that it is done, and tells which process did it."""
    with Path(folder, "done").open("a") as file:
        file.write(f"{number}\n")
    return number


def looked_at(name: str, subject: int, folder: str) -> dict[str, Any]:
    """In place of a network that is looked at; the second one fails."""
    with Path(folder, "looked").open("a") as file:
        file.write(f"{name} {subject}\n")
    return {"name": name, "kind": "small", "fails": {"verdict": "wrong"} if subject else {}}


def process(subject: str) -> list[Any]:
    time.sleep(0.02)
    return [subject, os.getpid(), time.monotonic()]


def slow_process(number: int, seconds: float) -> list[int]:
    time.sleep(seconds)
    return [number, os.getpid()]


def kill_the_worker() -> None:
    """As a machine does that takes its processes with it."""
    worker = next(p for p in psutil.Process().parents() if "dask" in " ".join(p.parent().cmdline()))
    worker.kill()
    time.sleep(10)


def here() -> str:
    return Path("sent.txt").read_text()


def cell(function: str, *arguments: Any, **more: Any) -> Cell:
    return Cell(f"{function}{arguments}", f"grid_jobs:{function}", arguments, **more)


def squares(count: int, seconds: float) -> list[Cell]:
    return [cell("square", number, seconds) for number in range(count)]


def main(folder: str, count: str, seconds: str) -> None:
    """A run that tests interrupt."""
    # What runs the tests in the background has them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    list(run(squares(int(count), float(seconds)), Local(2), Records(folder)))


def begun(folder: Path, count: int, seconds: float) -> subprocess.Popen:
    """A run in a process group of its own, as a terminal begins one."""
    command = [sys.executable, __file__, str(folder), str(count), str(seconds)]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".json"}


if __name__ == "__main__":
    main(*sys.argv[1:])
