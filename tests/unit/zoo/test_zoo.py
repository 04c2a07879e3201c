"""The zoo's committed results, its expected failures, and some of its models proved again."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torchvision
from drawn import part
from torch import nn
from torchvision.models.swin_transformer import (
    PatchMergingV2,
    SwinTransformer,
    SwinTransformerBlockV2,
)
from torchvision.models.vision_transformer import VisionTransformer

from analysis.records import Verdict
from analysis.zoo.collected import TORCHVISION
from analysis.zoo.proving import prove
from analysis.zoo.running import compare
from analysis.zoo.subjects import SUBJECTS, ZooSubject

COMMITTED = json.loads((Path(__file__).parents[3] / "reports" / "zoo.json").read_text())
KNOWN_FAILURES = json.loads(TORCHVISION.known.read_text())
PROVED = (Verdict.EXACT, Verdict.RENORMALIZED)

pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")


def test_every_model_of_torchvision_has_a_record() -> None:
    listed = {
        name for name in torchvision.models.list_models() if not name.startswith("quantized_")
    }
    assert {model["name"] for model in COMMITTED["models"]} == set(SUBJECTS) == listed


def test_at_least_77_of_the_80_classification_models_are_proved() -> None:
    models = [model for model in COMMITTED["models"] if model["task"] == "classification"]
    assert len(models) == 80
    assert sum(model["verdict"] in PROVED for model in models) >= 77


def test_what_is_proved_is_an_equality_of_something_that_was_pruned() -> None:
    for model in COMMITTED["models"]:
        if model["verdict"] in PROVED:
            assert model["max_rel_error"] <= 1e-9
            assert model["params_after"] < 0.95 * model["params_before"], model["name"]


def test_the_committed_verdicts_are_the_known_ones() -> None:
    assert compare(COMMITTED["models"], KNOWN_FAILURES, TORCHVISION.failures) == []
    assert all(entry["reason"] for entry in KNOWN_FAILURES.values())


def test_an_unlisted_failure_and_a_listed_one_that_passes_are_both_reported() -> None:
    records = [
        {"name": "a", "verdict": "wrong", "by_groups": {"local": {"verdict": "mixed"}}},
        {"name": "b", "verdict": "exact", "untold": {"verdict": "exact"}, "by_groups": {}},
    ]
    known = {"b": {"untold": "broken", "reason": "of old"}, "gone": {"verdict": "timeout"}}
    assert compare(records, known, TORCHVISION.failures) == [
        "a (verdict): wrong, and known as passing",
        "b (untold): passes, and known as broken",
        "gone (verdict): passes, and known as timeout",
    ]


@dataclass(frozen=True)
class Small(ZooSubject):
    """A model of torchvision's own class with fewer and narrower layers of the same kinds."""

    make: Callable[[], nn.Module] = nn.Identity

    def build(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.make().eval()


SWIN = {"patch_size": [4, 4], "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4]}
SMALL = {
    "swin_t": lambda: SwinTransformer(**SWIN, window_size=[7, 7]),
    "swin_v2_t": lambda: SwinTransformer(
        **SWIN,
        window_size=[8, 8],
        block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2,
    ),
    "vit_b_32": lambda: VisionTransformer(64, 32, 2, num_heads=4, hidden_dim=64, mlp_dim=128),
}
"""In place of models of that name, which `tox run -e zoo` proves, as it does all others."""


@pytest.fixture(autouse=True)
def smaller(monkeypatch) -> None:
    for name, make in SMALL.items():
        found = SUBJECTS[name]
        size = (3, 56, 56) if name == "swin_t" else (3, 64, 64)
        small = Small(name, found.task, (size,), found.outputs, family=found.family, make=make)
        monkeypatch.setitem(SUBJECTS, name, small)


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("shufflenet_v2_x0_5", Verdict.EXACT),
        ("swin_t", Verdict.RENORMALIZED),
        # Queries and keys are scaled to length one over the channels that stay.
        ("swin_v2_t", Verdict.MIXED),
        ("vit_b_32", Verdict.RENORMALIZED),
        ("lraspp_mobilenet_v3_large", Verdict.EXACT),
        # Those that take longest.
        *part(
            [
                ("fasterrcnn_mobilenet_v3_large_320_fpn", Verdict.EXACT),
                ("r3d_18", Verdict.EXACT),
                ("raft_small", Verdict.EXACT),
            ]
        ),
    ],
)
def test_a_model_with_what_it_needs_is_proved(name: str, verdict: Verdict) -> None:
    record = prove(name)
    assert record.verdict is verdict, record.reason
    assert record.max_rel_error is not None
    assert record.max_rel_error < 1e-11
    assert record.params_after < 0.9 * record.params_before


@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        ("shufflenet_v2_x0_5", Verdict.UNPRUNABLE, "operator view in `stage"),
        ("vit_b_32", Verdict.BROKEN, "raised in reshape"),
    ],
)
def test_a_model_without_what_it_needs_is_not(name: str, verdict: Verdict, reason: str) -> None:
    record = prove(name, with_recipe=False)
    assert record.verdict is verdict
    assert reason in record.reason
