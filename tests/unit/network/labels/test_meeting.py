"""Labels that meet."""

import numpy as np
import torch

from analysis.network.labels.meeting import Meeting, Operand
from analysis.network.labels.planes import axis_plane, labels_of
from analysis.network.labels.records import Trace


def plane(first: int, count: int, dims: int, axis: int) -> torch.Tensor:
    return axis_plane(np.arange(first, first + count, dtype=np.int32), dims, axis)


def coupled(trace: Trace) -> set[tuple[int, int]]:
    return {
        (int(a), int(b)) for edge in trace.edges for a, b in zip(edge.one, edge.other, strict=True)
    }


def test_planes_along_one_axis_meet_position_by_position() -> None:
    trace = Trace({}, {}, count=100)
    one, other = Operand((plane(1, 4, 3, 1),), (2, 4, 5)), Operand((plane(11, 4, 3, 1),), (1, 4, 1))
    (found,) = Meeting(trace).joined([one, other], "addition")
    assert coupled(trace) == {(1, 11), (2, 12), (3, 13), (4, 14)}
    assert labels_of(found).tolist() == [1, 2, 3, 4]
    assert {edge.why for edge in trace.edges} == {"addition"}


def test_planes_along_different_axes_do_not_meet() -> None:
    trace = Trace({}, {}, count=100)
    one, other = Operand((plane(1, 4, 2, 0),), (4, 1)), Operand((plane(11, 5, 2, 1),), (1, 5))
    assert len(Meeting(trace).joined([one, other], "multiplication")) == 2
    assert not trace.edges
    assert not trace.holds


def test_a_constant_that_is_broadcast_says_nothing() -> None:
    trace = Trace({}, {}, count=100)
    operands = [Operand((plane(1, 4, 2, 1),), (3, 4)), Operand((), (1, 1))]
    Meeting(trace).joined(operands, "addition")
    assert not trace.holds
    assert not trace.choices


def test_values_for_each_channel_that_are_not_cut_hold_the_channels() -> None:
    trace = Trace({}, {}, count=100)
    operands = [Operand((plane(1, 4, 2, 1),), (3, 4)), Operand((), (1, 4))]
    Meeting(trace).joined(operands, "addition")
    assert [hold.labels.tolist() for hold in trace.holds] == [[1, 2, 3, 4]]


def test_zeros_for_each_channel_may_follow() -> None:
    trace = Trace({}, {}, count=100)
    operands = [Operand((plane(1, 4, 2, 1),), (3, 4)), Operand((), (3, 4), loose=frozenset({1}))]
    Meeting(trace).joined(operands, "addition")
    assert not trace.holds
    (choice,) = trace.choices
    assert choice.labels.tolist() == [1, 2, 3, 4]
    assert [option.held.tolist() for option in choice.options] == [[], [1, 2, 3, 4]]


def test_a_label_of_rows_is_the_same_each_time() -> None:
    trace = Trace({}, {}, count=100)
    meeting = Meeting(trace)
    grid = torch.arange(1, 7, dtype=torch.int32).view(2, 3)
    over = meeting.over(grid, frozenset({0}))
    assert over.shape == (2, 1)
    assert labels_of(over).tolist() == [100, 101]
    assert trace.count == 102
    (block,) = trace.blocks
    assert block.rows.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert torch.equal(meeting.over(grid, frozenset({0})), over)
    assert trace.count == 102


def test_alike_along_a_dimension() -> None:
    trace = Trace({}, {}, count=100)
    Meeting(trace).layout(torch.arange(1, 7, dtype=torch.int32).view(2, 3), first=1)
    (choice,) = trace.choices
    columns, rows, held = choice.options
    assert sorted(zip(columns.one.tolist(), columns.other.tolist(), strict=True)) == [
        (1, 4), (2, 5), (3, 6),
    ]  # fmt: skip
    assert sorted(zip(rows.one.tolist(), rows.other.tolist(), strict=True)) == [
        (1, 2), (1, 3), (4, 5), (4, 6),
    ]  # fmt: skip
    assert held.held.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_half_that_leaves_asks_for_as_many_of_each() -> None:
    trace = Trace({}, {}, count=100)
    whole = plane(1, 6, 2, 1)
    Meeting(trace).parts(whole, [whole[:, :3], whole[:, 3:]])
    (choice,) = trace.choices
    first = choice.options[0]
    pairs = zip(first.one.tolist(), first.other.tolist(), strict=True)
    assert {tuple(sorted(pair)) for pair in pairs} == {(1, 4), (2, 5), (3, 6)}


def test_no_label_is_held_for_what_carries_none() -> None:
    trace = Trace({}, {}, count=100)
    Meeting(trace).hold(np.zeros(3, np.int32), "nothing")
    assert not trace.holds
