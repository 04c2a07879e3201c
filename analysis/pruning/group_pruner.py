"""A pruner that cuts by true groups and steps like those of torch-pruning."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from analysis.errors import InputError
from analysis.groups import inspecting, policies
from analysis.network.cutting import cut_labels, recut
from analysis.network.inference import Inputs
from analysis.network.labels.planes import Labels
from analysis.network.usable import check_usable
from analysis.pruning.by_groups import (
    Chosen,
    RankedSets,
    choose,
    limits_of,
    ranked_sets,
    removals_of,
    scopes_of,
)
from analysis.pruning.heads_of_sets import head_accounts
from analysis.pruning.rules import Limits, Scope
from analysis.records import (
    IMPORTANCES,
    Attribute,
    Config,
    DependencyGroup,
    HeadAccount,
    PlannedGroup,
    Removal,
    checked_widths,
)

__all__ = ["GroupCut", "GroupPruner", "Numbers"]


@dataclass(eq=False)
class GroupCut:
    """A group that a step is about to cut.

    Attributes:
        removal: the cut, with indices of the network before the step.
        since_start: the same, with indices of the network before the first step.
        pruned: whether it will be cut.
    """

    removal: Removal
    since_start: Removal
    pruned: bool = False

    def prune(self) -> None:
        """Mark it to be cut once the step has yielded all groups."""
        self.pruned = True


class GroupPruner:
    """Prunes a network by its groups.

    It ranks the sets of channels that are removed together (see `Group.together`) by the mean score
    of their channels, and otherwise ranks like torch-pruning. Where torch-pruning drops a cut that
    would empty a layer, it keeps the highest ranked channels. ``max_pruning_ratio`` holds after the
    last step. ``round_to`` leaves the nearest possible multiple.

    Args:
        model: the network that is pruned, in place.
        example_inputs: a tensor, a tuple or a dict.
        ratio: share of the channels to remove, in [0, 1); None is a half, or no ratio if widths are
            given.
        ignore: layers that keep their output channels: a policy's name, a list of layers or of
            their names, or a function of the model.
        scope: ``local`` ranks inside each group, ``global`` across groups.
        importance: ``l1`` or ``l2``, as torch-pruning's ``MagnitudeImportance``; or one of
            torch-pruning's importances, a function of a group that returns a score a channel.
        round_to: keep channel counts a multiple of this, or None.
        max_pruning_ratio: greatest share of its channels that a group loses, in (0, 1].
        ratios_by_layer: ratios of single layers, by layer, name, or tuple of these.
        widths: how many channels are left, by layer or group, whatever the ratio is; in one step.
        heads: whether ``whole`` heads of attention are removed, or as many channels of each
            (``alike``), if the network's code allows both.
        min_channels: fewest channels that a group keeps.
        iterative_steps: number of steps to reach the ratio, in equal shares.
        left_whole: further layers and parameters whose groups are left whole.
        followed: the labelled pass of the model, or of a model that it is a copy of; None runs it.

    Attributes:
        groups: the groups before the first step, the excluded ones marked.
        planned: the requested and removed channels up to the last step, with indices of the network
            before the first step.
        attributes: the attributes of modules that hold sizes and were set.

    Raises:
        InputError: an argument cannot be used, the model does not run on the inputs, or it cannot
            be analysed as it is.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Inputs,
        ratio: float | None = None,
        *,
        ignore: Any = "classifier",
        scope: str = "local",
        importance: str | Callable[[Any], Any] = "l1",
        round_to: int | None = None,
        max_pruning_ratio: float = 1.0,
        ratios_by_layer: Mapping[Any, float] | None = None,
        widths: Mapping[str, int] | None = None,
        heads: str = "whole",
        min_channels: int = 1,
        iterative_steps: int = 1,
        left_whole: Collection[str] = (),
        followed: inspecting.Labelled | None = None,
    ) -> None:
        norm = IMPORTANCES[0] if callable(importance) else importance
        if ratio is None:
            ratio = 0.0 if widths else 0.5
        self._config = Config(
            ratio,
            scope,
            norm,
            round_to=round_to,
            max_pruning_ratio=max_pruning_ratio,
            cut="groups",
            heads=heads,
            widths=tuple(checked_widths(widths or {}).items()),
        )
        if widths and iterative_steps != 1:
            raise InputError(f"iterative_steps {iterative_steps!r}; widths are left in one step")
        for name, count in (("min_channels", min_channels), ("iterative_steps", iterative_steps)):
            if type(count) is not int or count < 1:
                raise InputError(f"{name} {count!r}; expected a whole number of at least 1")
        check_usable(model)
        self.model = model
        self.pruning_ratio, self.max_pruning_ratio = ratio, max_pruning_ratio
        self.global_pruning, self.round_to = scope == "global", round_to
        self.iterative_steps, self.current_step = iterative_steps, 0
        self._inputs, self._importance, self._least = example_inputs, importance, min_channels
        choice = policies.choice_of(ignore, model)
        followed = followed or self._followed()
        self.ignored = policies.ignored_layers(choice, model, followed.groups)
        self._staying = (*self.ignored, *left_whole)
        self._sets = self._ranked(followed)
        self._sets.widths(dict(self._config.widths))  # refuses what cannot be had
        self._first = _First(self._sets)
        self._scopes = scopes_of(model, self._sets, self._config, ratios_by_layer or {})
        self.groups: tuple[DependencyGroup, ...] = tuple(each.group for each in self._sets.found)
        self.planned: tuple[PlannedGroup, ...] = ()
        self.attributes: tuple[Attribute, ...] = ()

    @classmethod
    def asked_by(
        cls, config: Config, model: nn.Module, example_inputs: Inputs, **options: Any
    ) -> "GroupPruner":
        """One that is asked what a config says, and further ``options`` of its own."""
        return cls(model, example_inputs, config.ratio, **(cls.options_of(config) | options))

    @staticmethod
    def options_of(config: Config) -> dict[str, Any]:
        """What a config says beside how far."""
        return {
            "scope": config.scope,
            "importance": config.importance,
            "round_to": config.round_to,
            "max_pruning_ratio": config.max_pruning_ratio,
            "heads": config.heads,
            "widths": dict(config.widths),
        }

    @property
    def axes(self) -> dict[tuple[str, int], list[int]]:
        """The positions left of each axis that lost some, by tensor and dimension."""
        return self._first.axes

    @property
    def sets(self) -> RankedSets:
        """The groups before the first step, as they were ranked."""
        return self._first.sets

    @property
    def gone(self) -> NDArray[np.bool_]:
        """For each label of the pass over the first network, whether its position was removed."""
        return self._first.gone_labels

    @property
    def heads(self) -> tuple[HeadAccount, ...]:
        """Whole heads of attention, asked against done up to the last step."""
        return head_accounts(self._first.sets, self.planned, self.gone)

    def repeat_on(self, model: nn.Module) -> None:
        """Cut another network of the same structure in the same way."""
        recut(model, self.axes, self.attributes)

    @property
    def ignored_layers(self) -> list[nn.Module]:
        """The layers whose output channels stay."""
        return [self.model.get_submodule(name) for name in self.ignored]

    def step(self, interactive: bool = False) -> Iterator[GroupCut] | None:
        """Run the next step.

        Args:
            interactive: yield each group; those whose ``prune()`` was called are cut at the end.
        """
        self.current_step += 1
        cuts = self._step()
        if interactive:
            return cuts
        for cut in cuts:
            cut.prune()
        return None

    def _step(self) -> Iterator[GroupCut]:
        if self.current_step > 1:  # weights may have been trained since
            self._sets = self._ranked(self._followed())
        sets, numbers = self._sets, self._first.numbers(self._sets)
        chosen = self._chosen(numbers)
        self._note(chosen, numbers)
        found = removals_of(sets, chosen.gone)
        is_first = sets is self._first.sets
        since_start = (
            found if is_first else removals_of(self._first.sets, numbers.first(chosen.gone))
        )
        since = {each.root: each for each in since_start}
        cuts = [
            GroupCut(replace(removal, root=root), since[root])
            for removal in found
            for root in [numbers.roots[removal.root]]
        ]
        yield from cuts
        going = {cut.removal.root for cut in cuts if cut.pruned}
        gone = chosen.gone.copy()
        for place, each in enumerate(sets.found):
            if numbers.roots.get(each.group.root) not in going:
                gone[sets.followed.group_of == place] = False
        done = cut_labels(self.model, sets.followed.trace, gone, sets.followed.repeated)
        self.attributes = tuple(_joined(self.attributes, done))
        self._first.take(sets, gone)

    def _followed(self) -> inspecting.Labelled:
        return inspecting.labelled(self.model, self._inputs, self._config.heads)

    def _ranked(self, followed: inspecting.Labelled) -> RankedSets:
        importance = self._importance
        if callable(importance):
            from analysis.pruning.own_importances import scored_by  # brings torch-pruning

            importance = scored_by(importance, self.model)
        return ranked_sets(self.model, followed, self._staying, importance)

    def _chosen(self, numbers: "Numbers") -> Chosen:
        """Which channels go at this step's share of the ratios."""
        share = self.current_step / self.iterative_steps
        config = replace(self._config, ratio=self._config.ratio * share)
        return choose(self._sets, config, self._scopes_now(numbers, share), self._limits(numbers))

    def _scopes_now(self, numbers: "Numbers", share: float) -> list[Scope]:
        """What is ranked together of what is left, with its share of a ratio of its own."""
        return [
            Scope(
                scope.name,
                tuple(root for root in self._sets.ranked if numbers.roots[root] in scope.roots),
                None if scope.ratio is None else scope.ratio * share,
                initial=self._first.positions(scope),
            )
            for scope in self._scopes
        ]

    def _limits(self, numbers: "Numbers") -> dict[str, Limits]:
        """How many channels of what is left may go."""
        before = {root: self._first.widths[first] for root, first in numbers.roots.items()}
        return limits_of(self._sets, self._config, self._least, before)

    def _note(self, chosen: Chosen, numbers: "Numbers") -> None:
        """Add what is asked now to what has gone, in the numbers of the first network."""
        found = {each.root: each for each in self.planned}
        for entry in chosen.planned:
            root, channels = numbers.roots[entry.root], numbers.channels[entry.root]
            before = self._first.gone(root, channels)
            found[root] = replace(
                entry,
                root=root,
                width=self._first.widths[root],
                requested=tuple(sorted({*before, *channels[list(entry.requested)].tolist()})),
                expected=tuple(sorted({*before, *channels[list(entry.expected)].tolist()})),
            )
        self.planned = tuple(found.values())


