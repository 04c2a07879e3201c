"""What pruning costs in accuracy, as `tox run -e accuracy` measured and wrote it."""

import json
from hashlib import sha256
from itertools import product
from math import sqrt
from pathlib import Path

import pytest
import torch
from case import SAFE

from analysis import ratio_curve
from analysis.groups.policies import ignored_layers
from analysis.pipeline import analyse
from analysis.study import RATIOS, SCOPES
from tests.accuracy import digits

MEASURED = json.loads((Path(__file__).parents[2] / "reports" / "accuracy.json").read_text())
PRUNINGS = {(each["ignore"], each["scope"], each["ratio"]): each for each in MEASURED["prunings"]}
AT_80 = [
    pytest.param(each, id="-".join(key[:2])) for key, each in PRUNINGS.items() if key[2] == 0.8
]

# How far apart two accuracies are by chance: three standard errors of a difference, which one pair
# in 370 exceeds. Those of one network on the same images are less far apart than independent ones.
STANDARD_ERRORS = 3


def variance(accuracy: float) -> float:
    """Of the share of images that are told: each one is, or is not (binomial)."""
    return accuracy * (1 - accuracy) / MEASURED["held_out"]


def margin(first: float, second: float) -> float:
    """What the difference of two accuracies must exceed to be more than chance."""
    return STANDARD_ERRORS * sqrt(variance(first) + variance(second))


def test_what_was_measured_is_the_committed_network_in_every_pruning() -> None:
    assert MEASURED["weights"] == sha256(digits.WEIGHTS.read_bytes()).hexdigest()
    assert set(PRUNINGS) == set(product(SAFE, SCOPES, RATIOS))
    assert all(each["passed"] for each in MEASURED["prunings"])


def test_accuracies_are_whole_numbers_of_images() -> None:
    """A share of another set of images would not be."""
    shares = [MEASURED["dense"], *(each[n] for each in MEASURED["prunings"] for n in NETWORKS)]
    told = [share * MEASURED["held_out"] for share in shares]
    assert told == pytest.approx([round(number) for number in told], abs=1e-9)


NETWORKS = ("pruned", "finetuned")


def test_what_was_measured_costs_what_the_closed_form_predicts() -> None:
    dense = analyse(digits.network(), torch.randn(1, *digits.INPUT_SIZE))
    for policy, scope in product(SAFE, SCOPES):
        ignored = ignored_layers(policy, dense.model, dense.groups)
        curve = ratio_curve(dense.model, dense.inputs, RATIOS, ignored_layers=ignored, scope=scope)
        for ratio, macs in zip(RATIOS, curve.macs, strict=True):
            assert PRUNINGS[policy, scope, ratio]["macs"] == macs / dense.costs.macs


def test_the_dense_network_tells_digits() -> None:
    """Far from chance, which tells one in ten."""
    assert MEASURED["dense"] - 0.1 > margin(MEASURED["dense"], 0.1)


@pytest.mark.parametrize("pruning", AT_80)
def test_80_percent_without_fine_tuning_costs_more_than_chance(pruning) -> None:
    dense, pruned = MEASURED["dense"], pruning["pruned"]
    assert dense - pruned > margin(dense, pruned)


@pytest.mark.parametrize("pruning", AT_80)
def test_a_short_fine_tuning_regains_more_than_half_of_it(pruning) -> None:
    """The half-way accuracy is a mean of two, with a quarter of the sum of their variances."""
    dense, pruned, tuned = MEASURED["dense"], pruning["pruned"], pruning["finetuned"]
    chance = sqrt(variance(tuned) + (variance(dense) + variance(pruned)) / 4)
    assert tuned - (dense + pruned) / 2 > STANDARD_ERRORS * chance
