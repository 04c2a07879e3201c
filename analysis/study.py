"""The study of a subject: every policy, scope and ratio, with evidence.

The work is split into parts that take only names and numbers, so that processes can share it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from analysis.checks import OF_PRUNING, names_for
from analysis.environment import versions
from analysis.errors import InputError
from analysis.gate.expected_failures import marked
from analysis.grid.cells import Cell
from analysis.grid.engine import run as run_cells
from analysis.grid.local import Local
from analysis.grid.records import End, How
from analysis.groups import policies
from analysis.network import subjects
from analysis.proof import faults
from analysis.records import (
    CURED,
    OWN_PRUNER,
    RATIOS,
    SCOPES,
    Config,
    Network,
    Request,
    Run,
    Study,
    SubjectStudy,
    timed_out,
)
from analysis.study_parts import (
    accounts,
    described,
    mismatches,
    none_planted,
    planted,
    pruned,
    sought,
)

__all__ = [
    "CASE_STUDY",
    "RATIOS",
    "SCOPES",
    "SEED",
    "study",
    "with_size",
]

_CASE = "residual-blocks"
"""The policy of the case study."""

SEED = 1
"""The first seed whose rankings have no near-tie at a published threshold.

torch-pruning ranks in float32, so another processor could rank a near-tie the other way. With this
seed every relative gap is over 5e-7, which a test asserts.
"""

CASE_STUDY = tuple(
    Request(Network(subject.name, subject.input_size, seed=SEED), ignore=_CASE)
    for subject in subjects.CASE_STUDY
)
"""The networks of the report if none is given."""

FAULTY = tuple(
    Request(Network(name, (3, 64, 64), seed=SEED)) for name in ("resnet18", "squeezenet1_1")
)
"""Further networks in which faults are planted."""


def study(
    requests: Iterable[Request],
    ratios: Iterable[float] = RATIOS,
    *,
    command: str = "",
    budget: float | None = None,
    workers: int = 0,
) -> Study:
    """Prune each network in every way the case study asks, prove each, gather the evidence.

    A network with a pruner of the user's own is pruned by that alone.

    Args:
        requests: what to study; the policy of each is the one that the report is about.
        ratios: at which each is pruned; none is that which meets the targets of its request.
        command: makes the study again.
        budget: seconds for each pruning, where they can be counted; None is no limit.
        workers: processes; 0 takes one for each core.

    Raises:
        InputError: a part has no answer, and took no longer than it may.
    """
    requests, ratios = tuple(requests), tuple(sorted(set(ratios)))
    requests = tuple(replace(request, budget=budget) for request in requests)
    is_case_study = requests == tuple(replace(each, budget=budget) for each in CASE_STUDY) and (
        ratios == RATIOS
    )
    # Faults go into the subject that is cheapest to run and, in the case study, into networks
    # with other joints: additions of another kind, concatenations.
    cheapest = min(requests, key=lambda request: request.network.input_size or ())
    faulty = (cheapest, *(FAULTY if is_case_study else ()))
    planting = [(planted, request, kind) for request in faulty for kind in faults.FAULTS]
    asked = _asked(requests, ratios, workers, is_case_study)
    done = _done([*(part for each in asked for part in each.parts), *planting], workers)
    done |= _done([part for each in asked for part in _cures(each, done)], workers)
    return Study(
        versions=tuple(versions().items()),
        subjects=tuple(_gathered(each, done) for each in asked),
        command=command,
        faults=tuple(_found(done, part, none_planted(*part[1:])) for part in planting),
        is_case_study=is_case_study,
    )


_Part = tuple[Any, ...]
"""A function of `analysis.study_parts`, and what it takes: the request first."""

_Done = dict[_Part, Any]
"""By part what it found, or how it ended where it took longer than it may."""


@dataclass(frozen=True)
class _Asked:
    """What is asked of one network, as parts."""

    request: Request
    description: _Part
    runs: tuple[_Part, ...]
    accounts: tuple[_Part, ...]
    mismatches: tuple[_Part, ...]

    @property
    def parts(self) -> tuple[_Part, ...]:
        """All of them."""
        return (*self.runs, *self.accounts, *self.mismatches, self.description)


def _asked(
    requests: Iterable[Request], ratios: tuple[float, ...], workers: int, is_case_study: bool
) -> list[_Asked]:
    ratios_of = dict.fromkeys(requests, ratios)
    if not ratios:
        seeking: list[_Part] = [(sought, request) for request in ratios_of]
        done = _done(seeking, workers)
        ratios_of = {part[1]: (_found(done, part),) for part in seeking}
    return [_of_one(request, own, is_case_study) for request, own in ratios_of.items()]


def _of_one(request: Request, ratios: tuple[float, ...], is_case_study: bool) -> _Asked:
    names = _policies(request, is_case_study)
    return _Asked(
        request,
        (described, request, names),
        tuple(
            (pruned, request, config)
            for policy in names
            for config in _configs(request, policy, ratios)
        ),
        tuple((accounts, request, policy, ratios[-1]) for policy in _costed(names)),
        tuple((mismatches, request, kind) for kind in (_NAIVE if is_case_study else ())),
    )


_NAIVE = ("residual", "depthwise")
"""Layers that the case study cuts alone."""


def _policies(request: Request, is_case_study: bool) -> tuple[str, ...]:
    """The policies of a network: all, or the one of its own pruner.

    That ``none`` cuts the outputs, too, is the case study's to show.
    """
    if request.pruner:
        return (OWN_PRUNER,)
    shown = [name for name in policies.POLICIES if is_case_study or name != "none"]
    return tuple(dict.fromkeys((*shown, request.policy)))


def _costed(names: Iterable[str]) -> list[str]:
    """The policies whose costs are predicted; cutting the outputs is not a saving."""
    return [policy for policy in names if policy not in ("none", OWN_PRUNER)]


def _done(parts: list[_Part], workers: int) -> _Done:
    """Do every part.

    Raises:
        InputError: a part has no answer, and took no longer than it may.
    """
    cells = [
        Cell(
            " ".join([f"{request.network.name}:", *map(_word, what)]),
            f"{function.__module__}:{function.__name__}",
            (request, *what),
            subject=repr(request.network),
        )
        for function, request, *what in parts
    ]
    ended = run_cells(cells, Local(workers), title="studying")
    return {part: _answer(cell, end) for part, (cell, end) in zip(parts, ended, strict=True)}


def _word(value: Any) -> str:
    """What distinguishes a part of a network from others."""
    is_config = isinstance(value, Config)
    return f"{value.policy} {value.scope} {value.asked}" if is_config else str(value)


def _answer(cell: Cell, end: End | None) -> Any:
    """What a part found, or its end where it took longer than it may.

    Raises:
        InputError: there is neither.
    """
    if end is not None and end.how is None:
        return end.answer
    if end is not None and end.how is How.TIME:
        return end
    told = "it was ended from outside" if end is None else end.why
    raise InputError(told if end and end.how is How.REFUSED else f"{cell.name}: {told}")


def _found(done: _Done, part: _Part, *late: Any) -> Any:
    """What a part found, or this in place of what took longer than it may.

    Raises:
        InputError: there is nothing to take its place.
    """
    found = done[part]
    if not isinstance(found, End):
        return found
    if not late:
        raise InputError(f"{part[1].network.name}: {found.why}; give it a larger budget")
    return late[0]


def _gathered(asked: _Asked, done: _Done) -> SubjectStudy:
    found, _ = _found(done, asked.description)
    residual, depthwise = (
        (_found(done, part, ()) for part in asked.mismatches) if asked.mismatches else ((), ())
    )
    return replace(
        found,
        runs=tuple(_runs(asked, done)),
        residual=residual,
        depthwise=depthwise,
        accounts=tuple(each for part in asked.accounts for each in _found(done, part, ())),
        cured=tuple(_run(asked, done, part) for part in _cures(asked, done)),
    )


def _runs(asked: _Asked, done: _Done) -> Iterator[Run]:
    # What is known of the case study holds of its networks, sizes and seed.
    request = asked.request
    is_known = not request.pruner and request.network in [each.network for each in CASE_STUDY]
    for part in asked.runs:
        run = _run(asked, done, part)
        yield marked(request.network.name, run) if is_known else run


def _run(asked: _Asked, done: _Done, part: _Part) -> Run:
    """A run; of one that hung in native code, what is known without it."""
    found = done[part]
    if not isinstance(found, End):
        run: Run = found
        return run
    dense, saved_bytes = _found(done, asked.description)
    _, request, config = part
    names = names_for(request, config, OF_PRUNING)
    return timed_out(config, found.why, (dense.costs, saved_bytes), names)


def _cures(asked: _Asked, done: _Done) -> Iterator[_Part]:
    """The prunings of the headline that are not right, by groups instead."""
    own = OWN_PRUNER if asked.request.pruner else asked.request.policy
    for run in _runs(asked, done):
        is_told = asked.request.pruner or (run.config.policy, run.config.scope) == (own, SCOPES[0])
        if is_told and run.verification.verdict in CURED:
            yield pruned, asked.request, replace(run.config, cut="groups")


def with_size(request: Request) -> Request:
    """The request with the input size that its network has of itself, where it gives none."""
    network = request.network
    if network.input_size or network.inputs:
        return request
    size = subjects.subject_of(network).input_size
    return replace(request, network=replace(network, input_size=size))


def _configs(request: Request, policy: str, ratios: Iterable[float]) -> list[Config]:
    """What is asked of one network under one policy; a pruner of its own has its own scope."""
    scopes = SCOPES[:1] if request.pruner else SCOPES
    asked = (Config(ratio, scope, policy=policy) for scope in scopes for ratio in ratios)
    return [_config(request, config) for config in asked]


def _config(request: Request, config: Config) -> Config:
    """What is asked; the page is about the one pruning that is held to the request's targets."""
    config = replace(config, fold_bn=request.fold_bn)
    is_told = request.pruner or (config.policy, config.scope) == (request.policy, SCOPES[0])
    return replace(config, targets=request.targets, sought=request.sought) if is_told else config
