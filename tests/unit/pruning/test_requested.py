"""The request of a pruner, worked out by hand and compared with torch-pruning."""

import random

import pytest
import torch
import torch_pruning as tp
from blocks import build
from nets import Chain, Concat, Grouped, Residual, inputs_for, make
from torch import nn

from analysis import verify
from analysis.pipeline import analyse, prune_and_prove
from analysis.pruning import surgery
from analysis.pruning.requested import RequestedChannels
from analysis.records import OWN_PRUNER, Config, GroupAccount, Reason, Verdict, Verification


def pruner_of(model: nn.Module, kind=tp.pruner.MagnitudePruner, inputs=None, **options):
    common = {
        "importance": tp.importance.MagnitudeImportance(p=1),
        "ignored_layers": [model.head],
        "num_heads": {},
        "out_channel_groups": {},
        "in_channel_groups": {},
    }
    return kind(model, inputs_for(model) if inputs is None else inputs, **(common | options))


def rows(answer: Verification) -> dict[str, GroupAccount]:
    return {group.root: group for group in answer.groups}


def asked(model: nn.Module, **options) -> dict[str, GroupAccount]:
    return rows(verify(model, inputs_for(model), pruner_of(model, **options)))


def ranked(layer: nn.Conv2d, norms: list[float]) -> None:
    """Give each filter of a 1x1 convolution from one channel the norm that ranks it."""
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(norms).view(-1, 1, 1, 1).expand_as(layer.weight))


class Pair(nn.Module):
    """Two convolutions of one input whose ranks are written down, and heads that rank nothing."""

    size = (1, 4, 4)

    def __init__(self, left: list[float], right: list[float]) -> None:
        super().__init__()
        self.left = nn.Conv2d(1, len(left), 1, bias=False)
        self.right = nn.Conv2d(1, len(right), 1, bias=False)
        self.head = nn.ModuleList([nn.Linear(len(left), 2), nn.Linear(len(right), 2)])
        ranked(self.left, left)
        ranked(self.right, right)
        for layer in self.head:
            nn.init.zeros_(layer.weight)

    def forward(self, x):
        left, right = self.left(x).mean((2, 3)), self.right(x).mean((2, 3))
        return self.head[0](left), self.head[1](right)


@pytest.mark.parametrize("steps", [1, 3])
def test_local_ranking_asks_a_share_of_each_group_since_the_first_step(steps: int) -> None:
    found = asked(make(Residual), pruning_ratio=0.6, iterative_steps=steps)
    # 4 - int(4 * 0.4) = 3 and 8 - int(8 * 0.4) = 5, in as many steps as may be.
    assert {root: group.requested for root, group in found.items()} == {
        "stem": 3, "block.depthwise": 5, "head": 0,
    }  # fmt: skip
    assert {group.scope for group in found.values()} == {"stem", "block.depthwise", ""}


def test_global_ranking_asks_where_the_lowest_scores_are() -> None:
    # Divided by their group's mean: left 0.4, 0.8, 1.2, 1.6 and right 0.1, 0.1, 1.9, 1.9.
    model = Pair([1, 2, 3, 4], [1, 1, 19, 19]).eval()
    found = asked(model, pruning_ratio=0.5, global_pruning=True)
    # 8 - int(8 * 0.5) = 4 lowest: 0.1, 0.1, 0.4, 0.8.
    assert (found["left"].requested, found["right"].requested) == (2, 2)
    assert found["left"].scope == found["right"].scope == "global"
    found = asked(
        Pair([1, 2, 3, 4], [1, 1, 19, 19]).eval(), pruning_ratio=0.25, global_pruning=True
    )
    # Only 0.1 and 0.1.
    assert (found["left"].requested, found["right"].requested) == (0, 2)
    assert found["left"].reason is Reason.KEPT


def test_a_scope_of_the_users_own_has_its_own_ratio() -> None:
    model = make(Concat)
    found = asked(
        model,
        pruning_ratio=0.25,
        global_pruning=True,
        pruning_ratio_dict={(model.left, model.right): 0.6},
    )
    # 10 - int(10 * 0.4) = 6 of left and right together, 4 - int(4 * 0.75) = 1 of join.
    assert found["left"].requested + found["right"].requested == 6
    assert found["join"].requested == 1
    assert {found[root].scope for root in ("left", "right")} == {"left, right"}
    assert (found["left"].ratio, found["join"].ratio) == (0.6, 0.25)


