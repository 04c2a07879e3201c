"""What a list of ignored layers really excludes, found before anything is pruned.

torch-pruning accepts any list. A module means all modules inside it; a type or a
name is discarded; a module that DepGraph does not see excludes nothing. One ignored layer among the
output members of a dependency group excludes the whole group, while the *input* channels of ignored
layers are cut all the same.
"""

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from analysis.groups import inspecting, policies
from analysis.groups.policies import mark_ignored
from analysis.network.inference import Inputs, called_modules, copy_of, left_as_found
from analysis.network.layers import is_depthwise, kind_of, makes_channels
from analysis.network.outputs import only_outputs
from analysis.network.usable import check_usable
from analysis.records import Finding, Group, Lint, Lock, Untouched

__all__ = ["lint", "lint_followed", "lint_ignored_layers"]

_NAMED = 3
"""Layers that a message names before it only counts."""

_UNLISTED = (nn.PReLU, nn.LSTM)
"""What torch-pruning excludes groups for, though a `Group` does not list it.

One slope for all channels, and recurrent layers.
"""


def lint_ignored_layers(
    model: nn.Module,
    example_inputs: Inputs,
    ignored_layers: Any = (),
    *,
    outputs: Sequence[str] = (),
) -> Lint:
    """What a list of ignored layers really excludes, before anything is pruned.

    Args:
        model: the dense network; not changed.
        example_inputs: a tensor, a tuple or a dict.
        ignored_layers: what torch-pruning would be given, right or wrong; names, a policy's name
            and a function of the model are taken too.
        outputs: which outputs count, as in `analysis.verify`; none lets all count.

    Returns:
        Findings (types, strangers, layers that are never called, forgotten outputs, layers that
        need not be excluded, ...), what each excluded group locks, and what stays out of reach.

    Raises:
        InputError: the model cannot be analysed as it is, or puts out nothing at one of
            ``outputs``.
    """
    check_usable(model)
    with only_outputs(model, outputs):
        followed = inspecting.labelled(model, example_inputs)
        return lint_followed(followed, model, example_inputs, ignored_layers)


def lint_followed(
    followed: inspecting.Labelled, model: nn.Module, example_inputs: Inputs, ignored_layers: Any
) -> Lint:
    """As `lint_ignored_layers`, of a network whose channels were followed."""
    groups = followed.groups
    with left_as_found(model):
        called = called_modules(copy_of(model), example_inputs)
    found = lint(model, policies.entries(ignored_layers, model, groups), groups, called)
    kept = {"as given": {lock.root for lock in found.locks}} | {
        name: set(policies.ignored_layers(name, model, groups)) for name in _FREER
    }
    return replace(found, untouched=tuple(_untouched(followed, *each) for each in kept.items()))


_FREER = ("skip-channels", "classifier")
"""Policies that a list of ignored layers is compared with."""


def _untouched(followed: inspecting.Labelled, name: str, kept: set[str]) -> Untouched:
    """What is left when all channels have gone that may; ``kept`` are layers, or groups."""
    going = [
        place
        for place, group in enumerate(followed.groups)
        if group.together and kept.isdisjoint((group.name, *group.layers))
    ]
    whole, left = followed.left_without(()), followed.left_without(going)
    return Untouched(name, left[0] / whole[0] if whole[0] else 1.0, left[1] / whole[1])


def lint(
    model: nn.Module,
    ignored_layers: Iterable[Any],
    groups: tuple[Group, ...],
    called: Collection[str],
) -> Lint:
    """What these ignored layers exclude, fail to exclude, and exclude needlessly.

    Args:
        model: the dense network.
        ignored_layers: what torch-pruning would be given, and names of modules.
        groups: its groups with nothing ignored; see `analysis.inspect_groups`.
        called: names of the modules that the forward pass calls.
    """
    scene = _Scene(model, groups, called)
    given = list(ignored_layers)
    named = tuple(
        dict.fromkeys(name for each in given if (name := scene.name_of(each)) is not None)
    )
    ignored = {inner for name in named for inner in scene.inside(name)} - scene.parts.keys()
    marked = mark_ignored(groups, ignored)
    readers = _readers(marked)
    excluded = [group for group in marked if group.ignored]
    locks = [_lock(group, ignored, readers, scene) for group in excluded]
    findings = [
        *_strangers(given, scene),
        *_parameters(given, marked, scene),
        *_entries(named, scene),
        *_forgotten(marked, scene),
    ]
    for group, lock in zip(excluded, locks, strict=True):
        findings += [*_partners(lock, scene), *_cut_inputs(lock, readers), *_unneeded(lock, group)]
    # A list may name the same thing twice.
    findings = list(dict.fromkeys(findings))
    findings.sort(key=lambda finding: (not finding.is_error, scene.order(finding.layer)))
    return Lint(tuple(findings), tuple(locks))


