"""The predicted cost of the right cut, against networks cut by indexing every tensor."""

from collections.abc import Sequence
from itertools import chain, product

import pytest
from cutting import cut, gone_of
from drawn import part
from kinds import KINDS, network_of
from nets import Chain, inputs_for, make

from analysis import cost_account, count_macs, ratio_curve
from analysis.errors import InputError

SCOPES = ("global", "local")


@pytest.mark.parametrize(
    ("name", "scope", "round_to"),
    [(name, *how) for name in KINDS for how in part(product(SCOPES, [None, 4]), name)],
)
def test_the_right_cut_costs_what_is_counted_without_its_channels(name, scope, round_to) -> None:
    """Cut by indexing every tensor, as many sets of channels as each group is said to lose."""
    network = network_of(name)
    model, inputs, groups = network.model, network.inputs, network.groups
    account = cost_account(model, inputs, ["head"], scope=scope, round_to=round_to, cut="groups")
    for ratio in (0.3, 0.6):
        savings = account.savings(ratio)
        lost = {group.root: group.removed for group in savings.groups}
        sets = {group.name: fewest(group.together, lost[group.name]) for group in groups}
        assert {name: sum(map(len, own)) for name, own in sets.items()} == lost
        whole = cut(
            model, gone_of(groups, [set(chain.from_iterable(sets[each.name])) for each in groups])
        )
        table = count_macs(whole, inputs)
        assert savings.point.macs == table.macs
        assert savings.point.params == sum(each.numel() for each in whole.parameters())
        layers = {row.layer: (row.macs, row.params) for row in table.layers}
        assert account.by_layer(ratio) == layers
        if scope == "local" and not round_to:
            for group in groups:
                count = 0 if group.name == "head" else len(group.together)
                # No group is left empty.
                asked = min(count - int(count * (1 - ratio)), max(count - 1, 0))
                assert len(sets[group.name]) == asked
        if round_to:
            widths = {group.name: group.width for group in groups}
            assert all((widths[name] - some) % round_to == 0 for name, some in lost.items() if some)


def fewest(together: Sequence[tuple[int, ...]], lost: int) -> list[tuple[int, ...]]:
    """The first sets that have so many channels."""
    taken: list[tuple[int, ...]] = []
    while sum(map(len, taken)) < lost:
        taken.append(together[len(taken)])
    return taken


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize(
    ("name", "scope"), [(name, scope) for name in KINDS for scope in part(SCOPES, name)]
)
def test_where_torch_pruning_cuts_single_channels_rightly_both_cuts_are_one(name, scope) -> None:
    network = network_of(name)
    groups = [group for group in network.groups if group.name != "head"]
    audits = {each.audit for each in network.audited}
    if audits != {"same"} or any(each.alike != 1 for each in groups):
        pytest.skip("both cuts differ")
    account, by_groups = (
        cost_account(network.model, network.inputs, ["head"], scope=scope, cut=cut)
        for cut in ("torch-pruning", "groups")
    )
    for ratio in (0.2, 0.5, 0.8):
        try:
            expected = account.curve([ratio]).complete()
        except InputError:
            continue
        found = by_groups.curve([ratio]).complete()
        # What torch-pruning drops, as nothing would be left of it, is cut as far as it may be.
        if not any(expected.dropped):
            assert found == expected


def test_another_cut_is_refused() -> None:
    model = make(Chain)
    with pytest.raises(InputError, match="cut 'right'; expected one of torch-pruning, groups"):
        ratio_curve(model, inputs_for(model), [0.5], cut="right")
