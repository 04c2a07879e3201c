"""Call and watch a model, and restore it.

Example inputs are a tensor (the only argument), a tuple (positional) or a dict (by name).
"""

import gc
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from math import inf, isfinite
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.errors import InputError, an, did_you_mean
from analysis.network.attributes import as_before, own_attributes
from analysis.network.copying import duplicated
from analysis.network.modules import named_modules
from analysis.network.outputs import counted
from analysis.processes import budgets

__all__ = [
    "FunctionMode",
    "Inputs",
    "aliased",
    "as_arguments",
    "called_modules",
    "collector_paused",
    "copy_of",
    "counted_places",
    "described",
    "forward",
    "holds_nan",
    "hookable",
    "indices",
    "left_as_found",
    "map_tensors",
    "module_scope",
    "named_tensors",
    "names_of",
    "one_line",
    "output_tensors",
    "outputs_of",
    "random_state_kept",
    "reached_parameters",
    "relative_error",
    "run_hooked",
    "tensors_of",
    "walk",
]

Inputs = Tensor | tuple[Any, ...] | dict[str, Any]


def as_arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of a call with a copy of these example inputs.

    A model may write to what it is given.
    """
    inputs = map_tensors(inputs, Tensor.clone)
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, tuple | list):
        return tuple(inputs), {}
    return (inputs,), {}


def forward(model: nn.Module, inputs: Inputs) -> Any:
    """The selected outputs of a model on example inputs, see `analysis.network.outputs`.

    What the call keeps on the model is taken away again: attributes, a table say, and hooks.
    """
    return counted(model, _called(model, inputs))


def hookable(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a model that accept hooks, by name; those of TorchScript do not."""
    return (
        (name, module)
        for name, module in named_modules(model).items()
        if not isinstance(module, torch.jit.ScriptModule)
    )


