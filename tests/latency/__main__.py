"""``python -m tests.latency``: how long the case study's prunings take, on this machine.

MobileNetV2 and the small network of `tests.accuracy.digits` are pruned under the policy of the case
study at each ratio, proved, and timed beside the dense network. The page ``latency.md`` is of this
machine, and is not made again alike. With ``--device cuda`` it is ``latency-cuda.md``.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from analysis.errors import several
from analysis.records import BACKENDS, Network, Request, Run, Timing
from analysis.reporting import latency_text
from analysis.reporting.files import write_text
from analysis.runs import run_of
from tests.accuracy import digits

_LEAD = """\
The two networks of the case study, pruned by torch-pruning (L1, global ranking, `residual-blocks`
ignored), each proved, and timed beside its dense network: both run in turn, and *time left* is the
median of paired ratios with its interval. The page is of one machine, named below, which may do
other work meanwhile; the report does not depend on it. `tox run -e latency` makes it again, with
other numbers, and with `--device cuda` those of a GPU.
[How to read it](../docs/howto/latency.md)."""

NETWORKS: dict[str, tuple[Network, tuple[int, ...]]] = {
    "mobilenet_v2, 224 x 224": (Network("mobilenet_v2", seed=1), (3, 224, 224)),
    "mobilenet_v2_cifar on digits, 16 x 16": (
        Network("digits", factory=digits.network),
        digits.INPUT_SIZE,
    ),
}
"""By heading, each with the size of its images."""


def main() -> int:
    """Time every pruning and write the page; 1 if one is not proved or could not be timed."""
    parser = argparse.ArgumentParser(prog="python -m tests.latency", description=__doc__)
    parser.add_argument(
        "--out", default="reports", help="directory of latency.md, or latency-cuda.md (reports)"
    )
    parser.add_argument("--threads", type=int, default=1, help="of each operator (1)")
    parser.add_argument("--pairs", type=int, default=30, help="runs of each network (30)")
    parser.add_argument("--backends", default=",".join(BACKENDS), help="what runs the networks")
    parser.add_argument("--device", default="cpu", help="where they run (cpu)")
    parser.add_argument("--images", type=int, default=1, help="of each run (1)")
    options = parser.parse_args()
    timing = Timing(tuple(options.backends.split(",")), options.threads, options.pairs)
    timed = {
        f"{name}, {several(options.images, 'image')} a run": [
            *_runs(
                replace(
                    network,
                    device=options.device,
                    inputs=partial(torch.randn, options.images, *size),
                ),
                timing,
            )
        ]
        for name, (network, size) in NETWORKS.items()
    }
    is_cpu = options.device == "cpu"
    title = f"Latency of the case study{'' if is_cpu else ' on a GPU'}"
    target = Path(options.out) / f"latency{'' if is_cpu else f'-{options.device}'}.md"
    write_text(target, latency_text.page(title, _LEAD, timed.items()))
    print(f"wrote {target}")
    return 0 if all(run.passed and run.latency for runs in timed.values() for run in runs) else 1


def _runs(network: Network, timing: Timing) -> Iterator[Run]:
    request = Request(network, ignore="residual-blocks", latency=timing)
    for config in request.configs:
        run = run_of(request, config, ())
        print(network.name, config.ratio, run.verification.verdict, latency_text.time_left(run))
        yield run


if __name__ == "__main__":
    sys.exit(main())
