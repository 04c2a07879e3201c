"""Sparse inputs, as the adjacency matrix of a graph."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_pruning as tp
from between import assert_equals_zeroed, built
from torch import Tensor, nn

from analysis import load_pruned, prune, save_pruned, watch
from analysis.proof.comparing import random_inputs
from analysis.records import Verdict


class Graph(nn.Module):
    """Two layers of a graph convolution, each the mean over neighbours behind a linear layer."""

    def __init__(self, product: Callable[[Tensor, Tensor], Tensor] = torch.matmul) -> None:
        super().__init__()
        self.make, self.read = nn.Linear(5, 8), nn.Linear(8, 6)
        self.head, self.product = nn.Linear(6, 2), product

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        x = self.product(edges, self.make(x)).relu()
        return self.head(self.product(edges, self.read(x)))


def by_indices(edges: Tensor, x: Tensor) -> Tensor:
    """Only a sparse matrix has these."""
    to, of = edges.indices()
    return torch.zeros_like(x).index_add(0, to, x[of] * edges.values().unsqueeze(1))


def nodes() -> Tensor:
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(1))


def adjacency() -> Tensor:
    drawn = torch.rand(7, 7, generator=torch.Generator().manual_seed(3))
    return drawn * (drawn > 0.5)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "coo": Tensor.to_sparse,
    "csr": Tensor.to_sparse_csr,
    "csc": Tensor.to_sparse_csc,
    "uncoalesced": lambda a: torch.sparse_coo_tensor(
        [[0, 0, 3], [1, 1, 2]], [1.0, 2.0, 3.0], (7, 7), check_invariants=True
    ),
}

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")  # PyTorch's layouts are in beta state


def cut(product: Callable[..., Tensor], edges: Tensor, read: Sequence[int]) -> Verdict:
    model: Any = built(lambda: Graph(product))
    with watch(model, (nodes(), edges)) as watched:
        tp.prune_linear_out_channels(model.make, [0, 2, 3, 7])
        tp.prune_linear_in_channels(model.read, list(read))
    verdict: Verdict = watched.verification.verdict
    return verdict


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("product", [torch.matmul, torch.sparse.mm], ids=["matmul", "sparse.mm"])
def test_a_cut_beside_a_sparse_matrix_is_right_where_the_same_channels_are_read(
    product: Callable[..., Tensor], layout: str
) -> None:
    edges = LAYOUTS[layout](adjacency())
    assert cut(product, edges, [0, 2, 3, 7]) is Verdict.EXACT
    assert cut(product, edges, [0, 2, 3, 6]) is Verdict.WRONG


def test_a_network_that_takes_indices_is_given_a_sparse_matrix() -> None:
    edges = adjacency().to_sparse()
    assert cut(by_indices, edges, [0, 2, 3, 7]) is Verdict.EXACT
    assert cut(by_indices, edges, [0, 2, 3, 6]) is Verdict.WRONG


@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_numbers_take_the_places_of_those_that_a_sparse_matrix_holds(layout: str) -> None:
    edges = LAYOUTS[layout](adjacency())
    drawn = random_inputs(edges)
    assert (drawn.layout, drawn.dtype) == (edges.layout, torch.float64)
    assert torch.equal(drawn.to_dense() != 0, edges.to_dense() != 0)
    assert not torch.equal(drawn.to_dense(), edges.to_dense().double())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_network_on_sparse_inputs_is_pruned_saved_and_loaded(layout: str, tmp_path: Path) -> None:
    inputs = (nodes(), LAYOUTS[layout](adjacency()))
    found = prune(built(Graph), inputs, 0.5)
    assert found.verification.verdict is Verdict.EXACT
    assert found.model.make.out_features == 4
    assert_equals_zeroed(found, built(Graph), inputs)
    loaded = load_pruned(Graph, save_pruned(found, tmp_path / "pruned"))
    torch.testing.assert_close(loaded(*inputs), found.model(*inputs))
