"""What pruning costs in accuracy, as `tox run -e accuracy` measured and wrote it."""

import json
from hashlib import sha256
from itertools import pairwise, product
from math import sqrt
from pathlib import Path

import pytest
import torch
from case import SAFE

from analysis.groups import policies
from analysis.pipeline import analyse
from analysis.records import Config
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

GUESS = 0.1
"""How often a guess is right of ten digits."""


def variance(accuracy: float) -> float:
    """Of the share of images that are recognized: each one is, or is not (binomial)."""
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
    right = [share * MEASURED["held_out"] for share in shares]
    assert right == pytest.approx([round(number) for number in right], abs=1e-9)


NETWORKS = ("pruned", "finetuned")


def test_what_was_measured_costs_what_the_closed_form_predicts() -> None:
    dense = analyse(digits.network(), torch.randn(1, *digits.INPUT_SIZE))
    for policy, scope in product(SAFE, SCOPES):
        ignored = policies.ignored_layers(policy, dense.model, dense.groups)
        config = Config(max(RATIOS), scope, policy=policy)
        account = dense.account_of(ignored, config, dense.dependency_groups, dense.reached)
        for ratio, macs in zip(RATIOS, account.curve(RATIOS).complete().macs, strict=True):
            assert PRUNINGS[policy, scope, ratio]["macs"] == macs / dense.costs.macs


def test_the_dense_network_recognizes_digits() -> None:
    assert MEASURED["dense"] - GUESS > margin(MEASURED["dense"], GUESS)


@pytest.mark.parametrize("pruning", AT_80)
def test_80_percent_without_fine_tuning_leaves_no_better_than_a_guess(pruning) -> None:
    """A guess is right once in ten."""
    dense, pruned = MEASURED["dense"], pruning["pruned"]
    assert pruned - GUESS <= margin(pruned, GUESS)
    assert dense - pruned > margin(dense, pruned)


@pytest.mark.parametrize("pruning", AT_80)
def test_80_percent_costs_accuracy_after_a_short_fine_tuning_too(pruning) -> None:
    dense, tuned = MEASURED["dense"], pruning["finetuned"]
    assert dense - tuned > margin(dense, tuned)


def test_a_short_fine_tuning_regains_more_than_half_where_residual_blocks_stay() -> None:
    """The half-way accuracy is a mean of two, with a quarter of the sum of their variances."""
    pruning = PRUNINGS["residual-blocks", "global", 0.8]
    dense, pruned, tuned = MEASURED["dense"], pruning["pruned"], pruning["finetuned"]
    chance = sqrt(variance(tuned) + (variance(dense) + variance(pruned)) / 4)
    assert tuned - (dense + pruned) / 2 > STANDARD_ERRORS * chance


def test_the_fewer_layers_are_ignored_the_less_a_short_fine_tuning_regains() -> None:
    tuned = [PRUNINGS[policy, "global", 0.8]["finetuned"] for policy in SAFE]
    for more_ignored, fewer_ignored in pairwise(tuned):
        assert more_ignored - fewer_ignored > margin(more_ignored, fewer_ignored)
