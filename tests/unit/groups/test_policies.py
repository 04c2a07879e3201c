"""Which layers each policy holds."""

import pytest
from nets import Residual, inputs_for, make

from analysis import inspect_groups, records
from analysis.errors import InputError
from analysis.groups.policies import POLICIES, ignored_layers


@pytest.fixture
def residual():
    model = make(Residual)
    return model, inspect_groups(model, inputs_for(model))


@pytest.mark.parametrize(
    ("policy", "held"),
    [
        ("none", ()),
        ("classifier", ("head",)),
        ("skip-channels", ("stem", "block.project", "block.project_norm", "head")),
        ("residual-blocks", ("block.expand", "block.depthwise", "block.project", "head")),
    ],
)
def test_a_named_policy_holds(residual, policy: str, held: tuple[str, ...]) -> None:
    assert ignored_layers(policy, *residual) == held


def test_the_names_that_need_no_torch_are_those_of_the_policies() -> None:
    assert tuple(POLICIES) == records.POLICIES


def test_a_function_may_return_modules_or_names(residual) -> None:
    assert ignored_layers(lambda model: [model.stem, "head"], *residual) == ("stem", "head")


def test_an_unknown_policy_is_refused_with_the_known_ones(residual) -> None:
    with pytest.raises(InputError, match="unknown policy 'half'; expected one of residual-blocks"):
        ignored_layers("half", *residual)


def test_a_function_that_returns_a_stranger_is_refused(residual) -> None:
    with pytest.raises(InputError, match="not part of the model"):
        ignored_layers(lambda model: ["nowhere"], *residual)
