"""Turn options into a request, and refuse what can be refused without importing torch."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.errors import InputError
from analysis.network import model_names
from analysis.network.loading import check_reference
from analysis.records import (
    CUTS,
    Network,
    Request,
    Target,
    Thresholds,
    Timing,
    predictable,
    usual_ratios,
)
from analysis.reporting.files import check_writable

__all__ = ["check_outputs", "check_references", "compared_of", "ratios_of", "request_of"]


def request_of(options: Namespace, model: str, **usual: Any) -> Request:
    """The request for one model.

    Args:
        options: of a command.
        model: as the user names it.
        **usual: defaults of ``input_size``, ``seed`` and ``ignore``.

    Raises:
        InputError: something cannot be used, as far as that can be said without torch.
    """
    _check_together(options)
    network = Network(
        model,
        options.input_size or usual.get("input_size"),
        options.weights,
        usual.get("seed", 0) if options.seed is None else options.seed,
        options.inputs,
        options.device,
        outputs=options.outputs,
    )
    request = Request(
        network,
        ratios=ratios_of(options),
        ignore=usual.get("ignore", "classifier") if options.ignore is None else options.ignore,
        pruner=getattr(options, "pruner", None),
        targets=_targets(options),
        shipped=getattr(options, "shipped", None),
        evaluate=getattr(options, "evaluate", None),
        finetune=getattr(options, "finetune", None),
        latency=_timing(options),
        cut=_cut(options),
        # A report prunes in every scope, and has no thresholds of its own.
        **{name: value for name, value in vars(options).items() if name in _OF_PRUNERS},
        thresholds=Thresholds(
            **{name: value for name, value in vars(options).items() if name in _OF_CHECKS}
        ),
    )
    check_references(request)
    return request


def _check_together(options: Namespace) -> None:
    """Refuse two options of which one would go unheard.

    Raises:
        InputError: says which, and why.
    """
    if options.input_size and options.inputs:
        raise InputError(
            "--inputs brings inputs of its own size; leave out --input-size, or --inputs"
        )
    if getattr(options, "pruner", None) and getattr(options, "ignore", None) is not None:
        raise InputError(
            "--pruner brings a pruner with its own ignored layers; leave out --ignore, and have "
            "the function give them to the pruner"
        )


def _targets(options: Namespace) -> tuple[Target, ...]:
    """The targets; of a share that is given alone, --target-of says what it is of."""
    of, given = getattr(options, "target_of", "macs"), getattr(options, "target", ())
    if options.command in _OF_NO_LATENCY:
        predictable(given)
    return tuple(
        replace(target, quantity=of) if target.quantity == "macs" else target for target in given
    )


_OF_NO_LATENCY = ("macs", "report", "sensitivity")
"""Commands that predict, or whose answer is the same each time."""


def _timing(options: Namespace) -> Timing | None:
    """How latency is measured, where a command asks for it without a target."""
    if options.command == "latency":
        return Timing(options.backends, options.threads, options.pairs)
    return Timing(layers=False) if getattr(options, "latency", False) else None


def _cut(options: Namespace) -> str:
    """Whose cut is made; of costs it is asked beside the request."""
    if options.command == "latency":
        return str(options.cut)
    return CUTS[1] if options.command in _BY_GROUPS else CUTS[0]


def ratios_of(options: Namespace) -> tuple[float, ...]:
    """The ratios of the options, or the usual ones."""
    given = (getattr(options, name, ()) for name in ("widths", "target"))
    return options.ratios or usual_ratios(*given)


_BY_GROUPS = ("prune", "advise", "sensitivity")
"""Commands that cut by the groups."""

_OF_PRUNERS = (
    "scope",
    "importance",
    "round_to",
    "max_pruning_ratio",
    "heads",
    "widths",
    "fold_bn",
    "lower_is_better",
)
_OF_CHECKS = ("ratio_tolerance", "max_dropped", "min_channels", "max_lost", "metric_loss")


def compared_of(options: Namespace) -> tuple[Request, Network | str]:
    """The request for a dense network, and the pruned one: a model or a file.

    Raises:
        InputError: something cannot be used, as far as that can be said without torch.
    """
    _check_together(options)
    dense, pruned = options.dense, options.pruned
    is_program = dense.endswith(".pt2") and options.factory is None
    if _is_file(dense) and options.factory is None and not is_program:
        raise InputError(f"{dense!r} is a file of tensors; name their MODEL with --factory")
    if options.factory is not None and not _is_file(dense):
        raise InputError(f"--factory is for a file of tensors, and {dense!r} is not one")
    network = Network(
        options.factory or dense,
        options.input_size,
        dense if options.factory else "random",
        options.seed,
        options.inputs,
        options.device,
        outputs=options.outputs,
    )
    request = Request(network)
    if is_program:
        _check_options(request)
    else:
        check_references(request)
    if _is_file(pruned):
        return request, pruned
    other = replace(network, name=pruned, weights="random")
    check_references(Request(other))
    return request, other


def _is_file(name: str) -> bool:
    """Whether a network is given as the file of its tensors."""
    return ":" not in name and not name.endswith(".py") and Path(name).suffix != ""


def check_references(request: Request) -> None:
    """Refuse references to what does not exist, without importing torch.

    Raises:
        InputError: a file, a name in it, a package or a model of torchvision is missing.
    """
    network = request.network
    is_reference = ":" in network.name or network.name.endswith(".py")
    if is_reference:
        check_reference(network.name, "model factory")
    else:
        model_names.check_name(network.name)
    _check_options(request)
    if network.weights == "default" and is_reference:
        raise model_names.no_default_weights(network.name)
    if network.weights not in ("random", "default") and not Path(network.weights).is_file():
        raise model_names.no_weights(network.weights)


def _check_options(request: Request) -> None:
    network = request.network
    for given, option in (
        (network.inputs, "--inputs"),
        (request.policy if ":" in request.policy else None, "--ignore"),
        (request.pruner, "--pruner"),
        (request.evaluate, "--evaluate"),
        (request.finetune, "--finetune"),
    ):
        if isinstance(given, str):
            check_reference(given, option)


def check_outputs(options: Namespace) -> None:
    """Refuse a file that could not be written after the work.

    Raises:
        InputError: says which path and why.
    """
    path = getattr(options, "json", None)
    if path is not None and path != "-":
        check_writable(path)
