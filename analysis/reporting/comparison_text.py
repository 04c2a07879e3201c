"""The text of a comparison of two networks."""

from collections.abc import Iterator

from analysis.records import Comparison

__all__ = ["comparison"]


def comparison(found: Comparison) -> str:
    """The verdict, the kept channels, and the limits of the answer."""
    return "\n".join(_lines(found))


def _lines(found: Comparison) -> Iterator[str]:
    yield f"{found.verdict}" + (f": {found.reason}" if found.reason else "")
    for layer, axes in found.kept.items():
        for axis, left in axes.items():
            yield f"`{layer}` {axis}: {len(left)} left: {_ranges(left)}"
    for each in found.inferred:
        yield (
            f"inferred: `{each.tensor}` along dimension {each.dim}, the next best "
            f"{each.margin:.3g} times as far or further"
        )
    for tensor, distance in found.moved:
        yield f"moved: `{tensor}` by {distance:.2g} of what it was"
    for text in found.ambiguous:
        yield f"ambiguous: {text}"
    for norm, layer in found.merged:
        yield f"merged: `{norm}` into `{layer}`"
    for tie in found.untied:
        named = " and ".join(f"`{name}`" for name in tie.names)
        yield f"no longer tied: {named}, which adds {tie.added:,} parameters"


def _ranges(left: tuple[int, ...]) -> str:
    """Channels in order, those that follow one another as one range."""
    found: list[list[int]] = []
    for channel in left:
        if found and channel == found[-1][1] + 1:
            found[-1][1] = channel
        else:
            found.append([channel, channel])
    said = [f"{low}-{high}" if high > low else f"{low}" for low, high in found]
    more = f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
    return ", ".join(said[:_SHOWN]) + more


_SHOWN = 20
"""How many ranges of one axis are listed."""
