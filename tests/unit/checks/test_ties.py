"""Tensors that several layers share: whether they stay one, what they cost, how they are loaded."""

import copy

import pytest
import torch
import torch_pruning as tp
from safetensors.torch import save_model
from tied import Siamese, Tied, words
from torch import Tensor, nn

from analysis import cost_account, ratio_curve
from analysis.checks import evaluate
from analysis.network.subjects import Subject, build
from analysis.pipeline import Outcome, analyse, prune_and_prove
from analysis.records import CheckResult, Config


def pruned_by_half(model: nn.Module, inputs: Tensor, ignore: list[str], **more) -> Outcome:
    return prune_and_prove(analyse(model, inputs), Config(0.5, "local"), ignore, **more)


def result_of(outcome: Outcome, name: str = "ties_kept") -> CheckResult:
    return evaluate(outcome, [name])[0]


CASES = [
    (Tied, words(), ["head"], "`table.weight` and `head.weight`"),
    (Siamese, torch.randn(1, 3, 8, 8), ["head"], "`left.weight` and `right.weight`"),
]


@pytest.mark.parametrize(("kind", "inputs", "ignore", "named"), CASES)
def test_tensors_that_were_one_and_are_two_are_named(kind, inputs, ignore, named) -> None:
    outcome = pruned_by_half(kind().eval(), inputs, ignore)
    found = result_of(outcome)
    assert not found.passed
    assert named in found.message
    assert "mix" not in found.message
    one, other = (part.strip("`") for part in named.split(" and "))
    after = dict(outcome.pruned.named_parameters(remove_duplicate=False))
    assert after[one] is not after[other]


def test_ties_that_no_cut_reaches_are_kept() -> None:
    outcome = pruned_by_half(Tied().eval(), words(), ["table", "down", "head"])
    assert outcome.pruned.up.out_features == 16
    assert result_of(outcome).passed
    # A tensor is used under each of its names.
    assert outcome.run.verification.unexercised == ()


def test_ties_that_the_users_own_pruner_ties_again_are_kept() -> None:
    class Tying(tp.pruner.MagnitudePruner):
        def step(self, interactive=False):
            yield from super().step(interactive=True)
            self.model.head.weight = self.model.table.weight

    def pruner(model, inputs, ratio):
        return Tying(
            model,
            inputs,
            importance=tp.importance.MagnitudeImportance(p=1),
            pruning_ratio=ratio,
            ignored_layers=[model.head],
        )

    outcome = pruned_by_half(Tied().eval(), words(), [], pruner_factory=pruner)
    assert outcome.pruned.table.weight.shape == (50, 8)
    assert result_of(outcome).passed
    assert outcome.run.params.after == 50 * 8 + (8 + 1) * 16 + (16 + 1) * 8


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize(("kind", "inputs", "ignore", "named"), CASES)
def test_what_is_predicted_is_what_a_real_cut_leaves(kind, inputs, ignore, named, scope) -> None:
    model = kind().eval()
    ratios = (0.0, 0.02, 0.3, 0.5, 0.8)
    curve = ratio_curve(model, inputs, ratios, ignored_layers=ignore, scope=scope)
    for ratio, predicted in zip(ratios, curve.params, strict=True):
        cut = copy.deepcopy(model)
        tp.pruner.MagnitudePruner(
            cut,
            inputs,
            importance=tp.importance.MagnitudeImportance(p=1),
            pruning_ratio=ratio,
            global_pruning=scope == "global",
            ignored_layers=[cut.head],
        ).step()
        assert predicted == sum(own.numel() for own in cut.parameters())


def test_a_cut_that_leaves_them_tied_costs_less_by_the_copy() -> None:
    model, ignore = Tied().eval(), ["head"]
    options = {"ignored_layers": ignore, "scope": "local"}
    (untied,) = ratio_curve(model, words(), [0.5], **options).params
    (tied,) = ratio_curve(model, words(), [0.5], cut="groups", **options).params
    assert tied == 50 * 8 + (8 + 1) * 16 + (16 + 1) * 8
    assert untied == tied + 50 * 8


def test_what_the_groups_save_sums_to_what_is_saved() -> None:
    account = cost_account(Tied().eval(), words(), ["head"], scope="local")
    savings = account.savings(0.5)
    by_group = sum(group.params for group in savings.groups)
    assert round(by_group) == account.dense.params - savings.point.params
    by_layer = account.by_layer(0.5)
    assert by_layer["head"][1] == by_layer["table"][1] == 50 * 8


def test_what_was_asked_of_a_tied_network_is_known() -> None:
    run = pruned_by_half(Tied().eval(), words(), ["head"]).run
    assert run.params.requested == run.params.after == 2 * 50 * 8 + (8 + 1) * 16 + (16 + 1) * 8


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_file_that_holds_a_tied_tensor_once_is_loaded(tmp_path, name: str) -> None:
    saved, path = Tied(), tmp_path / name
    if path.suffix == ".pt":
        state = saved.state_dict()
        del state["head.weight"]
        torch.save(state, path)
    else:
        save_model(saved, str(path))
    loaded = build(Subject("tied", Tied), str(path))
    assert torch.equal(loaded.table.weight, saved.table.weight)
    assert loaded.head.weight is loaded.table.weight


@pytest.mark.parametrize(
    "name", ["survives_state_dict", "survives_pickling", "gradients_reach_parameters"]
)
def test_the_other_checks_work_with_tied_tensors(name: str) -> None:
    assert result_of(pruned_by_half(Tied().eval(), words(), ["head"]), name).passed