class _Scene:
    """What there is to name in a model."""

    def __init__(
        self, model: nn.Module, groups: tuple[Group, ...], called: Collection[str]
    ) -> None:
        self._called = frozenset(called)
        self._owners = {layer for group in groups for layer in group.layers}
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self._names = {module: name for name, module in model.named_modules()}
        self._order = {name: place for place, name in enumerate(self.modules)}
        # A layer that is cut as one uses the tensors of these, and calls none.
        self.parts = {
            inner: name
            for name, module in self.modules.items()
            if kind_of(module) is not None and name in self._called
            for inner in self.inside(name)[1:]
            if inner not in self._called
        }
        self._owners -= self.parts.keys()
        self._parameters = {id(each): name for name, each in model.named_parameters()}

    def name_of(self, entry: Any) -> str | None:
        """The name of a module of the model; None for anything else."""
        module = self.modules.get(entry) if isinstance(entry, str) else entry
        return self._names.get(module) if isinstance(module, nn.Module) else None

    def parameter(self, entry: Any) -> str | None:
        """The name of a parameter of the model; None for anything else."""
        return self._parameters.get(id(entry))

    def cuts_by_itself(self, name: str, group: Group) -> bool:
        """Whether a parameter of a group is no part of a layer that is cut as one."""
        return any(
            each.tensor == name and kind_of(self.modules.get(each.layer)) is None
            for each in group.members
        )

    def inside(self, name: str) -> tuple[str, ...]:
        """A module and everything inside it."""
        return tuple(self._names[module] for module in self.modules[name].modules())

    def owned(self, name: str) -> tuple[str, ...]:
        """The layers inside a module whose output channels are in a group."""
        return tuple(inner for inner in self.inside(name) if inner in self._owners)

    def order(self, name: str) -> int:
        """Place of a module in the order in which the model defines them; others come last."""
        return self._order.get(name, len(self._order))

    def kind(self, name: str) -> str:
        """The class of a module."""
        return type(self.modules[name]).__name__

    def trouble(self, name: str) -> str:
        """The kind of finding that an entry of this name is; empty if it is none."""
        inside = self.inside(name)
        if name in self.parts:
            return "part"
        if self._called.isdisjoint(inside):
            return "untraced"
        owned = self.owned(name)
        if owned:
            return "" if owned == (name,) else "container"
        unlisted = any(isinstance(self.modules[inner], _UNLISTED) for inner in inside)
        return "unlisted" if unlisted else "no-channels"


def _strangers(given: Sequence[Any], scene: _Scene) -> Iterator[Finding]:
    """Entries that are nothing of the model's."""
    for entry in given:
        if isinstance(entry, type):
            yield _type(entry, scene)
        elif scene.name_of(entry) is None and scene.parameter(entry) is None:
            layer = entry if isinstance(entry, str) else type(entry).__name__
            yield Finding("foreign", layer, _foreign(entry, layer, scene), is_error=True)


def _type(entry: type, scene: _Scene) -> Finding:
    kind = entry.__name__
    count = len({module for module in scene.modules.values() if isinstance(module, entry)})
    message = (
        f"`{kind}` is a type, which torch-pruning accepts and discards (modules of it in the "
        f"model: {count}); pass [m for m in model.modules() if isinstance(m, {kind})]"
    )
    return Finding("type", kind, message, is_error=True)


def _foreign(entry: Any, layer: str, scene: _Scene) -> str:
    if isinstance(entry, str):
        close = difflib.get_close_matches(entry, scene.modules, n=1)
        hint = f"did you mean `{close[0]}`?" if close else "see model.named_modules()"
        return f"`{layer}` is not a module of the model, so nothing is excluded; {hint}"
    if isinstance(entry, nn.Module | nn.Parameter):
        return (
            f"a `{layer}` is not part of the model: torch-pruning keeps it in its list, where it "
            "excludes nothing; pass what belongs to the very model that is pruned, not to a copy"
        )
    return (
        f"a `{layer}` is neither a module nor a name, and torch-pruning discards it; "
        "pass modules of the model"
    )


def _parameters(
    given: Sequence[Any], marked: tuple[Group, ...], scene: _Scene
) -> Iterator[Finding]:
    """Parameters, which exclude no group: torch-pruning only leaves them out when it cuts one."""
    for name in filter(None, map(scene.parameter, given)):
        groups = [group for group in marked if scene.cuts_by_itself(name, group)]
        root = next((group.name for group in groups if not group.ignored), "")
        message = (
            f"`{name}` keeps its size while group `{root}`, which it belongs to, is cut: the "
            "network breaks if it has a value for each channel; to exclude the group, ignore "
            f"`{root}`"
            if root
            else f"`{name}` is not a parameter that torch-pruning cuts by itself, so nothing is "
            "excluded; ignore the layer whose channels must stay"
        )
        if root or not groups:
            yield Finding("parameter", name, message, is_error=False)


