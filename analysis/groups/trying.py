"""Settle what one pass leaves open: cut the network and run the labelled pass again.

Whether a view with a constant size, a chunk or a slice follows a cut shows when the network runs
after one. Every operator of the cut network must then carry the dense network's channels, in the
same order, without the removed ones. The first one that raises or does not is a constraint on cuts,
which is learnt and tried again.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from analysis.groups.coupling import Classes
from analysis.groups.departing import ENDLESS, Departing, Tried, departure
from analysis.groups.draws import drawn
from analysis.groups.reconciling import State, advance, free, most_free, reconciled
from analysis.groups.repeating import candidates, one_each
from analysis.groups.retracing import keeps_order
from analysis.network.cutting import Repeated
from analysis.network.inference import Inputs
from analysis.network.labels import operators, reasons
from analysis.network.labels.records import Hold, Step, Trace

__all__ = ["Learnt", "learn"]

_TRIES = 40
"""The greatest number of cuts that are tried; what is not right by then cannot be removed."""

_PATIENCE = 25
"""Cuts after which what does not follow one is held, so that other channels may go."""


@dataclass
class Learnt:
    """The result of trying cuts.

    Attributes:
        classes: labels that are removed together, and those that cannot be removed.
        tries: how many cuts were made.
        failure: why the last cut was still not right; empty if it was.
        repeated: attributes that must follow a cut.
        chosen: the option of each choice, by its index.
    """

    classes: Classes
    tries: int = 0
    failure: str = ""
    repeated: tuple[Repeated, ...] = ()
    chosen: Mapping[int, int] = field(default_factory=dict)


def learn(
    model: nn.Module,
    inputs: Inputs,
    trace: Trace,
    seconds: float | None = None,
    ways: Sequence[Mapping[int, int]] = (),
) -> Learnt:
    """The classes of a dense network's labels, each operator seen to follow a cut of half of them.

    Args:
        model: the dense network; copies are cut.
        inputs: those of the pass.
        trace: the dense network's pass.
        seconds: of the processor that a cut network may take; None is no limit.
        ways: by place of a choice the option that is to be taken where others would do as well,
            the best first. It is not taken if fewer channels are free then; another is if more are,
            and is tried where channels are still held.
    """
    tried, most = Tried(model, inputs, trace, seconds), most_free(trace)
    if ways and any(ways[0].values()):
        found = _learnt(tried, _wanting(ways[0]), least=most)
        # No other way can leave more.
        if _is_way(trace, found, ways[0]):
            return found
    found = _learnt(tried, State())
    for place, wanted in enumerate(ways):
        left = free(trace, found.classes)
        if place and left == most:
            break
        if any(found.chosen.get(number, 0) != option for number, option in wanted.items()):
            other = _learnt(tried, _wanting(wanted))
            more = free(trace, other.classes) - left
            found = other if _is_way(trace, other, wanted) and more >= min(place, 1) else found
        if not any(_held(trace, found.classes, wanted)):
            break
    return found


def _wanting(wanted: Mapping[int, int]) -> State:
    """Nothing learnt yet, and these options to begin with."""
    return State(chosen=dict(wanted), wanted=dict(wanted))


def _is_way(trace: Trace, learnt: Learnt, wanted: Mapping[int, int]) -> bool:
    """Whether the network follows its cuts, and some channels of these choices may go."""
    return not learnt.failure and not all(_held(trace, learnt.classes, wanted))


def _held(trace: Trace, classes: Classes, places: Iterable[int]) -> Iterator[bool]:
    """Whether channels of each of these choices are held."""
    for place in places:
        yield bool((classes.held[trace.choices[place].labels] >= 0).any())


def _learnt(tried: Tried, state: State, least: int = 0) -> Learnt:
    """What cuts teach; of no use, and given up, once fewer positions than these may go."""
    trace = tried.trace
    sites = _sites(tried.model, trace)
    rng = np.random.default_rng(0)
    why, right, cuts, failed = "", 0, 0, True
    may_be_chance = not keeps_order(trace)
    while cuts < _TRIES:
        classes = reconciled(trace, state)
        if free(trace, classes) < least:
            why = "too few may go"
            break
        removed = drawn(trace, classes, rng, right)
        if not removed.any():
            failed = False
            break
        failing = departure(tried, classes, removed, state.repeated)
        cuts += 1
        if failing is None:
            right += 1
            if right == 2 or not may_be_chance:
                failed = False
                break
            continue
        right, why = 0, failing.why
        patient = cuts < _PATIENCE
        if why == ENDLESS or not _adapt(
            tried, sites, state, failing, removed, rng, patient=patient
        ):
            break
    if failed:
        rest = np.flatnonzero(classes.held < 0)[1:].astype(np.int32)
        classes = state.classes(trace, [Hold(-1, f"not known: {why}", rest)])
    failure = why if failed else ""
    return Learnt(classes, cuts, failure, tuple(state.repeated), dict(state.chosen))


def _sites(model: nn.Module, trace: Trace) -> list[Hashable]:
    """For each operator what it has in common with others that the same code calls."""
    kinds = {name: type(module) for name, module in model.named_modules()}
    options: dict[int, int] = Counter(choice.step for choice in trace.choices)
    return [
        (
            step.place.line,
            step.inner,
            step.place.operator,
            kinds.get(step.place.module),
            len(step.arriving),
            options[number],
        )
        for number, step in enumerate(trace.steps)
    ]


def _adapt(
    tried: Tried,
    sites: Sequence[Hashable],
    state: State,
    departing: Departing,
    removed: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    patient: bool,
) -> bool:
    """Learn from an operator that did not follow; False where nothing is left to learn.

    What is learnt of one call holds for all that the same code makes. First the operator's own
    options are tried, then that its size comes of another tensor's, then that an attribute repeats
    it; at last what arrives is held, and at once where there is no patience left.
    """
    trace = tried.trace
    failing = min(departing.step, len(trace.steps) - 1)
    alike = _alike(sites, failing)
    if not patient:
        return _hold(trace, state, alike, failing, removed, departing)
    if any(trace.choices[place].step in alike for place in state.wanted):
        return _as_wanted(tried, state, alike, failing, rng)
    # What was given another size than it can take, takes it of a tensor that lost something else.
    is_given = departing.raises and not departing.fixed and failing not in state.ties
    if not is_given and _take_next(trace, state, alike, failing, removed):
        return True
    if failing in state.ties and _take_next_behind(trace, sites, state, failing, removed):
        return True
    for step in alike:
        state.ties.pop(step, None)
        state.tried[step] += 1
    # A size that was the same before the cut comes of no tensor that lost something.
    may_tie = not departing.fixed and state.tried[failing] <= _CANDIDATES
    return (
        (may_tie and _tie(trace, sites, state, alike, failing, removed))
        or (is_given and _take_next(trace, state, alike, failing, removed))
        or _repeat(tried, state, alike, failing, rng)
        or _choose(trace, state, alike, failing, removed, holding=True)
        or _hold_tables(tried, state, departing, removed)
        or _hold(trace, state, alike, failing, removed, departing)
    )


def _as_wanted(
    tried: Tried,
    state: State,
    alike: Sequence[int],
    failing: int,
    rng: np.random.Generator,
) -> bool:
    """Have an attribute follow, so that what is wanted holds; else go on as if it were not."""
    own = [place for place in state.wanted if tried.trace.choices[place].step in alike]
    if not _repeat(tried, state, alike, failing, rng, [state.wanted[own[0]]]):
        for place in own:
            state.chosen.pop(place, None)
    for place in own:
        del state.wanted[place]
    return True


def _repeat(
    tried: Tried,
    state: State,
    alike: Sequence[int],
    failing: int,
    rng: np.random.Generator,
    ways: Sequence[int] = (),
) -> bool:
    """Have an attribute follow, with which the network gets further after a cut; if one does.

    Whole heads may go where the number of heads follows, the same channel of every head where their
    size does. ``ways`` are the options that are tried; none tries all that hold nothing.
    """
    trace, before = tried.trace, dict(state.chosen)
    own = [place for place, choice in enumerate(trace.choices) if choice.step in alike]
    ways = ways or [
        number
        for number in range(max((len(trace.choices[place].options) for place in own), default=1))
        if all(
            number < len(trace.choices[place].options)
            and not trace.choices[place].options[number].held.size
            for place in own
        )
    ]
    for number in ways:
        state.chosen |= dict.fromkeys(own, number)
        if _counts(tried, state, alike, failing, rng):
            return True
    state.chosen = before
    return False


def _counts(
    tried: Tried, state: State, alike: Sequence[int], failing: int, rng: np.random.Generator
) -> bool:
    """The same, as choices are; without a number, if the network gets further as it is."""
    trace, before = tried.trace, state.counted
    drawing = _failing(tried, state, failing, rng)
    if drawing is None:
        return True
    classes, removed = drawing
    for found in candidates(tried.model, trace, alike, failing, removed):
        numbers, ties = one_each(tried.model, state.repeated, found, classes.of)
        state.counted = [*before, *ties]
        with_ties = _drawn(tried, state, rng) if ties else (classes, removed)
        is_new = len(numbers) > len(state.repeated)
        if _passes(tried, with_ties, numbers, failing) and not (
            # What goes together because several read a number does so only if it is read.
            ties and is_new and _passes(tried, with_ties, state.repeated, failing)
        ):
            state.repeated = numbers
            return True
    state.counted = before
    return False


def _passes(
    tried: Tried,
    drawing: tuple[Classes, NDArray[np.bool_]],
    numbers: Sequence[Repeated],
    failing: int,
) -> bool:
    """Whether the network gets further than an operator after a cut."""
    found = departure(tried, *drawing, numbers, beyond=failing)
    return found is None or found.step > failing


def _failing(
    tried: Tried, state: State, failing: int, rng: np.random.Generator
) -> tuple[Classes, NDArray[np.bool_]] | None:
    """What to remove so that an operator does not follow; None where it does whatever is drawn.

    Of few heads as many may be left as another tensor has by chance.
    """
    for _ in range(_DRAWS):
        drawing = _drawn(tried, state, rng)
        if not _passes(tried, drawing, state.repeated, failing):
            return drawing
    return None


_DRAWS = 3
"""The greatest number of random cuts to see an operator fail."""


def _drawn(
    tried: Tried, state: State, rng: np.random.Generator
) -> tuple[Classes, NDArray[np.bool_]]:
    """The partition, and labels that a cut removes."""
    classes = reconciled(tried.trace, state)
    return classes, drawn(tried.trace, classes, rng, 0)


def _alike(sites: Sequence[Hashable], step: int) -> list[int]:
    """The operators that the same code calls."""
    return [other for other, site in enumerate(sites) if site == sites[step]]


def _take_next(
    trace: Trace, state: State, alike: Sequence[int], step: int, removed: NDArray[np.bool_]
) -> bool:
    """Take the next option of an operator that leaves something to cut; whether there is one."""
    before = dict(state.chosen)
    while _choose(trace, state, alike, step, removed, holding=False):
        held = reconciled(trace, state).held
        if any((held[labels[removed[labels]]] < 0).any() for labels in trace.steps[step].arriving):
            return True
    state.chosen = before
    return False


def _take_next_behind(
    trace: Trace,
    sites: Sequence[Hashable],
    state: State,
    failing: int,
    removed: NDArray[np.bool_],
) -> bool:
    """The same for an operator behind one whose size was tied.

    Attention asks for a width that its heads divide before it makes them.
    """
    behind = (failing + away for away in _nearby(trace, failing) if away > 0)
    return any(_take_next(trace, state, _alike(sites, step), step, removed) for step in behind)


def _hold_tables(
    tried: Tried, state: State, departing: Departing, removed: NDArray[np.bool_]
) -> bool:
    """Hold axes of tensors that another size has made anew, as a table of positions is resampled.

    And those of the same name in layers of the same class, which the same code reads.
    """
    trace, modules = tried.trace, dict(tried.model.named_modules())
    read = np.unique(np.concatenate([np.zeros(0, np.int32), *departing.reads]))
    found = set()
    for name, dim in trace.starts:
        own = trace.labels(name, dim)
        if removed[own].any() and np.isin(own[~removed[own]], read).all():
            owner, _, tensor = name.rpartition(".")
            found.add((type(modules.get(owner)), tensor, dim))
    for name, dim in trace.starts:
        owner, _, tensor = name.rpartition(".")
        if (type(modules.get(owner)), tensor, dim) in found:
            state.holds.append(Hold(-1, departing.why, trace.labels(name, dim)))
    return bool(found)


def _hold(
    trace: Trace,
    state: State,
    alike: Sequence[int],
    failing: int,
    removed: NDArray[np.bool_],
    departing: Departing,
) -> bool:
    """Hold what arrives at an operator; whether anything did that loses something."""
    for back in range(failing + 1):
        place = _gone(trace.steps[failing - back], removed)
        if place is not None:
            break
    else:
        return False
    for step in alike:
        arriving = trace.steps[step - back].arriving if step >= back else ()
        if len(arriving) > place:
            detail = departing.why if step == failing else ""
            why = _why(trace.steps[failing], departing)
            state.holds.append(Hold(step, why, arriving[place], detail))
    return True


def _why(step: Step, departing: Departing) -> str:
    """Why what arrives at an operator is held."""
    if any(0 in shape for shape in step.given):
        return reasons.EMPTY
    is_layout = step.place.operator in operators.RESHAPES | operators.MOVEMENT
    return reasons.FIXED if is_layout and not departing.is_other else reasons.NOT_FOLLOWED


def _gone(step: Step, removed: NDArray[np.bool_]) -> int | None:
    """The first plane that arrives at an operator and loses something."""
    return next((n for n, labels in enumerate(step.arriving) if removed[labels].any()), None)


def _tie(
    trace: Trace,
    sites: Sequence[Hashable],
    state: State,
    alike: Sequence[int],
    failing: int,
    removed: NDArray[np.bool_],
) -> bool:
    """Tie what arrives, position by position, with what another tensor nearby has as many of.

    In attention the sizes of the heads are those of the layer's input, divided; the state that a
    recurrent layer starts from has the size of the weight that reads it next.
    """
    own = _gone(trace.steps[failing], removed) or 0
    if len(trace.steps[failing].arriving) <= own:
        return False
    labels = trace.steps[failing].arriving[own]
    of = state.classes(trace).of
    seen: list[frozenset[int]] = []
    for away in _nearby(trace, failing):
        for place, other in enumerate(trace.steps[failing + away].arriving):
            classes = frozenset(of[other].tolist())
            if (
                classes not in seen
                and not labels.size % other.size
                and removed[other].any()
                and not np.isin(of[other], of[labels]).any()
            ):
                seen.append(classes)
                if len(seen) == state.tried[failing]:
                    tied = replace(state, ties={**state.ties}, chosen={**state.chosen})
                    for step in alike:
                        _tie_one(trace, tied, step, own, away, place)
                    # Where nothing may go any more, another cut would show nothing.
                    found = reconciled(trace, replace(tied, chosen={**tied.chosen}))
                    if (found.held[labels] < 0).any():
                        state.ties, state.chosen = tied.ties, tied.chosen
                        return True
                    state.tried[failing] += 1
    return False


def _nearby(trace: Trace, step: int) -> Iterator[int]:
    """How far other operators are from one, the nearest first; those behind are of its line."""
    line = trace.steps[step].place.module, trace.steps[step].place.line
    for away in range(1, _FAR):
        if away <= step:
            yield -away
        if step + away < len(trace.steps):
            place = trace.steps[step + away].place
            if (place.module, place.line) == line:
                yield away


def _tie_one(trace: Trace, state: State, step: int, own: int, away: int, place: int) -> None:
    arriving = trace.steps[step].arriving
    others = trace.steps[step + away].arriving if 0 <= step + away < len(trace.steps) else ()
    if len(arriving) > own and len(others) > place:
        labels, other = arriving[own], others[place]
        if not labels.size % other.size:
            state.ties[step] = labels, np.tile(other, labels.size // other.size)
            for number, choice in enumerate(trace.choices):
                if choice.step == step:
                    state.chosen[number] = 0


_FAR = 60
"""Operators around another one among which the size that it is given is looked for."""

_CANDIDATES = 3
"""Tensors that are tried there."""


def _choose(
    trace: Trace,
    state: State,
    alike: Sequence[int],
    failing: int,
    removed: NDArray[np.bool_],
    *,
    holding: bool,
) -> bool:
    """Take the next option of an operator's choices; whether there is one."""
    steps = set(alike)
    moved = False
    for place, choice in enumerate(trace.choices):
        if choice.step in steps and (choice.step != failing or removed[choice.labels].any()):
            moved |= advance(trace, state, place, holding=holding) and choice.step == failing
    return moved
