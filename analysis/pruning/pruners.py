"""The pruner of a run: torch-pruning's with the requested options, or the user's."""

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from analysis.errors import InputError, UnprunableError, an, upstream
from analysis.network.gradients import untraceable
from analysis.network.inference import Inputs, forward, map_tensors
from analysis.network.loading import load_callable
from analysis.pruning import surgery
from analysis.pruning.group_pruner import GroupPruner
from analysis.records import Config

__all__ = [
    "Between",
    "Blame",
    "Build",
    "PrunerFactory",
    "as_stated",
    "builder",
    "check_pruner",
    "load_factory",
    "rebuilder",
]

Between = Callable[[nn.Module], Any]
"""A function that is called between two steps, usually to train."""

Blame = Callable[[BaseException], str]
"""Names what foreign code was processing when it raised, see `analysis.errors.upstream`."""

PrunerFactory = Callable[[nn.Module, Inputs, Any], Any]
"""The user's own pruner: (model, example inputs, ratio) -> a torch-pruning pruner on that model,
or that and a function of the model to call between its steps. Where targets say how far, the third
is a dict of them, as a `TargetPruner` takes it."""

Build = Callable[[nn.Module, Blame | None], tuple[Any, Between | None]]
"""(model, blame) -> a pruner on the model, and a function between its steps"""


def load_factory(given: str | PrunerFactory | None) -> PrunerFactory | None:
    """The user's own pruner function, from the function or its reference.

    Raises:
        InputError: there is no such function, or it cannot be called with (model, inputs, ratio).
    """
    if given is None:
        return None
    factory: PrunerFactory = load_callable(given, "pruner") if isinstance(given, str) else given
    try:
        inspect.signature(factory, follow_wrapped=False).bind(None, None, 0.5)
    except TypeError as error:
        name = given if isinstance(given, str) else getattr(given, "__name__", repr(given))
        raise InputError(
            f"the pruner function {name!r} cannot be called with (model, inputs, ratio): {error}; "
            "expected a function of these three that returns a torch-pruning pruner"
        ) from error
    except ValueError:  # a signature that Python cannot tell
        return factory
    return factory


def builder(
    config: Config, inputs: Inputs, ignored: Collection[str], factory: PrunerFactory | None
) -> Build:
    """A function that builds the pruner of a config, or the user's."""

    def magnitude(model: nn.Module, blame: Blame | None) -> tuple[Any, Between | None]:
        return surgery.build_pruner(model, inputs, config, ignored, blame), None

    def by_groups(model: nn.Module, blame: Blame | None) -> tuple[Any, Between | None]:
        pruner = GroupPruner.asked_by(config, model, inputs, ignore=tuple(ignored))
        return pruner, None

    def users(model: nn.Module, blame: Blame | None) -> tuple[Any, Between | None]:
        assert factory is not None
        with _output_told(model, inputs), upstream("the pruner function", blame):
            answer = factory(model, map_tensors(inputs, Tensor.clone), _asked(config))
        return _unpacked(answer, model)

    if factory is not None:
        return users
    return by_groups if config.cut == "groups" else magnitude


def _asked(config: Config) -> Any:
    """The last argument of a pruner function: the ratio, or the targets in its place."""
    if not config.sought:
        return config.ratio
    return {target.quantity: target.limit for target in config.targets}


@contextmanager
def _output_told(model: nn.Module, inputs: Inputs) -> Iterator[None]:
    """If an output of the model prevents building a graph, say so first."""
    try:
        yield
    except UnprunableError as error:
        try:
            with torch.enable_grad():
                found = untraceable(forward(model, inputs))
        except Exception:  # the pruner calls the model in its own way
            found = ""
        if not found:
            raise
        raise UnprunableError(
            f"the model's output holds {found}, which DepGraph cannot trace backward from: pass "
            f"the pruner an output_transform that returns the other tensors alone; so, {error}"
        ) from error


def rebuilder(build: Build, pruner: Any) -> Callable[[nn.Module], None] | None:
    """A function that repeats a pruning on a copy; None if the pruner has no history."""
    if isinstance(pruner, GroupPruner):
        return pruner.repeat_on
    if not hasattr(pruner, "pruning_history"):
        return None
    history = [tuple(entry) for entry in pruner.pruning_history()]

    def rebuild(model: nn.Module) -> None:
        fresh, _ = build(model, None)
        surgery.replay(fresh, history)

    return rebuild


def as_stated(config: Config, pruner: Any) -> Config:
    """The options of the user's own pruner, as far as a config has them."""
    cap = pruner.max_pruning_ratio
    return replace(
        config,
        scope="global" if pruner.global_pruning else "local",
        round_to=config.round_to or pruner.round_to or None,
        # torch-pruning takes any number for a cap.
        max_pruning_ratio=min(config.max_pruning_ratio, cap if 0 < cap <= 1 else 1.0),
    )


def check_pruner(pruner: Any, model: nn.Module) -> Any:
    """The pruner, if it can be stepped on the model.

    Raises:
        InputError: it is no pruner, was built on another model, or has been stepped.
    """
    is_known = isinstance(pruner, GroupPruner) or hasattr(pruner, "DG")
    if not is_known or not all(hasattr(pruner, name) for name in ("step", "current_step", "model")):
        raise InputError(
            f"the pruner is {an(type(pruner).__name__)}; expected one of torch-pruning's, or a "
            "GroupPruner, built on the model"
        )
    if pruner.model is not model:
        raise InputError(
            f"the pruner was built on another {type(pruner.model).__name__}; build it on the "
            "model that is to be pruned"
        )
    if pruner.current_step:
        done = f"{pruner.current_step} of its {pruner.iterative_steps} steps"
        raise InputError(f"the pruner has done {done}; pass a fresh one, it is stepped here")
    return pruner


def _unpacked(answer: Any, model: nn.Module) -> tuple[Any, Between | None]:
    """The pruner and the function between its steps, from the result of a pruner function.

    Raises:
        InputError: it is neither a pruner nor a pruner and a function; or as `check_pruner`.
    """
    pruner, between = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
    if between is not None and not callable(between):
        raise InputError(
            f"the pruner function returned a pruner and {an(type(between).__name__)}; expected a "
            "pruner, or a pruner and a function of the model to call between its steps"
        )
    return check_pruner(pruner, model), between
