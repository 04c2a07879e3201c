"""pytest's door to the catalogue: one test for each check and ratio.

What is expensive, pruning and proof, is done once for all checks of a network at a ratio, also
where several processes share the tests.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from math import inf
from types import MappingProxyType
from typing import Any

import pytest
from torch import nn

from analysis.checks import CATALOGUE, CheckFailedError, named
from analysis.errors import AnalysisError, InputError
from analysis.groups import policies
from analysis.network import subjects
from analysis.network.loading import load_callable
from analysis.pytest_plugin.cases import Case, Pruning
from analysis.records import (
    RATIOS,
    Request,
    Run,
    Thresholds,
    checked_ratios,
)

__all__ = [
    "BoundBaseline",
    "BoundCheck",
    "case_of",
    "parameters",
    "parametrize_with_checks",
]

BUDGET = 120.0
"""Seconds for each ratio; the same as on the command line."""


class _Bound:
    """What a test is given to call.

    Attributes:
        name: of what it looks at.
        pruning: whose.
    """

    def __init__(self, name: str, pruning: Pruning) -> None:
        self.name = name
        self.pruning = pruning

    def __repr__(self) -> str:
        return f"{self.subject}-{self.ratio:g}-{self.name}"

    @property
    def subject(self) -> str:
        """The network's name."""
        return self.pruning.subject

    @property
    def ratio(self) -> float:
        """The pruning ratio."""
        return self.pruning.ratio

    @property
    def run(self) -> Run:
        """The pruning that the check looks at, shared by all checks of this network and ratio.

        Raises:
            pytest.fail.Exception: the network, its inputs or the pruner cannot be used.
        """
        __tracebackhide__ = True
        with suppress(AnalysisError):
            return self.pruning.run
        pytest.fail(self.pruning.refused, pytrace=False)


class BoundCheck(_Bound):
    """One check of the catalogue on one pruning: call it in a test.

    Attributes:
        expected: why it is expected to fail; empty if it is not.
    """

    def __init__(self, name: str, pruning: Pruning, expected: str = "") -> None:
        super().__init__(name, pruning)
        self.expected = expected

    def __call__(self) -> None:
        """Pass, fail with the reason, or skip with the reason.

        Raises:
            CheckFailedError: the property does not hold.
            pytest.fail.Exception: the network, its inputs or the pruner cannot be used.
        """
        __tracebackhide__ = True
        result = next(result for result in self.run.checks if result.name == self.name)
        if result.skipped:
            pytest.skip(result.skipped)
        if self.expected and result.passed:
            pytest.fail(
                f"{self.name} passes, though expected to fail ({self.expected}); take it out of "
                "expected_failures",
                pytrace=False,
            )
        if self.expected:
            pytest.xfail(self.expected)
        if not result.passed:
            raise CheckFailedError(result.message)


class BoundBaseline(_Bound):
    """One pruning held to the accepted numbers: call it in a test.

    Attributes:
        baseline: what it is held to; the plugin sets it where a session checks or updates one.
    """

    def __init__(self, pruning: Pruning) -> None:
        super().__init__("held_to_baseline", pruning)
        self.baseline: Any = None

    def __call__(self) -> None:
        """Pass, or fail with what differs.

        Raises:
            AssertionError: a value is worse, better or not in the file.
            pytest.fail.Exception: the network, its inputs or the pruner cannot be used.
        """
        __tracebackhide__ = True
        if self.baseline is None:
            pytest.skip("no baseline is checked or updated")
        self.baseline.check(self.subject, self.run)


def parametrize_with_checks(
    factory: str | Callable[[], nn.Module],
    *,
    input_size: tuple[int, ...] | None = None,
    inputs: Any = None,
    ratios: Iterable[float] = RATIOS,
    ignore: str | Callable[[nn.Module], Iterable[Any]] = "classifier",
    scope: str = "global",
    importance: str = "l1",
    round_to: int | None = None,
    pruner: Any = None,
    expected_failures: Mapping[str, str] = MappingProxyType({}),
    weights: str = "random",
    seed: int = 0,
    device: str = "cpu",
    thresholds: Thresholds | None = None,
    budget: float | None = BUDGET,
) -> Any:
    """Decorate a test that takes ``check`` and calls it: one test for each check and ratio.

    With ``--check-baseline`` or ``--update-baseline`` there is one more for each ratio, which holds
    its numbers to those that were accepted.

    Args:
        factory: builds the network, without arguments; or a torchvision name,
            ``package.module:factory`` or ``path/to/file.py:factory``.
        input_size: channels, height, width of one input; None is 3, 224, 224.
        inputs: what forward takes (a tensor, a tuple, a dict), or a function without arguments
            that returns it; None is a standard normal image.
        ratios: in [0, 1).
        ignore: a name of `analysis.groups.policies.POLICIES`, a function of the model that returns the
            layers to ignore, or ``package.module:function``.
        scope: ``global`` or ``local``.
        importance: ``l1`` or ``l2``.
        round_to: keep channel counts a multiple of this.
        pruner: the user's own, a function of (model, inputs, ratio), or
            ``package.module:function``; see `analysis.pipeline.PrunerFactory`.
        expected_failures: by check (``"no_group_dropped"``), or by ratio and check
            (``"0.8-no_group_dropped"``), the reason why it fails. One that passes all the same
            fails the test, and so does one that is of no test.
        weights: ``random``, ``default`` (torchvision's own) or the path of a state dict.
        seed: of random weights and inputs, and of what a pruner or its training draws.
        device: where the network runs.
        thresholds: where the checks on asked against done draw the line.
        budget: seconds for each ratio, its pruning, proof and checks; None is no limit.

    Raises:
        pytest.Collector.CollectError: an argument cannot be used; says which and why.
    """
    try:
        case = case_of(
            factory,
            input_size=input_size,
            inputs=inputs,
            ratios=ratios,
            ignore=ignore,
            scope=scope,
            importance=importance,
            round_to=round_to,
            pruner=pruner,
            weights=weights,
            seed=seed,
            device=device,
            thresholds=thresholds,
            budget=budget,
        )
        prunings = [Pruning(case, ratio) for ratio in case.ratios]
        return pytest.mark.parametrize("check", parameters(prunings, expected_failures))
    except InputError as error:
        raise pytest.Collector.CollectError(f"parametrize_with_checks: {error}") from error


