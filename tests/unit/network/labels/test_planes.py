"""Planes of labels against tensors with one label for each element."""

from itertools import product
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.network.labels.planes import axes_of, axis_plane, compact, labels_of, reshaped, spread


def factorings(count: int, most: int = 4) -> list[tuple[int, ...]]:
    """Shapes with so many elements."""
    sizes = [size for size in range(1, count + 1) if count % size == 0]
    return [
        shape
        for dims in range(1, most + 1)
        for shape in product(sizes, repeat=dims)
        if prod(shape) == count
    ]


@settings(max_examples=600, deadline=None, derandomize=True)
@given(data=st.data(), count=st.sampled_from([1, 2, 4, 6, 8, 12, 24]))
def test_a_plane_is_reshaped_as_the_tensor(data: st.DataObject, count: int) -> None:
    before = data.draw(st.sampled_from(factorings(count)))
    after = data.draw(st.sampled_from(factorings(count)))
    varies = data.draw(st.lists(st.booleans(), min_size=len(before), max_size=len(before)))
    shape = [size if along else 1 for size, along in zip(before, varies, strict=True)]
    plane = torch.arange(1, prod(shape) + 1, dtype=torch.int32).reshape(shape)
    found = reshaped(plane, before, after)
    wanted = plane.expand(before).reshape(after)
    assert found is not None
    assert found.dim() == len(after)
    assert torch.equal(found.expand(after), wanted)
    # Nothing is written out along which the labels do not vary.
    for axis in axes_of(found):
        assert not bool((wanted == wanted.narrow(axis, 0, 1)).all())


def test_nothing_of_an_empty_tensor() -> None:
    assert reshaped(axis_plane(np.array([1, 2], np.int32), 2, 1), (0, 2), (2, 0)) is None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=4),
    more=st.integers(1, 3),
)
def test_a_compact_plane_says_the_same(rows: list[list[int]], more: int) -> None:
    labels = torch.tensor(rows, dtype=torch.int32)[:, None, :].expand(-1, more, -1)
    found = compact(labels)
    if not labels.any():
        assert found is None
        return
    assert found is not None
    assert torch.equal(spread(found, labels.shape), labels)
    for dim, size in enumerate(labels.shape):
        same = all(torch.equal(labels.select(dim, 0), labels.select(dim, i)) for i in range(size))
        assert found.shape[dim] == (1 if same else size)


def test_a_plane_along_an_axis() -> None:
    plane = axis_plane(np.array([5, 6, 7], np.int32), 4, 2)
    assert plane.shape == (1, 1, 3, 1)
    assert axes_of(plane) == {2}
    assert labels_of(plane).tolist() == [5, 6, 7]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_position_varies_along_nothing(axis: int) -> None:
    assert axes_of(axis_plane(np.array([3], np.int32), 3, axis)) == frozenset()
