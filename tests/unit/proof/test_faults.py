"""Every kind of fault in every module of every block that is proved: the proof sees them all."""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

import pytest
import torch
from blocks import PROVED, Stack, build, half_pruner
from drawn import part
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

from analysis.groups.depgraph import dependency_groups
from analysis.network.failures import locate_failure
from analysis.network.inference import copy_of
from analysis.proof import distinct_values
from analysis.proof.faults import FAULTS, FAULTS_OF_WEIGHTS, calls_of, is_named, sites
from analysis.proof.masked_dense import MaskedDense
from analysis.proof.proving import prove, prove_against
from analysis.pruning import surgery
from analysis.records import Verdict, merge_cuts

pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")

SOUND = [
    name
    for name, (_, verdict) in PROVED.items()
    if verdict in (Verdict.EXACT, Verdict.RENORMALIZED)
]


def half_pruned(model: Any):
    inputs = (torch.randn(2, *model.size, generator=torch.Generator().manual_seed(1)),)
    distinct_values.make_distinct(model, inputs)
    dense = copy_of(model)
    pruner = half_pruner(model, inputs)
    groups = dependency_groups(dense, inputs)
    removals = [removal for removal, _ in surgery.step(pruner)]
    return dense, model, removals, groups, inputs


Mutant = tuple[str, int]
"""A kind of fault, and which of the modules it is planted in."""


def planted(
    model: nn.Module,
    kinds: Iterable[str] = FAULTS,
    chosen: Callable[[list[Mutant]], list[Mutant]] = list,
) -> Counter[str]:
    """Plants every kind of fault in every module of the network pruned by half; how many there are.

    Each that is chosen must be seen, and named where it is.
    """
    dense, pruned, removals, groups, inputs = half_pruned(model)
    assert prove(dense, pruned, removals, inputs).verdict.passes
    cuts, calls = merge_cuts(removals), calls_of(pruned, inputs)
    masked, mutants = MaskedDense(dense, removals, inputs), []
    for fault in kinds:
        broken = copy_of(pruned)
        for place in range(len(list(pruned.named_modules()))):
            site = next(islice(sites(dense, broken, cuts, groups, calls), place, None))
            if not FAULTS[fault](site):
                continue  # and nothing was changed
            mutants.append((fault, place))
            broken = copy_of(pruned)
    for fault, place in chosen(mutants):
        broken = copy_of(pruned)
        site = next(islice(sites(dense, broken, cuts, groups, calls), place, None))
        assert FAULTS[fault](site)
        assert locate_failure(broken, inputs) is None  # the plain check sees nothing
        answer = prove_against(masked, broken)
        assert not answer.verdict.passes, (fault, site.name)
        of_a_part = fault in FAULTS_OF_WEIGHTS and answer.verdict is Verdict.WRONG
        assert of_a_part or is_named(site.name, answer), (fault, site.name, answer)
    return Counter(fault for fault, _ in mutants)


@pytest.mark.parametrize("name", SOUND)
def test_every_fault_in_every_module_is_seen_and_named(name: str) -> None:
    mutants = planted(build(name), chosen=partial(part, of=name))
    assert mutants.keys() & FAULTS_OF_WEIGHTS.keys()
    assert mutants.keys() - FAULTS_OF_WEIGHTS.keys()
    assert mutants.total() >= 10


class Scaled(nn.Module):
    """A factor for each position, kept in a table that is not saved; one for all; a bound."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.rand(1, 1, 4, 4) + 0.5, persistent=False)
        self.alike, self.most = torch.tensor(2.0), 100.0

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.table * self.alike).clamp(-self.most, self.most)


class Branched(nn.Module):
    """A shortcut that a flag asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.shortcut = nn.Conv2d(8, 8, 1), True

    def forward(self, x: Tensor) -> Tensor:
        y = self.inside(x)
        return x + y if self.shortcut else y


class Several(Stack):
    """Scores of what is seen and of its opposite, and what they sum up to."""

    def __init__(self, kind: Callable[[Any], Any], *layers: nn.Module) -> None:
        super().__init__((3, 6, 6), *layers)
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        x = self.body(x).mean((2, 3))
        one, other = self.head(x), self.head(-x)
        return self.kind([("one", one), ("other", other), ("both", (one + other).sum(1))])


def between(*layers: nn.Module) -> list[nn.Module]:
    return [nn.Conv2d(3, 8, 3), *layers, nn.Conv2d(8, 6, 1), nn.Linear(6, 2)]


WITH_A_PLACE: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "tables and bounds": (
        lambda: Stack((3, 6, 6), *between(Scaled())),
        {
            "a table that is not saved shifted by one",
            "a plain tensor of a module scaled",
            "a greater slope, bound or factor",
        },
    ),
    "a branch by a flag": (
        lambda: Stack((3, 6, 6), *between(Branched())),
        {"a flag cleared", "a module replaced by the identity", "an output put to zero by a hook"},
    ),
    "a bound that nothing drawn reaches": (
        lambda: Stack((3, 6, 6), *between(nn.BatchNorm2d(8), nn.Hardtanh(-50.0, 50.0))),
        {"a greater slope, bound or factor", "another activation", "a greater epsilon of a norm"},
    ),
    "convolutions with a border": (
        lambda: Stack((3, 6, 6), *between(nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8))),
        {"another padding of a convolution", "a convolution dilated", "a group norm of one group"},
    ),
    "a dict of outputs": (
        lambda: Several(dict, *between()),
        {"two outputs swapped", "an output given twice", "an output dropped"},
    ),
    "a tuple of outputs behind a norm": (
        lambda: Several(lambda items: tuple(value for _, value in items),
                        *between(LayerNorm2d(8))),
        {"two outputs swapped", "an output given twice", "an output dropped"},
    ),
}  # fmt: skip
"""Networks with a place for what others have none for, and what that is."""


@pytest.mark.parametrize("name", WITH_A_PLACE)
def test_a_fault_outside_of_weights_is_seen_and_named(name: str) -> None:
    make, expected = WITH_A_PLACE[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().eval()
    assert expected <= planted(model, FAULTS.keys() - FAULTS_OF_WEIGHTS.keys()).keys()


def test_a_concatenation_has_a_branch_to_shift() -> None:
    dense, pruned, removals, groups, inputs = half_pruned(build("skip over an hourglass"))
    cuts, calls = merge_cuts(removals), calls_of(pruned, inputs)
    (site,) = [site for site in sites(dense, pruned, cuts, groups, calls) if site.branch]
    # `up` reads the four channels that `first` keeps, then the five of `down`.
    assert site.name == "up"
    assert site.branch in (tuple(range(4)), tuple(range(4, 9)))
