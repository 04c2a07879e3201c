"""Channels that become complex numbers inside the network."""

from collections.abc import Callable

import pytest
import torch
from between import Net, answer, assert_equals_zeroed, built, images
from torch import Tensor, nn

from analysis import prune
from analysis.records import Verdict


def mixed_by_positions(m: Net, x: Tensor) -> Tensor:
    return torch.fft.ifft2(torch.fft.fft2(x) * m.filter).real


def filtered(m: Net, x: Tensor) -> Tensor:
    spectrum = torch.fft.rfft2(x) * torch.view_as_complex(m.filter)
    return torch.fft.irfft2(spectrum, s=x.shape[-2:])


def turned(m: Net, x: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.unflatten(1, (-1, 2)).movedim(2, -1).contiguous())
    return torch.view_as_real(pairs * m.turn).movedim(-1, 2).flatten(1, 2)


def weighed(m: Net, x: Tensor) -> Tensor:
    return torch.einsum("nchw,dc->ndhw", x.to(m.matrix.dtype), m.matrix).abs()


NETS: dict[str, Callable[[], nn.Module]] = {
    "a transform over positions": lambda: Net(mixed_by_positions, filter=torch.rand(6, 6)),
    "a filter for each channel": lambda: Net(filtered, filter=nn.Parameter(torch.rand(8, 6, 4, 2))),
    "pairs that are turned": lambda: Net(turned, turn=torch.tensor(0.6 + 0.8j)),
    "complex weights": lambda: Net(
        weighed, matrix=nn.Parameter(torch.randn(8, 8, dtype=torch.complex64))
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_complex_channels_are_pruned_by_half_and_proved(name: str) -> None:
    model = built(NETS[name])
    cured = prune(model, images(), 0.5, ignore=["head"])
    found = cured.verification
    assert (found.verdict, found.structure, found.reason) == (Verdict.EXACT, "proved", "")
    assert len(cured.kept["make"]["out"]) == len(cured.kept["read"]["in"]) == 4
    assert_equals_zeroed(cured, model)


def test_two_numbers_that_are_one_go_together() -> None:
    cured = prune(built(NETS["pairs that are turned"]), images(), 0.5, ignore=["head"])
    left = cured.kept["make"]["out"]
    assert all(left[n + 1] == left[n] + 1 and left[n] % 2 == 0 for n in range(0, len(left), 2))


def test_pairs_of_others_are_wrong() -> None:
    # torch-pruning takes single channels, so that other ones are turned with each other.
    assert answer(NETS["pairs that are turned"]).verdict is Verdict.WRONG