_ENTRIES = {
    "untraced": (
        "{names} ({kind}) is never called in the forward pass: torch-pruning does not see it and "
        "nothing is excluded; ignore a layer that is called, or leave it out"
    ),
    "part": (
        "{names} ({kind}) is a part of `{whole}`, which torch-pruning cuts as one, so that nothing "
        "is excluded; ignore `{whole}`"
    ),
    "no-channels": (
        "{names} ({kind}): no output channels that a group could lose, so that nothing is "
        "excluded; ignore the layer that makes the channels"
    ),
    "unlisted": (
        "{names} ({kind}): torch-pruning may exclude a group for it, which is not known here; "
        "ignore the layer that makes the channels"
    ),
    "container": ("{names} ({kind}) means the layers with channels inside it, {count}: {owned}"),
}
"""What is said of entries that exclude nothing, or more than one layer."""


def _entries(named: Sequence[str], scene: _Scene) -> Iterator[Finding]:
    alike = defaultdict(list)
    for name, trouble in _troubles(named, scene).items():
        single = trouble in ("untraced", "part", "container")
        alike[trouble, name if single else scene.kind(name)].append(name)
    for (trouble, _), names in alike.items():
        owned = scene.owned(names[0])
        message = _ENTRIES[trouble].format(
            names=_some(names),
            kind=scene.kind(names[0]),
            count=len(owned),
            owned=_some(owned),
            whole=scene.parts.get(names[0]),
        )
        kind = "untraced" if trouble == "part" else trouble
        yield Finding(kind, names[0], message, is_error=kind == "untraced")


def _troubles(named: Sequence[str], scene: _Scene) -> dict[str, str]:
    """By entry its trouble, where no entry around it says as much."""
    troubles = {name: scene.trouble(name) for name in named}
    around = defaultdict(set)
    for name in named:
        for inner in scene.inside(name)[1:]:
            around[inner].add(troubles[name])
    return {
        name: trouble
        for name, trouble in troubles.items()
        if trouble
        and (name not in around or (trouble == "untraced" and trouble not in around[name]))
    }


def _forgotten(marked: tuple[Group, ...], scene: _Scene) -> Iterator[Finding]:
    """Groups whose channels leave the model, and that nothing excludes but a layer could."""
    for group in marked:
        could = any(layer in scene.modules for layer in group.layers)
        if group.is_output and not group.ignored and could:
            message = (
                f"no layer excludes group `{group.name}`, whose {group.width} channels are the "
                f"model's output: they will be cut; ignore `{group.name}`"
            )
            yield Finding("forgotten-output", group.name, message, is_error=True)


def _readers(marked: tuple[Group, ...]) -> dict[str, list[str]]:
    """By layer, the groups of which it reads channels, and that nothing excludes."""
    readers = defaultdict(list)
    for group in filter(lambda group: not group.ignored, marked):
        for layer in dict.fromkeys(each.layer for each in group.members if each.axis == "in"):
            readers[layer].append(group.name)
    return readers


def _lock(
    group: Group,
    ignored: Collection[str],
    readers: Mapping[str, Sequence[str]],
    scene: _Scene,
) -> Lock:
    made = sorted(set(group.layers) - scene.parts.keys(), key=scene.order)
    layers = tuple(layer for layer in made if layer in ignored)
    return Lock(
        root=group.name,
        width=group.width,
        layers=layers,
        partners=tuple(layer for layer in made if layer not in ignored),
        cut_inputs=tuple(layer for layer in layers if layer in readers),
        macs=group.macs,
        params=group.params,
        needed="output" if group.is_output else group.held,
    )


def _partners(lock: Lock, scene: _Scene) -> Iterator[Finding]:
    """Lists only layers with weights of their own, because norms always follow theirs."""
    kin = [
        layer
        for layer in lock.partners
        if is_depthwise(scene.modules.get(layer)) or makes_channels(scene.modules.get(layer))
    ]
    if kin:
        message = (
            f"{_some(kin)} cannot be cut either, though not ignored: in group `{lock.root}` with "
            f"{_some(lock.layers)}"
        )
        yield Finding("locked-partners", kin[0], message, is_error=False)


def _cut_inputs(lock: Lock, readers: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    if lock.cut_inputs:
        sources = dict.fromkeys(root for layer in lock.cut_inputs for root in readers[layer])
        several = "group" if len(sources) == 1 else "groups"
        message = (
            f"{_some(lock.cut_inputs)}: output channels are kept, but input channels are still "
            f"removed with {several} {_some(tuple(sources))}, so the weights change shape"
        )
        yield Finding("input-still-cut", lock.cut_inputs[0], message, is_error=False)


def _unneeded(lock: Lock, group: Group) -> Iterator[Finding]:
    """Groups that could go, if only nobody ignored them."""
    if not lock.needed:
        message = (
            f"group `{lock.root}` need not be excluded: its {lock.width} channels are not the "
            f"model's output, and the network runs without some of them; {_some(lock.layers)} "
            f"{'locks' if len(lock.layers) == 1 else 'lock'} {lock.macs:,} MACs and "
            f"{lock.params:,} parameters"
        )
        yield Finding("unneeded", lock.root, message, is_error=False)


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = [f"`{name}`" if name else "the model itself" for name in names[:_NAMED]]
    if len(names) > _NAMED:
        return f"{', '.join(shown)} and {len(names) - _NAMED} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))