def _called(model: nn.Module, inputs: Inputs) -> Any:
    """The model's output; a warning is not an error, even with ``-W error``."""
    args, kwargs = as_arguments(inputs)
    with as_before(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model(*args, **kwargs)


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The output tensors of a model for example inputs, without gradients."""
    return output_tensors(forward(model, inputs))


@torch.no_grad()
def counted_places(model: nn.Module, inputs: Inputs) -> list[int]:
    """Which of a model's output tensors are selected."""
    output = _called(model, inputs)
    everything = [id(tensor) for tensor in tensors_of(output)]
    return [everything.index(id(tensor)) for tensor in tensors_of(counted(model, output))]


def output_tensors(output: Any) -> list[Tensor]:
    """The tensors of a model's output in order, also if nested or in an object.

    Raises:
        InputError: the output holds no tensor.
    """
    found = tensors_of(output)
    if not found:
        raise InputError(
            f"the model's output is {an(type(output).__name__)} without tensors; "
            "expected a tensor, or a tuple, list, dict or object that holds tensors"
        )
    return found


def tensors_of(output: Any) -> list[Tensor]:
    """The tensors of a model's output, of an object's attributes where it is no container."""
    return list(walk(output)) or _inside(output)


def _inside(value: Any, depth: int = 3) -> list[Tensor]:
    inner = list(vars(value).values()) if hasattr(value, "__dict__") and depth else []
    return [*walk(inner), *(tensor for each in inner for tensor in _inside(each, depth - 1))]


def walk(value: Any) -> Iterator[Tensor]:
    """The tensors inside nested sequences, mappings and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, str | int | float | None):
        return
    elif is_dataclass(value) and not isinstance(value, Mapping | type):
        for field in fields(value):
            yield from walk(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from walk(item)


def holds_nan(value: Any) -> bool:
    """Whether a value is a tensor with NaN in it, by which channels are followed."""
    return isinstance(value, Tensor) and value.is_floating_point() and bool(value.isnan().any())


def indices(channels: Sequence[int], like: Tensor) -> Tensor:
    """Channels as an index into a tensor, on the device that it is on."""
    # By numpy, as a mode that sees PyTorch's functions would look at every number.
    return torch.from_numpy(np.array(channels, np.int64)).to(like.device)


def relative_error(expected: Tensor, found: Tensor) -> float:
    """Greatest absolute difference over the greatest absolute expected value."""
    if not expected.numel():
        return 0.0
    expected, found = _real(expected), _real(found)
    scale = float(expected.abs().max())
    difference = float((expected - found).abs().max())
    if not (isfinite(scale) and isfinite(difference)):
        return _error_beside_infinities(expected, found)
    return difference / scale if scale else difference


def _error_beside_infinities(expected: Tensor, found: Tensor) -> float:
    """An infinity equals only itself; NaN differs from everything."""
    finite = expected.isfinite()
    if not bool((expected == found)[~finite].all() and found[finite].isfinite().all()):
        return inf
    return relative_error(expected[finite], found[finite])


def _real(tensor: Tensor) -> Tensor:
    """In float64; a complex number as two."""
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).double()


def map_tensors(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same structure with every tensor replaced by ``change(tensor)``."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: map_tensors(value, change) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        changed = [map_tensors(value, change) for value in inputs]
        return changed if isinstance(inputs, list) else tuple(changed)
    return inputs


def described(inputs: Any) -> str:
    """Example inputs in a few words: the shapes of their tensors, as they are nested."""
    if isinstance(inputs, Tensor):
        return f"a tensor of shape {tuple(inputs.shape)}"
    if isinstance(inputs, Mapping):
        parts = (f"{name}={described(value)}" for name, value in inputs.items())
        return f"({', '.join(parts)})"
    if isinstance(inputs, tuple | list):
        return f"({', '.join(map(described, inputs))})"
    return repr(inputs)


def copy_of(model: nn.Module) -> nn.Module:
    """An independent copy, in eval mode.

    Raises:
        InputError: the model holds something that cannot be copied.
    """
    return _copied(model, {})


@contextmanager
def collector_paused() -> Iterator[None]:
    """Thousands of small objects are made; each collection would walk all that torch has loaded.

    Of a copy as well as of a pass: a network of two hundred modules has three thousand dicts.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@collector_paused()
def _copied(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    try:
        try:
            copied = duplicated(model, dict(memo))
        except RuntimeError:
            copied = duplicated(model, memo | _kept_with_gradients(model))
        # A class that copies itself may come back in train mode, as graphs of torch.fx do.
        is_training = any(module.training for module in named_modules(copied).values())
        return copied.eval() if is_training else copied
    except Exception as error:
        raise InputError(
            f"{type(model).__name__} cannot be copied ({one_line(error)}); expected a module that "
            "copy.deepcopy accepts"
        ) from error


def _kept_with_gradients(model: nn.Module) -> dict[int, Tensor]:
    """The memo of a copy with what a forward pass with gradients has kept, which deepcopy refuses.

    Each of these tensors becomes one of its values alone.
    """
    return {
        id(tensor): tensor.detach().clone()
        for module in model.modules()
        for tensor in walk([*own_attributes(module).values(), *module._buffers.values()])
        if not tensor.is_leaf
    }


def aliased(model: nn.Module, *, requires_grad: bool) -> nn.Module:
    """A copy in eval mode that shares its parameters' values with the model, for reading only.

    Raises:
        InputError: see `copy_of`.
    """
    modules = [*named_modules(model).values()]
    shared: dict[int, Any] = {
        id(each): nn.Parameter(
            # A lookup writes to rows that are held to a norm.
            each.detach() if getattr(module, "max_norm", None) is None else each.detach().clone(),
            requires_grad and each.is_floating_point(),
        )
        for module in modules
        for each in module._parameters.values()
        if each is not None
    }
    buffers = (each for module in modules for each in module._buffers.values())
    # A forward pass may write to these.
    shared |= {id(each): each.detach().clone() for each in buffers if each is not None}
    return _copied(model, shared)


def called_modules(model: nn.Module, inputs: Inputs) -> frozenset[str]:
    """Names of the modules whose forward is called when the model runs on these inputs."""
    called: set[str] = set()
    run_hooked(model, inputs, lambda name, _given, _returned: called.add(name))
    return frozenset(called)


def run_hooked(model: nn.Module, inputs: Inputs, hook: Callable[[str, Any, Any], None]) -> None:
    """Run a model once, and report each call of a module: name, arguments and result."""
    handles = [
        module.register_forward_hook(
            lambda _module, given, returned, name=name: hook(name, given, returned)
        )
        for name, module in hookable(model)
    ]
    try:
        with torch.no_grad():
            forward(model, inputs)
    finally:
        for handle in handles:
            handle.remove()


def reached_parameters(model: nn.Module, inputs: Inputs) -> set[str]:
    """Names of the parameters that get a finite gradient; a dead rectifier's zeros count."""
    trained = copy_of(model).requires_grad_(True)
    with torch.enable_grad():
        outputs = [each for each in tensors_of(forward(trained, inputs)) if each.requires_grad]
        # A plain sum of outputs may have a gradient of zero (after a softmax).
        squares = [tensor.abs().square().sum() for tensor in outputs]
        if squares:
            torch.stack([each.to(squares[0]) for each in squares]).sum().backward()
    return {
        name
        for name, parameter in trained.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.isfinite().all())
    }


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers; a tied one under each name, as torch-pruning unties what it cuts."""
    parameters: dict[str, Tensor] = {}
    buffers: dict[str, Tensor] = {}
    for path, module in named_modules(model, remove_duplicate=False).items():
        before = f"{path}." if path else ""
        for found, own in ((parameters, module._parameters), (buffers, module._buffers)):
            found |= {before + name: value for name, value in own.items() if value is not None}
    return parameters | buffers


def names_of(
    layers: Iterable[str | nn.Module], model: nn.Module, what: str = "ignored layer"
) -> tuple[str, ...]:
    """Names of these modules and of everything inside them, as torch-pruning ignores containers.

    Args:
        layers: modules, or their names.
        model: the model they belong to.
        what: what they are, for the error.

    Raises:
        InputError: a layer is not part of the model.
    """
    if isinstance(layers, str | nn.Module):
        raise InputError(
            f"{what}s are given as one {type(layers).__name__}; expected a list of modules or names"
        )
    modules = dict(model.named_modules())
    names_by_module = {module: name for name, module in modules.items()}
    names: list[str] = []
    for layer in layers:
        if isinstance(layer, type):
            kind = layer.__name__
            raise InputError(
                f"{what} <class {kind}> is a type, which torch-pruning accepts and "
                f"discards; pass its modules: [m for m in model.modules() if isinstance(m, {kind})]"
            )
        module = modules.get(layer) if isinstance(layer, str) else layer
        if not isinstance(module, nn.Module) or module not in names_by_module:
            expected = "expected modules of it, or names from model.named_modules()"
            close = did_you_mean(layer, modules, "") if isinstance(layer, str) else ""
            raise InputError(f"{what} {layer!r} is not part of the model; {close or expected}")
        names += [names_by_module[child] for child in module.modules()]
    return tuple(dict.fromkeys(names))


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore torch's random state on the way out, on every device that is in use.

    Also restore gradient recording, the default dtype and the dispatch modes, which an interrupted
    block could leave changed.
    """
    state = torch.get_rng_state()
    graded, default = torch.is_grad_enabled(), torch.get_default_dtype()
    fast = torch.backends.mha.get_fastpath_enabled()
    depths = [len(modes()) for modes in _MODES]
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        with budgets.undisturbed():
            for modes, depth in zip(_MODES, depths, strict=True):
                while len(entered := modes()) > depth:
                    entered[-1].__exit__(None, None, None)
            torch.set_grad_enabled(graded)
            torch.set_default_dtype(default)
            torch.backends.mha.set_fastpath_enabled(fast)
            torch.set_rng_state(state)
            if on_gpus:
                torch.cuda.set_rng_state_all(on_gpus)


_MODES = (
    torch.utils._python_dispatch._get_current_dispatch_mode_stack,
    torch.overrides._get_current_function_mode_stack,
)


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Restore every module's train/eval flag and torch's random state on the way out."""
    training = [(module, module.training) for module in named_modules(model).values()]
    try:
        with random_state_kept():
            yield
    finally:
        with budgets.undisturbed():
            for module, flag in training:
                if module.training != flag:
                    module.training = flag


@contextmanager
def module_scope(
    model: nn.Module, left: Callable[[str, Any], None] | None = None
) -> Iterator[list[str]]:
    """A list whose last entry names the module whose forward is running ("" is the model).

    After a forward that raised, the last entry names the module that raised.

    Args:
        model: the model.
        left: called with the name and the output of each module whose forward has returned.
    """
    stack: list[str] = []
    modules: Mapping[str, Any] = named_modules(model)
    own: Any = object()  # a handle for each hook would take longer than all calls of them

    def leave(_module: nn.Module, _inputs: Any, output: Any) -> None:
        name = stack.pop()
        if left is not None:
            left(name, output)

    try:
        with budgets.undisturbed():
            for name, module in modules.items():

                def enter(_module: nn.Module, _inputs: Any, name: str = name) -> None:
                    stack.append(name)

                module._forward_pre_hooks[own] = enter
                module._forward_pre_hooks.move_to_end(own, last=False)
                module._forward_hooks[own] = leave
        yield stack
    finally:
        with budgets.undisturbed():
            for module in modules.values():
                module._forward_pre_hooks.pop(own, None)
                module._forward_hooks.pop(own, None)


class OperatorMode(TorchDispatchMode):
    """A mode that runs PyTorch's operators, where nothing is compiled."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """To skip it, torch imports the whole of torch._dynamo."""
        return False


class FunctionMode(TorchFunctionMode):
    """A mode that is removed whatever is on the stack of modes.

    While torch hands a call to a mode it takes it off, and a budget may end in between.
    """

    _depths: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        self._depths += (len(torch.overrides._get_current_function_mode_stack()),)
        super().__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        with budgets.undisturbed():
            *entered, depth = self._depths or (0,)
            self._depths = tuple(entered)
            while len(torch.overrides._get_current_function_mode_stack()) > depth:
                torch.overrides._pop_mode()


def one_line(error: BaseException) -> str:
    """The message of an error on one line, never empty."""
    return " ".join(_COLOUR.sub("", str(error)).split()) or type(error).__name__


_COLOUR = re.compile("\x1b\\[[0-9;]*m")
"""Colour codes of terminals, which torch.export has in its messages."""
