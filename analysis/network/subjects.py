"""The models under study: their source, weights and inputs."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError, InputError, OptionError, an
from analysis.network.failures import locate_failure
from analysis.network.inference import (
    Inputs,
    described,
    map_tensors,
    one_line,
    outputs_of,
    random_state_kept,
)
from analysis.network.loading import load_callable
from analysis.network.model_names import no_default_weights, unknown_model
from analysis.network.outputs import count_outputs
from analysis.network.programs import Program, program_in
from analysis.network.states import holding, load_weights
from analysis.network.usable import check_usable
from analysis.records import Network

__all__ = [
    "CASE_STUDY",
    "Subject",
    "build",
    "built_by",
    "example_inputs",
    "given_inputs",
    "load",
    "mobilenet_v2_cifar",
    "resolve",
    "subject_of",
]

_DEFAULT_SIZE = (3, 224, 224)

_OPTIONS = (
    "a size it takes (--input-size, in Python input_size=), or its inputs (--inputs, inputs=)"
)


@dataclass(frozen=True)
class Subject:
    """A model under study.

    Attributes:
        name: as the user gave it; used as pytest id and in reports.
        factory: builds the network, without arguments.
        input_size: channels, height, width of one input.
        tags: free words to select by.
    """

    name: str
    factory: Callable[[], nn.Module]
    input_size: tuple[int, ...] = _DEFAULT_SIZE
    tags: tuple[str, ...] = ()


def _models() -> Any:
    """Torchvision's models, imported on use because that takes longer than torch."""
    return import_module("torchvision.models")


def mobilenet_v2_cifar(width: float = 1.0) -> nn.Module:
    """MobileNetV2 for 3x32x32 images and 10 classes.

    torchvision's network with the strides of the stem and of the 24-channel stage set to 1, the
    usual change for small images, so that four strides of 2 fewer pixels are lost early.

    Args:
        width: multiplier of the channels.
    """
    settings = [
        # expansion, channels, blocks, stride
        [1, 16, 1, 1],
        [6, 24, 2, 1],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ]
    model = _models().MobileNetV2(10, width, settings)
    model.features[0][0].stride = (1, 1)
    return model


CASE_STUDY = (
    Subject("mobilenet_v2", lambda: _models().mobilenet_v2(), tags=("case-study",)),
    Subject("mobilenet_v2_cifar", mobilenet_v2_cifar, (3, 32, 32), ("case-study",)),
)


def resolve(name: str) -> Subject:
    """The subject for a torchvision name, ``package.module:factory`` or ``file.py:factory``.

    Raises:
        InputError: there is no model of that name.
    """
    for subject in CASE_STUDY:
        if subject.name == name:
            return subject
    if ":" in name or name.endswith(".py"):
        factory = load_callable(name, "model factory")
        if isinstance(factory, nn.Module):
            raise InputError(
                f"{name!r} is {an(type(factory).__name__)} that is built already; expected a "
                "function without arguments that builds it"
            )
        return Subject(name, factory)
    if name.endswith(".pt2"):
        return Subject(name, partial(program_in, name))
    known = _models().list_models()
    if name not in known:
        raise unknown_model(name, known)
    # A detector's backbone has trained weights by default.
    parts = inspect.signature(_models().get_model_builder(name)).parameters
    none = dict.fromkeys({"weights", "weights_backbone"} & {*parts})
    return Subject(name, partial(_models().get_model, name, **{"weights": None, **none}))


def subject_of(network: Network) -> Subject:
    """The subject of a request, by name or factory.

    Raises:
        InputError: see `resolve`.
    """
    factory = network.factory
    subject = resolve(network.name) if factory is None else Subject(network.name, factory)
    size = network.input_size
    return replace(subject, input_size=size) if size else subject


def load(network: Network) -> tuple[Subject, nn.Module, Inputs]:
    """The subject, its network on the requested device, and its inputs.

    Raises:
        InputError: see `subject_of`, `build`, `given_inputs` and `example_inputs`; or there is no
            such device, or nothing at the path of an output.
    """
    subject, given = subject_of(network), None
    if network.inputs is not None:
        given = given_inputs(network.inputs, network.seed)
    file = None if network.weights in ("random", "default") else network.weights
    weights = network.weights if file is None else "random"
    model = _on_device(build(subject, weights, network.seed), network.device)
    inputs = example_inputs(subject, model, given, network.seed)
    if file is not None:
        model = holding(model, inputs, file, subject.name)
    if network.outputs:
        count_outputs(model, network.outputs)
        outputs_of(model, inputs)  # a wrong path is refused at once
    return subject, model, inputs


