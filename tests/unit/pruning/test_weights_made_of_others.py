"""Weights that are computed from others, or with one row for several channels, are pruned."""

from collections.abc import Callable

import pytest
from between import Net, assert_equals_zeroed, built, images
from torch import Tensor, nn
from torch.nn.utils import parametrize, spectral_norm

from analysis import prune
from analysis.records import Verdict


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        flat = weight.flatten(1)
        return (flat.triu() + flat.triu(1).t()).view_as(weight)


def symmetric() -> Net:
    """Each weight is that of two channels, so that these are coupled in pairs of pairs."""
    net = Net(lambda m, x: m.middle(x), middle=nn.Conv2d(8, 8, 1))
    parametrize.register_parametrization(net.middle, "weight", Symmetric())
    return net


def of_norm_one() -> Net:
    """A hook divides the weight by its greatest singular value, which a cut changes."""
    return Net(lambda m, x: m.middle(x), middle=spectral_norm(nn.Conv2d(8, 8, 1)))


def transposed() -> Net:
    """Each column of the weight makes one channel of each of two groups."""
    return Net(lambda m, x: m.middle(x), middle=nn.ConvTranspose2d(8, 8, 2, groups=2))


NETS: dict[str, tuple[Callable[[], Net], str]] = {
    "a symmetric weight": (symmetric, "read"),
    "a weight of norm one": (of_norm_one, "read"),
    "a transposed convolution in groups": (transposed, "middle"),
}


@pytest.mark.filterwarnings("ignore:.*spectral_norm.* is deprecated", "ignore::FutureWarning")
@pytest.mark.parametrize("name", NETS)
def test_every_network_is_pruned_where_possible_and_proved(name: str) -> None:
    make, pruned = NETS[name]
    model = built(make)
    cured = prune(model, images(), 0.5, ignore=["head"])
    found = cured.verification
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved"), found.reason
    assert pruned in cured.kept
    assert_equals_zeroed(cured, model)


def test_a_column_with_a_channel_of_each_group_is_removed_from_all() -> None:
    cured = prune(built(transposed), images(), 0.5, ignore=["head"])
    assert cured.verification.reason == ""
    out = cured.kept["middle"]["out"]
    assert [each - 4 for each in out if each >= 4] == [each for each in out if each < 4]
    assert cured.kept["read"]["in"] == out
