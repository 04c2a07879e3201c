"""Processor seconds and peak memory of a command and its children (Linux)."""

import json
import subprocess
import sys
from dataclasses import dataclass

# What outlives its parent (the server that workers are forked from) falls to this process, which
# waits for it: only then does the kernel count it.
WAITS_FOR_ALL = """
import ctypes, json, os, resource, subprocess, sys
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


@dataclass(frozen=True)
class Usage:
    """What a command used.

    Attributes:
        status: its exit status.
        seconds: of processor time, of all its processes.
        gibibytes: peak memory of its greatest process.
    """

    status: int
    seconds: float
    gibibytes: float


def usage_of(*command: str) -> Usage:
    output = subprocess.run(
        [sys.executable, "-c", WAITS_FOR_ALL, *command], capture_output=True, text=True, check=True
    )
    status, seconds, kibibytes = json.loads(output.stdout)
    return Usage(status, seconds, kibibytes / 2**20)
