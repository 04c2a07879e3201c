"""How long pruned networks take, on a terminal and as a page."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from analysis.errors import several
from analysis.records import EXPLANATIONS, Latency, LayerLatency, Machine, Run, Sizes, Spread, Work
from analysis.reporting.tables import as_markdown, cell, layer_name, left, share

__all__ = ["latency", "page", "time_left"]


def latency(runs: Sequence[Run]) -> str:
    """The whole network at each ratio, why times fell or did not, and every layer."""
    return "\n".join(_parts(runs, "\n{}", 0.0))


def page(title: str, lead: str, networks: Iterable[tuple[str, Sequence[Run]]]) -> str:
    """A page of several networks: the name of each, with its prunings.

    Layers that take little of the time are left to the JSON.
    """
    parts = [f"# {title}", lead]
    for name, runs in networks:
        parts += [f"## {name}", *_parts(runs, "### {}", _LEAST)]
    return "\n\n".join(parts) + "\n"


_LEAST = 0.01
"""The share of its network's time that a layer takes which is on a page."""


def time_left(run: Run) -> str:
    """The share of the dense network's time, with its interval; a dash where it is not known."""
    return str(run.time_left or "-")


def _parts(runs: Sequence[Run], heading: str, least: float) -> Iterator[str]:
    machine = next((run.latency.machine for run in runs if run.latency), None)
    if machine is not None:
        yield _machine(machine)
    yield as_markdown(_NETWORK, [row for run in runs for row in _networks(run)])
    yield from dict.fromkeys(_notes(runs))
    for run in runs:
        if run.latency is not None and run.latency.layers:
            yield heading.format(f"Layers at ratio {run.config.ratio:.4g}")
            yield from _layers(run.latency, least)


def _machine(machine: Machine) -> str:
    benchmark = {None: "", True: ", cuDNN's benchmark on", False: ", cuDNN's benchmark off"}
    load = "" if machine.load is None else f", load {machine.load:.1f}"
    return (
        f"{machine.name}, {several(machine.threads, 'thread')}, torch "
        f"{machine.torch}, {machine.dtype}{benchmark[machine.cudnn_benchmark]}{load}; at most "
        f"{machine.macs_per_second / 1e9:.3g} GMACs and {machine.bytes_per_second / 1e9:.3g} GB a "
        f"second: below {machine.ridge:.3g} MACs a byte, memory is the limit"
    )


_NETWORK = (
    "ratio",
    "verdict",
    "MACs left",
    "backend",
    "dense",
    "pruned",
    "time left",
    "confidence",
)


def _networks(run: Run) -> Iterator[tuple[str, ...]]:
    head = (f"{run.config.ratio:.4g}", run.verification.verdict, left(run.macs))
    if run.latency is None:
        yield (*head, "-", "-", "-", "-", "-")
        return
    for each in run.latency.networks:
        known = f"{each.ratio.coverage:.1%}" if each.ratio else "-"
        times = _time(each.dense), _time(each.pruned)
        yield (*head, each.backend, *times, str(each.ratio) if each.ratio else "-", known)


def _notes(runs: Sequence[Run]) -> Iterator[str]:
    """What was not measured, and why."""
    for run in runs:
        if run.latency is None:
            reason = run.verification.reason or run.verification.verdict
            yield f"ratio {run.config.ratio:.4g}: not measured: {reason}"
            continue
        for each in run.latency.networks:
            if each.why_not:
                yield f"{each.backend}: not measured: {each.why_not}"
        if run.latency.uncounted:
            yield f"MACs are not known: {run.latency.uncounted}"
        if run.latency.unmatched:
            yield f"called in one network alone: {', '.join(run.latency.unmatched)}"


