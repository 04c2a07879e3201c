"""Norms written by hand are recognized by what they compute, not by their class."""

import math
from collections.abc import Callable

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional

from analysis import verify
from analysis.records import Verdict

Function = Callable[[Tensor, Tensor], Tensor]


def root_mean_square(x: Tensor, weight: Tensor) -> Tensor:
    wide = x.to(torch.float32)
    mean = wide.pow(2).mean(-1, keepdim=True)
    return weight * (wide * torch.rsqrt(mean + 1e-6)).to(x.dtype)


def divided(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * weight


def to_a_power(x: Tensor, weight: Tensor) -> Tensor:
    return x * ((x**2).mean(-1, keepdim=True) + 1e-6) ** -0.5 * weight


def weighed_first(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / x.square().mean(-1, keepdim=True).clamp(min=1e-6).sqrt()


def layer_norm(x: Tensor, weight: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).pow(2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight


def by_deviation(x: Tensor, weight: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return weight * (centred / (x.std(-1, keepdim=True) + 1e-6))


def both_at_once(x: Tensor, weight: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, -1, unbiased=False, keepdim=True)
    return (x - mean) * (weight * torch.rsqrt(variance + 1e-5))


def by_a_function(x: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], weight)


def root_of_a_length(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.norm(dim=-1, keepdim=True) / math.sqrt(x.shape[-1])) * weight


def length_by_a_power(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / (x.norm(2, dim=-1, keepdim=True) * x.shape[-1] ** -0.5)


def stretched_first(x: Tensor, weight: Tensor) -> Tensor:
    return x * math.sqrt(x.shape[-1]) / torch.linalg.vector_norm(x, dim=-1, keepdim=True) * weight


def stretched_last(x: Tensor, weight: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1) * math.sqrt(x.shape[-1]) * weight


def sum_of_squares(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) / x.shape[-1] + 1e-6) * weight


def dot_product(x: Tensor, weight: Tensor) -> Tensor:
    mean = torch.linalg.vecdot(x, x).unsqueeze(-1) / x.shape[-1]
    return x * torch.rsqrt(mean + 1e-6) * weight


def absolute_squares(x: Tensor, weight: Tensor) -> Tensor:
    return x / ((x.abs() ** 2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def sums(x: Tensor, weight: Tensor) -> Tensor:
    centred = x - x.sum(-1, keepdim=True) / x.shape[-1]
    variance = (centred * centred).sum(-1, keepdim=True) / x.shape[-1]
    return centred / torch.sqrt(variance + 1e-5) * weight


def centred_length(x: Tensor, weight: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.norm(dim=-1, keepdim=True) / math.sqrt(x.shape[-1])) * weight


def two_moments(x: Tensor, weight: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = x.pow(2).mean(-1, keepdim=True) - mean * mean
    return (x - mean) * torch.rsqrt(variance + 1e-5) * weight


def mean_added(x: Tensor, weight: Tensor) -> Tensor:
    return (x + x.mean(-1, keepdim=True)) * weight


def root_added(x: Tensor, weight: Tensor) -> Tensor:
    return x * weight + torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def root_used_twice(x: Tensor, weight: Tensor) -> Tensor:
    root = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
    return x * root * weight + root


def mean_used_twice(x: Tensor, weight: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).pow(2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + mean


def multiplied(x: Tensor, weight: Tensor) -> Tensor:
    return x * x.pow(2).mean(-1, keepdim=True) * weight


def no_root(x: Tensor, weight: Tensor) -> Tensor:
    return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6) ** -1 * weight


def no_squares(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.abs().mean(-1, keepdim=True) + 1e-5) * weight


def only_centred(x: Tensor, weight: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) * weight


def of_length_one(x: Tensor, weight: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1) * weight


def of_a_fixed_length(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.norm(dim=-1, keepdim=True) / 4) * weight


def sum_over_a_fixed_number(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) / 16 + 1e-6) * weight


def sum_subtracted(x: Tensor, weight: Tensor) -> Tensor:
    centred = x - x.sum(-1, keepdim=True)
    return centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-6) * weight


def share_of_the_mean(x: Tensor, weight: Tensor) -> Tensor:
    return x.exp() / x.exp().mean(-1, keepdim=True) * weight


def mean_of_absolutes(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.norm(1, dim=-1, keepdim=True) / x.shape[-1]) * weight


def length_added(x: Tensor, weight: Tensor) -> Tensor:
    return x * weight + x.norm(dim=-1, keepdim=True) / math.sqrt(x.shape[-1])


def softmax(x: Tensor, weight: Tensor) -> Tensor:
    return x.softmax(-1) * weight


class Scaled(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(16) + 0.5)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


class Block(nn.Module):
    """A norm between two layers: a module of its own, or lines of this forward."""

    def __init__(self, function: Function, *, inline: bool) -> None:
        super().__init__()
        self.first, self.scaled, self.last = nn.Linear(8, 16), Scaled(function), nn.Linear(16, 4)
        self.inline = inline

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        h = self.scaled.function(h, self.scaled.weight) if self.inline else self.scaled(h)
        return self.last(h)


def verdict_on(function: Function, *, inline: bool) -> Verdict:
    torch.manual_seed(0)
    model, x = Block(function, inline=inline).eval(), torch.randn(2, 5, 8)
    pruner = tp.pruner.BasePruner(
        model,
        x,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[model.last],
        unwrapped_parameters=[(model.scaled.weight, 0)],
    )
    found = verify(model, x, pruner)
    assert model.last.in_features == 8
    return found.verdict


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        root_mean_square,
        divided,
        to_a_power,
        weighed_first,
        layer_norm,
        by_deviation,
        both_at_once,
        by_a_function,
        root_of_a_length,
        length_by_a_power,
        stretched_first,
        stretched_last,
        sum_of_squares,
        dot_product,
        absolute_squares,
        sums,
        centred_length,
        two_moments,
    ],
)
def test_what_divides_channels_by_the_root_of_their_square_is_a_norm(function, inline) -> None:
    assert verdict_on(function, inline=inline) is Verdict.RENORMALIZED


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        mean_added,
        root_added,
        root_used_twice,
        mean_used_twice,
        multiplied,
        no_root,
        no_squares,
        only_centred,
        of_length_one,
        of_a_fixed_length,
        sum_over_a_fixed_number,
        sum_subtracted,
        share_of_the_mean,
        mean_of_absolutes,
        length_added,
        softmax,
    ],
)
def test_what_else_is_taken_over_channels_mixes_them(function, inline) -> None:
    assert verdict_on(function, inline=inline) is Verdict.MIXED


def test_a_norm_beside_something_that_mixes_does_not_hide_it() -> None:
    def both(x: Tensor, weight: Tensor) -> Tensor:
        return mean_added(root_mean_square(x, weight), weight)

    assert verdict_on(both, inline=True) is Verdict.MIXED