def _joined(before: Iterable[Attribute], now: Iterable[Attribute]) -> Iterator[Attribute]:
    """Each attribute once, with its value before the first step and after the last."""
    found = {(each.module, each.path): each for each in before}
    for each in now:
        key = each.module, each.path
        found[key] = replace(found.get(key, each), after=each.after)
    return iter(found.values())


@dataclass(frozen=True, eq=False)
class Numbers:
    """The groups of a network in the numbers of what it was before the first step.

    Attributes:
        origins: for each label of its pass that of the first one.
        count: labels of the first pass.
        roots: by root of a group, that of the first network's.
        channels: by root, for each channel of the group that of the first network's.
    """

    origins: Labels
    count: int
    roots: dict[str, str]
    channels: dict[str, NDArray[np.int64]]

    def first(self, gone: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The labels of the first pass that correspond to these."""
        found = np.zeros(self.count, bool)
        found[self.origins[gone]] = True
        found[0] = False
        return found


class _First:
    """The network before the first step, and the positions left of its axes.

    Args:
        sets: of it.
    """

    def __init__(self, sets: RankedSets) -> None:
        self.sets = sets
        self.widths = {each.group.root: each.group.width for each in sets.found}
        sizes = sets.followed.trace.sizes
        self._alive = {axis: np.arange(size, dtype=np.int32) for axis, size in sizes.items()}

    @property
    def axes(self) -> dict[tuple[str, int], list[int]]:
        """The positions left of each axis that lost some, by tensor and dimension."""
        sizes = self.sets.followed.trace.sizes
        return {
            axis: left.tolist() for axis, left in self._alive.items() if len(left) < sizes[axis]
        }

    @property
    def gone_labels(self) -> NDArray[np.bool_]:
        """For each label, whether its position was removed."""
        trace = self.sets.followed.trace
        gone = np.zeros(trace.count, bool)
        for axis, left in self._alive.items():
            gone[np.delete(trace.labels(*axis), left)] = True
        return gone

    def numbers(self, sets: RankedSets) -> Numbers:
        """The numbers of what is left of it."""
        trace, first = sets.followed.trace, self.sets.followed
        origins = np.zeros(trace.count, np.int32)
        for axis in trace.starts:
            origins[trace.labels(*axis)] = first.trace.starts[axis] + self._alive[axis]
        roots, channels = {}, {}
        for each, labels in zip(sets.found, sets.followed.labels, strict=True):
            own = origins[labels]
            whole = self.sets.found[first.group_of[own[0]]]
            roots[each.group.root] = whole.group.root
            channels[each.group.root] = whole.channels_of(own)
        return Numbers(origins, first.trace.count, roots, channels)

    def positions(self, scope: Scope) -> int:
        """How many positions of a scope were ranked."""
        return sum(len(self.sets.scores[root]) for root in scope.roots)

    def gone(self, root: str, left: NDArray[np.int64]) -> list[int]:
        """The channels of a group that are not left."""
        return np.setdiff1d(np.arange(self.widths[root]), left).tolist()

    def take(self, sets: RankedSets, gone: NDArray[np.bool_]) -> None:
        """Record the cuts of a step."""
        trace = sets.followed.trace
        for axis in trace.starts:
            self._alive[axis] = self._alive[axis][~gone[trace.labels(*axis)]]
