"""The study of a report: with the user's own pruner, and with a graph that does not end."""

import os
import signal
import time
from collections import deque
from dataclasses import replace
from itertools import repeat
from typing import Any

import pytest
import torch
import torch_pruning as tp
from nets import Residual, inputs_for, make
from torch import Tensor, nn

from analysis.errors import InputError
from analysis.pipeline import analyse, prune_and_prove
from analysis.records import Config, Network, Request, Verdict
from analysis.study import study
from analysis.study_parts import outline


class Detaching(nn.Module):
    """By itself it puts out what no gradient reaches, which only its user's pruner knows how to."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, detaches: bool = True) -> Tensor:
        x = self.first(x)
        x = self.head(x + self.second(x.relu()))
        return x.detach() if detaches else x


def detaching() -> nn.Module:
    torch.manual_seed(0)
    return Detaching()


def rows() -> Tensor:
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def knowing(model: Any, inputs: Tensor, ratio: float) -> Any:
    return tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=ratio,
        ignored_layers=[model.head], forward_fn=lambda model, x: model(x, detaches=False),
        out_channel_groups={}, in_channel_groups={}, num_heads={},
    )  # fmt: skip


REQUEST = Request(
    Network(f"{__name__}:detaching", inputs=f"{__name__}:rows"),
    ratios=(0.5,),
    pruner=f"{__name__}:knowing",
)


def test_a_report_has_the_groups_of_the_users_own_pruner() -> None:
    (subject,) = study([REQUEST], [0.5], workers=1).subjects
    (run,) = subject.runs
    assert run.verification.verdict is Verdict.EXACT
    (group,) = [group for group in subject.groups if not group.ignored]
    assert {member.layer for member in group.members if member.axis == "out"} == {"first", "second"}
    assert subject.groups == outline(REQUEST).groups


def test_faults_are_planted_in_what_the_users_own_pruner_makes() -> None:
    found = study([REQUEST], [0.5], workers=1).faults
    planted = sum(each.planted for each in found)
    assert planted
    assert sum(each.seen_by_proof for each in found) == planted


def dying(model: Any, inputs: Tensor, ratio: float) -> Any:
    if ratio == 0.75:
        os.kill(os.getpid(), signal.SIGSEGV)
    return knowing(model, inputs, ratio)


def test_a_part_whose_process_dies_is_a_line_with_its_network() -> None:
    request = replace(REQUEST, pruner=f"{__name__}:dying")
    told = rf"^{REQUEST.network.name}: its own pruner global 0.75: the working process died \(ex"
    with pytest.raises(InputError, match=told):
        study([request], [0.75], workers=1)


def hanging(model: Any, inputs: Tensor, ratio: float) -> Any:
    if ratio == 0.75:
        deque(repeat(None), maxlen=0)  # a loop in C, which looks at no signal
    return knowing(model, inputs, ratio)


def test_a_pruning_that_hangs_in_native_code_is_its_own_row(monkeypatch) -> None:
    monkeypatch.setattr("analysis.processes.workers._SECONDS_LATER", 0.2)
    request = replace(REQUEST, pruner=f"{__name__}:hanging")
    found = study([request], [0.25, 0.5, 0.75], budget=3.0, workers=1)
    (subject,) = found.subjects
    verdicts = [run.verification.verdict for run in subject.runs]
    assert verdicts == [Verdict.EXACT, Verdict.EXACT, Verdict.TIMEOUT]
    late = subject.runs[2]
    assert late.verification.reason.startswith("no answer within 3 s while ")
    assert (late.macs.before, late.macs.after) == (subject.costs.macs, None)
    assert late.bytes_.before == subject.runs[0].bytes_.before
    assert not any(check.passed for check in late.checks)
    (cured,) = subject.cured
    assert (cured.config.ratio, cured.verification.verdict) == (0.75, Verdict.EXACT)
    assert sum(each.planted for each in found.faults) > 0


class Slow(Residual):
    """Takes seconds where gradients are asked for, as DepGraph does."""

    until = 0.0

    def forward(self, x: Tensor) -> Any:
        while torch.is_grad_enabled() and time.monotonic() < self.until:
            time.sleep(0.05)
        return super().forward(x)


def test_a_graph_that_does_not_end_is_the_answer_of_every_run() -> None:
    model = make(Slow)
    dense = analyse(model, inputs_for(model))
    # torch-pruning swallows an alarm; it rings again.
    dense.model.until = time.monotonic() + 6
    dense.ask_depgraph(0.5)
    assert (dense.dependency_groups, dense.error.verdict) == ((), Verdict.TIMEOUT)
    run = prune_and_prove(dense, Config(0.5), "classifier").run
    assert run.verification.verdict is Verdict.TIMEOUT
    assert "no answer within 0.5 s while building the dependency graph" in run.verification.reason
    assert run.macs.before == dense.costs.macs


def test_only_the_case_study_cuts_outputs_and_layers_alone() -> None:
    """Of a user's network nobody asked for that; `none` is looked at where it is asked for."""
    network = Network("tests/nets.py:Residual", (3, 6, 6))
    for policy, more in (("classifier", set()), ("none", {"none"})):
        (subject,) = study([Request(network, ignore=policy)], [0.5], workers=1).subjects
        policies = {run.config.policy for run in subject.runs}
        assert policies == {"residual-blocks", "skip-channels", "classifier"} | more
        assert (subject.residual, subject.depthwise) == ((), ())
