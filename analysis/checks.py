"""The catalogue of properties that a sound pruning has.

Each is a plain function of one `analysis.pipeline.Outcome` that returns when the property holds,
raises `CheckFailedError` with the reason when it does not, and `CheckSkippedError` where it cannot
be looked at. Pytest, the command line and Python run the same ones.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeVar

import torch
from torch import nn

from analysis.errors import InputError, did_you_mean
from analysis.network.inference import (
    copy_of,
    forward,
    locate_failure,
    map_tensors,
    one_line,
    output_tensors,
)
from analysis.pipeline import Outcome
from analysis.processes import budgets
from analysis.proof import comparing, round_trips
from analysis.pruning import surgery
from analysis.pruning.importances import group_importances
from analysis.records import OWN_PRUNER, CheckResult, PlannedGroup, Reason, Verdict

__all__ = [
    "CATALOGUE",
    "OF_PRUNING",
    "Check",
    "CheckFailedError",
    "CheckSkippedError",
    "evaluate",
    "named",
]

_FLOAT32_RESOLUTION = 1e-5
"""torch-pruning ranks in float32; scores closer than this, relatively, may change places."""


_ROUNDING = 1e-9
"""Channels; a cap times a width is rarely a whole number of them in binary."""

_NAMED = 8
"""Groups that a message names before it only counts."""


class CheckFailedError(AssertionError):
    """A property does not hold; the message says where and by how much."""


class CheckSkippedError(Exception):
    """A property cannot be looked at here; the message says why."""


def check_something_removed(outcome: Outcome) -> None:
    """Channels went, if any were asked to go."""
    is_unchanged = outcome.run.verification.verdict is Verdict.UNCHANGED
    if is_unchanged or (outcome.run.config.ratio and not outcome.removals):
        raise CheckFailedError(outcome.run.verification.reason)


def check_forward_runs(outcome: Outcome) -> None:
    """The pruned network runs on the example inputs."""
    failure = locate_failure(outcome.pruned, outcome.dense.inputs)
    if failure is not None:
        raise CheckFailedError(str(failure))


def check_output_shape_stays(outcome: Outcome) -> None:
    """The pruned network's outputs have the dense network's shapes."""
    check_forward_runs(outcome)
    before, after = (
        [tuple(tensor.shape) for tensor in _outputs(model, outcome)]
        for model in (outcome.dense.model, outcome.pruned)
    )
    if before != after:
        raise CheckFailedError(f"output shapes {before} became {after}")


def check_ignored_layers_keep_outputs(outcome: Outcome) -> None:
    """No output channel of an ignored layer went."""
    lost = {
        cut.layer: len(cut.removed)
        for removal in outcome.removals
        for cut in removal.cuts
        if cut.axis == "out" and cut.layer in outcome.ignored
    }
    modules = dict(outcome.pruned.named_modules())
    for name, module in outcome.dense.model.named_modules():
        if name in outcome.ignored and _width(modules[name]) != _width(module):
            lost.setdefault(name, abs((_width(module) or 0) - (_width(modules[name]) or 0)))
    if lost:
        raise CheckFailedError(
            "ignored layers lost output channels: "
            + ", ".join(f"`{layer}` {count}" for layer, count in sorted(lost.items()))
        )


def check_ratio_met(outcome: Outcome) -> None:
    """Every group that was cut lost as many channels as asked, within `ratio_tolerance`.

    Groups that lost none of what was asked are judged by `no_group_dropped`.
    """
    given = outcome.thresholds.ratio_tolerance
    fewer = 1 if given is None else given
    # Rounding only takes more: up to one channel less than a whole multiple.
    more = max(1, (outcome.run.config.round_to or 1) - 1) if given is None else given
    missed = [
        f"`{group.root}` asked {group.requested} of {group.width}, removed {group.removed} "
        f"({group.reason})"
        for group in outcome.run.verification.groups
        if group.requested is not None
        and not group.is_dropped
        and not -more <= group.requested - group.removed <= fewer
    ]
    if missed:
        channels = outcome.run.channels
        raise CheckFailedError(
            f"{channels.requested} channels were asked and {channels.removed} removed; "
            f"{_of(missed, outcome)} miss by more than {fewer} fewer or {more} more: "
            f"{_some(missed)}"
        )


def check_no_group_dropped(outcome: Outcome) -> None:
    """No more than `max_dropped` groups were asked for channels and lost none."""
    dropped = [
        f"`{group.root}` asked {group.requested} of {group.width} ({group.reason})"
        for group in outcome.run.verification.groups
        if group.is_dropped
    ]
    most = outcome.thresholds.max_dropped
    if len(dropped) > most:
        raise CheckFailedError(
            f"{_of(dropped, outcome)} lost nothing of what was asked, at most {most} may: "
            f"{_some(dropped)}"
        )


def check_nothing_collapsed(outcome: Outcome) -> None:
    """Every pruned group has `min_channels` left, and lost no greater share than `max_lost`."""
    fewest, most = outcome.thresholds.min_channels, outcome.thresholds.max_lost
    collapsed = [
        f"`{group.root}` keeps {group.left} of {group.width}"
        for group in outcome.run.verification.groups
        if group.removed and (group.left < fewest or group.removed / group.width > most)
    ]
    if collapsed:
        raise CheckFailedError(
            f"{_of(collapsed, outcome)} have fewer than {fewest} channels left or lost more than "
            f"{most:.0%}: {_some(collapsed)}"
        )


def check_cap_held(outcome: Outcome) -> None:
    """After the cut, no group has lost a greater share than `max_pruning_ratio`.

    torch-pruning tests its cap before a cut, so that a cut may go beyond it.
    """
    cap = outcome.run.config.max_pruning_ratio
    beyond = [
        f"`{group.root}` lost {group.removed} of {group.width}"
        for group in outcome.run.verification.groups
        if group.removed > cap * group.width + _ROUNDING
    ]
    if beyond:
        raise CheckFailedError(
            f"{_of(beyond, outcome)} lost more than the cap of {cap:g} allows: {_some(beyond)}"
        )


def check_channels_divisible(outcome: Outcome) -> None:
    """Every group that was asked for channels has a multiple of `round_to` left."""
    multiple = outcome.run.config.round_to or 1
    uneven = [
        f"`{group.root}` keeps {group.left} of {group.width} ({group.reason})"
        for group in outcome.run.verification.groups
        if (group.requested or group.removed) and group.left % multiple
    ]
    if uneven:
        raise CheckFailedError(
            f"{_of(uneven, outcome)} do not keep a multiple of {multiple}: {_some(uneven)}"
        )


def check_kept_weights_are_originals(outcome: Outcome) -> None:
    """Every surviving parameter and buffer is the dense network's, bit for bit."""
    if outcome.trained:
        raise CheckSkippedError(
            "the network was trained between the steps; each step's weights were compared with "
            "those before it, by equivalent_to_masked"
        )
    if outcome.run.verification.verdict in (Verdict.UNPRUNABLE, Verdict.TIMEOUT):
        raise CheckFailedError(outcome.run.verification.reason)
    cuts = surgery.merge_cuts(outcome.removals)
    changed = list(comparing.changed_tensors(outcome.dense.model, outcome.pruned, cuts))
    if changed:
        raise CheckFailedError(f"{len(changed)} tensors changed: {', '.join(changed[:5])}")


