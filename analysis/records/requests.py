"""Requests: which network, how it is pruned, and the limits of the checks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from analysis.errors import InputError, an, did_you_mean
from analysis.records.latency import Timing
from analysis.records.targets import Target, not_per_cent, targets_of

__all__ = [
    "ADVISED",
    "BUDGET",
    "CUTS",
    "EACH_ALONE",
    "HEADS",
    "IMPORTANCES",
    "MINIMIZING",
    "OWN_PRUNER",
    "POLICIES",
    "RATIOS",
    "SCOPES",
    "Config",
    "Network",
    "Request",
    "Thresholds",
    "checked_ratios",
    "checked_widths",
    "excluded",
    "label_of",
    "unknown_policy",
    "usual_ratios",
]


RATIOS = (0.3, 0.5, 0.8)
"""The case study's pruning ratios."""


EACH_ALONE = (0.2, 0.4, 0.6, 0.8)
"""Ratios at which each group is cut alone, to see what it costs."""


BUDGET = 120.0
"""The default time limit for each ratio, its pruning, proof and checks, in seconds."""
MINIMIZING = 60.0
"""The time limit for minimizing a failing network, in seconds."""


CUTS = ("torch-pruning", "groups")
"""Whose cut is predicted: torch-pruning's, or the right one by groups."""
SCOPES = ("global", "local")


HEADS = ("whole", "alike")
"""Whether whole heads are removed, or the same channels of every head."""


IMPORTANCES = ("l1", "l2")


POLICIES = ("residual-blocks", "skip-channels", "classifier", "none")


ADVISED = ("classifier", "skip-channels", "residual-blocks")
"""Policies that are tried where none is given: those that keep the model's outputs."""


OWN_PRUNER = "its own pruner"
"""The policy's name where the user's own pruner chooses what it ignores."""


@dataclass(frozen=True)
class Config:
    """The request to one run of the pruner.

    Attributes:
        ratio: share of the prunable channels to remove, in [0, 1).
        scope: ``global`` ranks across groups, ``local`` inside each group.
        importance: ``l1`` or ``l2``, the norm that ranks channels.
        policy: name of the rule that chose the ignored layers.
        round_to: keep channel counts a multiple of this, or None.
        max_pruning_ratio: the cap handed to the pruner, in (0, 1].
        cut: whose cut it is: ``torch-pruning``'s own or one by the ``groups`` as they are.
        heads: of the latter, whether ``whole`` heads of attention go, or as many channels of each
            (``alike``).
        widths: channels that are left of groups, by layer or group, whatever the ratio says; a
            cut by the groups.
        targets: what is to be left at most.
        sought: whether the ratio is the smallest that meets the targets; it stands as 0 until it
            is found.
        fold_bn: whether what a device folds of batch norms is left out of MACs and parameters.
    """

    ratio: float
    scope: str = "global"
    importance: str = "l1"
    policy: str = "classifier"
    round_to: int | None = None
    max_pruning_ratio: float = 1.0
    cut: str = CUTS[0]
    heads: str = HEADS[0]
    widths: tuple[tuple[str, int], ...] = ()
    targets: tuple[Target, ...] = ()
    sought: bool = False
    fold_bn: bool = False

    @property
    def asked(self) -> str:
        """How far, in a word: the ratio, or the targets in its place."""
        return ",".join(map(str, self.targets)) if self.sought else f"{self.ratio:g}"

    def __post_init__(self) -> None:
        """Refuse what no pruner can be asked.

        Raises:
            InputError: names the value and what is expected.
        """
        is_number = isinstance(self.ratio, int | float) and not isinstance(self.ratio, bool)
        if not is_number or not 0 <= self.ratio < 1:
            hint = not_per_cent(self.ratio)
            raise InputError(f"pruning ratio {self.ratio!r}; expected a number in [0, 1){hint}")
        if self.scope not in SCOPES:
            raise InputError(f"scope {self.scope!r}; expected one of {', '.join(SCOPES)}")
        if self.importance not in IMPORTANCES:
            raise InputError(
                f"importance {self.importance!r}; expected one of {', '.join(IMPORTANCES)}"
            )
        if self.round_to is not None and not (isinstance(self.round_to, int) and self.round_to > 0):
            raise InputError(f"round_to {self.round_to!r}; expected a whole number of at least 1")
        for name, value, known in (("cut", self.cut, CUTS), ("heads", self.heads, HEADS)):
            if value not in known:
                raise InputError(f"{name} {value!r}; expected one of {', '.join(known)}")
        if not 0 < self.max_pruning_ratio <= 1:
            raise InputError(
                f"max_pruning_ratio {self.max_pruning_ratio!r}; expected a number in (0, 1]"
            )


