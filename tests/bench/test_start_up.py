"""How long commands and imports take, and how much memory. Run by tox -e bench."""

import statistics
import sys
from pathlib import Path

import pytest
from bench.usage import usage_of

ROUNDS = 7
COMMAND = str(Path(sys.executable).with_name("pruning-analysis"))
IMPORTS = (sys.executable, "-W", "ignore", "-c", "import torch, torch_pruning")

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))
"""


@pytest.fixture
def network(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NETWORK)
    return f"{tmp_path / 'net.py'}:Net"


def test_verify_takes_little_more_than_its_imports(benchmark, network: str) -> None:
    """Both in turn in one run, in processor seconds of all processes, as the median of ratios."""
    verify = (COMMAND, "verify", network, "--input-size", "3,32,32", "--ratios", "0.5")
    assert usage_of(*verify).status == 0  # and the files are warm
    pairs = benchmark.pedantic(
        lambda: [(usage_of(*verify), usage_of(*IMPORTS)) for _ in range(ROUNDS)], rounds=1
    )
    ratio = statistics.median(ours.seconds / theirs.seconds for ours, theirs in pairs)
    memory = statistics.median(ours.gibibytes / theirs.gibibytes for ours, theirs in pairs)
    benchmark.extra_info |= {"ratio": ratio, "memory": memory}
    print(f"\nverify / import torch, torch_pruning: {ratio:.2f} (memory: {memory:.2f})")
    assert ratio <= 1.2
    assert memory <= 1.2


@pytest.mark.parametrize(
    "command",
    [
        ("groups",), ("groups", "--lint"), ("macs",), ("macs", "--sweep", "0:0.9:0.1"),
        ("macs", "--target", "0.5"), ("macs", "--target", "0.5", "--cut", "groups"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_asks_nothing_of_torch_pruning_takes_little_more_than_torch(
    benchmark, network: str, command: tuple[str, ...]
) -> None:
    ours = (COMMAND, command[0], network, "--input-size", "3,32,32", *command[1:])
    torch_alone = (sys.executable, "-W", "ignore", "-c", "import torch")
    assert usage_of(*ours).status == 0
    pairs = benchmark.pedantic(
        lambda: [(usage_of(*ours), usage_of(*torch_alone)) for _ in range(ROUNDS)], rounds=1
    )
    ratio = statistics.median(one.seconds / other.seconds for one, other in pairs)
    benchmark.extra_info["ratio"] = ratio
    print(f"\n{' '.join(command)} / import torch: {ratio:.2f}")
    assert ratio <= 1.3


COMMANDS = {
    "checks": (("checks",), 0),
    "doctor": (("doctor",), 0),
    "help": (("--help",), 0),
    "version": (("--version",), 0),
    "a missing file": (("verify", "nowhere.py:net"), 2),
    "a missing function": (("verify", "NETWORK2"), 2),
    "a misspelt model": (("verify", "mobilnet_v2"), 2),
    "a misspelt policy": (("verify", "NETWORK", "--ignore", "residual-block"), 2),
    "a ratio of 50": (("verify", "NETWORK", "--ratios", "50"), 2),
    "a misspelt check": (("verify", "NETWORK", "--checks", "forward_run"), 2),
    "missing weights": (("verify", "NETWORK", "--weights", "nowhere.pt"), 2),
    "a misspelt option": (("verify", "NETWORK", "--ratio-s", "0.5"), 2),
}


@pytest.mark.parametrize(("arguments", "status"), COMMANDS.values(), ids=COMMANDS)
def test_what_needs_no_torch_answers_in_half_a_second(
    benchmark, network: str, arguments: tuple[str, ...], status: int
) -> None:
    given = [text.replace("NETWORK", network) for text in arguments]
    assert usage_of(COMMAND, *given).status == status
    seconds = statistics.median(
        benchmark.pedantic(
            lambda: [usage_of(COMMAND, *given).seconds for _ in range(ROUNDS)], rounds=1
        )
    )
    benchmark.extra_info["seconds"] = seconds
    print(f"\n{' '.join(arguments)}: {seconds:.2f} s")
    assert seconds <= 0.5
