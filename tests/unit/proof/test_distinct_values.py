"""Values that would hide a fault are made distinct, and put back."""

import torch
from nets import Chain, inputs_for, make

from analysis.network import subjects
from analysis.network.inference import copy_of
from analysis.proof.distinct_values import distinct_values, make_distinct


def test_every_constant_tensor_becomes_distinct_and_the_rest_stays() -> None:
    model = make(Chain)
    before = copy_of(model)
    constants = make_distinct(model, inputs_for(model))
    assert constants == {
        "norm.weight": 1.0, "norm.bias": 0.0, "norm.running_mean": 0.0, "norm.running_var": 1.0,
    }  # fmt: skip
    for name in constants:
        assert len(model.state_dict()[name].unique()) == 4
    for name, tensor in before.state_dict().items():
        if name not in constants:
            assert torch.equal(tensor, model.state_dict()[name])
    assert (model.norm.running_var > 0).all()


def test_constants_are_put_back_on_a_network_pruned_meanwhile() -> None:
    model = make(Chain)
    with distinct_values(model, inputs_for(model)):
        model.norm.weight = torch.nn.Parameter(model.norm.weight[:2].detach())
        model.norm.running_var = model.norm.running_var[:2]
        assert not torch.equal(model.norm.running_var, torch.ones(2))
    assert torch.equal(model.norm.weight, torch.ones(2))
    assert torch.equal(model.norm.running_var, torch.ones(2))


def test_the_draws_touch_no_global_random_state() -> None:
    model = make(Chain)
    state = torch.get_rng_state()
    make_distinct(model, inputs_for(model))
    assert torch.equal(state, torch.get_rng_state())


def test_a_deep_network_still_answers_to_its_input() -> None:
    """Statistics that ignored the activations' scale left 1e-10 of the input at the output."""
    subject = subjects.resolve("mobilenet_v2_cifar")
    model = subjects.build(subject)
    make_distinct(model, subjects.example_inputs(subject, model, None, 0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        first, second = model(torch.randn(2, 3, 32, 32, generator=generator))
    assert (first - second).abs().max() > 1e-3 * first.abs().max()
