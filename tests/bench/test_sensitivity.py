"""What a sensitivity takes beyond the user's own evaluation. Run by tox -e bench."""

import sys
from pathlib import Path

from bench.usage import usage_of

COMMAND = str(Path(sys.executable).with_name("pruning-analysis"))
MOST = 0.2
"""Of the processor time of the evaluation, as the aim says."""

METRIC = """
import time
import torch
from torch import nn

IMAGES = torch.randn(160, 3, 32, 32, generator=torch.Generator().manual_seed(0))

def net():
    blocks = [[nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()] for _ in range(9)]
    first = nn.Conv2d(3, 64, 3, padding=1)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(first, *(layer for block in blocks for layer in block), *head)

def spread(model):
    start = time.process_time()
    found = float(model(IMAGES).std())
    with open("seconds", "a") as seconds:
        seconds.write(f"{time.process_time() - start}\\n")
    return found
"""


def test_a_sensitivity_takes_little_beyond_the_evaluation(benchmark, tmp_path, monkeypatch) -> None:
    """The whole command, its processes and imports with it, for ten groups and four ratios.

    The evaluation takes a second; start-up is the same for any.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    Path("metric.py").write_text(METRIC)
    asked = ("metric.py:net", "--input-size", "3,32,32", "--evaluate", "metric.py:spread")
    command = (COMMAND, "sensitivity", *asked, "--records", "records")
    whole = benchmark.pedantic(lambda: usage_of(*command), rounds=1)
    assert whole.status == 0
    own = [float(line) for line in Path("seconds").read_text().split()]
    assert len(own) == len(list(Path("records").iterdir())) + 1
    overhead = whole.seconds / sum(own) - 1
    benchmark.extra_info |= {"evaluating": sum(own), "overhead": overhead}
    print(f"\n{len(own)} evaluations take {sum(own):.1f} s, and {overhead:.1%} more in all")
    assert overhead <= MOST
