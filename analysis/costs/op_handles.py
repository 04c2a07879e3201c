"""MACs of each operator of a trace, as fvcore's handles count: rules it lacks or has wrong.

Each handle is one of fvcore's: (inputs, outputs) of a node of torch's trace -> MACs. A product of
two tensors costs one for each element of its result and each element summed over.
"""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

from analysis.network.labels import operators

__all__ = [
    "ADDED",
    "CONVOLUTIONS",
    "MATRIX_LIKE",
    "NORMALIZATIONS",
    "PRODUCTS",
    "Product",
    "einsum_letters",
    "list_of",
    "moved",
    "operands",
    "shape_of",
]

Handle = Callable[[Sequence[Any], Sequence[Any]], int]


def shape_of(value: Any) -> tuple[int, ...] | None:
    """Shape of a tensor in a trace; None for what is no tensor."""
    return tuple(value.type().sizes()) if value.isCompleteTensor() else None


def list_of(value: Any) -> list[Any]:
    """The values of a list in a trace."""
    return list(value.node().inputs()) if value.node().kind() == "prim::ListConstruct" else []


def operands(inputs: Sequence[Any]) -> Iterator[Any]:
    """The first tensors that an operator takes, those in lists too: its weights are there."""
    for value in inputs[:_FIRST]:
        yield from list_of(value) or (value,)


_FIRST = 4


def moved(value: Any) -> Any:
    """The tensor of a trace whose elements this one has, in other places; None for others."""
    node = value.node()
    if node.kind() == "prim::ListUnpack":
        return node.input()
    return next(filter(_is_real, node.inputs()), None) if node.kind() in _MOVED else None


def _is_real(value: Any) -> bool:
    return bool(value.isCompleteTensor()) and value.type().dtype().is_floating_point


_MOVED = {
    f"aten::{name}"
    for name in operators.MOVED
    | {
        "T", "expand_as", "flatten", "mH", "mT", "matrix_H", "moveaxis", "numpy_T", "reshape_as",
        "swapaxes", "swapdims", "tile", "to", "type_as", "unflatten", "view_as",
    }
}  # fmt: skip
"""As `analysis.network.labels.operators.MOVED`, and what PyTorch writes out in these."""


def einsum_letters(inputs: Sequence[Any]) -> tuple[list[str], str]:
    """The letters of each operand and of the result.

    Raises:
        ValueError: dots stand for dimensions, or there are more than two operands; how much that
            costs depends on the order of the products.
    """
    equation = inputs[0].toIValue().replace(" ", "")
    if "." in equation or equation.count(",") > 1:
        raise ValueError(f"einsum {equation!r}: only one or two operands without dots are counted")
    left, _, right = equation.partition("->")
    if "->" not in equation:
        letters = left.replace(",", "")
        right = "".join(sorted(letter for letter in letters if letters.count(letter) == 1))
    return left.split(","), right


class Product:
    """A product of two operands: their positions, and the summed dimension of the first."""

    def __init__(self, first: int, second: int) -> None:
        self.first, self.second = first, second

    def __call__(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Elements of the result times elements summed over."""
        return prod(_shape(outputs[0])) * _shape(inputs[self.first])[-1]


def _shape(value: Any) -> tuple[int, ...]:
    shape = shape_of(value)
    if shape is None:
        raise ValueError("an operand has no shape in the trace")
    return shape


def _einsum(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    operands, _ = einsum_letters(inputs)
    sizes: dict[str, int] = {}
    for letters, value in zip(operands, list_of(inputs[1]), strict=True):
        sizes.update(zip(letters, _shape(value), strict=True))
    return prod(sizes.values())


def _attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Q k^T and its product with v; q (..., L, E), k (..., S, E), v (..., S, Ev)."""
    *batch, queries, width = _shape(inputs[0])
    keys, values = _shape(inputs[1])[-2], _shape(inputs[2])[-1]
    return prod(batch) * queries * keys * (width + values)


def _convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """One product for each output position and weight."""
    out = _shape(outputs[0])
    return out[0] * prod(_shape(inputs[1])) * prod(out[2:])


def _recurrent(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Every weight matrix once for each item of each time step: input (steps, items, features)."""
    matrices = [shape for value in list_of(inputs[2]) if len(shape := _shape(value)) == 2]
    return prod(_shape(inputs[0])[:-1]) * sum(map(prod, matrices))


def _cell(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """A cell: one time step."""
    shapes = [shape_of(value) for value in inputs[2:4]]
    return prod(_shape(inputs[0])[:-1]) * sum(prod(shape) for shape in shapes if shape)


def _bilinear(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    return prod(_shape(inputs[0])[:-1]) * prod(_shape(inputs[2]))


PRODUCTS: dict[str, Product] = {
    "aten::matmul": Product(0, 1),
    "aten::mm": Product(0, 1),
    "aten::bmm": Product(0, 1),
    "aten::_grouped_mm": Product(0, 1),
    "aten::mv": Product(0, 1),
    "aten::dot": Product(0, 1),
    "aten::inner": Product(0, 1),
    "aten::cdist": Product(0, 1),
    "aten::addmm": Product(1, 2),
    "aten::addmv": Product(1, 2),
    "aten::baddbmm": Product(1, 2),
}
"""fvcore multiplies the first operand's elements only, which loses what is broadcast."""

CONVOLUTIONS = ("aten::_convolution", "aten::_convolution_mode", "torchvision::deform_conv2d")

NORMALIZATIONS = (
    "aten::batch_norm",
    "aten::group_norm",
    "aten::instance_norm",
    "aten::layer_norm",
)

_RECURRENT = ("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu")
_CELLS = ("aten::lstm_cell", "aten::gru_cell", "aten::rnn_tanh_cell", "aten::rnn_relu_cell")

ADDED: dict[str, Handle] = {
    **PRODUCTS,
    # fvcore's reads the figure that numpy prints, four digits of it.
    "aten::einsum": _einsum,
    "aten::scaled_dot_product_attention": _attention,
    "aten::_convolution_mode": _convolution,
    "torchvision::deform_conv2d": _convolution,
    "aten::bilinear": _bilinear,
    **dict.fromkeys(_RECURRENT, _recurrent),
    **dict.fromkeys(_CELLS, _cell),
}
"""By operator, what is set beside and over fvcore's own handles."""

MATRIX_LIKE = frozenset(
    f"aten::{name}"
    for name in (
        "_native_multi_head_attention", "_sparse_mm", "_transformer_encoder_layer_fwd", "addbmm",
        "chain_matmul", "cholesky", "conv_tbc", "corrcoef", "cov",
        "linalg_cholesky", "linalg_det", "linalg_eig", "linalg_eigh", "linalg_householder_product",
        "linalg_inv", "linalg_lstsq", "linalg_matrix_exp", "linalg_matrix_power",
        "linalg_multi_dot", "linalg_pinv", "linalg_qr", "linalg_solve", "linalg_solve_triangular",
        "linalg_svd", "linalg_vecdot", "matrix_exp", "matrix_power", "pdist", "pinverse",
        "svd", "tensordot", "vdot",
    )
)  # fmt: skip
"""Operators that multiply matrices, or as much as that, and have no handle."""
