"""A router sends each token to a few experts: values decide how many rows each of them reads."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis import inspect_groups, lint_ignored_layers, prune
from analysis.network.labels import reasons
from analysis.records import Group, Verdict

EXPERTS, CHOSEN, WIDTH = 4, 2, 16


class Routed(nn.Module):
    """Each expert reads the tokens that are sent to it, and adds to them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.router = nn.Linear(8, WIDTH), nn.Linear(WIDTH, EXPERTS, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 24), nn.ReLU(), nn.Linear(24, WIDTH))
            for _ in range(EXPERTS)
        )
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        shares, chosen = self.router(x).softmax(-1).topk(CHOSEN, -1)
        where = functional.one_hot(chosen, EXPERTS).permute(2, 1, 0)
        found = torch.zeros_like(x)
        for expert, mask in zip(self.experts, where, strict=True):
            rank, token = torch.where(mask)
            found.index_add_(0, token, expert(x[token]) * shares[token, rank, None])
        return self.head(found)


class Weighed(Routed):
    """All experts read all tokens, and those that are not chosen weigh nothing."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        scores = self.router(x)
        largest, chosen = scores.topk(CHOSEN, -1)
        shares = torch.full_like(scores, -torch.inf).scatter(-1, chosen, largest).softmax(-1)
        return self.head(sum(shares[:, n, None] * e(x) for n, e in enumerate(self.experts)))


def routed(kind: type[nn.Module], tokens: int) -> tuple[nn.Module, Tensor, dict[str, Group]]:
    torch.manual_seed(0)
    model, inputs = kind().eval(), torch.randn(tokens, 8)
    return model, inputs, {group.name: group for group in inspect_groups(model, inputs)}


@pytest.mark.parametrize("kind", [Routed, Weighed])
def test_all_but_the_routers_outputs_can_go(kind: type[nn.Module]) -> None:
    model, inputs, groups = routed(kind, 9)
    held = {name: group.held for name, group in groups.items() if group.held}
    assert held.keys() == {"router", "head"}
    assert held["router"].startswith(f"{reasons.RANKED} at `topk` in ")
    assert held["router"].endswith(reasons.ADVICE[reasons.RANKED])
    found = prune(model, inputs, 0.5)
    assert found.verification.verdict is Verdict.EXACT, found.verification.reason
    assert found.model.embed.out_features == WIDTH // 2
    assert [expert[0].out_features for expert in found.model.experts] == [12] * EXPERTS


def test_an_expert_without_a_token_is_held_and_the_inputs_are_blamed() -> None:
    """Nothing is known of what it would read."""
    _, _, groups = routed(Routed, 1)
    empty = {name for name, group in groups.items() if group.held.startswith(reasons.EMPTY)}
    assert len({name for name in empty if name.startswith("experts.")}) == EXPERTS - CHOSEN
    assert groups["experts.0.0"].held.count(reasons.ADVICE[reasons.EMPTY]) <= 1


class Switched(nn.Module):
    """Each token goes to the expert of the largest score, by its number."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.router = nn.Linear(8, WIDTH), nn.Linear(WIDTH, EXPERTS)
        self.experts = nn.Parameter(torch.randn(EXPERTS, WIDTH, 12))
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        share, best = self.router(x).softmax(-1).max(-1)
        made = torch.einsum("nw,ewm->nem", x, self.experts).relu()
        own = made.gather(1, best[:, None, None].expand(-1, 1, made.shape[-1]))
        return self.head(own.squeeze(1) * share[:, None])


def test_scores_whose_place_chooses_an_expert_stay() -> None:
    """Without one of them, the numbers of those behind it would choose other experts."""
    model, inputs, groups = routed(Switched, 9)
    assert groups["router"].held.startswith(f"{reasons.NUMBERED} at `gather` in ")
    found = prune(model, inputs, 0.5)
    assert found.verification.verdict is Verdict.EXACT, found.verification.reason
    assert found.model.router.out_features == EXPERTS
    assert found.model.embed.out_features == WIDTH // 2
    assert found.model.experts.shape == (EXPERTS, WIDTH // 2, 6)


def test_a_parameter_that_makes_the_output_is_no_forgotten_layer() -> None:
    """Learned queries leave the network; no pruner can be given them to exclude."""

    class Queries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries = nn.Parameter(torch.randn(1, 4, WIDTH))
            self.up, self.head = nn.Linear(WIDTH, 12), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.up(self.queries + x).relu())

    model, inputs = Queries().eval(), torch.randn(2, 1, WIDTH)
    assert lint_ignored_layers(model, inputs, "classifier").passed
    errors = {each.layer for each in lint_ignored_layers(model, inputs, []).findings}
    assert errors == {"head"}


def test_tokens_that_are_ranked_keep_their_channels() -> None:
    """The best tokens of a sequence are taken, and no channel is one."""

    class Best(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.score = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 1)
            self.head = nn.Linear(WIDTH, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.embed(x).sort(1).values[:, :4])

    torch.manual_seed(0)
    model, inputs = Best().eval(), torch.randn(2, 7, 8)
    group, *_ = inspect_groups(model, inputs)
    assert (group.name, len(group.together)) == ("embed", WIDTH)
    assert prune(model, inputs, 0.5).verification.verdict is Verdict.EXACT
