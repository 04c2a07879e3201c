"""Checks on the structure: the network runs, and its outputs have the same shapes."""

from typing import TYPE_CHECKING, Any

from analysis.checks.outcomes import CheckFailedError, CheckSkippedError
from analysis.records import Verdict

if TYPE_CHECKING:
    from analysis.pipeline import Outcome

__all__ = [
    "check_everything_exercised",
    "check_forward_runs",
    "check_ignored_layers_keep_outputs",
    "check_output_shape_stays",
    "check_something_removed",
    "check_structure_lines_up",
    "check_ties_kept",
]


def check_something_removed(outcome: "Outcome") -> None:
    """Channels were removed, if any were requested."""
    is_unchanged = outcome.run.verification.verdict is Verdict.UNCHANGED
    if is_unchanged or (outcome.run.config.ratio and not outcome.removals):
        raise CheckFailedError(outcome.run.verification.reason)


def check_forward_runs(outcome: "Outcome") -> None:
    """The pruned network runs on the example inputs."""
    if outcome.failure is not None:
        raise CheckFailedError(str(outcome.failure))


def check_output_shape_stays(outcome: "Outcome") -> None:
    """The pruned network's outputs have the dense network's shapes."""
    check_forward_runs(outcome)
    before, after = outcome.output_shapes
    if before != after:
        raise CheckFailedError(f"output shapes {before} became {after}")


def check_ignored_layers_keep_outputs(outcome: "Outcome") -> None:
    """No ignored layer lost an output channel."""
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


def check_ties_kept(outcome: "Outcome") -> None:
    """Tied tensors are still tied: torch-pruning unties those that it cuts."""
    from analysis.network.inference import named_tensors

    after = named_tensors(outcome.pruned)
    firsts: dict[int, str] = {}
    untied = []
    for name, tensor in named_tensors(outcome.dense.model).items():
        first = firsts.setdefault(id(tensor), name)
        if {first, name} <= after.keys() and after[first] is not after[name]:
            untied.append(f"`{first}` and `{name}`")
    if untied:
        raise CheckFailedError(
            f"tied tensors were one and are two each: {', '.join(untied)}; tie them again before "
            "training or counting"
        )


def check_structure_lines_up(outcome: "Outcome") -> None:
    """Every operator is the dense network's, over the kept channels."""
    verification = outcome.run.verification
    if not verification.verdict.is_equal:
        raise CheckSkippedError(f"the verdict is {verification.verdict}")
    if verification.structure != "proved":
        raise CheckFailedError(verification.structure)


def check_everything_exercised(outcome: "Outcome") -> None:
    """The example inputs use every layer in eval mode."""
    verification = outcome.run.verification
    if not verification.structure:
        raise CheckSkippedError("no comparison was made")
    if verification.unexercised:
        raise CheckFailedError(f"not used: {', '.join(verification.idle)}")


def _width(module: Any) -> int | None:
    """Output channels as the module itself states them."""
    for attribute in ("out_channels", "out_features", "num_features"):
        if hasattr(module, attribute):
            return int(getattr(module, attribute))
    return None
