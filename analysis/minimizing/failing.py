"""Whether a network fails like another one, judged by this package's proof.

A wrong pruning is shown without the proof by setting some channels to zero. A right pruning of
these channels does not change the output, which is proved and run. torch-pruning's pruning of the
same channels does.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from analysis.errors import UnprunableError
from analysis.groups import depgraph, inspecting, policies
from analysis.minimizing.small import Small
from analysis.network.inference import Inputs, copy_of
from analysis.pipeline import verify
from analysis.pruning.pruners import PrunerFactory, builder
from analysis.pruning.surgery import step
from analysis.records import Config, Verdict, Verification

__all__ = ["SHOWN", "Asked", "Failure", "Judge", "is_turned", "verified"]

SHOWN = 1e-3
"""Relative difference of outputs above rounding, in float32."""


@dataclass(frozen=True)
class Failure:
    """How a network fails.

    Attributes:
        verdict: ``wrong``, ``broken`` or ``unprunable``.
        raised: the type of the exception; empty if there is none.
        at: a further distinction from other failures of its verdict.
    """

    verdict: Verdict
    raised: str = ""
    at: str = ""


@dataclass(frozen=True)
class Asked:
    """A network that fails, and how to show it.

    Attributes:
        failure: how.
        reason: what the proof says.
        ignored: layers whose outputs stay.
        silent: by layer, channels that put out zero in what is shown of a wrong pruning; empty if
            nothing shows it.
        unshown: why nothing does.
    """

    failure: Failure
    reason: str
    ignored: tuple[str, ...]
    silent: Mapping[str, tuple[int, ...]]
    unshown: str = ""

    @property
    def is_shown(self) -> bool:
        """Whether it can be seen without a proof."""
        return bool(self.silent) or self.failure.verdict is not Verdict.WRONG


class Judge:
    """Prunes networks as requested, and finds how each fails.

    Args:
        config: what torch-pruning is asked.
        ignored: names of layers whose outputs stay, where a network has them. Those that make the
            output stay as well: it is no fault of torch-pruning's that it loses channels otherwise.
        factory: makes a pruner of the user's, which ignores what it likes; None is torch-pruning's.
    """

    def __init__(
        self, config: Config, ignored: Collection[str], factory: PrunerFactory | None = None
    ) -> None:
        self.config = config
        self._ignored = ignored
        self._factory = factory

    def asked(self, small: Small) -> Asked | Verification:
        """How it fails; if it does not, or not visibly, the reason of the proof.

        Raises:
            InputError: it cannot be judged.
        """
        network, inputs = small.drawn()
        ignored = self._kept(small, network, inputs)
        failure = self._failure(network, inputs, ignored)
        found, _ = self._verified(network, inputs, self.config, ignored)
        if found.verdict is not failure.verdict:
            return found
        is_wrong = failure.verdict is Verdict.WRONG
        silent, why = self._silent(network, inputs, ignored) if is_wrong else ({}, "")
        return Asked(failure, found.reason, ignored, {} if why else silent, why)

    def failure(self, small: Small) -> Failure:
        """How it seems to fail, before any proof; a network that runs may be wrong."""
        network, inputs = small.drawn()
        return self._failure(network, inputs, self._kept(small, network, inputs))

    def _kept(
        self, small: Small, network: nn.Module, inputs: tuple[Tensor, ...]
    ) -> tuple[str, ...]:
        if self._factory is not None:
            return self._stated(copy_of(network), inputs)
        groups = inspecting.labelled(network, inputs).groups
        kept = {*self._ignored, *policies.ignored_layers("classifier", network, groups)}
        return tuple(name for name in small.makers if name in kept)

    def _stated(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[str, ...]:
        """The layers that the user's pruner ignores; none where it cannot be made."""
        try:
            pruner, _ = builder(self.config, inputs, (), self._factory)(network, None)
        except UnprunableError:
            return ()
        return depgraph.ignored_by(pruner, network)

    def _verified(
        self, network: nn.Module, inputs: Inputs, config: Config, ignored: Collection[str]
    ) -> tuple[Verification, nn.Module]:
        factory = None if config.cut == "groups" else self._factory
        return verified(network, inputs, config, ignored, factory)

    def _failure(
        self, network: nn.Module, inputs: tuple[Tensor, ...], ignored: tuple[str, ...]
    ) -> Failure:
        pruned = copy_of(network)
        try:
            self._prune(pruned, inputs, ignored)
        except UnprunableError as error:
            cause = error.__cause__ or error
            message = re.sub(r"[\d\W]+", " ", str(cause))
            return Failure(Verdict.UNPRUNABLE, type(cause).__name__, message)
        before = network(*inputs)
        try:
            after = pruned(*inputs)
        except Exception as error:
            return Failure(Verdict.BROKEN, type(error).__name__)
        if isinstance(before, Tensor) and after.shape != before.shape:
            return Failure(Verdict.BROKEN)
        return Failure(Verdict.WRONG)

    def _prune(
        self, network: nn.Module, inputs: tuple[Tensor, ...], ignored: tuple[str, ...]
    ) -> None:
        pruner, _ = builder(self.config, inputs, ignored, self._factory)(network, None)
        while pruner.current_step < pruner.iterative_steps:
            for _ in step(pruner):
                pass

    def _silent(
        self, network: nn.Module, inputs: tuple[Tensor, ...], ignored: tuple[str, ...]
    ) -> tuple[dict[str, tuple[int, ...]], str]:
        """Channels that show a wrong pruning when they put out zero, or why they do not."""
        by_groups = replace(self.config, cut="groups")
        right, _ = self._verified(network, inputs, by_groups, ignored)
        silent = _made(right, network)
        if not silent or not right.verdict.passes:
            return {}, "no right pruning of it is known that could be set beside torch-pruning's"
        muted = _muted(network, silent)
        with torch.no_grad():
            before = muted(*inputs)
        if not isinstance(before, Tensor) or not before.abs().max() > 0:
            return {}, "its output is no tensor, or zero once the channels that go put out zero"

        def departs(config: Config) -> tuple[bool, bool]:
            """Whether the output shows it, and exactly the zero channels were removed."""
            found, pruned = self._verified(muted, inputs, config, ignored)
            with torch.no_grad():
                difference = (pruned(*inputs) - before).abs().max() / before.abs().max()
            return bool(difference > SHOWN), _made(found, muted) == silent

        if departs(by_groups) != (False, True):
            return {}, "a right pruning takes other channels once those that go put out zero"
        departing, are_same = departs(self.config)
        if not are_same:
            return {}, "the pruner takes other channels once those that go put out zero"
        return silent, "" if departing else "a pruning of channels of zeros is right"


