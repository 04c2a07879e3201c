"""``python -m tests.accuracy``: what pruning costs in accuracy, before and after fine-tuning.

The network of `digits` is pruned under each policy and scope at each ratio, as in the case study,
and proved. How many images held out it recognizes is written to ``accuracy.json``.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import torch

from analysis.accuracy import Measure
from analysis.dense import analyse
from analysis.pipeline import Dense, prune_and_prove
from analysis.records import POLICIES, RATIOS, SCOPES, Config
from analysis.reporting.files import write_text
from tests.accuracy import digits

TRIED = tuple(policy for policy in POLICIES if policy != "none")
"""Without a policy the outputs of the classifier go, and digits with them."""


def main() -> int:
    """Measure every pruning and write it; 1 if one is not proved."""
    parser = argparse.ArgumentParser(prog="python -m tests.accuracy", description=__doc__)
    parser.add_argument("--out", default="reports", help="directory of accuracy.json (reports)")
    target = Path(parser.parse_args().out) / "accuracy.json"
    measure = Measure(digits.accuracy, digits.finetune, (), None)
    dense = analyse(digits.network(), torch.randn(1, *digits.INPUT_SIZE))
    before = measure.dense(dense.model)
    prunings = list(_prunings(dense, measure, before))
    whole = {
        "schema": 1,
        "network": "mobilenet_v2_cifar",
        "width": digits.WIDTH,
        "input_size": digits.INPUT_SIZE,
        "weights": sha256(digits.WEIGHTS.read_bytes()).hexdigest(),
        "epochs": digits.EPOCHS,
        "trained_on": len(digits.split(held_out=False)[0]),
        "held_out": len(digits.split(held_out=True)[0]),
        "dense": before["accuracy"],
        "prunings": prunings,
    }
    write_text(target, json.dumps(whole, indent=1) + "\n")
    print(f"wrote {target}")
    return 0 if all(each["passed"] for each in prunings) else 1


def _prunings(dense: Dense, measure: Measure, before: dict[str, float]) -> Iterator[dict[str, Any]]:
    for policy, scope, ratio in product(TRIED, SCOPES, RATIOS):
        outcome = prune_and_prove(dense, Config(ratio, scope, policy=policy), policy)
        (metric,), _ = measure.of_pruned(outcome.pruned, before)
        run = outcome.run
        print(policy, scope, ratio, run.verification.verdict, metric.pruned, metric.finetuned)
        yield {
            "ignore": policy,
            "scope": scope,
            "ratio": ratio,
            "verdict": run.verification.verdict,
            "passed": run.verification.verdict.passes,
            "macs": run.macs.share,
            "params": run.params.share,
            "pruned": metric.pruned,
            "finetuned": metric.finetuned,
        }


if __name__ == "__main__":
    sys.exit(main())
