"""What the comparison says of right, wrong and broken networks."""

import pytest
import torch
from nets import Chain, FixedBuffer, Flipped, Grouped, inputs_for, make
from torch import nn

from analysis.errors import InputError
from analysis.network.inference import copy_of
from analysis.proof.comparing import changed_tensors, check_finite, compare, observe, random_inputs
from analysis.proof.distinct_values import make_distinct
from analysis.proof.proving import prove
from analysis.pruning import surgery
from analysis.records import Config, Cut, Verdict


def pruned_by_half(kind: type[nn.Module]):
    """A dense network with distinct values, the same pruned, and the cuts."""
    dense = make(kind)
    make_distinct(dense, inputs_for(dense))
    pruned = copy_of(dense)
    pruner = surgery.build_pruner(pruned, inputs_for(dense), Config(0.5, "local"), ["head"])
    return dense, pruned, [removal for removal, _ in surgery.step(pruner)]


@pytest.mark.parametrize("kind", [Chain, Grouped])
def test_a_sound_pruning_is_exact_to_rounding(kind) -> None:
    dense, pruned, removals = pruned_by_half(kind)
    answer = prove(dense, pruned, removals, inputs_for(dense))
    assert answer.verdict is Verdict.EXACT
    assert answer.max_rel_error is not None
    assert answer.max_rel_error < 1e-13


def test_neither_network_is_changed_by_the_proof() -> None:
    dense, pruned, removals = pruned_by_half(Chain)
    states = [{k: v.clone() for k, v in net.state_dict().items()} for net in (dense, pruned)]
    prove(dense, pruned, removals, inputs_for(dense))
    for net, state in zip((dense, pruned), states, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
        assert not any(
            module._forward_hooks or module._forward_pre_hooks for module in net.modules()
        )


def test_channels_read_in_another_order_are_wrong_and_located() -> None:
    dense, pruned, removals = pruned_by_half(Flipped)
    answer = prove(dense, pruned, removals, inputs_for(dense))
    assert answer.verdict is Verdict.WRONG
    assert answer.first_divergence == "second"
    assert "`second` is the first to differ" in answer.reason


def test_a_weight_that_a_dead_channel_hides_is_still_wrong() -> None:
    dense, pruned, removals = pruned_by_half(Chain)
    for net in (dense, pruned):
        with torch.no_grad():
            net.norm.bias.fill_(-1e6)  # no channel passes the rectifier
    with torch.no_grad():
        pruned.second.weight[0, 0] += 1
    answer = prove(dense, pruned, removals, inputs_for(dense))
    assert answer.verdict is Verdict.WRONG
    assert answer.first_divergence == "second"


def test_a_network_that_raises_is_broken_with_module_and_shapes() -> None:
    dense, pruned, removals = pruned_by_half(FixedBuffer)
    answer = prove(dense, pruned, removals, inputs_for(dense))
    assert answer.verdict is Verdict.BROKEN
    assert "mul on (2, 2, 6, 6) and (1, 4, 1, 1)" in answer.reason


def test_a_changed_output_shape_is_broken_and_what_is_left_is_judged() -> None:
    dense = make(Chain)
    pruned = copy_of(dense)
    (removal,) = surgery.prune_groups(pruned, inputs_for(dense), {"head": [0]})
    removals = [removal]
    answer = prove(dense, pruned, removals, inputs_for(dense))
    assert answer.verdict is Verdict.BROKEN
    assert "from (2, 2) to (2, 1)" in answer.reason
    assert "the outputs that are left equal" in answer.reason
    with torch.no_grad():
        pruned.head.bias += 1
    assert "left equal" not in prove(dense, pruned, removals, inputs_for(dense)).reason


def observed(weight: list[list[float]]):
    """A linear layer's network with this weight, and what is seen of it on an input of ones."""
    layer = nn.Linear(1, len(weight), bias=False).double()
    with torch.no_grad():
        layer.weight[:] = torch.tensor(weight)
    network = nn.Sequential(layer)
    return network, observe(network, torch.ones(1, 1, dtype=torch.float64))


def test_the_error_is_the_greatest_difference_over_the_greatest_value() -> None:
    network, expected = observed([[1.0], [4.0]])
    _, found = observed([[3.0], [4.0]])
    assert compare(expected, found, network, []).max_rel_error == pytest.approx(2.0 / 4.0)


def test_a_pruned_network_that_puts_out_nan_is_wrong() -> None:
    network, expected = observed([[1.0]])
    _, found = observed([[torch.nan]])
    assert compare(expected, found, network, []).verdict is Verdict.WRONG


def test_a_dense_network_that_is_not_finite_is_refused_with_the_layer() -> None:
    _, seen = observed([[torch.inf]])
    with pytest.raises(InputError, match="not finite in float64, from `0` on"):
        check_finite(seen)


def test_inputs_are_random_float64_and_whole_numbers_stay() -> None:
    tokens = torch.arange(4)
    drawn = random_inputs({"x": torch.ones(2, 3), "tokens": tokens})
    assert drawn["x"].dtype == torch.float64
    assert len(drawn["x"].unique()) == 6
    assert drawn["tokens"] is tokens


def test_kept_rows_of_a_grouped_convolution_read_their_own_groups_columns() -> None:
    """Against the pruned weight written out row by row."""
    dense = nn.Sequential(nn.Conv2d(8, 4, 1, groups=2, bias=False))
    weight = dense[0].weight
    # Group 0 makes rows 0, 1 from inputs 0..3; group 1 makes rows 2, 3 from inputs 4..7.
    cuts = [Cut("0", "out", 4, (0, 2)), Cut("0", "in", 8, (1, 6))]
    pruned = nn.Sequential(nn.Conv2d(6, 2, 1, groups=2, bias=False))
    with torch.no_grad():
        pruned[0].weight[0] = weight[1, [0, 2, 3]]
        pruned[0].weight[1] = weight[3, [0, 1, 3]]
    assert list(changed_tensors(dense, pruned, cuts)) == []
    with torch.no_grad():
        pruned[0].weight[1] = weight[3, [0, 2, 3]]
    assert list(changed_tensors(dense, pruned, cuts)) == ["0.weight"]
