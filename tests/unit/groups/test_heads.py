"""Attention is cut in one way, by whichever of groups, costs and prune it is asked of."""

import pytest
import torch
from torch import Tensor, nn

from analysis import cost_account, inspect_groups, prune
from analysis.network.labels import reasons
from analysis.records import Verdict

WIDTH, HEADS = 16, 4

SPLITS = {
    "heads, rest": lambda m, x: x.view(*x.shape[:2], m.heads, -1),
    "rest, size": lambda m, x: x.view(*x.shape[:2], -1, m.size),
    "heads, size": lambda m, x: x.view(*x.shape[:2], m.heads, m.size),
    "heads, share": lambda m, x: x.view(*x.shape[:2], m.heads, m.width // m.heads),
    "heads, own share": lambda m, x: x.view(*x.shape[:2], m.heads, x.shape[-1] // m.heads),
    "parts": lambda m, x: torch.stack(x.split(m.size, -1), 2),
    "numbers": lambda m, x: x.view(*x.shape[:2], 4, 4),
}


class Attention(nn.Module):
    """Self-attention beside a skip, whose code splits heads in one of several ways."""

    def __init__(self, split: str, heads: int = HEADS) -> None:
        super().__init__()
        self.width, self.heads, self.size = WIDTH, heads, WIDTH // heads
        self.split = SPLITS[split]
        self.embed, self.head = nn.Linear(6, WIDTH), nn.Linear(WIDTH, 3)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = (self.split(self, layer(x)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.head(x + self.o(mixed.transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("split", SPLITS)
def test_groups_costs_and_prune_cut_attention_alike(split: str) -> None:
    torch.manual_seed(0)
    model, inputs = Attention(split).eval(), torch.randn(2, 5, 6)
    group = next(each for each in inspect_groups(model, inputs, "classifier") if each.name == "q")
    pruned = prune(model, inputs, 0.5)
    assert pruned.verification.verdict.passes
    kept = {*pruned.kept.get("q", {}).get("out", range(WIDTH))}
    # Sets go as a whole, and half of them, if any may.
    assert all(kept.issuperset(own) or kept.isdisjoint(own) for own in group.together)
    assert len(kept) == (WIDTH // 2 if group.together else WIDTH)
    account = cost_account(model, inputs, "classifier", scope="local", cut="groups")
    assert account.curve([0.5]).points[0].macs == pruned.macs
    if split == "numbers":
        assert group.held.startswith(reasons.FIXED)
        assert group.held.endswith(reasons.ADVICE[reasons.FIXED])


def test_heads_that_no_single_number_lets_go_lose_the_same_channel_each() -> None:
    """Of two heads a trial cut leaves one, by which a view of the wrong size is not seen."""

    class Reduced(Attention):
        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            q, k, v = (self.split(self, layer(x)) for layer in (self.q, self.k, self.v))
            q, k, v = (each.transpose(1, 2) for each in (q, k, v))
            mixed = ((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2)
            return self.head(x + self.o(mixed.reshape(*x.shape[:2], self.width)))

    torch.manual_seed(0)
    model, inputs = Reduced("heads, share", heads=2).eval(), torch.randn(1, 6, 6)
    group = next(each for each in inspect_groups(model, inputs) if each.name == "q")
    assert group.together == tuple((place, place + 8) for place in range(8))
    found = prune(model, inputs, 0.5)
    assert found.verification.verdict is Verdict.EXACT
    assert {(each.name, each.after) for each in found.attributes} == {("width", 8)}
