"""The options that meet a target and lose least, against all combinations."""

from itertools import product

import numpy as np
import pytest

from analysis.sensitivities.choosing import EXHAUSTIVE, GREEDY, Problem, chosen


def problem(losses, cost, limit: float) -> Problem:
    """One whose cost is a function of a choice."""
    return Problem(
        losses,
        lambda choices: np.array([max(cost(choice) / limit - 1, 0.0) for choice in choices]),
    )


def random_problem(seed: int) -> tuple[Problem, float | None]:
    """Four groups in a chain, each layer of which costs a product of widths, and the least loss."""
    draw = np.random.default_rng(seed)
    widths = [[8, 6, 4, 2] for _ in range(4)]
    losses = [[0.0, *draw.normal(0.3, 1, 3)] for _ in widths]

    def cost(choice) -> float:
        left = [own[option] for own, option in zip(widths, choice, strict=True)]
        return float(sum(one * two for one, two in zip([3, *left], [*left, 2], strict=True)))

    limit = draw.uniform(30, 200)
    meets = [each for each in product(range(4), repeat=4) if cost(each) <= limit]
    sums = [sum(own[n] for own, n in zip(losses, each, strict=True)) for each in meets]
    return problem(losses, cost, limit), min(sums, default=None)


@pytest.mark.parametrize("seed", range(12))
def test_all_combinations_give_the_least_loss(seed: int) -> None:
    asked, least = random_problem(seed)
    found, method = chosen(asked)
    assert method == EXHAUSTIVE
    assert least is not None
    assert found is not None
    assert asked.loss(np.array([found]))[0] == pytest.approx(least)


@pytest.mark.parametrize("seed", range(12))
def test_the_greedy_answer_meets_the_target_and_no_pair_of_exchanges_betters_it(seed: int) -> None:
    asked, _ = random_problem(seed)
    found, method = chosen(asked, most=0)
    assert method == GREEDY
    assert found is not None
    assert asked.over(np.array([found]))[0] == 0
    own = asked.loss(np.array([found]))[0]
    for other in product(range(4), repeat=4):
        choice = np.array([other])
        differ = sum(one != two for one, two in zip(found, other, strict=True))
        if differ <= 2 and asked.over(choice)[0] == 0:
            assert asked.loss(choice)[0] >= own - 1e-12


def test_a_cheap_loss_behind_a_dear_one_is_found() -> None:
    """Half of the first group loses much and all but one little, as no curve must be monotonic."""
    losses = [[0.0, 5.0, 1.0], [0.0, 2.0, 3.0]]
    asked = problem(losses, lambda choice: 10 - 2 * choice[0] - 2 * choice[1], 6)
    for most in (0, 100):
        assert chosen(asked, most)[0] == (2, 0)


def test_what_gains_is_cut_even_if_the_target_is_met_without_it() -> None:
    asked = problem([[0.0, -1.0], [0.0, 1.0]], lambda choice: 10 - choice[0] - choice[1], 9)
    for most in (0, 100):
        assert chosen(asked, most)[0] == (1, 0)


def test_there_is_no_answer_where_none_meets_the_target() -> None:
    asked = problem([[0.0, 1.0]], lambda choice: 10 - choice[0], 8)
    for most in (0, 100):
        assert chosen(asked, most)[0] is None
