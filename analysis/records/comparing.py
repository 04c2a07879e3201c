"""The result of comparing two networks."""

from dataclasses import dataclass

from analysis.records.proof import Verdict, Verification

__all__ = ["Comparison", "Inferred", "Untied"]


@dataclass(frozen=True)
class Inferred:
    """An axis of a trained tensor whose kept channels were found as the nearest dense ones.

    Attributes:
        tensor: its name.
        dim: the dimension.
        margin: the least ratio of the distance of the next best channel to that of the nearest.
    """

    tensor: str
    dim: int
    margin: float


@dataclass(frozen=True)
class Untied:
    """Tensors that share memory in the dense network and not in the pruned one.

    Attributes:
        names: of these tensors.
        added: parameters of the copies.
    """

    names: tuple[str, ...]
    added: int


@dataclass(frozen=True)
class Comparison:
    """Whether one network is a pruning of another one, and which channels it kept.

    Attributes:
        verification: the proof, as `analysis.verify` gives it.
        kept: for each axis that was cut, by layer and axis (``out``, ``in``): the dense index of
            each channel of the pruned network, in its order.
        inferred: axes whose kept channels were found as the nearest slices, because their values
            are not the dense network's.
        moved: for each trained tensor, how far it moved relative to its norm.
        ambiguous: sentences on what more than one choice of channels explains.
        untied: tensors that were tied and no longer are.
        merged: batch norms that the pruned network has merged into the layers before them, each
            with its layer.
    """

    verification: Verification
    kept: dict[str, dict[str, tuple[int, ...]]]
    inferred: tuple[Inferred, ...] = ()
    moved: tuple[tuple[str, float], ...] = ()
    ambiguous: tuple[str, ...] = ()
    untied: tuple[Untied, ...] = ()
    merged: tuple[tuple[str, str], ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The verdict of the proof."""
        return self.verification.verdict

    @property
    def reason(self) -> str:
        """The reason of the verdict, in one line."""
        return self.verification.reason

    @property
    def passed(self) -> bool:
        """Whether CI may go on."""
        return self.verdict.passes