def check_gradients_reach_parameters(outcome: Outcome) -> None:
    """Every parameter that a gradient reached before pruning is reached after it."""
    check_forward_runs(outcome)
    starved = _reached(outcome.dense.model, outcome) - _reached(outcome.pruned, outcome)
    if starved:
        names = ", ".join(sorted(starved)[:5])
        raise CheckFailedError(f"no gradient reaches {len(starved)} parameters: {names}")


def check_removed_as_ranked(outcome: Outcome) -> None:
    """The removed channels are those that rank below the threshold, by a recomputed importance."""
    if outcome.planned is None:
        is_own = outcome.run.config.policy == OWN_PRUNER
        raise CheckSkippedError(
            "how the user's own pruner ranks is not recomputed"
            if is_own
            else outcome.run.verification.requested_unknown or "the network could not be traced"
        )
    if outcome.run.verification.verdict in (Verdict.UNPRUNABLE, Verdict.TIMEOUT):
        raise CheckFailedError(outcome.run.verification.reason)
    scores = group_importances(
        outcome.dense.model, outcome.dense.groups, outcome.run.config.importance
    )
    removed = {removal.root: set(removal.removed) for removal in outcome.removals}
    for planned in outcome.planned:
        if planned.reason is Reason.UNTRACED:
            continue
        differing = set(planned.expected) ^ removed.get(planned.root, set())
        pool = outcome.planned if outcome.run.config.scope == "global" else (planned,)
        if differing and not _within_resolution(differing, scores[planned.root], pool, scores):
            raise CheckFailedError(
                f"group `{planned.root}` lost {len(removed.get(planned.root, ()))} channels; "
                f"{len(planned.expected)} rank below the threshold; {len(differing)} differ, "
                f"e.g. channel {min(differing)}"
            )


