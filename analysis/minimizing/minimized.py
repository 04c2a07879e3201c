"""Minimize a failing network to a short script, and run the script."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from analysis.errors import BudgetExceededError, InputError
from analysis.groups import inspecting, policies
from analysis.minimizing.failing import Asked, Judge, verified
from analysis.minimizing.shrinking import coarser, shrunk
from analysis.minimizing.small import Small, flat, small_of
from analysis.minimizing.writing import script
from analysis.network.inference import (
    Inputs,
    copy_of,
    left_as_found,
    map_tensors,
    one_line,
    random_state_kept,
)
from analysis.network.usable import check_usable
from analysis.processes import budgets
from analysis.pruning.pruners import load_factory
from analysis.records import MINIMIZING, Config, Counterexample, Verdict

__all__ = ["minimized"]

_SECONDS_TO_RUN = 120.0
_MOST_RUN = 3
_FAULTS = (Verdict.WRONG, Verdict.BROKEN, Verdict.UNPRUNABLE)
_SEEDS = 3
"""How many sets of fresh weights the first network is tried with."""


def minimized(
    model: nn.Module,
    example_inputs: Inputs,
    ratio: float = 0.5,
    *,
    ignore: Any = "classifier",
    scope: str = "local",
    importance: str = "l1",
    round_to: int | None = None,
    max_pruning_ratio: float = 1.0,
    pruner: str | None = None,
    verdict: Verdict | None = None,
    seconds: float = MINIMIZING,
) -> Counterexample:
    """Minimize a network that torch-pruning does not prune right to a script that shows it.

    The script's network has fresh weights. The proof judges each smaller network, and the script is
    run in its own process before it is returned.

    Args:
        model: the dense network; not changed.
        example_inputs: a tensor, a tuple or a dict.
        ratio: as `analysis.prune`, and so the arguments that follow.
        ignore: see there. Layers that make the output are ignored as well.
        scope: see there.
        importance: ``l1`` or ``l2``.
        round_to: see there.
        max_pruning_ratio: see there.
        pruner: a pruner function of your own in place of torch-pruning's MagnitudePruner, as
            ``module:function`` or ``file.py:function``, which the script imports.
        verdict: that of this pruning, if it is known; None proves it.
        seconds: time limit, without running the script.

    Raises:
        InputError: an argument cannot be used, or the network cannot be analysed as it is.
    """
    config = Config(
        ratio, scope, importance, round_to=round_to, max_pruning_ratio=max_pruning_ratio
    )
    check_usable(model)
    until = time.monotonic() + seconds
    with left_as_found(model), random_state_kept():
        model.eval()
        try:
            with budgets.limited(seconds if budgets.can_be_held() else None):
                search = _begun(model, example_inputs, config, ignore, verdict, pruner)
        except BudgetExceededError as error:
            return Counterexample(why=error.reason)
        except _NoneError as error:
            return Counterexample(why=str(error))
        shrunk(search.smallest, search.fails, until - time.monotonic())
        return search.result()


def _begun(
    model: nn.Module,
    inputs: Inputs,
    config: Config,
    ignore: Any,
    verdict: Verdict | None,
    pruner: str | None,
) -> "_Search":
    """A search from a network that fails."""
    factory = load_factory(pruner)
    groups = inspecting.labelled(model, inputs).groups
    ignored = policies.ignored_layers(ignore, model, groups)
    if verdict is None:
        verdict = verified(model, inputs, config, ignored, factory)[0].verdict
    if verdict not in _FAULTS:
        raise _NoneError(f"the verdict is `{verdict}`")
    names = _named(model, ignored)
    # What fails when torch-pruning's is asked for the ratio alone is shown so.
    alone = Config(config.ratio, "local", config.importance)
    asked = dict.fromkeys((config,) if factory else (alone, config))
    judges = [Judge(each, names, factory) for each in asked]
    return _Search(judges, _traced(model, inputs), verdict, pruner)


class _NoneError(Exception):
    """There is no script; the message says why."""


def _traced(model: nn.Module, inputs: Inputs) -> Small:
    try:
        return small_of(copy_of(model).cpu().eval(), map_tensors(inputs, Tensor.cpu))
    except Exception as error:
        raise _NoneError(f"torch.fx cannot follow the network: {one_line(error)}") from error


def _named(model: nn.Module, ignored: Collection[str]) -> Collection[str]:
    """Names in the graph of ignored layers and of the layers inside them."""
    return {
        flat(f"{name}.{inside}" if inside else name)
        for name in ignored
        for inside, _ in model.get_submodule(name).named_modules()
    }


class _Search:
    """The networks that fail as the first one does, the smallest last."""

    def __init__(
        self, judges: Sequence[Judge], first: Small, verdict: Verdict, pruner: str | None
    ) -> None:
        self._pruner = pruner
        self._found: list[tuple[Small, Asked]] = []
        if not any(self._begins(judge, first, verdict) for judge in judges):
            raise _NoneError(
                "written out operator by operator, with fresh weights and the layers that make the "
                f"output ignored, it is not `{verdict}`{self._otherwise(verdict)}"
            )

    def _otherwise(self, verdict: Verdict) -> str:
        """What it is then, where it fails in another way."""
        found = self._failure.verdict
        return "" if found in (verdict, Verdict.WRONG) else f" but `{found}`"

    def _begins(self, judge: Judge, first: Small, verdict: Verdict) -> bool:
        """Whether a network of the first one's kind fails as it does."""
        self._judge, self._failure = judge, judge.failure(first)
        return self._failure.verdict is verdict and any(
            self.fails(replace(small, seed=seed))
            for small in coarser(first)
            for seed in range(_SEEDS)
        )

    @property
    def smallest(self) -> Small:
        """The last that failed."""
        return self._found[-1][0]

    def fails(self, small: Small) -> bool:
        """Whether a network fails like the last one; if that was visible, it must stay visible."""
        was_shown = bool(self._found) and self._found[-1][1].is_shown
        try:
            asked = self._judge.asked(small)
        except Exception:  # what cannot be judged is not known to fail
            return False
        if not isinstance(asked, Asked):
            return False
        if asked.failure != self._failure or asked.is_shown < was_shown:
            return False
        self._found.append((small, asked))
        return True

    def result(self) -> Counterexample:
        """The script of the smallest network that fails when it is run."""
        why = ""
        for small, asked in self._found[: -_MOST_RUN - 1 : -1]:
            try:
                if not asked.is_shown:
                    raise InputError(
                        f"nothing shows without the proof that it is wrong: {asked.unshown}"
                    )
                text = script(small, asked, self._judge.config, self._pruner)
                _check(text, asked, with_users=self._pruner is not None)
            except InputError as error:
                why = why or f"the smallest network that fails cannot be written: {error}"
            else:
                return Counterexample(text, asked.failure.verdict)
        return Counterexample(why=why)


def _check(text: str, asked: Asked, *, with_users: bool) -> None:
    """Run a script as a user does: in this folder, where it imports a pruner of the user's.

    Raises:
        InputError: it does not fail as expected.
    """
    expected = asked.failure.raised or "AssertionError"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "script.py")
        path.write_text(text)
        alone = [] if with_users else ["-I"]
        command = [sys.executable, *alone, "-W", "ignore", str(path)]
        try:
            run = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=_SECONDS_TO_RUN,
                cwd=None if with_users else folder,
            )
        except subprocess.TimeoutExpired:
            raise InputError("the script does not end") from None
    last = (run.stderr.strip().splitlines() or [""])[-1]
    if run.returncode != 1 or expected not in run.stderr:
        raise InputError(f"its script does not fail with {expected}: {last}")
