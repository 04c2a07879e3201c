"""What two networks, compared, say of each other."""

from dataclasses import dataclass

from analysis.records.proof import Verdict, Verification

__all__ = ["Comparison", "Inferred", "Untied"]


@dataclass(frozen=True)
class Inferred:
    """An axis of a tensor of which the weights were trained, and which is told by what is nearest.

    Attributes:
        tensor: its name.
        dim: the dimension.
        margin: how many times as far the next best channel is, at the least.
    """

    tensor: str
    dim: int
    margin: float


@dataclass(frozen=True)
class Untied:
    """Tensors that were one in the dense network, and are several in the pruned one.

    Attributes:
        names: theirs.
        added: parameters of the copies.
    """

    names: tuple[str, ...]
    added: int


@dataclass(frozen=True)
class Comparison:
    """Whether one network is a pruning of another one, and which channels stayed.

    Attributes:
        verification: the proof, as `analysis.verify` gives it.
        kept: by layer and axis (``out``, ``in``) which dense channel each one that is left was, in
            the order of the pruned network; of the axes that were cut.
        inferred: axes that the nearest slices tell, as their values are not the dense network's.
        moved: by tensor that was trained how far it moved, relative to what it was.
        ambiguous: what more than one choice of channels explains, in words.
        untied: tensors that were tied and are not.
        merged: batch norms of the dense network that the pruned one has merged into the layers
            before them, and these.
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
        """That of the proof."""
        return self.verification.verdict

    @property
    def reason(self) -> str:
        """One line."""
        return self.verification.reason

    @property
    def passed(self) -> bool:
        """Whether CI may go on."""
        return self.verdict.passes
