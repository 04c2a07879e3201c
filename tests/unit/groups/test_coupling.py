"""Classes of labels, against a walk over their edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.groups.coupling import classes_of, components
from analysis.network.labels import reasons
from analysis.network.labels.records import Block, Choice, Edge, Hold, Option, Trace

NONE = np.zeros(0, np.int32)


def row(*labels: int) -> np.ndarray:
    return np.array(labels, np.int32)


def reached(count: int, edges: list[tuple[int, int]]) -> list[int]:
    """For each node the smallest that a walk reaches."""
    beside: dict[int, set[int]] = {node: set() for node in range(count)}
    for one, other in edges:
        beside[one].add(other)
        beside[other].add(one)
    smallest = [-1] * count
    for start in range(count):
        if smallest[start] < 0:
            pending = [start]
            while pending:
                node = pending.pop()
                if smallest[node] < 0:
                    smallest[node] = start
                    pending += beside[node]
    return smallest


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data(), count=st.integers(1, 30))
def test_components_are_what_a_walk_reaches(data: st.DataObject, count: int) -> None:
    node = st.integers(0, count - 1)
    edges = data.draw(st.lists(st.tuples(node, node), max_size=40))
    one, other = row(*(edge[0] for edge in edges)), row(*(edge[1] for edge in edges))
    assert components(count, one, other).tolist() == reached(count, edges)


def test_a_long_chain_is_one_component() -> None:
    order = np.random.default_rng(0).permutation(5000).astype(np.int32)
    assert not components(5000, order[:-1], order[1:]).any()


def trace(*sizes: int, **parts: object) -> Trace:
    """Tensors ``a``, ``b``, … of one dimension, labels counted through."""
    starts, first = {}, 1
    for name, size in zip("abcdef", sizes, strict=False):
        starts[name, 0] = first
        first += size
    found = Trace(
        starts, {(name, 0): size for name, size in zip("abcdef", sizes, strict=False)}, count=first
    )
    for name, value in parts.items():
        setattr(found, name, value)
    return found


def test_a_hold_keeps_its_whole_class_and_no_other() -> None:
    passed = trace(
        3, 3, edges=[Edge(0, "addition", row(1, 2, 3), row(4, 5, 6))],
        holds=[Hold(0, "because", row(5))],
    )  # fmt: skip
    classes = classes_of(passed, {})
    assert classes.of.tolist() == [0, 1, 2, 3, 1, 2, 3]
    assert [label for label in range(1, 7) if classes.held[label] >= 0] == [2, 5]
    assert classes.why(2).why == "because"
    assert classes.why(1) is None


def test_the_first_hold_is_the_reason() -> None:
    passed = trace(3, holds=[Hold(0, "one", row(1)), Hold(0, "other", row(1))])
    assert classes_of(passed, {}).why(1).why == "one"


def test_an_axis_of_one_class_stays() -> None:
    passed = trace(3, 2, edges=[Edge(0, "addition", row(1, 2), row(2, 3))])
    classes = classes_of(passed, {})
    assert classes.held[1:4].min() >= 0
    assert classes.held[4:].max() < 0
    assert classes.everything.tolist() == [1]


@pytest.mark.parametrize("option", [0, 1])
def test_the_option_that_is_chosen_is_taken(option: int) -> None:
    choice = Choice(
        0, row(1, 2, 3, 4),
        (Option("pairs", row(1, 2), row(3, 4), NONE), Option("held", NONE, NONE, row(1, 2, 3, 4))),
    )  # fmt: skip
    classes = classes_of(trace(4, choices=[choice]), {0: option})
    assert classes.of.tolist() == ([0, 1, 2, 1, 2] if option == 0 else [0, 1, 2, 3, 4])
    assert (classes.held[1:] >= 0).all() == (option == 1)


def test_a_row_that_goes_together_takes_its_label_with_it() -> None:
    """Labels 5 and 6 stand for rows; one of these is a class, the other two."""
    block = Block(0, row(5, 6), np.array([[1, 2], [3, 4]], np.int32))
    passed = trace(4, 2, edges=[Edge(0, "addition", row(1), row(2))], blocks=[block])
    classes = classes_of(passed, {})
    assert classes.of[5] == classes.of[1] == classes.of[2] == 1
    assert classes.held[5] < 0
    assert classes.of[6] == 6
    assert classes.why(6).why == reasons.PARTLY


def test_rows_of_rows_are_joined_too() -> None:
    """What a first row joins makes a second one whole."""
    blocks = [
        Block(0, row(5), np.array([[1, 2]], np.int32)),
        Block(1, row(6), np.array([[5, 3]], np.int32)),
    ]
    passed = trace(
        4, 2, 2, blocks=blocks,
        edges=[Edge(0, "addition", row(1, 5), row(2, 3)), Edge(1, "addition", row(7), row(6))],
    )  # fmt: skip
    classes = classes_of(passed, {})
    assert len({int(classes.of[label]) for label in (1, 2, 3, 5, 6, 7)}) == 1
    assert classes.of[4] == 4


def test_further_ties_and_holds_count_as_the_pass_does() -> None:
    classes = classes_of(trace(4), {}, [(row(1), row(4))], [Hold(0, "more", row(4))])
    assert classes.of.tolist() == [0, 1, 2, 3, 1]
    assert classes.why(1).why == "more"
