"""The proof's cost beside the pruner's own, and the memory of the command. Run by tox -e bench."""

import statistics
import sys
import time

import pytest
from bench.usage import usage_of

from analysis import pipeline, prune, verify
from analysis.network import subjects
from analysis.network.inference import copy_of
from analysis.proof import comparing, distinct_values
from analysis.proof.other_sizes import Noted
from analysis.proof.proving import prove
from analysis.pruning import surgery
from analysis.records import Config

CONFIG = Config(0.5, policy="classifier")
ROUNDS = 9


MISSED = pytest.mark.xfail(
    strict=False,
    reason="by the processor's time the proof takes 2.4 to 2.7 times as long on mobilenet_v2 and "
    "2.3 on efficientnet_b0, verify 4.1 to 4.5 and 3.9 to 4.0 times: 150 to 200 operators are "
    "called from Python in each of seven passes, which arithmetic dominates no more, and the "
    "ranking is repeated",
)

NETWORKS = (
    pytest.param("mobilenet_v2", marks=MISSED),
    "resnet50",
    "densenet121",
    pytest.param("efficientnet_b0", marks=MISSED),
)


@pytest.fixture(scope="module", params=NETWORKS)
def dense(request):
    subject = subjects.resolve(request.param)
    model = subjects.build(subject)
    return pipeline.analyse(model, subjects.example_inputs(subject, model, None, 0))


def build_and_step(dense):
    """What a user pays without any proof: the pruner is built and stepped."""
    pruned = copy_of(dense.model)
    ignored = pipeline.policies.ignored_layers(CONFIG.policy, dense.model, dense.groups)
    started = time.process_time()
    pruner = surgery.build_pruner(pruned, dense.inputs, CONFIG, ignored)
    pruner.step()
    return time.process_time() - started


def beside_the_pruner(benchmark, dense, what, seconds):
    """Both sides in turn in one run, as the median of the ratios."""
    build_and_step(dense), seconds()  # warm up both
    ratios = benchmark.pedantic(
        lambda: [seconds() / build_and_step(dense) for _ in range(ROUNDS)], rounds=1
    )
    median = statistics.median(ratios)
    benchmark.extra_info["ratio"] = median
    name = type(dense.model).__name__
    print(f"\n{name}: {what} / (build + step): median {median:.2f} of {ROUNDS} pairs")
    return median


def prepared(dense):
    original = copy_of(dense.model)
    distinct_values.make_distinct(original, dense.inputs)
    pruned = copy_of(original)
    ignored = pipeline.policies.ignored_layers(CONFIG.policy, dense.model, dense.groups)
    pruner = surgery.build_pruner(pruned, dense.inputs, CONFIG, ignored)
    return original, pruned, [removal for removal, _ in surgery.step(pruner)]


def test_the_proof_costs_at_most_two_and_a_half_times_the_pruner(benchmark, dense) -> None:
    """Both sides in turn in one run, by process time, as the median of the ratios."""
    original, pruned, removals = prepared(dense)

    fresh = copy_of(dense.model)

    def proof() -> float:
        started = time.process_time()
        # All that the proof adds to a run: a copy, what it does, the check that ranking wrote
        # nothing, distinct values, and the comparison.
        before = copy_of(fresh)
        noted = Noted.of(original, dense.inputs)
        assert next(comparing.changed_tensors(before, fresh, ()), None) is None
        with distinct_values.distinct_values(fresh, noted.fewer(dense.inputs)):
            distinct_values.copy_values(fresh, before)
            assert prove(original, pruned, removals, dense.inputs, noted).verdict.passes
        return time.process_time() - started

    assert beside_the_pruner(benchmark, dense, "proof", proof) <= 2.5


def test_verify_as_called_costs_at_most_four_times_the_pruner(benchmark, dense) -> None:
    """What a user of a pruner pays: it is built and stepped, or built and verified."""

    def verified() -> float:
        pruned = copy_of(dense.model)
        ignored = pipeline.policies.ignored_layers(CONFIG.policy, dense.model, dense.groups)
        started = time.process_time()
        pruner = surgery.build_pruner(pruned, dense.inputs, CONFIG, ignored)
        assert verify(pruned, dense.inputs, pruner).verdict.passes
        return time.process_time() - started

    assert beside_the_pruner(benchmark, dense, "verify", verified) <= 4


@pytest.mark.xfail(
    strict=False,
    reason="6.9 times on mobilenet_v2 and 4.6 on resnet50, by the processor's time: of it the "
    "proof is 3 parts in 10, the count after the cut 1, following the channels 1.5, checking "
    "whether a run leaves the network as it was 1, eleven copies 1, ranking and cutting the rest",
)
def test_a_pruning_by_groups_costs_at_most_two_and_a_half_times_the_pruner(
    benchmark, dense
) -> None:
    """All that `prune` does: a copy, its groups, the cut, the proof and the costs."""

    def cut() -> float:
        started = time.process_time()
        assert prune(dense.model, dense.inputs, 0.5).verification.verdict.passes
        return time.process_time() - started

    assert beside_the_pruner(benchmark, dense, "prune", cut) <= 2.5


def test_verify_at_three_ratios_stays_under_two_gibibytes(benchmark) -> None:
    command = [
        sys.executable,
        "-m",
        "analysis",
        "verify",
        "mobilenet_v2",
        "--ratios",
        "0.3,0.5,0.8",
    ]

    # Started by a process that is small: a child's peak counts what its parent held.
    usage = benchmark.pedantic(lambda: usage_of(*command, "--ignore", "residual-blocks"), rounds=1)
    gibibytes = usage.gibibytes
    benchmark.extra_info["peak_gib"] = gibibytes
    print(f"\npeak memory of verify: {gibibytes:.2f} GiB")
    assert gibibytes < 2