def test_isomorphic_groups_are_ranked_together() -> None:
    model = make(Concat)
    found = asked(model, pruning_ratio=0.4, global_pruning=True, isomorphic=True)
    scopes = [found[root].scope for root in ("left", "right", "join")]
    # Two branches that are read by one convolution are alike, their reader is not.
    assert scopes == [scopes[0], scopes[0], "isomorphic to join"]
    # 10 - int(10 * 0.6) = 4, 4 - int(4 * 0.6) = 2.
    assert found["left"].requested + found["right"].requested == 4
    assert found["join"].requested == 2


def test_a_cap_on_a_layers_own_ratio_is_said() -> None:
    model = make(Chain)
    found = asked(
        model,
        pruning_ratio=0.5,
        max_pruning_ratio=0.5,
        pruning_ratio_dict={model.second: 0.8},
    )
    # Of five, 0.8 asks for 5 - int(5 * 0.2) = 4 (or 5, as 1 - 0.8 is below 0.2); 0.5 lets 3 go.
    assert found["second"].requested == 5 - int(5 * (1 - 0.8))
    assert (found["second"].removed, found["second"].reason) == (3, Reason.CAPPED)


def test_a_cap_that_an_earlier_step_reached_is_said() -> None:
    found = asked(make(Residual), pruning_ratio=0.75, iterative_steps=3, max_pruning_ratio=0.3)
    # Of eight, steps ask for 2, 4 and 6; after 4 the layer is below 70 % of its channels.
    group = found["block.depthwise"]
    assert (group.requested, group.removed, group.reason) == (6, 4, Reason.CAPPED)


def test_a_group_that_a_step_left_a_single_channel_says_so() -> None:
    found = asked(make(Chain), pruning_ratio=0.99, iterative_steps=4)
    # Steps leave int(4 * 0.7525) = 3, int(4 * 0.505) = 2, int(4 * 0.2575) = 1, then 0.
    first = found["first"]
    assert (first.requested, first.removed, first.reason) == (4, 3, Reason.SINGLE_CHANNEL)


def test_a_later_step_that_would_empty_a_layer_is_said() -> None:
    found = asked(make(Chain), pruning_ratio=0.9, iterative_steps=2)
    # Steps leave int(4 * 0.55) = 2, then int(4 * 0.1) = 0, which is dropped.
    first = found["first"]
    assert (first.requested, first.removed, first.reason) == (4, 2, Reason.WOULD_EMPTY)


def test_rounding_that_takes_more_than_asked_is_pruned_and_that_takes_nothing_is_said() -> None:
    found = asked(make(Concat), pruning_ratio=0.5, round_to=4)
    # 4 - 2 = 2 floors to 0 and is dropped; 6 - 3 = 3 likewise.
    assert {found[root].reason for root in ("left", "right", "join")} == {Reason.ROUNDED_AWAY}
    found = asked(make(Residual), pruning_ratio=0.25, round_to=4)
    # 8 - 2 = 6 floors to 4.
    group = found["block.depthwise"]
    assert (group.requested, group.removed, group.reason) == (2, 4, Reason.PRUNED)


def test_rounding_in_an_earlier_step_does_not_change_what_is_asked() -> None:
    found = asked(make(Residual), pruning_ratio=0.3, iterative_steps=2, round_to=4)
    # Of eight, 8 - int(8 * 0.85) = 2 are asked first, and rounded to four; in the end
    # 8 - int(8 * 0.7) = 3 are.
    group = found["block.depthwise"]
    assert (group.requested, group.removed) == (3, 4)


def test_what_would_be_emptied_without_rounding_is_not_blamed_on_rounding() -> None:
    found = asked(make(Chain), pruning_ratio=0.9, round_to=2)
    assert (found["first"].requested, found["first"].reason) == (4, Reason.WOULD_EMPTY)


