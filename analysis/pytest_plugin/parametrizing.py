"""The decorator `parametrize_with_checks`: one test for each check and ratio.

A network is pruned and proved once at each ratio for all checks, even if several processes share
the tests.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import pytest
from torch import nn

from analysis.checks import CATALOGUE, CheckFailedError, named
from analysis.environment import OWN
from analysis.errors import AnalysisError, InputError, an
from analysis.opened import resolved
from analysis.pytest_plugin.prunings import Pruning
from analysis.records import (
    BUDGET,
    CURED,
    RATIOS,
    Network,
    Request,
    Run,
    Thresholds,
    checked_ratios,
    usual_ratios,
)

__all__ = [
    "BoundBaseline",
    "BoundCheck",
    "parameters",
    "parametrize_with_checks",
]


class _Bound:
    """The base of the callables that tests get.

    Attributes:
        name: of the check or the baseline.
        pruning: the pruning that it judges.
    """

    def __init__(self, name: str, pruning: Pruning) -> None:
        self.name = name
        self.pruning = pruning

    def __repr__(self) -> str:
        return f"{self.subject}-{self.pruning.config.asked}-{self.name}"

    @property
    def subject(self) -> str:
        """The network's name."""
        return self.pruning.subject

    @property
    def ratio(self) -> float:
        """The pruning ratio; where targets say how far, it is known of the run."""
        return self.pruning.config.ratio

    @property
    def run(self) -> Run:
        """The pruning, shared by all checks of this network and ratio.

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
            raise CheckFailedError(result.message + _way_out(self.run))


def _way_out(run: Run) -> str:
    """What leads from a pruning that is not right to one that is."""
    if run.verification.verdict not in CURED:
        return ""
    asked, option = run.config.asked, "target" if run.config.sought else "ratios"
    argument = f"targets={asked!r}" if run.config.sought else asked
    return (
        f"\nprune by groups instead: analysis.prune(model, example_inputs, {argument}), or "
        f"`{OWN} prune MODEL --{option} {asked}`"
    )


class BoundBaseline(_Bound):
    """One pruning compared with the accepted numbers: call it in a test.

    Attributes:
        baseline: the accepted numbers; the plugin sets it if the session checks or updates them.
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
    outputs: Iterable[str] = (),
    ratios: Iterable[float] = RATIOS,
    widths: Mapping[str, int] = MappingProxyType({}),
    ignore: Any = "classifier",
    scope: str = "global",
    importance: str = "l1",
    round_to: int | None = None,
    max_pruning_ratio: float = 1.0,
    targets: Any = (),
    fold_bn: bool = False,
    pruner: Any = None,
    evaluate: Any = None,
    finetune: Any = None,
    lower_is_better: Iterable[str] = (),
    expected_failures: Mapping[str, str] = MappingProxyType({}),
    weights: str = "random",
    seed: int = 0,
    device: str = "cpu",
    thresholds: Thresholds | None = None,
    budget: float | None = BUDGET,
) -> Any:
    """Decorate a test that takes ``check`` and calls it: one test for each check and ratio.

    With ``--check-baseline`` or ``--update-baseline`` there is one more test for each ratio, which
    compares its numbers with the accepted ones.

    Args:
        factory: builds the network, without arguments; or a torchvision name,
            ``package.module:factory`` or ``path/to/file.py:factory``.
        input_size: channels, height, width of one input; None is 3, 224, 224.
        inputs: what forward takes (a tensor, a tuple, a dict), or a function without arguments
            that returns it; None is a standard normal image.
        outputs: the outputs to compare, see `analysis.verify`; empty is all.
        ratios: in [0, 1).
        widths: how many channels are left, by layer or group, pruned by groups; one run if no
            ratios are given.
        ignore: layers that keep their output channels: a policy's name, a list of layers or of
            their names, a function of the model that returns one, or ``package.module:function``.
        scope: ``global`` or ``local``.
        importance: ``l1`` or ``l2``.
        round_to: keep channel counts a multiple of this.
        max_pruning_ratio: the cap handed to the pruner, in (0, 1].
        targets: what is to be left at most, as ``{"macs": 0.45}``, see `analysis.ratio_for`; where
            no ratios are given, one run at the smallest that meets them.
        fold_bn: leave out what a device folds of batch norms, of MACs and parameters.
        pruner: the user's own, a function of (model, inputs, ratio), or
            ``package.module:function``; see `analysis.pruning.pruners.PrunerFactory`.
        evaluate: a function of the model that returns a number or a dict of numbers, where more is
            better, or its reference; it is held to ``metric_loss`` of the thresholds.
        finetune: a function that trains the pruned network in place before it is measured again.
        lower_is_better: names of metrics of which less is better.
        expected_failures: by check (``"no_group_dropped"``), or by ratio and check
            (``"0.8-no_group_dropped"``), the reason why it fails. An entry that passes fails the
            test, and so does one that names no test.
        weights: ``random``, ``default`` (torchvision's own) or the path of a state dict.
        seed: of random weights and inputs, and of random numbers of a pruner or its training.
        device: where the network runs.
        thresholds: the limits of the checks on requested and removed channels.
        budget: seconds for each ratio, its pruning, proof and checks; None is no limit.

    Raises:
        pytest.Collector.CollectError: an argument cannot be used; says which and why.
    """
    try:
        request = Request(
            Network(
                _name_of(factory),
                tuple(input_size) if isinstance(input_size, list) else input_size,
                weights,
                seed,
                _as_function(inputs),
                device,
                _builder(factory),
                outputs if isinstance(outputs, str) else tuple(outputs),  # type: ignore[arg-type]
            ),
            ratios=usual_ratios(widths, targets) if ratios is RATIOS else checked_ratios(ratios),
            widths=widths,
            targets=targets,
            fold_bn=fold_bn,
            ignore=ignore,
            scope=scope,
            importance=importance,
            round_to=round_to,
            max_pruning_ratio=max_pruning_ratio,
            pruner=pruner,
            evaluate=evaluate,
            finetune=finetune,
            lower_is_better=tuple(lower_is_better),
            thresholds=Thresholds() if thresholds is None else thresholds,
            budget=budget,
        )
        request = resolved(request)
        prunings = [Pruning(request, config) for config in request.configs]
        return pytest.mark.parametrize("check", parameters(prunings, expected_failures))
    except InputError as error:
        raise pytest.Collector.CollectError(f"parametrize_with_checks: {error}") from error