@dataclass(frozen=True)
class Network:
    """The network to analyse. If it is given by names, another process can build the same one.

    Attributes:
        name: a torchvision name, ``package.module:factory`` or ``path/to/file.py:factory``; with
            ``factory``, the name in reports.
        input_size: channels, height, width of one input; None is the network's own.
        weights: ``random``, ``default`` (torchvision's own) or the path of a state dict.
        seed: of random weights and inputs.
        inputs: a function without arguments that returns what forward takes, or its reference;
            None is a standard normal image.
        device: where the network runs.
        factory: builds the network, without arguments; None is what ``name`` refers to.
        outputs: paths of the outputs to compare (``logits``, ``0``, ``out.boxes``); empty is all.
    """

    name: str
    input_size: tuple[int, ...] | None = None
    weights: str = "random"
    seed: int = 0
    inputs: str | Callable[[], Any] | None = None
    device: str = "cpu"
    factory: Callable[[], Any] | None = None
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that would raise deep inside.

        Raises:
            InputError: names the value and what is expected.
        """
        _check(self, _OF_NETWORKS)


@dataclass(frozen=True)
class Thresholds:
    """The limits of the checks on requested and removed channels.

    Attributes:
        ratio_tolerance: channels that a group may lose more or fewer than asked; None is one, or as
            many as rounding to ``round_to`` changes.
        max_dropped: groups that may be asked for channels and lose none.
        min_channels: fewest channels that a pruned group may have left.
        max_lost: greatest share of its channels that a group may lose.
        metric_loss: greatest loss of a metric, in its own unit; None holds it to nothing.
    """

    ratio_tolerance: int | None = None
    max_dropped: int = 0
    min_channels: int = 2
    max_lost: float = 0.99
    metric_loss: float | None = None


@dataclass(frozen=True)
class Request:
    """A request of the command line, of pytest or of a report.

    Attributes:
        network: which network to look at.
        ratios: at which it is pruned; none where the targets alone say how far.
        ignore: the layers whose output channels stay: a policy's name, a list of layers or of
            their names, a function of the model that returns one, or the text of any of these.
        scope: ``global`` or ``local``.
        importance: ``l1`` or ``l2``.
        round_to: keep channel counts a multiple of this, or None.
        max_pruning_ratio: the cap handed to the pruner, in (0, 1].
        cut: who cuts, see `Config`.
        heads: see `Config`.
        widths: channels that are left of groups, by layer or group, as a mapping or its pairs.
        targets: what is to be left at most, see `analysis.records.targets_of`.
        fold_bn: see `Config`.
        pruner: the user's own, a function of (model, inputs, ratio), or its reference; or None.
        shipped: a file or folder of a network that was pruned elsewhere, which is looked at in
            place of a pruning; or None.
        evaluate: a function of the model that returns a number or a dict of numbers, or its
            reference; None measures nothing.
        finetune: a function that trains a pruned model in place, or its reference; or None.
        lower_is_better: names of metrics of which less is better.
        latency: how it is measured, of what is proved; None measures it for a target alone.
        thresholds: where the checks draw the line.
        budget: seconds for each ratio, its pruning, proof and checks; None is no limit.
    """

    network: Network
    ratios: tuple[float, ...] = RATIOS
    ignore: Any = "classifier"
    scope: str = "global"
    importance: str = "l1"
    round_to: int | None = None
    max_pruning_ratio: float = 1.0
    cut: str = CUTS[0]
    heads: str = HEADS[0]
    widths: Any = ()
    targets: Any = ()
    fold_bn: bool = False
    pruner: str | Callable[..., Any] | None = None
    shipped: str | None = None
    evaluate: str | Callable[[Any], Any] | None = None
    finetune: str | Callable[[Any], Any] | None = None
    lower_is_better: tuple[str, ...] = ()
    latency: Timing | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    budget: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no pruner can be asked.

        Raises:
            InputError: names the value and what is expected.
        """
        _check(self, _OF_PRUNINGS)
        if self.shipped is not None and (self.pruner or self.widths or self.finetune):
            raise InputError(
                "what ships was pruned and trained; leave out pruner, widths and finetune"
            )
        if self.evaluate is None and (self.finetune is not None or self.lower_is_better):
            raise InputError("finetune and lower_is_better take an evaluate, to tell what they do")
        choice = excluded(self.ignore)
        if not isinstance(self.ignore, str):
            object.__setattr__(self, "ignore", choice)
        widths = tuple(checked_widths(dict(self.widths)).items()) if self.widths else ()
        if widths and self.pruner is not None:
            raise InputError("widths need a pruning by groups; leave out the pruner")
        object.__setattr__(self, "widths", widths)
        object.__setattr__(self, "targets", targets_of(self.targets))
        ratios = () if self.sought else tuple(dict.fromkeys(checked_ratios(self.ratios)))
        object.__setattr__(self, "ratios", ratios)
        self.config(0.0)  # refuses what is asked beside the ratio

    @property
    def sought(self) -> bool:
        """Whether the targets alone say how far."""
        return bool(self.targets) and self.ratios == ()

    @property
    def timing(self) -> Timing | None:
        """How latency is measured; None where nothing asks for it."""
        is_target = any(target.is_measured for target in self.targets)
        return self.latency or (Timing(layers=False) if is_target else None)

    @property
    def policy(self) -> str:
        """The name of the ignored layers in reports."""
        return label_of(excluded(self.ignore))

    @property
    def configs(self) -> tuple[Config, ...]:
        """What is asked at each ratio, or of the one that the targets take."""
        return tuple(map(self.config, self.ratios or (None,)))

    def config(self, ratio: float | None) -> Config:
        """What is asked at one ratio; None is the one that the targets take."""
        return Config(
            ratio or 0.0,
            self.scope,
            self.importance,
            self.policy,
            self.round_to,
            self.max_pruning_ratio,
            CUTS[1] if self.widths else self.cut,
            self.heads,
            self.widths,
            self.targets,
            ratio is None,
            self.fold_bn,
        )


