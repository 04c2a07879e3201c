"""What a metric loses by group, against cuts made by hand."""

from itertools import product

import pytest
import torch
from nets import Chain, Residual, inputs_for, make
from torch import nn

import analysis
from analysis.errors import InputError
from analysis.records import GroupSensitivity, Sensitivity

RATIOS = (0.25, 0.5, 0.75)


def of_second(model: nn.Module) -> dict[str, float]:
    """A function of the channels of one group alone: what its layer's biases weigh."""
    return {"weight": float(model.second.bias.abs().sum())}


def scanned(model: nn.Module, evaluate, **options) -> Sensitivity:
    options = {"ratios": RATIOS, **options}
    return analysis.sensitivity(model, inputs_for(model), evaluate, **options)


def by_name(found: Sensitivity) -> dict[str, GroupSensitivity]:
    return {group.name: group for group in found.groups}


def test_only_the_group_that_the_metric_depends_on_loses_and_as_much_as_its_channels() -> None:
    model = make(Chain)
    found = by_name(scanned(model, of_second))
    # The group of `second` is ranked by what makes and reads its channels; the head reads them.
    weights = model.second.weight.flatten(1), model.head.weight.T
    order = sum(each.abs().sum(1) for each in weights).argsort().tolist()
    for cut in found["second"].cuts:
        gone = 5 - int(5 * (1 - cut.ratio))
        assert cut.kept == 5 - gone
        expected = float(model.second.bias[order[:gone]].detach().abs().sum())
        assert cut.lost == pytest.approx(expected)
    assert [cut.lost for cut in found["first"].cuts] == [0, 0, 0]


def test_the_costs_of_a_cut_are_those_of_its_widths() -> None:
    model = make(Residual)
    for group in scanned(model, lambda _: 0.0).groups:
        for cut in group.cuts:
            point = analysis.cost_of(model, inputs_for(model), {group.name: cut.kept})
            assert (cut.macs, cut.params) == (point.macs, point.params)


def test_a_residual_stream_is_one_group_and_an_excluded_one_has_no_loss_but_a_reason() -> None:
    found = by_name(scanned(make(Residual), lambda _: 1.0, ignore="skip-channels"))
    stream = found["stem"]
    assert set(stream.layers) >= {"stem", "block.project"}
    assert [(cut.lost, cut.is_none, cut.why) for cut in stream.cuts] == [
        (None, True, "it is excluded")
    ] * len(RATIOS)
    # Another group was cut, and lost nothing of a metric that is always 1.
    assert [cut.lost for cut in found["block.expand"].cuts] == [0, 0, 0]


def test_a_cut_that_rounding_undoes_says_so_and_is_not_measured() -> None:
    seen = []
    found = by_name(
        scanned(make(Chain), lambda model: seen.append(model) or 1.0, ratios=[0.25], round_to=4)
    )
    (cut,) = found["first"].cuts  # 3 of 4 channels, and the nearest multiple of 4 is 4
    assert (cut.kept, cut.lost, cut.is_none) == (4, None, True)
    assert "round" in cut.why
    dense_twice = 2
    assert len(seen) == dense_twice + sum(
        not cut.is_none for group in found.values() for cut in group.cuts
    )


def test_ratios_that_leave_as_many_channels_are_measured_once() -> None:
    seen = []
    found = scanned(make(Chain), lambda model: seen.append(model) or 1.0, ratios=[0.5, 0.45, 0.5])
    widths = {
        (group.name, cut.kept) for group in found.groups for cut in group.cuts if not cut.is_none
    }
    assert len(seen) == 2 + len(widths)


def loss_of(model: nn.Module) -> float:
    """A metric that both groups change."""
    return -float(3 * model.first.weight.shape[0] ** 2 - model.second.bias.abs().sum())


