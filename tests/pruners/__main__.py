"""``python -m tests.pruners``: other pruners, each run in an environment of its own, and judged.

Each ``by_*.py`` is a script that names the packages that it needs, and leaves two files of tensors
a network. What ``pruning-analysis compare`` says of these alone is written to ``pruners.json``, and
why a pruner did not run, where it did not.
"""

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from analysis.command_line.main import main as command
from analysis.reporting.files import write_text

HERE = Path(__file__).parent

PRUNERS = {
    "by_modelopt": ("NVIDIA Model-Optimizer", "FastNAS, to 60 % of the operations"),
    "by_fasterai": ("fasterai", "Pruner, half of each layer"),
    "by_nni": ("NNI", "L1NormPruner and ModelSpeedup, half of each convolution"),
    "by_only_train_once": ("OTO", "half of its groups at random, and construct_subnet"),
    "by_llm_pruner": ("LLM-Pruner's groups", "by torch-pruning, half of heads and MLPs"),
}

SECONDS = 1200


def main() -> int:
    """Run every pruner, compare what each left, and write it; 1 if one did not run."""
    parser = argparse.ArgumentParser(prog="python -m tests.pruners", description=__doc__)
    parser.add_argument("--out", default="reports", help="directory of pruners.json (reports)")
    parser.add_argument("names", nargs="*", help="of the scripts (all)")
    options = parser.parse_args()
    target = Path(options.out) / "pruners.json"
    found = [_answer(name) for name in options.names or PRUNERS]
    write_text(target, json.dumps({"schema": 1, "pruners": found}, indent=1) + "\n")
    print(f"wrote {target}")
    return 0 if all(each["networks"] for each in found) else 1


def _answer(name: str) -> dict[str, Any]:
    """What one pruner did, and what its networks are."""
    package, what = PRUNERS[name]
    with tempfile.TemporaryDirectory() as folder:
        failure = _run(name, folder)
        networks = list(_compared(Path(folder)))
    for each in networks:
        print(f"{package} {each['network']}: {each['verdict']}")
    if failure:
        print(f"{package}: {failure}")
    return {
        "pruner": package,
        "what": what,
        "packages": _packages(name),
        "failure": failure,
        "networks": networks,
    }


def _packages(name: str) -> list[str]:
    """What the script asks for, as it says."""
    told = (HERE / f"{name}.py").read_text().partition("# dependencies = [")[2].partition("]")[0]
    return re.findall(r'"([^"]+)"', told)


def _run(name: str, folder: str) -> str:
    """Run a script; the last line of what it says if it fails."""
    environment = {key: value for key, value in os.environ.items() if key != "UV_CONSTRAINT"}
    done = subprocess.run(
        ["uv", "run", "--script", str(HERE / f"{name}.py"), folder],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if done.returncode else ""


def _compared(folder: Path) -> Iterator[dict[str, Any]]:
    """The verdict on each pair of files."""
    for before in sorted(folder.glob("*-dense.pt")):
        network = before.name.removesuffix("-dense.pt")
        inputs = "words" if network.endswith("llama") else "image"
        told = folder / f"{network}.json"
        factory = f"{HERE / 'networks.py'}:"
        asked = ("--factory", factory + network, "--inputs", factory + inputs)
        with redirect_stdout(io.StringIO()):
            status = command(
                [
                    "compare", str(before), str(folder / f"{network}-pruned.pt"), *asked,
                    "--budget", str(SECONDS), "--json", str(told),
                ]
            )  # fmt: skip
        yield {"network": network, "passed": status == 0, **_told_in(told)}


def _told_in(file: Path) -> dict[str, Any]:
    """What the report says of a comparison."""
    if not file.is_file():
        return {"verdict": "", "reason": "nothing is known", "layers": 0, "untied": []}
    answer = json.loads(file.read_text())
    told = {key: answer[key] for key in ("verdict", "reason", "first_divergence", "untied")}
    return told | {"layers": len(answer["kept"])}


if __name__ == "__main__":
    sys.exit(main())
