"""The request and the removed channels of a pruner are predicted step by step."""

import pytest
import torch
import torch_pruning as tp
from drawn import BLOCKS, Drawn, draws, rows_of
from hypothesis import example, given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.pruning import surgery
from analysis.pruning.requested import RequestedChannels
from analysis.records import Reason


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@draws(150)
@given(
    chosen=rows_of(sorted(BLOCKS)),
    seed=st.integers(0, 2**16),
    ratio=st.floats(0.05, 0.95),
    ranked=st.sampled_from([(False, False), (True, False), (True, True)]),
    steps=st.integers(1, 3),
    cap=st.sampled_from([1.0, 0.5]),
    round_to=st.sampled_from([None, 2, 4]),
    importance=st.sampled_from(
        [
            tp.importance.MagnitudeImportance(p=1),
            tp.importance.LAMPImportance(),
            # Scores as many channels as the first batch norm has, and none without one.
            tp.importance.BNScaleImportance(),
        ]
    ),
    own=st.sampled_from([None, 0.2, 0.8]),
)
# The first step leaves nothing of a group that counts for the second all the same.
@example(
    chosen=[("attention on tokens", 4)],
    seed=0,
    ratio=0.625,
    ranked=(True, False),
    steps=2,
    cap=1.0,
    round_to=None,
    importance=tp.importance.MagnitudeImportance(p=1),
    own=None,
)
# The importance scores half as many channels as there are, and the norm has blocks of them.
@example(
    chosen=[("group norm", 4), ("concat", 4), ("attention on tokens", 4)],
    seed=0,
    ratio=0.5,
    ranked=(False, False),
    steps=1,
    cap=1.0,
    round_to=None,
    importance=tp.importance.BNScaleImportance(),
    own=None,
)
@example(
    chosen=[("concat", 4), ("attention on tokens", 4), ("branches", 4)],
    seed=0,
    ratio=0.5,
    ranked=(False, False),
    steps=1,
    cap=1.0,
    round_to=2,
    importance=tp.importance.BNScaleImportance(),
    own=None,
)
def test_what_goes_is_what_the_rules_leave(
    chosen, seed, ratio, ranked, steps, cap, round_to, importance, own
) -> None:
    with torch.random.fork_rng():
        model = Drawn(chosen, seed).eval()
        inputs = torch.randn(2, 3, 5, 5)
    try:
        pruner = tp.pruner.MagnitudePruner(
            model,
            inputs,
            importance=importance,
            # The blocks have a ratio of their own, together if ranked globally.
            pruning_ratio_dict=None if own is None else {tuple(model.blocks): own},
            ignored_layers=[model.head],
            pruning_ratio=ratio,
            global_pruning=ranked[0],
            isomorphic=ranked[1],
            iterative_steps=steps,
            max_pruning_ratio=cap,
            round_to=round_to,
            num_heads={},
            out_channel_groups={},
            in_channel_groups={},
        )
    except (IndexError, RuntimeError, AssertionError, ValueError):
        return  # torch-pruning cannot trace it
    demands, ledger = RequestedChannels(pruner), surgery.Ledger(pruner.DG)
    removals: list = []
    try:
        for _ in range(steps):
            demands.look_ahead(pruner, removals)
            removals += [since for _, since in surgery.step(pruner, ledger)]
    except (IndexError, RuntimeError, AnalysisError):
        return  # nor rank or cut what an earlier step left
    gone: dict[str, set[int]] = {}
    for cut in (cut for removal in removals for cut in removal.cuts):
        if cut.axis == "out":
            gone.setdefault(cut.layer, set()).update(cut.removed)
    for planned in demands.planned:
        if planned.reason is not Reason.UNTRACED:
            assert set(planned.expected) == gone.get(planned.root, set()), planned
