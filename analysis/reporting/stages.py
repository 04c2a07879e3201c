"""Costs summed by block, the top two levels of modules."""

from dataclasses import dataclass

from analysis.records import CostTable

__all__ = ["Stage", "stages"]

_OWN = "(forward)"


@dataclass(frozen=True)
class Stage:
    """One block's MACs and parameters."""

    name: str
    macs: int
    params: int


def _stage_of(layer: str) -> str:
    """``features.3`` for ``features.3.conv.0.1``; the model's own calls have their own name."""
    return ".".join(layer.split(".")[:2]) or _OWN


def stages(costs: CostTable) -> list[Stage]:
    """Blocks in model order; they sum to the total."""
    summed: dict[str, Stage] = {}
    # The model's own forward (pooling, as a rule) is read after the layers it calls.
    for row in sorted(costs.layers, key=lambda row: row.layer == ""):
        name = _stage_of(row.layer)
        before = summed.get(name, Stage(name, 0, 0))
        summed[name] = Stage(name, before.macs + row.macs, before.params + row.params)
    return list(summed.values())