@pytest.mark.parametrize("seed", range(8))
def test_a_random_importance_answers_the_account_and_the_pruner_alike(seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = asked(
            make(Concat),
            importance=tp.importance.RandomImportance(),
            pruning_ratio=0.5,
            global_pruning=True,
        )
    for group in found.values():
        # All channels of a small group may be drawn, which torch-pruning drops.
        drawn = 0 if group.requested == group.width else group.requested
        assert group.removed == drawn


def test_equal_scores_all_go_and_so_empty_the_layers() -> None:
    """A fresh network's batch-norm scales are all 1: torch-pruning then drops every cut."""
    found = asked(
        make(Residual),
        importance=tp.importance.BNScaleImportance(),
        pruning_ratio=0.5,
        global_pruning=True,
    )
    assert (found["stem"].requested, found["stem"].removed) == (4, 0)
    assert found["stem"].reason is Reason.WOULD_EMPTY


class OwnRanking(tp.pruner.MagnitudePruner):
    """Ranks in its own way."""

    def estimate_importance(self, group):
        return torch.arange(float(len(super().estimate_importance(group))))


class OwnStep(tp.pruner.MagnitudePruner):
    """Ranks as torch-pruning does."""

    def step(self, interactive: bool = False):
        yield from super().step(interactive=True)


def test_what_a_pruner_with_its_own_ranking_asks_is_not_known_and_said_so() -> None:
    model = make(Chain)
    pruner = pruner_of(model, OwnRanking, pruning_ratio=0.5)
    answer = verify(model, inputs_for(model), pruner)
    assert "OwnRanking has its own `estimate_importance`" in answer.requested_unknown
    assert [group.requested for group in answer.groups] == [None, None, None]
    assert [group.removed for group in answer.groups] == [2, 3, 0]


def test_what_a_pruner_with_its_own_step_asks_is_known() -> None:
    model = make(Chain)
    answer = verify(model, inputs_for(model), pruner_of(model, OwnStep, pruning_ratio=0.5))
    assert answer.requested_unknown == ""
    assert [group.requested for group in answer.groups] == [2, 3, 0]


class SparingStep(tp.pruner.MagnitudePruner):
    """Ranks as torch-pruning does, and then leaves a layer alone."""

    def step(self, interactive: bool = False):
        for group in super().step(interactive=True):
            if group[0].dep.target.module is not self.model.first:
                yield group


def test_a_step_of_its_own_that_cuts_otherwise_asks_what_is_not_known() -> None:
    model = make(Chain)
    answer = verify(model, inputs_for(model), pruner_of(model, SparingStep, pruning_ratio=0.5))
    assert answer.verdict.passes
    assert "cut more or less than its ranking" in answer.requested_unknown
    assert [(group.requested, group.removed) for group in answer.groups] == [
        (None, 0), (None, 3), (None, 0),
    ]  # fmt: skip


def test_a_rule_that_is_replaced_on_the_pruner_is_its_own() -> None:
    pruner = pruner_of(make(Chain))
    ranks = pruner.estimate_importance
    pruner.estimate_importance = lambda group: -ranks(group)
    assert "has its own `estimate_importance`" in RequestedChannels(pruner).unknown


def test_isomorphic_ranking_without_a_global_one_is_not_known() -> None:
    pruner = pruner_of(make(Concat), isomorphic=True)
    assert "global_pruning=True" in RequestedChannels(pruner).unknown


@pytest.mark.parametrize(
    ("name", "expected"),
    [("attention, separate, torch scale", 4), ("attention, fused, fixed scale", None)],
)
def test_attention_is_asked_by_the_layer_that_reads_it(name: str, expected: int | None) -> None:
    model = build(name)
    inputs = (torch.randn(2, *model.size),)
    pruner = pruner_of(model, inputs=inputs, pruning_ratio=0.5, num_heads=model.num_heads)
    found = rows(verify(model, inputs, pruner))
    (made,) = found.keys() - {"embed", "head"}
    # Which of q, k and v follow a channel of one projection, DepGraph does not say.
    assert found[made].requested == expected
    assert found["embed"].requested == 4


def test_what_whole_heads_are_asked_leaves_the_other_groups_known() -> None:
    model = build("attention, separate, torch scale")
    inputs = (torch.randn(2, *model.size),)
    pruner = pruner_of(
        model,
        inputs=inputs,
        num_heads=model.num_heads,
        prune_num_heads=True,
        head_pruning_ratio=0.5,
    )
    found = rows(verify(model, inputs, pruner))
    (attention,) = found.keys() - {"embed", "head"}
    assert found[attention].requested is None
    assert (found["embed"].requested, found["embed"].removed) == (4, 4)


WAYS = {
    "local": {},
    "global": {"global_pruning": True},
    "isomorphic": {"global_pruning": True, "isomorphic": True},
    "rounded": {"round_to": 2},
    "rounded, global": {"round_to": 2, "global_pruning": True},
    "in steps": {"iterative_steps": 3},
    "in steps, global": {"iterative_steps": 3, "global_pruning": True},
    "capped": {"iterative_steps": 4, "max_pruning_ratio": 0.4},
    "capped, global": {"iterative_steps": 4, "max_pruning_ratio": 0.4, "global_pruning": True},
    "rounded, in steps": {"iterative_steps": 3, "round_to": 2},
}


@pytest.mark.parametrize("kind", [Chain, Residual, Concat, Grouped])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ratio", [0.3, 0.6, 0.9])
def test_torch_pruning_removes_what_its_rules_leave_of_what_is_asked(kind, way, ratio) -> None:
    model = make(kind)
    pruner = pruner_of(model, pruning_ratio=ratio, **WAYS[way])
    widths = {name: layer.weight.shape[0] for name, layer in producers(model)}
    demands = RequestedChannels(pruner)
    before = 0
    history = History(pruner)
    while pruner.current_step < pruner.iterative_steps:
        demands.look_ahead(pruner, history.removals)
        if "IndexError" in demands.unknown:  # a grouped convolution of one channel a block
            with pytest.raises(IndexError):
                next(pruner.step(interactive=True))
            return
        history.step()
    left = {name: layer.weight.shape[0] for name, layer in producers(model)}
    for planned in demands.planned:
        assert widths[planned.root] - left[planned.root] == len(planned.expected), planned
        assert set(planned.expected) == history.gone(planned.root)
        before += len(planned.requested)
    assert before or ratio < 0.5


def producers(model: nn.Module):
    return [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]


class History:
    """Steps a pruner and keeps what went, by the first step's numbers."""

    def __init__(self, pruner) -> None:
        self._pruner = pruner
        self._ledger = surgery.Ledger(pruner.DG)
        self.removals = []

    def step(self) -> None:
        self.removals += [since for _, since in surgery.step(self._pruner, self._ledger)]

    def gone(self, root: str) -> set[int]:
        cuts = [cut for removal in self.removals for cut in removal.cuts]
        return {c for cut in cuts if (cut.layer, cut.axis) == (root, "out") for c in cut.removed}


def test_the_request_of_the_users_own_pruner_is_that_of_its_options() -> None:
    """Its ignored layers, rounding and cap count, not the policy that was named."""
    dense = analyse(make(Chain), inputs_for(make(Chain)))

    def pruner(model, inputs, ratio):
        return pruner_of(
            model, ignored_layers=[model.first, model.head], pruning_ratio=ratio, round_to=2
        )

    run = prune_and_prove(dense, Config(0.5), "classifier", pruner_factory=pruner).run
    found = rows(run.verification)
    assert found["first"].reason is Reason.IGNORED
    # 5 - 3 = 2 stay, which is a multiple of two.
    assert (found["second"].requested, found["second"].removed) == (3, 3)
    assert (run.config.scope, run.config.round_to) == ("local", 2)


def test_totals_say_what_all_that_was_asked_would_have_left() -> None:
    model = make(Chain)
    run = prune_and_prove(analyse(model, inputs_for(model)), Config(0.9, "local"), "classifier").run
    # All of `first` and `second` are asked, both cuts are dropped; of the head its bias is left.
    assert (run.channels.requested, run.channels.removed) == (9, 0)
    assert run.params.after == run.params.before == 153
    assert (run.params.requested, run.macs.requested) == (2, 0)


def test_the_scopes_shares_sum_to_what_was_saved() -> None:
    model = make(Residual)
    run = prune_and_prove(analyse(model, inputs_for(model)), Config(0.5, "local"), "classifier").run
    assert [scope.name for scope in run.scopes] == ["stem", "block.depthwise"]
    for quantity in ("macs", "params"):
        sizes = getattr(run, quantity)
        saved = sum(getattr(scope, quantity).removed for scope in run.scopes)
        assert saved == pytest.approx(sizes.before - sizes.after)
        asked_for = sum(getattr(scope, quantity).requested for scope in run.scopes)
        assert asked_for == pytest.approx(sizes.before - sizes.requested)
    assert sum(scope.channels.removed for scope in run.scopes) == run.channels.removed


class HalfNormed(nn.Module):
    """Two branches side by side, one of them with a batch norm, are added to a third."""

    size = (3, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.right = nn.Conv2d(3, 4, 1)
        self.wide = nn.Conv2d(3, 8, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        joined = torch.cat([self.norm(self.left(x)), self.right(x)], 1)
        return self.head((self.wide(x) + joined).mean((2, 3)))


@pytest.mark.parametrize("steps", [1, 2])
def test_an_importance_that_scores_some_channels_is_asked_of_those(steps: int) -> None:
    model = make(HalfNormed)
    with torch.no_grad():
        model.norm.weight.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    importance = tp.importance.BNScaleImportance()
    found = asked(model, importance=importance, pruning_ratio=0.5, iterative_steps=steps)
    # Only the norm's four channels have a score: 4 - int(4 * 0.5) = 2 of them.
    assert (found["wide"].width, found["wide"].requested, found["wide"].removed) == (8, 2, 2)


@pytest.mark.parametrize(
    "importance",
    [
        lambda group: torch.arange(len(group[0].idxs)),
        lambda group: torch.rand(len(group[0].idxs)).bfloat16(),
        lambda group: torch.from_numpy(group[0].dep.layer.weight.flatten(1).abs().sum(1).numpy()),
    ],
    ids=["whole numbers", "bfloat16", "by numpy"],
)
def test_an_importance_of_any_kind_is_asked_and_proved(importance) -> None:
    model = make(Chain)
    answer = verify(
        model, inputs_for(model), pruner_of(model, importance=importance, pruning_ratio=0.5)
    )
    assert answer.verdict.passes, answer.reason
    assert [group.requested for group in answer.groups] == [2, 3, 0]


def test_an_importance_that_answers_otherwise_each_time_leaves_it_open() -> None:
    calls = iter(range(1000))

    def fickle(group):
        # The groups change places from one call to the next.
        return torch.full((len(group[0].idxs),), float(next(calls) // 2 % 2 == 0)) + 1

    model = make(Chain)
    pruner = pruner_of(
        model, importance=lambda group: fickle(group) + torch.arange(len(group[0].idxs)) / 100,
        pruning_ratio=0.4, global_pruning=True,
    )  # fmt: skip
    state = random.getstate()
    answer = verify(model, inputs_for(model), pruner)
    assert answer.verdict.passes
    assert random.getstate() == state
    assert all(group.requested in (None, group.removed) for group in answer.groups)


def test_one_ratio_for_several_local_groups_is_not_known_and_the_pruning_proved_all_the_same() -> (
    None
):
    """The norm behind a concatenation belongs to both groups before it."""

    class Normed(Concat):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(10)

        def forward(self, x):
            joined = torch.cat([self.left(x), self.right(x)], 1)
            return self.head(self.join(self.norm(joined).relu()).mean((2, 3)))

    model = make(Normed)
    pruner = pruner_of(model, pruning_ratio=0.25, pruning_ratio_dict={model.norm: 0.3})
    demands = RequestedChannels(pruner)
    demands.look_ahead(pruner, [])
    assert "several groups one local ranking" in demands.unknown


def test_a_layer_of_another_model_among_the_ratios_is_no_trouble() -> None:
    model = make(Chain)
    stranger = nn.Conv2d(3, 3, 3)
    found = asked(
        model,
        pruning_ratio=0.5,
        global_pruning=True,
        pruning_ratio_dict={(model.first, stranger): 0.5},
    )
    assert (found["first"].requested, found["first"].removed) == (2, 2)


def test_a_group_that_becomes_depthwise_keeps_its_account() -> None:
    class Blocks(nn.Module):
        size = (3, 6, 6)

        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 8, 1)
            self.grouped = nn.Conv2d(8, 6, 1, groups=2)
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.grouped(self.first(x)).mean((2, 3)))

    found = asked(make(Blocks), pruning_ratio=0.7, iterative_steps=2)
    # 3 - int(3 * 0.65) = 2 of three positions in two blocks go in the first step.
    assert found["grouped"].requested is not None
    assert found["grouped"].removed == 4


def test_a_layer_that_takes_the_place_of_attention_is_asked_and_says_so() -> None:
    """torch-pruning keeps local rankings by the name of the first layer, here twice the same."""

    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.size = (5, 8)
            self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
            self.proj = nn.Linear(8, 12)
            self.head = nn.Linear(12, 2)

        def forward(self, x):
            q, k, v = (
                layer(x).view(len(x), 5, 2, -1).transpose(1, 2)
                for layer in (self.q, self.k, self.v)
            )
            mixed = (q @ k.transpose(-1, -2)).softmax(-1) @ v
            return self.head(self.proj(mixed.transpose(1, 2).flatten(2)).mean(1))

    model = make(Projected)
    inputs = (torch.randn(2, *model.size),)
    heads = {model.q: 2, model.k: 2, model.v: 2}
    answer = verify(
        model, inputs, pruner_of(model, inputs=inputs, pruning_ratio=0.5, num_heads=heads)
    )
    dropped = [group for group in answer.groups if group.is_dropped]
    assert [group.reason for group in dropped] == [Reason.UNTRACED]
    assert answer.requested_unknown == ""


def test_a_ratio_of_one_layer_alone_that_does_nothing_is_unchanged() -> None:
    model = make(Chain)
    answer = verify(
        model,
        inputs_for(model),
        pruner_of(model, pruning_ratio=0.0, pruning_ratio_dict={model.first: 0.5}, round_to=64),
    )
    assert answer.verdict is Verdict.UNCHANGED
    assert rows(answer)["first"].reason is Reason.ROUNDED_AWAY


@pytest.mark.parametrize("cap", [0.0, 2.0])
def test_a_pruners_cap_may_be_any_number_and_its_list_hold_strangers(cap: float) -> None:
    dense = analyse(make(Chain), inputs_for(make(Chain)))

    def pruner(model, inputs, ratio):
        ignored = [model.head, nn.Linear(2, 2)]
        return pruner_of(model, pruning_ratio=ratio, max_pruning_ratio=cap, ignored_layers=ignored)

    for asked in ("classifier", "first,head"):  # the pruner has layers of its own that it ignores
        config = Config(0.5, policy=asked)
        run = prune_and_prove(dense, config, asked, pruner_factory=pruner).run
        assert run.verification.verdict.passes
        assert (run.config.max_pruning_ratio, run.config.policy) == (1.0, OWN_PRUNER)


def test_a_run_is_named_by_the_policy_that_was_used() -> None:
    dense = analyse(make(Chain), inputs_for(make(Chain)))

    def keep_first(model):
        return [model.first, model.head]

    for policy, name in (("none", "none"), (keep_first, keep_first.__qualname__)):
        assert prune_and_prove(dense, Config(0.5), policy).run.config.policy == name


def test_what_did_not_end_was_asked_for_nothing_that_is_known() -> None:
    dense = analyse(make(Chain), inputs_for(make(Chain)))

    def failing(model, inputs, ratio):
        raise RuntimeError("not today")

    run = prune_and_prove(dense, Config(0.5), "classifier", pruner_factory=failing).run
    assert run.verification.verdict is Verdict.UNPRUNABLE
    assert run.channels.requested is None
    assert run.macs.requested is None
