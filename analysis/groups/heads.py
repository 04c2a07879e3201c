"""How attention is to be cut where its code leaves that open: whole heads, or alike in each."""

from analysis.network.labels.records import Choice, Trace
from analysis.records import HEADS

__all__ = ["attention_modules", "preferred", "ways"]


def attention_modules(trace: Trace) -> set[str]:
    """Modules in whose forward two activations are multiplied."""
    return {step.place.module for step in trace.steps for read in step.reads if not read.tensor}


def preferred(trace: Trace, heads: str) -> dict[int, int]:
    """By place of a choice the option that cuts attention so.

    Channels are laid out as (..., heads, channels of a head).
    """
    attention = attention_modules(trace)
    found = {}
    for place, choice in enumerate(trace.choices):
        if trace.steps[choice.step].place.module in attention and choice.labels.ndim > 1:
            option = _option(choice, choice.labels.ndim - (2 if heads == "whole" else 1))
            if option is not None:
                found[place] = option
    return found


def ways(trace: Trace, heads: str) -> tuple[dict[int, int], ...]:
    """What `preferred` says of this way, and then of the others."""
    return tuple(preferred(trace, way) for way in dict.fromkeys((heads, *HEADS)))


def _option(choice: Choice, axis: int) -> int | None:
    names = [option.name for option in choice.options]
    name = f"alike along {axis}"
    return names.index(name) if name in names else None
