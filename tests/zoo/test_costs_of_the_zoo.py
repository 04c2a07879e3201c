"""Every model of torchvision that is proved without a recipe is predicted to the last MAC."""

import copy
import json
import random
import zlib
from pathlib import Path

import pytest

from analysis import cost_account, count_macs
from analysis.groups.depgraph import dependency_groups
from analysis.groups.policies import POLICIES, ignored_layers
from analysis.pruning import surgery
from analysis.records import Config, CurvePoint
from analysis.zoo.subjects import SUBJECTS

ZOO = json.loads((Path(__file__).parents[2] / "reports" / "zoo.json").read_text())["models"]
NAMES = [
    model["name"]
    for model in ZOO
    if not model["told"] and model["verdict"] in ("exact", "renormalized", "mixed")
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("round_to", [None, 8])
@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_predicted_as_it_is_pruned(name, scope, round_to) -> None:
    """At a ratio and under a policy that are drawn, the same ones each time."""
    drawn = random.Random(zlib.crc32(f"{name} {scope} {round_to}".encode()))
    subject = SUBJECTS[name]
    model, inputs = subject.wrap(subject.build()), subject.inputs()
    policy = drawn.choice([policy for policy in POLICIES if policy != "none"])
    held = ignored_layers(policy, model, dependency_groups(model, inputs))
    config = Config(drawn.uniform(0.05, 0.95), scope, round_to=round_to)
    account = cost_account(model, inputs, held, scope=scope, round_to=round_to)

    pruned = copy.deepcopy(model)
    surgery.build_pruner(pruned, inputs, config, held).step()
    table = count_macs(pruned, inputs)
    params = sum(parameter.numel() for parameter in pruned.parameters())
    assert account.curve([config.ratio]).points == (CurvePoint(config.ratio, table.macs, params),)
    expected = {row.layer: (row.macs, row.params) for row in table.layers}
    assert account.by_layer(config.ratio) == expected