def check_equivalent_to_masked(outcome: Outcome) -> None:
    """The pruned network equals the masked dense network, in float64."""
    verification = outcome.run.verification
    if not verification.verdict.passes:
        raise CheckFailedError(f"{verification.verdict}: {verification.reason}")


def _of(entries: list[str], outcome: Outcome) -> str:
    return f"{len(entries)} of {len(outcome.run.verification.groups)} groups"


def _some(entries: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(entries) - _NAMED
    return "; ".join(entries[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _within_resolution(
    differing: set[int],
    own: torch.Tensor,
    pool: tuple[PlannedGroup, ...],
    scores: dict[str, torch.Tensor],
) -> bool:
    """Whether float32 cannot tell the differing channels from the scope's threshold."""
    asked = [scores[group.root][list(group.requested)] for group in pool if group.requested]
    if not asked:
        return False
    threshold = float(torch.cat(asked).max())
    return bool(((own[list(differing)] - threshold).abs() <= _FLOAT32_RESOLUTION * threshold).all())


def _outputs(model: nn.Module, outcome: Outcome) -> list[torch.Tensor]:
    with torch.no_grad():
        return output_tensors(forward(model, outcome.dense.inputs))


def _width(module: nn.Module) -> int | None:
    """Output channels as the module itself states them."""
    for attribute in ("out_channels", "out_features", "num_features"):
        if hasattr(module, attribute):
            return int(getattr(module, attribute))
    return None


def _reached(model: nn.Module, outcome: Outcome) -> set[str]:
    """Names of the parameters that get a finite gradient; a dead rectifier's zeros count."""
    trained = copy_of(model).requires_grad_(True)
    with torch.enable_grad():
        outputs = output_tensors(forward(trained, outcome.dense.inputs))
        # A plain sum of outputs may have a gradient of zero (after a softmax).
        sum(tensor.square().sum() for tensor in outputs).backward()  # type: ignore[union-attr]
    return {
        name
        for name, parameter in trained.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.isfinite().all())
    }


Made = TypeVar("Made")


def check_survives_state_dict(outcome: Outcome) -> None:
    """Saved weights, loaded into a dense network pruned by the same history, are the network."""
    check_forward_runs(outcome)
    if outcome.rebuild is None:
        raise CheckSkippedError("the pruner keeps no history from which to rebuild the structure")
    rebuilt = copy_of(outcome.dense.model)

    def reload(pruned: nn.Module) -> nn.Module:
        assert outcome.rebuild is not None
        outcome.rebuild(rebuilt)
        return round_trips.reloaded(pruned, rebuilt)

    def reload_dense(dense: nn.Module) -> nn.Module:
        return round_trips.reloaded(dense, copy_of(dense))

    loaded = _made(outcome, reload, "loading the saved weights", reload_dense)
    _comes_back(outcome, loaded)


def check_survives_pickling(outcome: Outcome) -> None:
    """A file of the whole module gives the network back."""
    check_forward_runs(outcome)
    loaded = _made(outcome, round_trips.pickled, "saving the whole module")
    _comes_back(outcome, loaded)


def _comes_back(outcome: Outcome, loaded: nn.Module) -> None:
    departure = round_trips.departure(outcome.pruned, loaded, outcome.dense.inputs)
    _judge(departure, "the network that came back")


def check_survives_export(outcome: Outcome) -> None:
    """What torch.export makes of the network, saved and loaded, computes the same."""
    _exports(outcome, round_trips.exported, "torch.export")


def check_survives_onnx(outcome: Outcome) -> None:
    """The network's ONNX file, run by onnxruntime, computes the same."""
    _exports(outcome, round_trips.onnx, "ONNX")


def _exports(outcome: Outcome, export: Callable[..., round_trips.Shipped], what: str) -> None:
    """Compare what an exporter makes; where it departs, look at the dense network's as well."""
    check_forward_runs(outcome)
    inputs = outcome.dense.inputs

    def departure(model: nn.Module) -> str:
        network, fed = round_trips.in_single(model, inputs)
        return round_trips.shipped_departure(network, export(copy_of(network), fed), fed)

    found = _made(outcome, departure, what)
    if found and departure(copy_of(outcome.dense.model)):
        found += "; so does that of the dense network"
    _judge(found, "the exported network")


def check_survives_gpu(outcome: Outcome) -> None:
    """The network, moved to a GPU, computes what it does on the CPU."""
    if not torch.cuda.is_available():
        raise CheckSkippedError("there is no CUDA device here")
    check_forward_runs(outcome)
    on_cpu, on_gpu = (copy_of(outcome.pruned).to(device) for device in ("cpu", "cuda"))
    inputs = map_tensors(outcome.dense.inputs, lambda tensor: tensor.cpu())
    departure = round_trips.departure(on_cpu, on_gpu, inputs, device="cuda")
    _judge(departure, "the network on the GPU")


def _made(
    outcome: Outcome,
    make: Callable[[nn.Module], Made],
    what: str,
    of_dense: Callable[[nn.Module], Made] | None = None,
) -> Made:
    """What becomes of the pruned network; ``of_dense`` does the same to the dense one.

    Raises:
        CheckFailedError: it raised, and does not for the dense network.
        CheckSkippedError: it raises for the dense network as well, so that pruning spoils nothing.
    """
    try:
        return make(copy_of(outcome.pruned))
    except Exception as error:
        raised = f"{what} raised {type(error).__name__}: {one_line(error)[:500]}"
    try:
        (of_dense or make)(copy_of(outcome.dense.model))
    except Exception:
        raise CheckSkippedError(f"{raised}; the dense network fares no better") from None
    raise CheckFailedError(f"{raised}; the dense network passes")


def _judge(departure: str, what: str) -> None:
    if departure:
        raise CheckFailedError(f"{what} {departure}")


@dataclass(frozen=True)
class Check:
    """A property, and what it takes to look at it.

    Attributes:
        run: the function; it takes an `analysis.pipeline.Outcome`.
        of_pruning: whether it is about the pruning itself; else about what becomes of the network.
        modules: what must be installed beyond the package's own dependencies.
        needs: what else it takes, in words.
    """

    run: Callable[[Outcome], None]
    of_pruning: bool = True
    modules: tuple[str, ...] = ()
    needs: str = ""

    @property
    def name(self) -> str:
        """As it stands in reports and in test ids."""
        return self.run.__name__.removeprefix("check_")

    @property
    def meaning(self) -> str:
        """In one line."""
        return (self.run.__doc__ or "").partition("\n")[0]

    @property
    def missing(self) -> str:
        """What is not installed, and how to install it; empty if nothing is."""
        absent = [module for module in self.modules if find_spec(module) is None]
        named = ", ".join(absent)
        return f"needs {named}: pip install 'pruning-analysis[onnx]'" if absent else ""


CATALOGUE: dict[str, Check] = {
    check.name: check
    for check in (
        Check(check_something_removed),
        Check(check_forward_runs),
        Check(check_output_shape_stays),
        Check(check_ignored_layers_keep_outputs),
        Check(check_ratio_met),
        Check(check_no_group_dropped),
        Check(check_nothing_collapsed),
        Check(check_cap_held),
        Check(check_channels_divisible),
        Check(check_kept_weights_are_originals, needs="weights that are not trained in between"),
        Check(check_gradients_reach_parameters),
        Check(check_removed_as_ranked, needs="an importance of the package's own"),
        Check(check_equivalent_to_masked),
        Check(check_survives_state_dict, of_pruning=False, needs="a pruner with a history"),
        Check(check_survives_pickling, of_pruning=False),
        Check(check_survives_export, of_pruning=False),
        Check(
            check_survives_onnx,
            of_pruning=False,
            modules=("onnx", "onnxscript", "onnxruntime"),
            needs="the extra onnx",
        ),
        Check(check_survives_gpu, of_pruning=False, needs="a CUDA device"),
    )
}
"""Every property by name; the first line of each function's docstring is its meaning."""

OF_PRUNING = tuple(name for name, check in CATALOGUE.items() if check.of_pruning)
"""The names of those that are about the pruning itself, which take little time."""


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


def evaluate(outcome: Outcome, names: Iterable[str] = OF_PRUNING) -> tuple[CheckResult, ...]:
    """Run these checks of the catalogue on one outcome."""
    return tuple(_result(name, CATALOGUE[name], outcome) for name in names)


def _result(name: str, check: Check, outcome: Outcome) -> CheckResult:
    if check.missing:
        return CheckResult(name, True, skipped=check.missing)
    try:
        # What third parties warn of is not what is looked at, and no error under -W error.
        with budgets.step(f"checking {name}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check.run(outcome)
    except CheckFailedError as failure:
        return CheckResult(name, False, str(failure))
    except CheckSkippedError as skip:
        return CheckResult(name, True, skipped=str(skip))
    return CheckResult(name, True)