def label_of(given: Any) -> str:
    """The name of ignored layers in reports; if possible, a text that `excluded` reads again."""
    if isinstance(given, tuple | list):
        names = [_named(layer) for layer in given]
        return f"{names[0]}," if len(names) == 1 else ",".join(names) or "none"
    return _named(given)


def _named(given: Any) -> str:
    return (
        given if isinstance(given, str) else str(getattr(given, "__name__", type(given).__name__))
    )


def excluded(given: Any) -> Any:
    """The ignored layers, in the form that Python, the command line and pytest share.

    Args:
        given: a policy's name, ``package.module:function``, names of layers with commas between
            them (one alone is a name, too), a list of layers or of their names, or a function of
            the model.

    Returns:
        A policy's name, the reference of a function, a function, or a tuple of layers and names.

    Raises:
        InputError: none of these, or a text that looks like a misspelt policy.
    """
    if isinstance(given, str):
        return _excluded_by_name(given)
    # A module can be called, and a container of modules iterated over.
    is_module = hasattr(given, "named_modules")
    if callable(given) and not is_module:
        return given
    if is_module or not isinstance(given, Iterable):
        raise InputError(
            f"ignored layers are given as one {type(given).__name__}; expected a policy "
            f"({', '.join(POLICIES)}), a list of modules or names, or a function"
        )
    return tuple(given)


def _excluded_by_name(text: str) -> Any:
    if text in POLICIES or ":" in text:
        return text
    if "," in text or "." in text:
        names = tuple(name for part in text.split(",") if (name := part.strip()))
        if not names:
            raise unknown_policy(text)
        return names
    if not text or "-" in text or did_you_mean(text, POLICIES, "", cutoff=_MEANT):
        raise unknown_policy(text)
    return (text,)


_MEANT = 0.7
"""A name this similar to a policy's is taken for a misspelt one; ``head`` and ``fc`` are not."""


