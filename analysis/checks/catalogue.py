"""The catalogue of checks, by name.

Each check is a function of one `analysis.pipeline.Outcome`. It returns if the property holds,
raises `CheckFailedError` with the reason if it does not, and `CheckSkippedError` if it cannot be
checked. Pytest, the command line and Python run the same checks. A check judges the evidence of the
outcome, so that the catalogue can be listed without torch.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from analysis.checks import channels, round_trips, structure, targets, weights
from analysis.checks.outcomes import CheckFailedError, CheckSkippedError
from analysis.environment import ONNX_TORCH, too_old
from analysis.errors import InputError, did_you_mean
from analysis.processes import budgets
from analysis.records import MEETS_TARGET, METRICS_HELD, CheckResult, Config, Request, Verdict

if TYPE_CHECKING:
    from analysis.pipeline import Outcome

__all__ = ["CATALOGUE", "OF_PRUNING", "SHIPPED", "Check", "evaluate", "named", "names_for"]


@dataclass(frozen=True)
class Check:
    """A check, and what it needs.

    Attributes:
        run: the function; it takes an `analysis.pipeline.Outcome`.
        of_pruning: whether it is about the pruning itself, and not about its use.
        modules: modules that it needs beyond the package's own dependencies.
        torch: the oldest torch that it runs with; empty for any.
        needs: other requirements, in words.
    """

    run: Callable[["Outcome"], None]
    of_pruning: bool = True
    modules: tuple[str, ...] = ()
    torch: str = ""
    needs: str = ""

    @property
    def name(self) -> str:
        """Its name in reports and test ids."""
        return self.run.__name__.removeprefix("check_")

    @property
    def meaning(self) -> str:
        """Its meaning in one line."""
        return (self.run.__doc__ or "").partition("\n")[0]

    @property
    def missing(self) -> str:
        """What is missing or too old, and what to install; empty if nothing is."""
        if self.torch and (old := too_old("torch", self.torch)):
            return old
        absent = [module for module in self.modules if find_spec(module) is None]
        return f"needs {', '.join(absent)}: pip install {' '.join(absent)}" if absent else ""


CATALOGUE: dict[str, Check] = {
    check.name: check
    for check in (
        Check(structure.check_something_removed),
        Check(structure.check_forward_runs),
        Check(structure.check_output_shape_stays),
        Check(structure.check_ignored_layers_keep_outputs),
        Check(structure.check_ties_kept),
        Check(channels.check_ratio_met),
        Check(channels.check_heads_as_asked),
        Check(channels.check_no_group_dropped),
        Check(channels.check_nothing_collapsed),
        Check(channels.check_cap_held),
        Check(channels.check_channels_divisible),
        Check(
            weights.check_kept_weights_are_originals,
            needs="weights that are not trained in between",
        ),
        Check(weights.check_gradients_reach_parameters),
        Check(channels.check_removed_as_ranked, needs="an importance of the package's own"),
        Check(weights.check_equivalent_to_masked),
        Check(targets.check_meets_target, of_pruning=False, needs="a target"),
        Check(targets.check_metrics_held, of_pruning=False, needs="a metric and its tolerance"),
        Check(structure.check_structure_lines_up, of_pruning=False),
        Check(structure.check_everything_exercised, of_pruning=False),
        Check(
            round_trips.check_survives_state_dict, of_pruning=False, needs="a pruner with a history"
        ),
        Check(round_trips.check_survives_pickling, of_pruning=False),
        Check(round_trips.check_survives_export, of_pruning=False),
        Check(
            round_trips.check_survives_onnx,
            of_pruning=False,
            modules=("onnx", "onnxscript", "onnxruntime"),
            torch=ONNX_TORCH,
            needs=f"the extra onnx, torch {ONNX_TORCH}",
        ),
        Check(round_trips.check_survives_gpu, of_pruning=False, needs="a CUDA device"),
    )
}
"""Every check by name; the first line of each function's docstring is its meaning."""

OF_PRUNING = tuple(name for name, check in CATALOGUE.items() if check.of_pruning)
"""The names of the checks about the pruning itself, which take little time."""


SHIPPED = (
    "forward_runs",
    "output_shape_stays",
    "ties_kept",
    "nothing_collapsed",
    "gradients_reach_parameters",
    "equivalent_to_masked",
    "survives_state_dict",
    "survives_pickling",
    "survives_export",
)
"""The checks of what ships that take no more than the package's own dependencies."""


def named(names: Iterable[str]) -> tuple[str, ...]:
    """The names, if all of them are of the catalogue.

    Raises:
        InputError: one is not, or there is none.
    """
    names = tuple(names)
    for name in names:
        if name not in CATALOGUE:
            hint = did_you_mean(name, CATALOGUE, f"expected {', '.join(CATALOGUE)}")
            raise InputError(f"unknown check {name!r}; {hint}")
    if not names:
        raise InputError("no check was named; expected names of the catalogue, or all")
    return names


def names_for(request: Request, config: Config, names: Iterable[str]) -> tuple[str, ...]:
    """The checks that a pruning is held to: these, and what is asked of costs and metrics."""
    added = [MEETS_TARGET] if config.targets else []
    added += [METRICS_HELD] if request.thresholds.metric_loss is not None else []
    return tuple(dict.fromkeys((*names, *added)))


def evaluate(outcome: "Outcome", names: Iterable[str] = OF_PRUNING) -> tuple[CheckResult, ...]:
    """Run these checks of the catalogue on one outcome."""
    return tuple(_result(name, CATALOGUE[name], outcome) for name in names)


def _result(name: str, check: Check, outcome: "Outcome") -> CheckResult:
    if check.missing:
        return CheckResult(name, True, skipped=check.missing)
    verification = outcome.run.verification
    if verification.verdict in (Verdict.UNPRUNABLE, Verdict.TIMEOUT):
        # A half-cut network says nothing about the cause.
        return CheckResult(name, False, f"{verification.verdict}: {verification.reason}")
    try:
        # Warnings of third parties are not checked, and are no errors under -W error.
        with budgets.step(f"checking {name}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check.run(outcome)
    except CheckFailedError as failure:
        return CheckResult(name, False, str(failure))
    except CheckSkippedError as skip:
        return CheckResult(name, True, skipped=str(skip))
    return CheckResult(name, True)
