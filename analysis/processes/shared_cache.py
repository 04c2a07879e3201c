"""Share work between processes: the first does it, the others read the result."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock

from analysis.errors import AnalysisError
from analysis.processes.workers import portable

__all__ = ["SharedCache"]


@dataclass(frozen=True)
class SharedCache:
    """Answers in a folder that belongs to one session of one user, such as pytest's own."""

    folder: Path

    def compute_once(self, key: str, work: Callable[[], Any]) -> Any:
        """The result, or the error, of ``work``, computed once for all processes.

        Errors of other packages become `WorkerError`, with their message.

        If a process is ended, the next one does the work.

        Args:
            key: names the work; the same in every process.
            work: returns what can be pickled.
        """
        file = self._file(key)
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                beside = file.with_suffix(".part")
                beside.write_bytes(pickle.dumps(_outcome(work)))
                beside.rename(file)
        answer, error = pickle.loads(file.read_bytes())
        if error is not None:
            raise error
        return answer

    def get(self, key: str) -> Any:
        """The stored result; None if there is none."""
        file = self._file(key)
        return pickle.loads(file.read_bytes())[0] if file.exists() else None

    def _file(self, key: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{sha256(key.encode()).hexdigest()}.pickle"


def _outcome(work: Callable[[], Any]) -> tuple[Any, AnalysisError | None]:
    try:
        return work(), None
    except Exception as error:
        return None, portable(error)
