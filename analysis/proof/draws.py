"""Whether outputs depend on random numbers that a network draws.

Two passes with different seeds show noise that is as large as what it is added to. Noise below
rounding, or a branch that one pass in a thousand takes, shows once the draws lie at the ends of
what can be drawn.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf, isnan
from typing import Any

import torch
from torch import Tensor

from analysis.network.inference import OperatorMode, relative_error

__all__ = ["depends_on_draws"]


def depends_on_draws(outputs: Callable[[int], list[Tensor]]) -> bool:
    """Whether any output is another one where draws are others.

    What another seed does not change, as draws of a generator that forward seeds itself, is no
    random number and stays.

    Args:
        outputs: seed -> the outputs of a run; it raises where the network does.
    """
    first, second = _Draws(), _Draws()
    with first:
        expected = outputs(0)
    with second:
        found = [outputs(1)]
    is_same_number = len(first.states) == len(second.states)
    pairs = zip(first.states, second.states, strict=False)
    random = [not (is_same_number and torch.equal(*pair)) for pair in pairs]
    try:
        for turn in (0, 1) if any(random) or not is_same_number else ():
            with _Draws(random, turn):
                found.append(outputs(0))
    except Exception:
        return True  # it refuses some of them
    # Nothing but what repeats of the same draws differ by is rounding, as of sums in any order.
    rounding = 2 * _difference(expected, outputs(0))
    return any(_difference(expected, each) > rounding for each in found)


def _difference(expected: list[Tensor], found: list[Tensor]) -> float:
    if [each.shape for each in expected] != [each.shape for each in found]:
        return inf
    errors = [relative_error(*pair) for pair in zip(expected, found, strict=True)]
    return inf if any(map(isnan, errors)) else max(errors, default=0.0)


class _Draws(OperatorMode):
    """Notes what operators draw from, and puts the ends of what they can draw in its place.

    Args:
        replaced: of each draw in turn, whether; further ones are.
        turn: which elements get the lower end, the even or the odd ones; the others get the upper.
            None replaces nothing.

    Attributes:
        states: of the generator, before each draw.
    """

    def __init__(self, replaced: Sequence[bool] = (), turn: int | None = None) -> None:
        super().__init__()
        self.states: list[Tensor] = []
        self._replaced, self._turn = replaced, turn

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        given = _given(func, args, kwargs or {})
        place = len(self.states)
        self.states.append(_state(given))
        result = func(*args, **(kwargs or {}))
        is_random = place >= len(self._replaced) or self._replaced[place]
        if self._turn is None or not is_random or not isinstance(result, Tensor):
            return result
        name = func.overloadpacket.__name__.rstrip("_")
        if name == "randperm":
            order = torch.arange(len(result), device=result.device)
            return result.copy_(order.flip(0) if self._turn else order)
        low, high = _ends(name, given, result)
        places = torch.arange(result.numel(), device=result.device).view(result.shape)
        return result.copy_(torch.where(places % 2 == self._turn, low, high))


def _state(given: dict[str, Any]) -> Tensor:
    """The state of the generator that an operator draws from."""
    if given.get("generator") is not None:
        return given["generator"].get_state()
    tensor = given.get("self")
    device = (
        tensor.device if isinstance(tensor, Tensor) else torch.device(given.get("device") or "cpu")
    )
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _given(func: Any, args: Iterable[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by their names in the operator's schema, with its defaults."""
    schema = func._schema.arguments
    values = {each.name: each.default_value for each in schema if each.has_default_value()}
    return values | dict(zip((each.name for each in schema), args, strict=False)) | kwargs


def _ends(name: str, given: dict[str, Any], result: Tensor) -> tuple[Tensor, Tensor]:
    """The lower and the upper end of what an operator draws; its draw where it has no ends."""
    if not result.numel():
        return result, result
    if name in ("rand", "rand_like", "uniform"):
        low, high = (given.get(key, other) for key, other in (("from", 0.0), ("to", 1.0)))
        return _both(result, low, low + (high - low) * (1 - torch.finfo(result.dtype).eps))
    if name == "bernoulli":
        return _both(result, 0, 1)
    if name in ("randint", "randint_like", "random"):
        low = given.get("low", given.get("from")) or 0
        high = given.get("high", given.get("to"))
        return _both(result, low, result.max() if high is None else high - 1)
    if name in ("exponential", "log_normal", "_standard_gamma"):
        return _both(result, torch.finfo(result.dtype).tiny, _FAR)
    if name in ("randn", "randn_like", "normal", "normal_functional", "cauchy"):
        return -_FAR * result, _FAR * result
    if name == "poisson":
        return _both(result, 0, _FAR)
    return result, result


def _both(result: Tensor, low: Any, high: Any) -> tuple[Tensor, Tensor]:
    return torch.full_like(result, low), torch.full_like(result, high)


_FAR = 1e30
"""Far from all that networks compute; its square is still a number in float64."""
