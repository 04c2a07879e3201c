"""The values that a request takes."""

import pytest
from nets import Chain, make
from torch import nn

from analysis.errors import InputError
from analysis.records import POLICIES, Config, Network, Request, excluded, label_of


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        *((policy, policy) for policy in POLICIES),
        ("models:keep", "models:keep"),
        ("path/to/models.py:keep", "path/to/models.py:keep"),
        ("head", ("head",)),
        ("fc", ("fc",)),
        ("classifiers,", ("classifiers",)),
        ("stem, head.fc", ("stem", "head.fc")),
        ("layer1.0", ("layer1.0",)),
        (["head"], ("head",)),
        ([], ()),
        (len, len),
    ],
)
def test_layers_are_said_in_one_way(given, choice) -> None:
    assert excluded(given) == choice


@pytest.mark.parametrize(
    "text", ["clasifier", "classifiers", "residual-block", "skip-all", "", ","]
)
def test_a_text_that_must_be_meant_for_a_policy_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"unknown policy .*expected one of residual-blocks"):
        excluded(text)


@pytest.mark.parametrize("given", [3, None, nn.Linear(1, 1), nn.Linear, nn.Sequential()])
def test_what_is_no_list_is_refused(given) -> None:
    with pytest.raises(InputError, match=r"given as one .*expected a policy"):
        excluded(given)


def test_a_label_is_read_as_its_layers() -> None:
    for given in (["head"], ["classifier"], ["a", "b.c"], "skip-channels", "models:keep", []):
        label = label_of(given)
        assert excluded(label) == (excluded(given) if given else "none")
    assert label_of(len) == "len"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ratios": [50]}, r"pruning ratio 50; expected a number in \[0, 1\); did you mean 0.5\?"),
        ({"ratios": [1]}, r"pruning ratio 1; expected a number in \[0, 1\)$"),
        ({"ratios": []}, "no ratio was given"),
        ({"scope": "some"}, "scope 'some'"),
        ({"importance": "l3"}, "importance 'l3'"),
        ({"round_to": 0}, "round_to 0"),
        ({"max_pruning_ratio": 2}, "max_pruning_ratio 2"),
        ({"ignore": "clasifier"}, "did you mean 'classifier'"),
        ({"pruner": 3}, "pruner 3; expected a function"),
        ({"thresholds": 3}, "thresholds 3"),
        ({"budget": -1}, "budget -1"),
    ],
)
def test_what_cannot_be_asked_is_refused(wrong, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Request(Network("net"), **wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_size": (3, 0)}, "input_size"),
        ({"weights": None}, "weights None"),
        ({"seed": -1}, "seed -1"),
        ({"seed": True}, "seed True"),
        ({"inputs": 3}, "inputs 3"),
        ({"device": 3}, "device 3"),
    ],
)
def test_a_network_that_cannot_be_named_is_refused(wrong, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Network("net", **wrong)


def test_a_request_asks_each_ratio_once_and_calls_its_layers_as_given() -> None:
    request = Request(Network("net"), ratios=(0.5, 0.5, 0.3), ignore=["stem", "head"])
    assert request.ratios == (0.5, 0.3)
    assert request.config(0.5) == Config(0.5, policy="stem,head")


def test_the_same_layers_however_they_are_said() -> None:
    from nets import inputs_for

    from analysis import cost_account, lint_ignored_layers, ratio_curve
    from analysis.groups.depgraph import dependency_groups

    model = make(Chain)
    inputs = inputs_for(model)
    said = [["head"], [model.head], "head", "head,", "classifier", lambda model: [model.head]]
    for given in said:
        assert [group.ignored for group in dependency_groups(model, inputs, given)] == [
            False, False, True,
        ]  # fmt: skip
    curves = [ratio_curve(model, inputs, [0.5], ignored_layers=given) for given in said]
    assert len(set(curves)) == 1
    accounts = {cost_account(model, inputs, given).curve([0.5]) for given in said}
    assert accounts == set(curves)
    locks = {lint_ignored_layers(model, inputs, given).locks for given in said}
    assert len(locks) == 1


def test_a_misspelt_layer_is_refused_with_the_closest() -> None:
    from nets import inputs_for

    from analysis.groups.depgraph import dependency_groups

    model = make(Chain)
    for given in ("hed", "hed,", ["hed"]):
        with pytest.raises(InputError, match=r"did you mean 'head'\?"):
            dependency_groups(model, inputs_for(model), given)


@pytest.mark.parametrize(("target", "hint"), [(50, "did you mean 0.5"), ("0.5", "in (0, 1]")])
def test_a_target_that_is_no_share_is_refused(target, hint: str) -> None:
    from nets import inputs_for

    from analysis import ratio_for_macs

    model = make(Chain)
    with pytest.raises(InputError) as caught:
        ratio_for_macs(model, inputs_for(model), target)
    assert hint in str(caught.value)
