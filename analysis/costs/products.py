"""The costs of a network as products of channels of its groups."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod

import numpy as np

from analysis.costs.columns import elements_in, products_in
from analysis.costs.cost_model import Count, Footprint
from analysis.errors import InputError
from analysis.groups.inspecting import Labelled
from analysis.network.labels.planes import Labels
from analysis.network.passed import Term
from analysis.pruning.expected import Expected
from analysis.records import CONVENTIONS, CostTable

__all__ = ["counts_of"]


def counts_of(
    followed: Labelled, found: Sequence[Expected], table: CostTable
) -> tuple[tuple[Count, ...], tuple[Count, ...], tuple[Count, ...]]:
    """The MACs and the parameters of a network as products of channels of its groups.

    Also the elements that tied parameters add once a cut unties them.

    Raises:
        InputError: the products are more than were counted; names the layer.
    """
    known: dict[bytes, tuple[int, Footprint]] = {}

    def size_of(plane: Labels) -> tuple[int, Footprint]:
        key = plane.tobytes()
        if key not in known:
            places = followed.group_of[plane]
            footprint = {}
            for place in np.unique(places[places >= 0]).tolist():
                group = found[place].group
                channels = found[place].channels_of(plane[places == place])
                footprint[group.root] = np.bincount(channels, minlength=group.width)
            known[key] = plane.size, footprint
        return known[key]

    def count_of(term: Term) -> Count:
        sizes = tuple(map(size_of, term.planes))
        size = term.constant * prod(size for size, _ in sizes)
        return Count(term.layer, term.name, size, tuple(each for each in sizes if each[1]))

    rules = CONVENTIONS[table.convention]
    products = (
        followed.products
        if table.convention == "fvcore"
        else [each.term for each in products_in(followed, rules)]
    )
    folded = dict(table.folded)
    macs = [count_of(each) for each in products if each.layer not in folded]
    done = Counter[str]()
    for count in macs:
        done[count.layer] += count.count
    for row in table.layers:
        rest = row.macs - done.pop(row.layer, 0)
        if rest < 0:
            raise InputError(
                f"the cost of layer `{row.layer}` cannot be expressed in the widths of the groups: "
                f"{row.macs} MACs are counted, and its products are {row.macs - rest}"
            )
        # Axes that no channel reaches.
        macs.append(Count(row.layer, "rest", rest, ()))
    lost = next((layer for layer, count in done.items() if count), None)
    if lost is not None:
        raise InputError(f"the cost of layer `{lost}` cannot be expressed: none of it is counted")
    elements, copies = (
        tuple(map(count_of, _left(elements_in(followed, terms, rules), folded)))
        for terms in (followed.elements, followed.copies)
    )
    return tuple(macs), elements, copies


def _left(terms: Iterable[Term], folded: Mapping[str, bool]) -> Iterator[Term]:
    """What is left where batch norms are folded, of which the shift may stay."""
    for term in terms:
        if term.layer not in folded or (folded[term.layer] and term.name.endswith(".bias")):
            yield term
