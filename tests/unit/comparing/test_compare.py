"""Whether one network is a pruning of another, found from the two networks alone."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch_pruning as tp
from blocks import PROVED, build, half_pruner
from nets import Chain, Residual, inputs_for, make
from pairs import Axis, by_groups, distinct, numbered, positions
from tied import Tied, words
from torch import Tensor, nn
from torch.nn.utils import prune

from analysis import compare
from analysis.comparing.compared import Reference
from analysis.errors import InputError
from analysis.network.inference import named_tensors
from analysis.records import Comparison, Verdict


def found_of(dense: nn.Module, pruned: nn.Module, inputs: Any) -> dict[Axis, list[int]]:
    found = Reference.of(dense, inputs).recovered(named_tensors(pruned))
    return {axis: own.tolist() for axis, own in found.positions.items()}


def images(model: Any) -> Tensor:
    return torch.randn(4, *model.size, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------------- which channels stayed


@pytest.mark.parametrize("name", PROVED)
def test_every_position_that_stayed_is_found(name: str) -> None:
    dense = distinct(build(name))
    inputs, other = images(dense), numbered(dense)
    pruned = by_groups(dense, inputs, other)
    expected = positions(dense, other)
    found = found_of(dense, pruned, inputs)
    assert {axis: found[axis] for axis in expected} == expected
    # The pruner is right, so that a verdict that does not pass would be the comparison's fault.
    assert compare(dense, pruned, inputs).passed


@pytest.mark.filterwarnings("ignore:Unwrapped parameters")
@pytest.mark.parametrize("name", PROVED)
def test_a_pruning_by_torch_pruning_is_judged_by_the_two_networks_alone(name: str) -> None:
    dense, (_, verdict) = build(name), PROVED[name]
    if verdict is Verdict.UNPRUNABLE:
        pytest.skip("torch-pruning raises")
    pruned, inputs = copy.deepcopy(dense), images(dense)
    half_pruner(pruned, (inputs,)).step()
    assert compare(dense, pruned, inputs).verdict is verdict


@pytest.mark.parametrize("name", ["conv1d, dilated", "shared layer", "transformer layer"])
def test_values_in_half_precision_are_the_dense_ones(name: str) -> None:
    dense = distinct(build(name))
    inputs, other = images(dense), numbered(dense)
    pruned = by_groups(dense, inputs, other)
    before, after = (
        compare(dense, each, inputs) for each in (pruned, copy.deepcopy(pruned).half())
    )
    assert (after.verdict, after.kept, after.moved) == (before.verdict, before.kept, ())
    assert after.passed


def by_hand() -> tuple[Any, Any]:
    """Chain: 3 -> 4 -> 5 -> 2 channels; of the first layer's 4 channels 3 and 1 stay, so turned."""
    dense: Any = distinct(make(Chain))
    pruned = copy.deepcopy(dense)
    left = torch.tensor([3, 1])
    pruned.first.weight.data = dense.first.weight.data[left]
    for tensor in (
        pruned.norm.weight, pruned.norm.bias, pruned.norm.running_mean, pruned.norm.running_var
    ):  # fmt: skip
        tensor.data = tensor.data[left]
    pruned.second.weight.data = dense.second.weight.data[:, left]
    pruned.first.out_channels = pruned.norm.num_features = pruned.second.in_channels = 2
    return dense, pruned


def test_channels_in_another_order_are_said_in_that_order() -> None:
    dense, pruned = by_hand()
    found = compare(dense, pruned, inputs_for(dense))
    assert found.verdict is Verdict.EXACT
    assert found.kept == {
        "first": {"out": (3, 1)},
        "norm": {"out": (3, 1)},
        "second": {"in": (3, 1)},
    }
    assert "in another order" in found.reason


