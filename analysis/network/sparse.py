"""Sparse tensors as the tensors that they are stored in."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["built_of", "sparse_layout", "stored_in"]

_STORED = {
    "sparse_coo": ("_indices", "_values"),
    "sparse_csr": ("crow_indices", "col_indices", "values"),
    "sparse_bsr": ("crow_indices", "col_indices", "values"),
    "sparse_csc": ("ccol_indices", "row_indices", "values"),
    "sparse_bsc": ("ccol_indices", "row_indices", "values"),
}
"""By the name of its layout, what holds the places and the numbers of a sparse tensor."""


def sparse_layout(tensor: Tensor) -> str:
    """The name of a sparse tensor's layout, ``sparse_coo`` say; empty for another tensor."""
    name = str(tensor.layout).removeprefix("torch.")
    return name if name in _STORED else ""


def stored_in(tensor: Tensor) -> list[Tensor]:
    """The places and, last, the numbers of a sparse tensor, which are not copied."""
    return [getattr(tensor, name)() for name in _STORED[sparse_layout(tensor)]]


def built_of(
    stored: Sequence[Tensor], size: Sequence[int], layout: str, *, is_coalesced: bool
) -> Tensor:
    """A sparse tensor of what it is stored in.

    Args:
        stored: see `stored_in`.
        size: of the tensor.
        layout: its name, see `sparse_layout`.
        is_coalesced: of ``sparse_coo``, whether each place is there once, in order.
    """
    if layout == "sparse_coo":
        indices, values = stored
        return torch.sparse_coo_tensor(indices, values, tuple(size), is_coalesced=is_coalesced)
    outer, inner, values = stored
    return torch.sparse_compressed_tensor(
        outer, inner, values, tuple(size), layout=getattr(torch, layout)
    )