def case_of(
    factory: str | Callable[[], nn.Module],
    *,
    ratios: Iterable[float],
    ignore: str | Callable[[nn.Module], Iterable[Any]],
    inputs: Any = None,
    pruner: Any = None,
    input_size: tuple[int, ...] | None = None,
    weights: str = "random",
    seed: int = 0,
    device: str = "cpu",
    thresholds: Thresholds | None = None,
    **options: Any,
) -> Case:
    """The case that these arguments of `parametrize_with_checks` describe.

    Raises:
        InputError: one of them cannot be used, as far as that can be said without the network.
    """
    thresholds = thresholds or Thresholds()
    _check_options(
        input_size=input_size,
        weights=weights,
        seed=seed,
        device=device,
        thresholds=thresholds,
        budget=options.get("budget"),
    )
    subject = _subject(factory)
    label = ignore if isinstance(ignore, str) else _name_of(ignore)
    case = Case(
        subject=subject,
        request=Request(
            subject.name,
            tuple(input_size) if input_size else None,
            weights,
            seed,
            policy=label,
            device=device,
        ),
        ratios=tuple(dict.fromkeys(checked_ratios(ratios))),
        inputs=load_callable(inputs, "inputs") if isinstance(inputs, str) else inputs,
        policy=policies.resolve(ignore) if isinstance(ignore, str) else ignore,
        pruner=load_callable(pruner, "pruner") if isinstance(pruner, str) else pruner,
        thresholds=thresholds,
        **options,
    )
    for what, given in (("ignore", case.policy), ("pruner", case.pruner)):
        if not (given is None or isinstance(given, str) or callable(given)):
            raise InputError(f"{what} is a {type(given).__name__}; expected a function")
    for ratio in case.ratios:
        case.config(ratio)
    return case


_EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "input_size": (
        lambda size: (
            size is None
            or (isinstance(size, tuple | list) and bool(size) and all(map(_is_count, size)))
        ),
        "a tuple of whole numbers, such as (3, 32, 32)",
    ),
    "weights": (
        lambda weights: isinstance(weights, str),
        "random, default or the path of a state dict",
    ),
    "seed": (
        lambda seed: seed == 0 or _is_count(seed),
        "a whole number from 0 to 2**63 - 1",
    ),
    "device": (lambda device: isinstance(device, str), "a name, such as cpu or cuda"),
    "thresholds": (lambda given: isinstance(given, Thresholds), "analysis.records.Thresholds"),
    "budget": (
        lambda budget: budget is None or (isinstance(budget, int | float) and 0 < budget < inf),
        "a positive number of seconds, or None",
    ),
}
"""Of an argument: whether it can be used, and what is expected."""


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 < number < 2**63


def _check_options(**given: Any) -> None:
    """Refuse what would be an error deep inside.

    Raises:
        InputError: names the argument, its value and what is expected.
    """
    for name, value in given.items():
        fits, expected = _EXPECTED[name]
        if not fits(value):
            raise InputError(f"{name} {value!r}; expected {expected}")


def _subject(factory: str | Callable[[], nn.Module]) -> subjects.Subject:
    if isinstance(factory, str):
        return subjects.resolve(factory)
    if isinstance(factory, nn.Module) or not callable(factory):
        raise InputError(
            f"the factory is a {type(factory).__name__}; expected a function without arguments "
            "that builds the network, or its name"
        )
    return subjects.Subject(_name_of(factory), factory)


def _name_of(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def parameters(
    prunings: Collection[Pruning], expected_failures: Mapping[str, str] = MappingProxyType({})
) -> list[Any]:
    """Every check of every pruning, and its numbers, as pytest's parameters with readable ids.

    Raises:
        InputError: an expected failure has no reason, or is of no check and ratio.
    """
    reasons = _reasons([pruning.ratio for pruning in prunings], expected_failures)
    return [
        pytest.param(bound, id=repr(bound))
        for pruning in prunings
        for bound in (
            *(
                BoundCheck(name, pruning, reasons.get((pruning.ratio, name), ""))
                for name in CATALOGUE
            ),
            BoundBaseline(pruning),
        )
    ]


def _reasons(
    ratios: Collection[float], expected: Mapping[str, str]
) -> dict[tuple[float, str], str]:
    """Why checks are expected to fail, by ratio and check."""
    if not isinstance(expected, Mapping):
        raise InputError(
            f"expected_failures is a {type(expected).__name__}; expected a dict of reasons by check"
        )
    found: dict[tuple[float, str], str] = {}
    for entry, reason in expected.items():
        if not isinstance(reason, str) or not reason.strip():
            raise InputError(
                f"expected_failures: {entry!r} has no reason; say in a few words why it fails"
            )
        of_ratio, dash, check = str(entry).rpartition("-")
        named([check])
        fitting = [ratio for ratio in ratios if not dash or f"{ratio:g}" == of_ratio]
        if not fitting:
            raise InputError(
                f"expected_failures: {entry!r} is of no test; the ratios are "
                f"{', '.join(f'{ratio:g}' for ratio in ratios)}; an entry is CHECK or RATIO-CHECK"
            )
        found |= {(ratio, check): reason for ratio in fitting}
    return found