def test_a_fresh_batch_norm_follows_the_layers_beside_it() -> None:
    dense, pruned = by_hand()
    for each in (dense, pruned):
        each.norm.reset_parameters()  # all channels are alike now
    found = compare(dense, pruned, inputs_for(dense))
    assert (found.verdict, found.kept["norm"]) == (Verdict.EXACT, {"out": (3, 1)})


def test_equal_channels_of_which_one_stayed_are_no_obstacle() -> None:
    dense: Any = distinct(make(Chain))
    dense.first.weight.data[2] = dense.first.weight.data[0]
    other = numbered(dense)
    pruned = by_groups(dense, inputs_for(dense), other)
    assert compare(dense, pruned, inputs_for(dense)).verdict is Verdict.EXACT


def test_networks_are_left_as_they_were() -> None:
    dense, pruned = by_hand()
    dense.train()
    before = [copy.deepcopy(each.state_dict()) for each in (dense, pruned)]
    compare(dense, pruned, inputs_for(dense))
    for each, state in zip((dense, pruned), before, strict=True):
        assert all(torch.equal(each.state_dict()[name], value) for name, value in state.items())
    assert (dense.training, pruned.training) == (True, False)


# ---------------------------------------------------------------------- planted faults


def readers(dense: nn.Module, pruned: nn.Module) -> Iterator[str]:
    """Tensors of which the inputs were cut, and more than one is left."""
    before = named_tensors(dense)
    for name, tensor in named_tensors(pruned).items():
        if (
            name.endswith("weight")
            and tensor.dim() > 1
            and (1 < tensor.shape[1] < before[name].shape[1])
        ):
            yield name


FAULTS = {
    "two inputs swapped": lambda count: [1, 0, *range(2, count)],
    "inputs rolled": lambda count: [*range(1, count), 0],
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["conv1d, dilated", "squeeze and excitation", "flip", "Residual"])
def test_a_scrambled_layer_is_named(name: str, fault: str) -> None:
    dense: Any = distinct(make(Residual) if name == "Residual" else build(name))
    inputs = images(dense)
    pruned = by_groups(dense, inputs, numbered(dense))
    planted = 0
    for reader in readers(dense, pruned):
        broken = copy.deepcopy(pruned)
        tensor = named_tensors(broken)[reader]
        tensor.data = tensor.data[:, FAULTS[fault](tensor.shape[1])].clone()
        found = compare(dense, broken, inputs)
        assert found.verdict is Verdict.WRONG
        assert found.verification.first_divergence == reader.removesuffix(".weight")
        assert reader in found.reason
        planted += 1
    assert planted


def test_a_branch_with_another_kept_set_is_wrong() -> None:
    """Both summands of the addition have two channels, and not the same ones."""
    dense: Any = distinct(make(Residual))
    pruned = by_groups(dense, inputs_for(dense), numbered(dense))
    left = compare(dense, pruned, inputs_for(dense)).kept["block.project"]["out"]
    others = torch.tensor([channel for channel in range(4) if channel not in left])
    project, norm = dense.block.project, dense.block.project_norm
    inside = torch.tensor(compare(dense, pruned, inputs_for(dense)).kept["block.project"]["in"])
    pruned.block.project.weight.data = project.weight.data[others][:, inside].clone()
    for part in ("weight", "bias", "running_mean", "running_var"):
        getattr(pruned.block.project_norm, part).data = getattr(norm, part).data[others].clone()
    found = compare(dense, pruned, inputs_for(dense))
    assert found.verdict is Verdict.WRONG
    assert found.verification.first_divergence == "block"


def test_a_duplicate_channel_is_wrong() -> None:
    dense, pruned = by_hand()
    pruned.first.weight.data[0] = pruned.first.weight.data[1]
    found = compare(dense, pruned, inputs_for(dense))
    assert (found.verdict, found.verification.first_divergence) == (Verdict.WRONG, "first")


