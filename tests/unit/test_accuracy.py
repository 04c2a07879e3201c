"""What a pruning costs in a metric of the user's own, before and after fine-tuning."""

import math
from dataclasses import replace

import pytest
import torch
from nets import Chain, Flipped, make
from torch import nn

from analysis.errors import InputError
from analysis.records import CheckResult, Metric, Network, Request, Thresholds
from analysis.runs import run_of

torch.manual_seed(0)
IMAGES = torch.randn(32, *Chain.size)


def size(model: nn.Module) -> float:
    """A metric that can be worked out by hand: the share of 153 parameters that is left."""
    return sum(each.numel() for each in model.parameters()) / 153


def error(model: nn.Module) -> dict[str, float]:
    return {"error": float(model(IMAGES).detach().square().mean())}


def finetune(model: nn.Module) -> None:
    """Towards outputs of 0."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        model(IMAGES).square().mean().backward()
        optimizer.step()


def request(**asked) -> Request:
    network = Network("chain", Chain.size, factory=lambda: make(Chain))
    return Request(network, ratios=(0.5,), cut="groups", scope="local", **asked)


def run(asked: Request):
    return run_of(asked, asked.configs[0])


def check(found, name: str = "metrics_held") -> CheckResult:
    return next(each for each in found.checks if each.name == name)


def test_a_metric_is_measured_of_the_dense_network_and_of_the_pruned_one() -> None:
    found = run(request(evaluate=size))
    (metric,) = found.metrics
    assert metric.dense == 1
    assert metric.pruned == found.params.after / 153 < 1
    assert metric.finetuned is None
    assert metric.lost == 1 - metric.pruned


def test_a_pruning_that_loses_more_than_is_tolerated_fails_a_check() -> None:
    asked = request(evaluate=size, thresholds=Thresholds(metric_loss=0.02))
    found = check(run(asked))
    assert not found.passed
    assert found.message.startswith("at most 0.02 may be lost, and metric 1 became 0.")
    assert check(run(replace(asked, thresholds=Thresholds(metric_loss=0.9)))).passed
    assert all(each.name != "metrics_held" for each in run(request(evaluate=size)).checks)


def test_fine_tuning_is_measured_and_leaves_what_is_proved_alone() -> None:
    asked = request(evaluate=error, finetune=finetune, lower_is_better=("error",))
    kept = []
    found = run_of(asked, asked.configs[0], keep=kept.append)
    (metric,) = found.metrics
    assert metric.finetuned is not None
    assert metric.finetuned < metric.pruned / 2
    assert metric.lost == metric.finetuned - metric.dense
    # The checks judge the pruning, and what is kept is the network that was measured last.
    assert check(found, "kept_weights_are_originals").passed
    (pruned,) = kept
    assert error(pruned.model)["error"] == pytest.approx(metric.finetuned)
    assert error(pruned.outcome.pruned)["error"] == pytest.approx(metric.pruned)


def test_what_is_not_a_number_after_pruning_fails_and_before_it_is_refused() -> None:
    def broken(model: nn.Module) -> float:
        return 1.0 if size(model) == 1 else math.nan

    asked = request(evaluate=broken, thresholds=Thresholds(metric_loss=5))
    assert check(run(asked)).message.endswith("metric 1 became nan")
    with pytest.raises(InputError, match="nan as 'metric' of the dense network"):
        run(request(evaluate=lambda _: math.nan))


def test_a_random_metric_is_refused_with_how_far_it_is_apart_unless_that_is_tolerated() -> None:
    values = iter([0.5, 0.75, 0.5, 0.75, 0.5])
    with pytest.raises(InputError, match=r"0\.5 and then 0\.75 .* 0\.25 apart; .*--metric-loss"):
        run(request(evaluate=lambda _: next(values)))
    asked = request(evaluate=lambda _: next(values), thresholds=Thresholds(metric_loss=0.25))
    assert check(run(asked)).passed


def test_the_loss_that_a_refused_random_metric_names_is_tolerated() -> None:
    """Rounded to fewer digits it may be less than what it stands for."""
    first, second = 0.4962565899, 0.7682217955
    values = iter([first, second, first, second, first])
    with pytest.raises(InputError) as refused:
        run(request(evaluate=lambda _: next(values)))
    named = float(str(refused.value).split("metric_loss=")[1].split()[0])
    asked = request(evaluate=lambda _: next(values), thresholds=Thresholds(metric_loss=named))
    assert check(run(asked)).passed


def test_metrics_that_change_their_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"evaluate returned whole of the dense .* part of the"):
        run(request(evaluate=lambda model: {"whole" if size(model) == 1 else "part": 1.0}))
    with pytest.raises(InputError, match="lower_is_better names 'loss'; evaluate returns error"):
        run(request(evaluate=error, lower_is_better=("loss",)))
    with pytest.raises(InputError, match="take an evaluate"):
        request(finetune=finetune)


def test_what_is_not_proved_is_not_measured_and_fails_where_a_loss_is_tolerated() -> None:
    asked = replace(
        request(evaluate=size, thresholds=Thresholds(metric_loss=0.5)),
        cut="torch-pruning",
        network=Network("flipped", Chain.size, factory=lambda: make(Flipped)),
    )
    found = run(asked)
    assert found.verification.verdict == "wrong"
    assert (found.metrics, found.may_be_kept) == ((), False)
    assert check(found).message == "nothing was measured: the pruning is wrong"


@pytest.mark.parametrize(
    ("metric", "lost"),
    [
        (Metric("accuracy", 0.9, 0.88), 0.02),
        (Metric("accuracy", 0.9, 0.5, 0.91), -0.01),
        (Metric("loss", 0.5, 0.75, lower_is_better=True), 0.25),
    ],
)
def test_what_is_lost_is_what_is_worse_in_the_end(metric: Metric, lost: float) -> None:
    assert metric.lost == pytest.approx(lost)
    assert metric.holds(max(lost, 0.0))
    assert metric.holds(0.0) == (lost <= 0)