@pytest.mark.parametrize("share", [0.7, 0.5, 0.3])
def test_the_suggestion_is_the_best_of_all_combinations(share: float) -> None:
    model = make(Chain)
    found = scanned(model, loss_of, targets={"macs": share})
    groups = [group for group in found.groups if not all(cut.is_none for cut in group.cuts)]
    assert len(groups) == 2
    inputs = inputs_for(model)
    best = None
    whole = analysis.cost_of(model, inputs, {}).macs
    for cuts in product(*((None, *group.cuts) for group in groups)):
        taken = {g.name: cut for g, cut in zip(groups, cuts, strict=True) if cut is not None}
        point = analysis.cost_of(model, inputs, {name: cut.kept for name, cut in taken.items()})
        loss = sum(cut.lost for cut in taken.values())
        if point.macs <= share * whole and (best is None or loss < best[0]):
            best = loss, point.macs
    assert best is not None
    assert found.suggestion is not None
    assert found.suggestion.loss == pytest.approx(best[0])
    assert found.suggestion.macs == best[1]


def test_the_suggestion_is_proved_and_its_ratios_by_layer_make_the_same_network() -> None:
    model = make(Residual)
    found = scanned(model, lambda cut: float(cut.stem.bias.sum()), targets={"macs": 0.6})
    assert found.suggestion is not None
    assert found.suggestion.is_by_layer
    assert found.run is not None
    assert found.run.verification.verdict.passes
    assert found.run.macs.after == found.suggestion.macs <= 0.6 * (found.run.macs.before or 0)
    assert found.run.params.after == found.suggestion.params
    ratios = dict(found.suggestion.ratios_by_layer)
    again = analysis.prune(model, inputs_for(model), ratios_by_layer=ratios)
    assert again.kept == found.run.verification.kept
    (metric,) = found.run.metrics
    assert metric.pruned == pytest.approx(float(again.model.stem.bias.detach().sum()))


def test_a_target_that_no_measured_cut_meets_is_answered_with_the_least() -> None:
    model = make(Chain)
    found = scanned(model, lambda _: 1.0, targets={"macs": 0.01})
    widths = {group.name: group.cuts[-1].kept for group in found.groups}
    least = analysis.cost_of(model, inputs_for(model), widths).macs
    assert found.suggestion is None
    assert f"{least:,} MACs are left" in found.why_not


def test_a_metric_that_fails_on_a_cut_is_unknown_and_never_taken() -> None:
    def fails(model: nn.Module) -> float:
        if model.first.weight.shape[0] < 4:
            raise ValueError("four channels or none")
        return float("nan") if model.second.weight.shape[0] == 1 else 1.0

    found = scanned(make(Chain), fails, targets={"macs": 0.98})
    cuts = by_name(found)
    assert all("four channels or none" in cut.why for cut in cuts["first"].cuts)
    assert all(cut.lost is None for cut in cuts["first"].cuts)
    assert [cut.lost for cut in cuts["second"].cuts if cut.kept == 1] == [None]
    assert found.suggestion is not None
    assert [name for name, _ in found.suggestion.ratios_by_layer] == ["second"]


def test_a_lower_metric_loses_what_it_gains() -> None:
    model = make(Chain)
    plain = by_name(scanned(model, of_second))["second"].cuts
    turned = by_name(scanned(model, of_second, lower_is_better=["weight"]))["second"].cuts
    assert [cut.lost for cut in turned] == [-cut.lost for cut in plain]


@pytest.mark.parametrize(
    ("evaluate", "options", "message"),
    [
        (lambda _: float(torch.rand(())), {}, "evaluate is random"),
        (lambda _: "much", {}, "evaluate returned a str"),
        (lambda _: 1.0, {"targets": {"bytes": 0.5}}, "give params in its place"),
        (lambda _: 1.0, {"ratios": [1.5]}, "expected a number in"),
    ],
)
def test_what_cannot_be_measured_or_costed_is_refused(evaluate, options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scanned(make(Chain), evaluate, **options)


def test_the_network_is_left_as_it_was() -> None:
    model = make(Chain).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scanned(model, of_second, targets={"macs": 0.6})
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_loss_that_is_planted_in_a_group_moves_the_suggestion_away_from_it() -> None:
    model = make(Chain)

    def spares(name: str):
        return lambda cut: float(getattr(cut, name).weight.shape[0])

    for name, other in (("first", "second"), ("second", "first")):
        found = scanned(model, spares(name), targets={"macs": 0.98})
        assert found.suggestion is not None
        assert [each for each, _ in found.suggestion.ratios_by_layer] == [other]