def _on_device(model: nn.Module, device: str) -> nn.Module:
    try:
        return model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            "device", f"{device!r} cannot be used: {one_line(error)[:200]}; use cpu"
        ) from error


def build(subject: Subject, weights: str = "random", seed: int = 0) -> nn.Module:
    """Build the network in eval mode, without touching the global random state.

    Args:
        subject: what to build.
        weights: ``random`` (the factory's own initialisation under the seed), ``default``
            (torchvision's published weights, which it may have to download) or the path of a
            state dict.
        seed: seed of the initialisation.

    Raises:
        InputError: the factory fails, returns no module, or the weights do not fit.
    """
    with random_state_kept():
        torch.manual_seed(seed)
        model = (
            _default(subject) if weights == "default" else built_by(subject.factory, subject.name)
        )
    if weights not in ("random", "default"):
        load_weights(model, weights, subject.name)
    return model.eval()


def built_by(factory: Callable[[], Any], name: str) -> nn.Module:
    """What a model factory builds.

    Args:
        factory: takes no argument.
        name: its name, for the error.

    Raises:
        InputError: it fails, or its result is not a module that can be analysed.
    """
    try:
        model = factory()
    except (Exception, SystemExit) as error:
        raise InputError(
            f"model factory {name!r} raised {type(error).__name__}: {one_line(error)}; "
            "expected a function that takes no argument and returns an nn.Module"
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model factory {name!r} returned {an(type(model).__name__)}; expected an nn.Module"
        )
    check_usable(model)
    return model


def _default(subject: Subject) -> nn.Module:
    if subject.name not in _models().list_models():
        raise no_default_weights(subject.name)
    try:
        return _models().get_model(subject.name, weights="DEFAULT")
    except Exception as error:
        raise OptionError(
            "weights",
            f"default: torchvision could not provide them for {subject.name!r} "
            f"({one_line(error)}); download the file yourself and pass its path",
        ) from error


def given_inputs(given: str | Callable[[], Any], seed: int = 0) -> Any:
    """The result of a user's function, as inputs of a forward pass.

    Args:
        given: a function without arguments, or its reference.
        seed: of the function's random numbers, which are the same in every process.

    Raises:
        InputError: there is no such function, it raised, or returned None.
    """
    if isinstance(given, str):
        function, name = load_callable(given, "inputs"), repr(given)
    else:
        function, name = given, getattr(given, "__name__", str(given))
    try:
        with random_state_kept():
            torch.manual_seed(seed)
            inputs = function()
    except AnalysisError:
        raise
    except Exception as error:
        raise OptionError(
            "inputs",
            f"{name} raised {type(error).__name__}: {one_line(error)}; expected a "
            "function without arguments that returns what forward takes",
        ) from error
    if inputs is None:
        raise OptionError("inputs", f"{name} returned None; expected what forward takes")
    return inputs


def example_inputs(subject: Subject, model: nn.Module, given: Inputs | None, seed: int) -> Inputs:
    """Inputs on the model's device: the given ones, else one standard normal image.

    Raises:
        InputError: the dense model does not run on them; says where it raised and why.
    """
    first = next(model.parameters())
    generator = torch.Generator().manual_seed(seed)
    if given is None and isinstance(model, Program):
        given = model.drawn(generator)
    try:
        image = torch.randn(1, *subject.input_size, generator=generator) if given is None else given
    except RuntimeError as error:
        raise InputError(
            f"inputs of the size {subject.input_size} cannot be made: {one_line(error)[:200]}; "
            f"give {_OPTIONS}"
        ) from error

    def place(tensor: Tensor) -> Tensor:
        # A given input keeps its type; the drawn image takes the network's.
        return tensor.to(first if given is None and first.is_floating_point() else first.device)

    placed: Inputs = map_tensors(image, place)
    failure = locate_failure(model, placed)
    if failure is not None:
        size = "x".join(map(str, subject.input_size)) if given is None else described(placed)
        raise InputError(f"{subject.name!r} does not run on {size}: {failure}; give {_OPTIONS}")
    return placed
