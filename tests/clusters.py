"""A real scheduler and real workers of dask.distributed on this machine's loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grid_jobs

_COMMAND = [sys.executable, "-W", "ignore", "-m", "dask"]
_FOLDERS = [str(Path(grid_jobs.__file__).parent), *sys.path]
WORKER = ("--nthreads", "1", "--no-dashboard", "--memory-limit", "4e9")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Machines:
    """A scheduler and workers, each a process of its own.

    Attributes:
        address: of the scheduler.
        folder: what they write into.
        scheduler: the process that listens there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = free_port()
        self.address = f"tcp://127.0.0.1:{self._port}"
        self._begun: list[subprocess.Popen] = []
        self.scheduler: subprocess.Popen

    @property
    def pids(self) -> list[int]:
        return [each.pid for each in self._begun]

    def begin_scheduler(self) -> subprocess.Popen:
        words = ["scheduler", "--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard"]
        self.scheduler = begun = self._begin(words)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # a worker that comes first waits long for its next try
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return begun
            time.sleep(0.05)
        raise AssertionError("the scheduler does not listen")

    def begin_worker(self, *options: str, path: str = "") -> subprocess.Popen:
        return self._begin(["worker", self.address, *WORKER, *options], path)

    def _begin(self, words: list[str], path: str = "") -> subprocess.Popen:
        begun = subprocess.Popen(
            [*_COMMAND, *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, *_FOLDERS]))},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._begun.append(begun)
        return begun

    def end(self) -> None:
        for process in reversed(self._begun):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def machines(folder: Path, workers: int = 2) -> Iterator[Machines]:
    folder.mkdir(exist_ok=True)
    found = Machines(folder)
    try:
        found.begin_scheduler()
        for _ in range(workers):
            found.begin_worker()
        yield found
    finally:
        found.end()