def unknown_policy(text: str, layers: Iterable[str] = ()) -> InputError:
    """The error for a name that is not a policy and does not look like a layer."""
    hint = did_you_mean(text, [*POLICIES, *layers], "")
    return InputError(
        f"unknown policy {text!r}; {hint}{' ' if hint else ''}expected one of "
        f"{', '.join(POLICIES)}, package.module:function, or names of layers with commas between "
        f"them (one alone as {text + ',' if text else 'head,'!r})"
    )


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 < number < 2**63


def _is_size(size: Any) -> bool:
    return isinstance(size, tuple) and bool(size) and all(map(_is_count, size))


_Expected = dict[str, tuple[Callable[[Any], bool], str]]
"""By field: whether a value can be used, and what is expected."""

_OF_NETWORKS: _Expected = {
    "input_size": (
        lambda size: size is None or _is_size(size),
        "a tuple of whole numbers, such as (3, 32, 32)",
    ),
    "weights": (
        lambda weights: isinstance(weights, str),
        "random, default or the path of a state dict",
    ),
    "seed": (lambda seed: seed == 0 or _is_count(seed), "a whole number from 0 to 2**63 - 1"),
    "inputs": (
        lambda inputs: inputs is None or isinstance(inputs, str) or callable(inputs),
        "a function without arguments, or its reference",
    ),
    "outputs": (
        lambda outputs: (
            isinstance(outputs, tuple)
            and all(isinstance(path, str) and all(path.split(".")) for path in outputs)
        ),
        'a tuple of paths, such as ("logits", "0", "out.boxes")',
    ),
    "device": (lambda device: isinstance(device, str), "a name, such as cpu or cuda"),
}

_OF_PRUNINGS: _Expected = {
    "pruner": (
        lambda pruner: pruner is None or isinstance(pruner, str) or callable(pruner),
        "a function of (model, inputs, ratio), or its reference",
    ),
    "fold_bn": (lambda given: isinstance(given, bool), "True or False"),
    **{
        name: (
            lambda given: given is None or isinstance(given, str) or callable(given),
            "a function of the model, or its reference",
        )
        for name in ("evaluate", "finetune")
    },
    "lower_is_better": (lambda given: isinstance(given, tuple), "a tuple of names of metrics"),
    "latency": (
        lambda given: given is None or isinstance(given, Timing),
        "analysis.records.Timing, or None",
    ),
    "thresholds": (lambda given: isinstance(given, Thresholds), "analysis.records.Thresholds"),
    "budget": (
        lambda budget: budget is None or (isinstance(budget, int | float) and 0 < budget < inf),
        "a positive number of seconds, or None",
    ),
}


def _check(record: Any, expected: _Expected) -> None:
    for name, (fits, what) in expected.items():
        value = getattr(record, name)
        if not fits(value):
            raise InputError(f"{name} {value!r}; expected {what}")


def checked_ratios(ratios: Iterable[float]) -> tuple[float, ...]:
    """The ratios, if there are any and all are valid.

    Raises:
        InputError: says which is not.
    """
    if isinstance(ratios, str) or not isinstance(ratios, Iterable):
        raise InputError(f"ratios {ratios!r}; expected a list of numbers in [0, 1)")
    checked = tuple(Config(ratio).ratio for ratio in ratios)
    if not checked:
        raise InputError("no ratio was given; expected a list of numbers in [0, 1)")
    return checked


def usual_ratios(widths: Any, targets: Any) -> tuple[float, ...]:
    """The ratios where none are given: none beside targets, and 0 beside widths."""
    if widths:
        return (0.0,)
    return () if targets else RATIOS


def checked_widths(widths: Any) -> dict[str, int]:
    """The widths, if there are any and all are valid.

    Raises:
        InputError: says which is not.
    """
    if not isinstance(widths, Mapping):
        raise InputError(
            f"widths are {an(type(widths).__name__)}; expected a dict of channel counts by layer"
        )
    for name, width in widths.items():
        if not isinstance(name, str) or not _is_count(width):
            raise InputError(
                f"widths: {name!r} is to have {width!r} channels; expected a whole number of at "
                "least 1 by the name of a layer"
            )
    return dict(widths)
