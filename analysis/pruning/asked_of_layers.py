"""Requests to a pruner for single layers: whole heads, and ratios of their own.

At each step torch-pruning applies a ratio of heads to what the last step left. It silently ignores
ratios that no group uses.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from analysis.network.gradients import NO_GRADIENT
from analysis.records import DependencyGroup, HeadAccount, Removal, merge_cuts

__all__ = ["AskedOfLayers", "prunes_heads"]


def prunes_heads(pruner: Any) -> bool:
    """Whether whole heads are removed."""
    ratios = [pruner.per_step_head_pruning_ratio, *pruner.head_pruning_ratio_dict.values()]
    return bool(pruner.prune_num_heads and any(max(each) > 0 for each in ratios))


@dataclass(frozen=True)
class AskedOfLayers:
    """The request of the last step, by names of layers.

    Attributes:
        heads: number of heads of each layer of attention.
        head_ratio: ratio of heads of layers without their own.
        head_ratios: by layer.
        ratios: of channels, by the layers that share one.
        together: whether all heads are ranked together.
        prunes_heads: whether the pruner is to remove heads.
        is_traced: whether torch-pruning's graph joins any two operators.
    """

    heads: Mapping[str, int]
    head_ratio: float
    head_ratios: Mapping[str, float]
    ratios: Mapping[tuple[str, ...], float]
    together: bool
    prunes_heads: bool
    is_traced: bool

    @classmethod
    def of(cls, pruner: Any) -> "AskedOfLayers":
        """Of a torch-pruning pruner before its first step."""
        names = {module: name for name, module in pruner.model.named_modules()}
        by_layer = pruner.head_pruning_ratio_dict
        shared: dict[int, list[Any]] = {}
        for module, (_, modules) in pruner._layer_to_scope.items():
            shared.setdefault(id(modules), []).append(module)
        return cls(
            heads={names[m]: count for m, count in pruner.num_heads.items() if m in names},
            head_ratio=pruner.per_step_head_pruning_ratio[-1],
            head_ratios={names[m]: ratios[-1] for m, ratios in by_layer.items() if m in names},
            ratios={
                tuple(names.get(each, type(each).__name__) for each in layers): (
                    pruner.pruning_ratio_dict[layers[0]][-1]
                )
                for layers in shared.values()
            },
            together=pruner.global_pruning and not by_layer,
            prunes_heads=bool(pruner.prune_num_heads),
            is_traced=any(node.outputs for node in pruner.DG.module2node.values()),
        )

    def head_accounts(
        self, groups: Sequence[DependencyGroup], removals: Collection[Removal]
    ) -> tuple[HeadAccount, ...]:
        """Requested and removed heads; none if no heads are requested."""
        gone = {cut.layer: set(cut.removed) for cut in merge_cuts(removals) if cut.axis == "out"}
        accounts = [self._attention(widths, gone) for widths in self._attentions(groups)]
        if self.together and accounts:
            heads = sum(each.heads for each in accounts)
            accounts = [
                HeadAccount(
                    layers=tuple(layer for each in accounts for layer in each.layers),
                    heads=heads,
                    requested=heads - int(heads * (1 - self.head_ratio)),
                    removed=sum(each.removed for each in accounts),
                    beyond=sum(each.beyond for each in accounts),
                )
            ]
        return tuple(each for each in accounts if each.requested or each.removed)

    def _attentions(self, groups: Sequence[DependencyGroup]) -> list[dict[str, int]]:
        """Widths of the layers of each attention; keys that queries share have the greater one."""
        found: list[dict[str, int]] = [
            {
                each.layer: each.width
                for each in group.members
                if each.axis == "out" and each.layer in self.heads
            }
            for group in groups
            if not group.ignored
        ]
        return [
            own for own in found if own and not any(own.keys() < other.keys() for other in found)
        ]

    def _attention(self, widths: Mapping[str, int], gone: Mapping[str, set[int]]) -> HeadAccount:
        """Heads of the layers with these widths."""
        heads = max(self.heads[layer] for layer in widths)
        keys = min(self.heads[layer] for layer in widths)
        layer = next(layer for layer in widths if self.heads[layer] == heads)
        # Three where one layer makes queries, keys and values.
        parts = 3 if len(widths) == 1 and widths[layer] % (3 * heads) == 0 else 1
        size = widths[layer] // (parts * heads)
        lost = gone.get(layer, set())
        blocks = [lost.issuperset(range(at * size, (at + 1) * size)) for at in range(parts * heads)]
        own = [self.head_ratios[each] for each in widths if each in self.head_ratios]
        ratio = min(max(own, default=self.head_ratio), 1.0)
        return HeadAccount(
            layers=tuple(widths),
            heads=heads,
            requested=ceil(ratio * heads),
            removed=sum(blocks) // parts,
            beyond=keys - 1 if keys < heads else 0,
        )

    def unmet_heads(self, groups: Sequence[DependencyGroup]) -> str:
        """Why a requested ratio of heads removes none; empty if it removes some."""
        asked = self.head_ratio or any(self.head_ratios.values())
        own = {layer for group in groups for layer in group.layers} & self.heads.keys()
        if asked and not own:
            return (
                "a ratio of heads is asked, and `num_heads` names no layer that torch-pruning cuts"
            )
        if asked and not self.prunes_heads:
            return "a ratio of heads is asked, and without prune_num_heads=True none goes"
        other = [layer for layer, ratio in self.head_ratios.items() if ratio and layer not in own]
        if other:
            return (
                f"`head_pruning_ratio_dict` asks {self.head_ratios[other[0]]:g} of "
                f"{_named(other)}, and `num_heads` names no heads of it that torch-pruning cuts"
            )
        return ""

    def unmet(self, groups: Sequence[DependencyGroup]) -> Iterator[str]:
        """Requests for layers that have no effect, in words."""
        if not self.is_traced:
            yield NO_GRADIENT
        taken = {key for group in groups if (key := self._taken_by(group)) is not None}
        for layers, ratio in self.ratios.items():
            if ratio and layers not in taken:
                yield f"`pruning_ratio_dict` asks {ratio:g} of {_named(layers)}, and " + (
                    self._why_not(layers, groups)
                )

    def _taken_by(self, group: DependencyGroup) -> tuple[str, ...] | None:
        """The layers whose ratio a group uses: those of its first layer with a ratio."""
        if not group.prunable:
            return None
        return next(
            (layers for layer in group.layers for layers in self.ratios if layer in layers), None
        )

    def _why_not(self, layers: tuple[str, ...], groups: Sequence[DependencyGroup]) -> str:
        holding = [group for group in groups if not set(layers).isdisjoint(group.layers)]
        if not holding:
            return "torch-pruning has no group of its outputs"
        other = next(filter(None, map(self._taken_by, holding)), None)
        if other is not None:
            return f"its group takes the {self.ratios[other]:g} that is asked of {_named(other)}"
        if all(group.ignored for group in holding):
            return "it is excluded"
        if all(group.frozen for group in holding):
            return "no gradient reaches it, by which torch-pruning traces"
        return "its group has a layer of a single channel"


def _named(layers: Sequence[str]) -> str:
    more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
    return f"`{layers[0]}`{more}"
