"""What ships, held to the dense network: pruned and trained somewhere, and read from a file."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from torch import nn

from analysis.comparing.compared import Reference
from analysis.comparing.files import Cut, fitted
from analysis.costs.run_costs import costed_run
from analysis.dense import Dense
from analysis.errors import ChannelsNotFoundError, InputError, several
from analysis.pipeline import Outcome
from analysis.proof import comparing
from analysis.records import (
    Config,
    GroupAccount,
    Reason,
    Removal,
    Verdict,
    Verification,
    merge_cuts,
)
from analysis.saved import in_saved_folder, saved_pruning

__all__ = ["outcome_of"]


def outcome_of(dense: Dense, path: str, config: Config) -> Outcome:
    """The outcome of a pruning that was made elsewhere.

    Args:
        dense: the network before it.
        path: of a folder that `save_pruned` wrote, which has the kept channels; or of a file of the
            pruned network's tensors, from which they are recovered. Where training leaves nothing
            to recover them by, they are those of the folder that the file lies in.
        config: the targets, and how costs are counted; its ratio is not read.

    Raises:
        InputError: it cannot be read, does not fit, or the kept channels cannot be found.
    """
    network, verification, removals, cut = _read(dense, path)
    cuts = merge_cuts(removals)
    groups = tuple(_accounts(dense, removals))
    answer = replace(verification, cuts=tuple(each for each in cuts if each.removed), groups=groups)
    config = replace(config, ratio=_share(groups), cut="groups", sought=False)
    run = costed_run(
        (dense.costs, dense.saved_bytes),
        lambda: None,
        network,
        dense.inputs,
        config,
        answer,
        None,
        removals,
    )
    return Outcome(dense, network, (), None, tuple(removals), run, cut, trained=True)


_Kept = tuple[nn.Module, Verification, list[Removal], Cut]
"""The network, the verdict on it, what went, and what cuts a dense network so."""


def _read(dense: Dense, path: str) -> _Kept:
    if Path(path).is_dir():
        return _of_folder(dense, path)
    try:
        return _of_file(dense, path)
    except ChannelsNotFoundError:
        if not in_saved_folder(path):
            raise
        return _of_folder(dense, path)


def _of_file(dense: Dense, path: str) -> _Kept:
    """As `analysis.compare` tells it."""
    reference = Reference(dense.model, dense.inputs, dense.followed, dense.noted)
    read = fitted(reference, path)
    found = read.comparison.verification
    for norm, layer in read.comparison.merged:
        raise InputError(
            f"{path!r} has merged `{norm}` into `{layer}`; expected the network as it was pruned "
            "and trained, before its layers are merged"
        )
    removals = [Removal(each.layer, each.removed, (each,)) for each in found.cuts]
    return read.network, found, removals, read.cut


def _of_folder(dense: Dense, path: str) -> _Kept:
    """As the folder says; what is proved is the pruning, whatever was trained since."""
    saved = saved_pruning(path)
    saved.check_fits(dense.model)
    network, found = saved.network(dense.model), saved.proof(dense.model)
    changed = [*comparing.changed_tensors(dense.model, network, merge_cuts(saved.removals))]
    if changed and found.verdict.passes:
        were = "was" if len(changed) == 1 else "were"
        text = f"{several(len(changed), 'tensor')} {were} trained since, first `{changed[0]}`"
        found = replace(found, verdict=Verdict.CONSISTENT, reason=text, max_rel_error=None)
    return network, found, saved.removals, saved.recut


def _accounts(dense: Dense, removals: Collection[Removal]) -> list[GroupAccount]:
    """What each group lost; what was asked of it is not known."""
    gone = {(cut.layer, cut.axis): len(cut.removed) for removal in removals for cut in removal.cuts}
    found = []
    for group in dense.groups:
        lost = max((gone.get((layer, "out"), 0) for layer in group.layers), default=0)
        kept = Reason.IGNORED if group.is_output else Reason.KEPT
        reason = Reason.PRUNED if lost else kept
        found.append(GroupAccount(group.name, group.width, None, lost, reason))
    return found


def _share(groups: Collection[GroupAccount]) -> float:
    """The share that went of the channels that may."""
    free = [each for each in groups if each.reason is not Reason.IGNORED]
    removed, width = (sum(getattr(each, name) for each in free) for name in ("removed", "width"))
    return removed / width if width else 0.0