def verified(
    network: nn.Module,
    inputs: Inputs,
    config: Config,
    ignored: Collection[str],
    factory: PrunerFactory | None = None,
) -> tuple[Verification, nn.Module]:
    """The proof of a pruned copy, and the copy."""
    copy = copy_of(network)
    try:
        pruner, _ = builder(config, inputs, ignored, factory)(copy, None)
    except UnprunableError as error:
        return Verification(Verdict.UNPRUNABLE, str(error)), copy
    return verify(copy, inputs, pruner), copy


@torch.no_grad()
def _muted(network: nn.Module, silent: Mapping[str, Collection[int]]) -> nn.Module:
    """A copy in which channels are zero."""
    muted = copy_of(network)
    for name, channels in silent.items():
        layer = muted.get_submodule(name)
        for tensor in layer.parameters(recurse=False):
            outputs = tensor.transpose(0, 1) if is_turned(layer, tensor) else tensor
            outputs[list(channels)] = 0
    return muted


def is_turned(layer: nn.Module, tensor: Tensor) -> bool:
    """Whether a layer's tensor has its output channels second."""
    is_transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd) and layer.groups == 1
    return is_transposed and tensor.dim() > 1


def _made(found: Verification, network: nn.Module) -> dict[str, tuple[int, ...]]:
    """By layer, the removed output channels."""
    return {
        cut.layer: cut.removed
        for name, layer in network.named_modules()
        for cut in found.cuts
        if cut.layer == name and cut.axis == "out" and cut.dim is None and cut.removed
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)
    }