def test_inputs_of_the_network_in_another_order_are_wrong() -> None:
    dense, pruned = by_hand()
    pruned.first.weight.data = pruned.first.weight.data.flip(1)
    found = compare(dense, pruned, inputs_for(dense))
    assert (found.verdict, found.verification.first_divergence) == (Verdict.WRONG, "first")


def test_a_size_that_was_not_set_is_broken() -> None:
    dense, pruned = by_hand()
    pruned.norm.running_mean.data = dense.norm.running_mean.data.clone()
    assert compare(dense, pruned, inputs_for(dense)).verdict is Verdict.BROKEN


def test_two_equal_networks_are_unchanged() -> None:
    dense: Any = distinct(make(Chain))
    found = compare(dense, copy.deepcopy(dense), inputs_for(dense))
    assert (found.verdict, found.passed, found.kept) == (Verdict.UNCHANGED, False, {})


# ---------------------------------------------------------------------- trained since


class Wide(nn.Module):
    """Slices of many values, as networks that people prune have them."""

    size = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.third = nn.Conv2d(16, 24, 3)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu()
        return self.head(self.third(x + self.second(x).relu()).relu().mean((2, 3)))


def trained(model: nn.Module, inputs: Tensor, steps: int) -> nn.Module:
    model = copy.deepcopy(model).train()
    generator = torch.Generator().manual_seed(5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for _ in range(steps):
        answers = model(torch.randn(inputs.shape, generator=generator))
        wanted = torch.randint(0, answers.shape[1], (len(answers),), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(answers, wanted).backward()
        optimizer.step()
    return model.eval()


def wide() -> tuple[nn.Module, nn.Module, Tensor, dict[Axis, list[int]]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = Wide().eval()
    inputs, other = images(dense), numbered(dense)
    pruned = by_groups(dense, inputs, other)
    return dense, pruned, inputs, positions(dense, other)


@pytest.mark.parametrize("steps", [1, 10, 40])
def test_a_pruning_that_was_trained_since_is_consistent(steps: int) -> None:
    dense, pruned, inputs, expected = wide()
    tuned = trained(pruned, inputs, steps)
    found = compare(dense, tuned, inputs)
    assert (found.verdict, found.passed) == (Verdict.CONSISTENT, True)
    assert found.kept == compare(dense, pruned, inputs).kept
    assert found_of(dense, tuned, inputs) | expected == found_of(dense, tuned, inputs)
    # By hand: how far the head is from what was left of it.
    left = dense.head.weight.data[:, expected["head.weight", 1]]
    now = tuned.head.weight.data
    apart = (now - left).norm() / left.norm()
    assert dict(found.moved)["head.weight"] == pytest.approx(float(apart), rel=1e-5)
    assert {each.tensor for each in found.inferred} >= {"first.weight", "second.weight"}
    assert all(each.margin > 1 for each in found.inferred)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("reader", ["second.weight", "third.weight", "head.weight"])
def test_a_scrambled_layer_that_was_trained_since_is_wrong(reader: str, fault: str) -> None:
    dense, pruned, inputs, _ = wide()
    tensor = named_tensors(pruned)[reader]
    tensor.data = tensor.data[:, FAULTS[fault](tensor.shape[1])].clone()
    found = compare(dense, trained(pruned, inputs, 10), inputs)
    assert found.verdict is Verdict.WRONG
    assert found.verification.first_divergence == reader.removesuffix(".weight")


@pytest.mark.parametrize("name", ["conv3d", "squeeze and excitation", "pixel shuffle", "Residual"])
@pytest.mark.parametrize("fault", FAULTS)
def test_of_few_values_a_scrambled_layer_is_never_taken_for_trained(name: str, fault: str) -> None:
    dense: Any = distinct(make(Residual) if name == "Residual" else build(name))
    inputs = images(dense)
    pruned = by_groups(dense, inputs, numbered(dense))
    for reader in readers(dense, pruned):
        broken = copy.deepcopy(pruned)
        tensor = named_tensors(broken)[reader]
        tensor.data = tensor.data[:, FAULTS[fault](tensor.shape[1])].clone()
        try:
            output = compare(dense, trained(broken, inputs, 3), inputs).verdict
        except InputError as error:
            output = str(error)
        assert output is Verdict.WRONG or "cannot be found" in output


@pytest.mark.parametrize("vector", ["first.bias", "norm.weight", "third.bias"])
def test_a_vector_that_was_turned_before_training_is_no_trained_one(vector: str) -> None:
    dense, _, inputs, _ = wide()
    distinct(dense)
    pruned = by_groups(dense, inputs, numbered(dense))
    tensor = named_tensors(pruned)[vector]
    tensor.data = tensor.data.roll(1)
    with torch.no_grad():
        for each in pruned.parameters():
            each.mul_(1.001)
    with pytest.raises(InputError, match=f"cannot be found.*{vector}"):
        compare(dense, pruned, inputs)


def test_an_unrelated_network_is_refused() -> None:
    dense, pruned, inputs, _ = wide()
    with pytest.raises(InputError, match="the kept channels cannot be found"):
        compare(dense, distinct(pruned, seed=7), inputs)


def test_dead_channels_of_a_trained_network_are_reported() -> None:
    """Two filters of zeros, of which training leaves one: which one it was nothing tells."""
    dense, _, inputs, _ = wide()
    first: Any = dense.first
    for tensor in (first.weight, first.bias, *named_tensors(dense.norm).values()):
        if tensor.dim():
            tensor.data[[2, 3]] = 0.0
    pruned = copy.deepcopy(dense)
    graph = tp.DependencyGraph().build_dependency(pruned, example_inputs=inputs)
    graph.get_pruning_group(pruned.first, tp.prune_conv_out_channels, [3, 9]).prune()
    tuned = copy.deepcopy(pruned)
    for tensor in tuned.parameters():
        tensor.data += 1e-3 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1))
    found = compare(dense, tuned, inputs)
    assert found.verdict is Verdict.CONSISTENT
    assert any("alike" in output and "first.weight" in output for output in found.ambiguous)


# ---------------------------------------------------------------------- merged


def with_merged_norm(model: Any) -> Any:
    """By hand: the norm of Chain or Wide in the weights of the layer before it."""
    merged = copy.deepcopy(model)
    factor = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
    bias = 0.0 if model.first.bias is None else model.first.bias
    merged.first.weight.data = (model.first.weight * factor.view(-1, 1, 1, 1)).detach()
    merged.first.bias = nn.Parameter(
        ((bias - model.norm.running_mean) * factor + model.norm.bias).detach()
    )
    merged.norm = nn.Identity()
    return merged


def test_a_batch_norm_that_was_merged_is_consistent_and_listed() -> None:
    dense, pruned = by_hand()
    found = compare(dense, with_merged_norm(pruned), inputs_for(dense))
    assert (found.verdict, found.passed) == (Verdict.CONSISTENT, True)
    assert found.merged == (("norm", "first"),)
    assert found.kept == {"first": {"out": (3, 1)}, "second": {"in": (3, 1)}}
    assert all(distance < 1e-6 for _, distance in found.moved)


def test_a_norm_that_was_merged_and_trained_since_is_consistent() -> None:
    dense, pruned, inputs, _ = wide()
    kept = compare(dense, pruned, inputs).kept
    found = compare(dense, trained(with_merged_norm(pruned), inputs, 10), inputs)
    assert (found.verdict, found.merged) == (Verdict.CONSISTENT, (("norm", "first"),))
    assert found.kept == {layer: axes for layer, axes in kept.items() if layer != "norm"}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("reader", ["second.weight", "third.weight", "head.weight"])
def test_a_scrambled_layer_beside_a_merged_norm_is_wrong(reader: str, fault: str) -> None:
    dense, pruned, inputs, _ = wide()
    merged = with_merged_norm(pruned)
    tensor = named_tensors(merged)[reader]
    tensor.data = tensor.data[:, FAULTS[fault](tensor.shape[1])].clone()
    found = compare(dense, merged, inputs)
    assert found.verdict is Verdict.WRONG
    assert found.verification.first_divergence == reader.removesuffix(".weight")


def test_a_norm_that_was_turned_before_it_was_merged_is_never_consistent() -> None:
    """Every filter is that of the dense network, by another one's factor."""
    dense, _, inputs, _ = wide()
    distinct(dense)
    pruned: Any = by_groups(dense, inputs, numbered(dense))
    for tensor in named_tensors(pruned.norm).values():
        tensor.data = tensor.data.roll(1) if tensor.dim() else tensor.data
    with pytest.raises(InputError, match=r"cannot be found.*first\.weight"):
        compare(dense, with_merged_norm(pruned), inputs)


def test_a_low_rank_update_that_was_merged_is_consistent() -> None:
    """As adapters are merged: each matrix gains the product of two thin ones."""
    dense, pruned, inputs, expected = wide()
    generator = torch.Generator().manual_seed(3)
    for tensor in pruned.parameters():
        if tensor.dim() > 1:
            rows, columns = tensor.shape[0], tensor[0].numel()
            made = torch.randn(rows, 2, generator=generator) @ torch.randn(
                2, columns, generator=generator
            )
            tensor.data += 0.01 * made.view(tensor.shape)
    found = compare(dense, pruned, inputs)
    assert found.verdict is Verdict.CONSISTENT
    assert found.kept["head"]["in"] == tuple(expected["head.weight", 1])


# ---------------------------------------------------------------------- tied weights


def untied() -> tuple[Any, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = Tied().eval()
    pruned: Any = copy.deepcopy(dense)
    kept = torch.arange(0, 32, 2)
    pruned.up.weight.data, pruned.up.bias.data = (
        dense.up.weight.data[kept],
        dense.up.bias.data[kept],
    )
    pruned.down.weight.data = dense.down.weight.data[:, kept]
    pruned.up.out_features = pruned.down.in_features = 16
    return dense, pruned


def test_tensors_that_are_no_longer_tied_are_reported() -> None:
    dense, pruned = untied()
    assert compare(dense, pruned, words()).untied == ()
    pruned.head.weight = nn.Parameter(pruned.table.weight.detach().clone())
    found = compare(dense, pruned, words())
    (untied_now,) = found.untied
    assert set(untied_now.names) == {"table.weight", "head.weight"}
    assert untied_now.added == 50 * 16
    assert found.verdict is Verdict.EXACT


# ---------------------------------------------------------------------- bad input


def refused(dense: nn.Module, pruned: nn.Module, inputs: Any) -> str:
    with pytest.raises(InputError) as caught:
        compare(dense, pruned, inputs)
    (line,) = str(caught.value).splitlines()
    return line


def test_networks_of_other_families_are_refused() -> None:
    dense: Any = make(Chain)
    assert "has no `block.depthwise.weight`" in refused(make(Residual), dense, inputs_for(dense))


def test_a_pruned_network_that_is_larger_is_refused() -> None:
    dense, pruned = by_hand()
    assert "give the dense network first" in refused(pruned, dense, inputs_for(dense))


def test_masks_that_were_left_are_named() -> None:
    dense: Any = make(Chain)
    pruned = copy.deepcopy(dense)
    prune.l1_unstructured(pruned.second, "weight", 0.5)
    assert "torch.nn.utils.prune.remove" in refused(dense, pruned, inputs_for(dense))


def test_a_comparison_says_what_its_proof_does() -> None:
    dense, pruned = by_hand()
    found = compare(dense, pruned, inputs_for(dense))
    assert isinstance(found, Comparison)
    assert found.verification.structure == "proved"
    assert found.verification.max_rel_error is not None
    assert found.verification.max_rel_error < 1e-9