def _name_of(factory: Any) -> str:
    return (
        factory
        if isinstance(factory, str)
        else str(getattr(factory, "__name__", type(factory).__name__))
    )


def _builder(factory: Any) -> Callable[[], Any] | None:
    """The function that builds the network; None if it is given by name."""
    if isinstance(factory, str):
        return None
    if isinstance(factory, nn.Module) or not callable(factory):
        raise InputError(
            f"the factory is {an(type(factory).__name__)}; expected a function without arguments "
            "that builds the network, or its name"
        )
    return factory


def _as_function(inputs: Any) -> Any:
    """Given inputs as a function that returns them."""
    return (
        inputs if inputs is None or isinstance(inputs, str) or callable(inputs) else lambda: inputs
    )


def parameters(
    prunings: Collection[Pruning], expected_failures: Mapping[str, str] = MappingProxyType({})
) -> list[Any]:
    """Every check of every pruning, and its numbers, as pytest's parameters with readable ids.

    Raises:
        InputError: an expected failure has no reason, or names no check and ratio.
    """
    reasons = _reasons([pruning.config.asked for pruning in prunings], expected_failures)
    return [
        pytest.param(bound, id=repr(bound))
        for pruning in prunings
        for bound in (
            *(
                BoundCheck(name, pruning, reasons.get((pruning.config.asked, name), ""))
                for name in CATALOGUE
            ),
            BoundBaseline(pruning),
        )
    ]


def _reasons(all_asked: Collection[str], expected: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Why checks are expected to fail, by ratio, or targets, and check."""
    if not isinstance(expected, Mapping):
        raise InputError(
            f"expected_failures is {an(type(expected).__name__)}; expected a dict of reasons by "
            "check"
        )
    found: dict[tuple[str, str], str] = {}
    for entry, reason in expected.items():
        if not isinstance(reason, str) or not reason.strip():
            raise InputError(
                f"expected_failures: {entry!r} has no reason; say in a few words why it fails"
            )
        of, dash, check = str(entry).rpartition("-")
        named([check])
        fitting = [asked for asked in all_asked if not dash or asked == of]
        if not fitting:
            raise InputError(
                f"expected_failures: {entry!r} is of no test; the ratios are "
                f"{', '.join(all_asked)}; an entry is CHECK or RATIO-CHECK"
            )
        found |= {(asked, check): reason for asked in fitting}
    return found