def _layers(found: Latency, least: float) -> Iterator[str]:
    working = [each for each in found.layers if each.works]
    shown = [each for each in working if _part(each, found) >= least]
    yield _gap(found)
    yield as_markdown(_WHY, _by_why(found))
    if len(shown) < len(working):
        hidden = len(working) - len(shown)
        yield f"Not listed: {hidden} layers that take less than {least:.0%} each."
    rows = [_row(each, found.machine) for each in shown]
    yield as_markdown(_LAYER, [tuple(map(cell, row)) for row in rows])


def _part(layer: LayerLatency, found: Latency) -> float:
    """Its share of the time of all layers, in that of the two networks where it is greater."""
    times = (layer.dense.seconds, layer.pruned.seconds)
    return max(own / whole for own, whole in zip(times, _totals(found), strict=True))


def _totals(found: Latency) -> tuple[float, float]:
    """The medians of layers that work, added up: what interrupts a pass is in none of them."""
    working = [each for each in found.layers if each.works]
    return sum(each.dense.seconds for each in working), sum(each.pruned.seconds for each in working)


def _gap(found: Latency) -> str:
    """How the times of layers compare with those of the network."""
    whole = next((each for each in found.networks if each.backend == "eager" and each.ratio), None)
    alone = f"; {_time(whole.dense)} and {_time(whole.pruned)} where none is" if whole else ""
    idle, totals = sum(not each.works for each in found.layers), _totals(found)
    gap = [together - own for together, own in zip(found.hooked, found.sums, strict=True)]
    return (
        f"The layers below take {_time(found.sums[0])} dense and {_time(found.sums[1])} pruned, of "
        f"{_time(found.hooked[0])} and {_time(found.hooked[1])} while each is timed{alone}. What "
        f"they leave, {_time(gap[0])} and {_time(gap[1])}, are modules that only call others "
        f"({idle}), and the timing. Each layer's time is its own median; these add up to "
        f"{_time(totals[0])} and {_time(totals[1])}."
    )


_WHY = ("its time", "layers", "of the dense time", "of the pruned time")
"""Shares of the layers' times."""


def _by_why(found: Latency) -> list[tuple[str, ...]]:
    """How many layers each explanation is of, and their part of the time."""
    working = [each for each in found.layers if each.works]
    counts = Counter(each.why for each in working)
    return [
        (
            said,
            f"{counts[why]}",
            *(
                share(
                    sum(getattr(each, name).seconds for each in working if each.why == why)
                    / _totals(found)[place]
                )
                for place, name in enumerate(("dense", "pruned"))
            ),
        )
        for why, said in EXPLANATIONS.items()
        if counts[why]
    ]


_LAYER = (
    "layer",
    "kind",
    "dense",
    "pruned",
    "time left",
    "MACs left",
    "bytes left",
    "MACs/byte",
    "limit",
    "of roof",
    "its time",
)


def _row(layer: LayerLatency, machine: Machine | None) -> tuple[str, ...]:
    dense, pruned = layer.dense, layer.pruned
    return (
        layer_name(layer.layer),
        layer.kind,
        _time(dense.seconds),
        _time(pruned.seconds),
        _short(layer.ratio),
        left(Sizes(dense.macs, pruned.macs)),
        left(Sizes(dense.bytes, pruned.bytes)),
        "-" if pruned.intensity is None else f"{pruned.intensity:.2f}",
        _LIMITS[machine.is_memory_bound(pruned) if machine else None],
        _of_roof(pruned, machine),
        EXPLANATIONS[layer.why],
    )


_LIMITS = {True: "memory", False: "compute", None: "-"}


def _of_roof(work: Work, machine: Machine | None) -> str:
    """How near the layer is to what the machine's peaks allow; above 100 % in a cache."""
    return share(machine.roof(work) / work.seconds) if machine and work.seconds else "-"


def _short(spread: Spread) -> str:
    return f"{spread.median:.0%} ({spread.low:.0%} to {spread.high:.0%})"


def _time(seconds: float | None) -> str:
    """Three digits, in the unit that shows them."""
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
