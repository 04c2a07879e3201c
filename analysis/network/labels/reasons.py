"""Why channels stay, and what a user can do about it: each sentence is written here, once.

They stand before the place of an operator, as in ``values choose among them at `topk` in `gate```.
"""

from collections.abc import Mapping

__all__ = [
    "ADVICE",
    "ALL",
    "CHOSEN",
    "COMPLEX",
    "EMPTY",
    "FIXED",
    "FIXED_PART",
    "FIXED_TENSOR",
    "FLATTENED",
    "INDEXED",
    "NOT_FOLLOWED",
    "NUMBERED",
    "OUTPUT",
    "PADDED",
    "PARTLY",
    "POSITIONS",
    "RANKED",
    "SCALED",
    "TAPS",
    "UNCUT",
    "UNFOLLOWED",
    "UNKNOWN",
    "WINDOW",
]  # fmt: skip

ALL = "its channels depend on each other, so that all or none go"
CHOSEN = "values choose among them, as ids choose rows of a table"
COMPLEX = "they are the two parts of a complex number"
EMPTY = "a tensor is empty on the example inputs"
FIXED = "the code lays them out by a size that does not follow a cut"
FIXED_PART = "the code splits them at a position that does not follow a cut"
FIXED_TENSOR = "they meet a tensor that the code makes of a fixed size"
FLATTENED = "they share a flattened axis with other channels, which are cut instead"
INDEXED = "the code picks one of them by its index"
NOT_FOLLOWED = "a trial cut fails"
NUMBERED = "their numbers are used, as that of the best expert to choose its rows"
OUTPUT = "the model's output"
PADDED = "they meet positions that no layer makes, as zero padding does"
PARTLY = "only some channels of a slice of them can be removed"
RANKED = "values rank them, as a router ranks its experts by top-k"
POSITIONS = "their values are used as positions"
SCALED = "their weight is scaled by its product with vectors of all of them, as spectral norm does"
TAPS = "they are taps of a kernel"
UNCUT = "they meet a tensor that keeps its size, as an input or a constant does"
UNFOLLOWED = "the labelled pass cannot follow them"
UNKNOWN = "no rule follows channels through the operator"
WINDOW = "a window slides over them, as over positions"

_SIZE = "take the size from the tensor, or keep it in an attribute, which `prune` sets"

ADVICE: Mapping[str, str] = {
    RANKED: "prune inside the experts instead",
    EMPTY: "give inputs that reach every layer, as tokens for each expert",
    FIXED: _SIZE,
    FIXED_PART: _SIZE,
    FIXED_TENSOR: "make the tensor of the other's size",
    INDEXED: "give that channel a layer of its own",
    PADDED: "a layer that changes the width (a projection) lets them go",
    SCALED: "keep the scaled weight as the parameter",
}
"""What to do about it, where something can be done."""
