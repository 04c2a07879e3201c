"""Counts worked out by hand."""

from collections.abc import Callable

import pytest
import torch
from nets import Chain, Grouped, Named, Residual, inputs_for, make
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations

from analysis import count_macs, ratio_curve
from analysis.costs.counting import by_fvcore
from analysis.costs.saved_size import saved_bytes
from analysis.errors import InputError
from analysis.groups.depgraph import dependency_groups
from analysis.records import COLUMNS, CONVENTIONS


def test_each_layer_has_the_macs_of_its_definition() -> None:
    rows = count_macs(make(Chain), torch.randn(1, 3, 6, 6)).by_layer()
    positions = 6 * 6
    assert rows["first"].macs == 3 * 4 * 3 * 3 * positions
    assert rows["norm"].macs == 2 * 4 * positions  # fvcore: two an element
    assert rows["second"].macs == 4 * 5 * positions
    assert rows["head"].macs == 5 * 2
    assert rows["first"].params == 3 * 4 * 3 * 3
    assert rows["second"].params == 4 * 5 + 5
    assert rows["norm"].params == 8


def test_a_depthwise_and_a_grouped_convolution_read_one_group_each() -> None:
    rows = count_macs(make(Residual), torch.randn(1, 3, 6, 6)).by_layer()
    assert rows["block.depthwise"].macs == 8 * 3 * 3 * 36
    rows = count_macs(make(Grouped), torch.randn(1, 3, 6, 6)).by_layer()
    assert rows["grouped"].macs == 8 * (8 // 2) * 3 * 3 * 4 * 4


def test_rows_sum_to_the_totals_and_to_the_models_own_parameters() -> None:
    model = make(Residual)
    table = count_macs(model, torch.randn(1, 3, 6, 6))
    assert table.macs == sum(row.macs for row in table.layers)
    assert table.params == sum(parameter.numel() for parameter in model.parameters())


def test_what_is_not_counted_is_listed() -> None:
    class Odd(Chain):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(3, 3)

    table = count_macs(make(Odd), torch.randn(1, 3, 6, 6))
    assert dict(table.uncounted)["aten::mean"] == 1
    assert table.uncalled == ("unused",)
    assert table.by_layer()["unused"].params == 12


def test_a_function_the_model_calls_itself_is_the_models_own_row() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.adaptive_avg_pool2d(self.conv(x), 1)

    rows = count_macs(Pooled(), torch.randn(1, 3, 5, 5)).by_layer()
    assert rows[""].macs == 4 * 5 * 5


def test_inputs_by_name_are_counted() -> None:
    inputs = {"image": torch.randn(1, 3, 6, 6), "vector": torch.randn(1, 5)}
    rows = count_macs(make(Named), inputs).by_layer()
    assert rows["image"].macs == 3 * 6 * 3 * 3 * 4 * 4
    assert rows["vector"].macs == 5 * 8


def test_the_model_is_left_as_found_even_after_an_error() -> None:
    model = make(Chain).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    count_macs(model, inputs_for(model))
    with pytest.raises(InputError):
        count_macs(model, torch.randn(1, 2, 6, 6))
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


class Drawing(nn.Module):
    """It draws a number before it raises."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(9, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        torch.rand(1)
        return self.second(self.first(x))


@pytest.mark.parametrize(
    "ask", [count_macs, dependency_groups, lambda m, x: ratio_curve(m, x, [0.5])]
)
def test_the_random_state_is_left_as_found_after_an_error(ask) -> None:
    model, inputs = Drawing(), torch.ones(1, 3, 6, 6)
    state = torch.get_rng_state()
    with pytest.raises(InputError, match="`second` raised in conv2d"):
        ask(model, inputs)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_size_is_that_of_the_saved_file(tmp_path) -> None:
    model = make(Chain)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    # The archive names its folder after the file; nothing else may differ.
    assert saved_bytes(model) == pytest.approx((tmp_path / "state.pt").stat().st_size, abs=400)


def test_a_shared_parameter_is_counted_once_and_charged_to_who_uses_it() -> None:
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    table = count_macs(nn.Sequential(first, second), torch.randn(1, 3))
    assert (table.params, table.macs) == (9, 18)
    assert [(row.layer, row.macs, row.params) for row in table.layers] == [("0", 9, 9), ("1", 9, 0)]


def test_products_with_and_without_weights_are_in_their_columns() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3))

        def forward(self, x: Tensor) -> Tensor:
            y = x @ self.weight
            return y @ y.T

    (row,) = count_macs(Both(), torch.randn(2, 4)).layers
    columns = dict(zip(COLUMNS, row.columns, strict=True))
    assert (columns["linear"], columns["attention"]) == (2 * 4 * 3, 2 * 3 * 2)


def test_inputs_that_the_model_refuses_are_named() -> None:
    with pytest.raises(InputError, match=r"example inputs: `first` raised in conv2d on"):
        count_macs(make(Chain), torch.randn(1, 2, 6, 6))


class Attending(nn.Module):
    """One head over tokens, each product in another of torch's words."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.q, self.k, self.v = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.how == "fused":
            return F.scaled_dot_product_attention(q, k, v)
        if self.how == "bmm":
            return torch.bmm(torch.bmm(q, k.transpose(1, 2)), v)
        if self.how == "baddbmm":
            zeros = torch.zeros(x.shape[0], 5, 5)
            return torch.bmm(torch.baddbmm(zeros, q, k.transpose(1, 2)), v)
        if self.how == "einsum":
            return torch.einsum("bst,bte->bse", torch.einsum("bsd,btd->bst", q, k), v)
        return q @ k.transpose(1, 2) @ v


@pytest.mark.parametrize("how", ["fused", "bmm", "baddbmm", "einsum", "matmul"])
def test_attention_costs_both_of_its_products_however_it_is_written(how) -> None:
    table = count_macs(Attending(how), torch.randn(2, 5, 6))
    # 2 items, 5 queries, 5 keys; 8 channels of q and k, 4 of v.
    assert dict(zip(COLUMNS, table.columns, strict=True)) == {
        "convolution": 0,
        "linear": 2 * 5 * 6 * (8 + 8 + 4),
        "attention": 2 * 5 * 5 * (8 + 4),
        "normalization": 0,
        "elementwise": 0,
    }
    assert table.macs == table.products
    assert table.by_layer()[""].operators


class Multiplying(nn.Module):
    """A product of the input with a fixed tensor that is no parameter."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer(x))


@pytest.mark.parametrize(
    ("function", "products"),
    [
        # One (4, 3) matrix for all, three of them for one, a vector, and a matrix from the left.
        (lambda x: x @ torch.ones(4, 3), 2 * 4 * 3),
        (lambda x: x @ torch.ones(3, 4, 5), 3 * 2 * 4 * 5),
        (lambda x: x @ torch.ones(4), 2 * 4),
        (lambda x: torch.ones(7, 2) @ x, 7 * 2 * 4),
        (lambda x: torch.addmm(torch.ones(3), x, torch.ones(4, 3)), 2 * 4 * 3),
        (lambda x: torch.cdist(x, torch.ones(6, 4)), 2 * 6 * 4),
        (lambda x: torch.einsum("ij,kj->ik", x, torch.ones(5, 4)), 2 * 5 * 4),
    ],
)
def test_a_product_costs_an_element_for_each_it_makes_and_sums_over(function, products) -> None:
    table = count_macs(Multiplying(function), torch.randn(2, 4))
    assert dict(zip(COLUMNS, table.columns, strict=True))["attention"] == products


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_costs_its_matrices_at_each_step(kind) -> None:
    table = count_macs(kind(3, 4), torch.randn(7, 2, 3))
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[kind]
    assert table.macs == 7 * 2 * gates * 4 * (3 + 4)


def test_padding_to_the_same_size_is_counted() -> None:
    table = count_macs(nn.Conv2d(3, 4, 3, padding="same"), torch.randn(2, 3, 5, 5))
    assert table.macs == 2 * 4 * 3 * 9 * 25


def test_weights_are_charged_to_their_owner_wherever_they_are_used() -> None:
    class Elsewhere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.called = nn.Linear(4, 4)
            self.borrowed = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.called(x), self.borrowed.weight, self.borrowed.bias)

    rows = count_macs(Elsewhere(), torch.randn(2, 4)).by_layer()
    assert (rows["borrowed"].macs, rows["borrowed"].calls) == (2 * 4 * 3, 1)
    assert "" not in rows


def test_multi_head_attention_is_charged_by_its_weights() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    table = count_macs(model, torch.randn(2, 5, 8))
    rows = table.by_layer()
    assert rows["self_attn"].macs == 2 * 5 * 8 * 24 + 2 * (2 * 5 * 5 * 8)
    assert rows["self_attn.out_proj"].macs == 2 * 5 * 8 * 8
    assert table.uncalled == ()
    # torch's fused layer, which hides all of it, was kept out, and is allowed again.
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_layer_that_is_called_twice_costs_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)
            self.same = self.layer

        def forward(self, x: Tensor) -> Tensor:
            return self.same(self.layer(x))

    table = count_macs(Twice(), torch.randn(1, 3, 4, 4))
    (row,) = table.layers
    assert (row.layer, row.calls, row.macs, row.shape) == ("layer", 2, 2 * 9 * 16, (1, 3, 4, 4))
    assert (row.params, table.params) == (12, 12)


def test_columns_sum_to_the_macs_of_their_row() -> None:
    table = count_macs(make(Residual), torch.randn(1, 3, 6, 6))
    assert all(sum(row.columns) == row.macs for row in table.layers)
    assert sum(table.columns) == table.macs
    rows = table.by_layer()
    assert rows["block.norm"].columns == (0, 0, 0, 2 * 8 * 36, 0)
    assert rows["head"].columns == (0, 4 * 2, 0, 0, 0)


def test_a_module_is_charged_with_what_is_inside_it() -> None:
    table = count_macs(make(Residual), torch.randn(1, 3, 6, 6))
    rows = table.by_layer()
    inside = [row for name, row in rows.items() if name.startswith("block.")]
    assert table.macs_of("block") == sum(row.macs for row in inside)
    assert table.params_of("block") == sum(row.params for row in inside)
    assert table.macs_of("") == table.macs


def test_a_misspelt_layer_is_an_error() -> None:
    table = count_macs(make(Residual), torch.randn(1, 3, 6, 6))
    with pytest.raises(InputError, match=r"no module 'blok'; did you mean 'block'\?"):
        table.macs_of("blok")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.linalg.multi_dot([x, torch.ones(4, 3), torch.ones(3, 2)]),
        lambda x: torch.linalg.matrix_power(x.T @ x, 3),
        lambda x: torch.linalg.qr(x)[0],
        lambda x: torch.linalg.eigh(x.T @ x)[0],
        torch.cov,
        lambda x: torch.einsum("ij,jk,kl->il", x, torch.ones(4, 3), torch.ones(3, 2)),
    ],
)
def test_matrices_multiplied_without_a_rule_are_refused_by_fvcores_route(function) -> None:
    """fvcore would leave them out in silence."""
    with pytest.raises(InputError, match=r"multiplies matrices|only one or two operands"):
        by_fvcore(Multiplying(function), torch.randn(2, 4))


@pytest.mark.parametrize(
    ("function", "macs", "uncounted"),
    [
        # PyTorch writes these out in products; of (2, 4) by (4, 3) by (3, 2), in either order.
        (
            lambda x: torch.linalg.multi_dot([x, torch.ones(4, 3), torch.ones(3, 2)]),
            2 * 4 * 3 + 2 * 3 * 2,
            (),
        ),
        (lambda x: torch.linalg.matrix_power(x.T @ x, 3), 3 * 4 * 4 * 4 - 2 * 4 * 4, ()),
        (lambda x: torch.linalg.qr(x)[0], 0, ("aten::linalg_qr",)),
        (lambda x: torch.linalg.eigh(x.T @ x)[0], 4 * 4 * 2, ("aten::_linalg_eigh",)),
    ],
)
def test_what_multiplies_matrices_is_counted_or_listed(function, macs, uncounted) -> None:
    table = count_macs(Multiplying(function), torch.randn(2, 4))
    assert table.macs - table.by_layer()["layer"].macs == macs
    assert {*uncounted} == {name for name, _ in table.uncounted if "linalg" in name}


@pytest.mark.parametrize("function", [torch.outer, torch.kron, torch.ger])
def test_an_outer_product_sums_over_nothing_and_is_listed_as_any_other_multiplication(
    function,
) -> None:
    table = count_macs(Multiplying(lambda x: function(x[0], x[1])), torch.randn(2, 4))
    assert table.macs == table.by_layer()["layer"].macs
    assert sum(dict(table.uncounted).values()) >= 1


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x * 2


class _Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight


def test_an_opaque_function_is_listed_unless_it_reads_a_weight() -> None:
    doubled = Multiplying(_Doubled.apply)
    assert dict(by_fvcore(doubled, torch.randn(2, 4)).uncounted) == {"prim::PythonOp._Doubled": 1}
    assert dict(count_macs(doubled, torch.randn(2, 4)).uncounted) == {"aten::mul": 1}

    class Reading(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return _Hidden.apply(x, self.weight)

    with pytest.raises(InputError, match="PythonOp in the model's own forward multiplies"):
        by_fvcore(Reading(4, 4), torch.randn(2, 4))
    table = count_macs(Reading(4, 4), torch.randn(2, 4))
    assert table.macs == 2 * 4 * 4  # the product that runs inside of it


def test_statistics_are_not_updated_by_a_count_in_training_mode() -> None:
    model = make(Chain).train()
    before = model.norm.running_mean.clone()
    count_macs(model, inputs_for(model))
    assert torch.equal(model.norm.running_mean, before)
    assert int(model.norm.num_batches_tracked) == 0


def test_a_buffer_that_forward_writes_to_is_the_copys() -> None:
    class Counting(Chain):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x)

    model = make(Counting)
    count_macs(model, inputs_for(model))
    assert float(model.calls) == 0


def test_a_layer_of_which_nothing_reaches_an_output_is_counted() -> None:
    """torch's tracer leaves out what only decides where the network ends."""

    class Early(Chain):
        def __init__(self) -> None:
            super().__init__()
            self.exit = nn.Linear(3, 7)

        def forward(self, x: Tensor) -> Tensor:
            if self.exit(x.mean((2, 3))).max() > 1e6:
                return x
            return super().forward(x)

    model = make(Early)
    inputs = inputs_for(model)
    found = count_macs(model, inputs)
    assert found.by_layer()["exit"].macs == len(inputs) * 3 * 7
    with pytest.raises(InputError, match="nothing of `exit` reaches an output"):
        by_fvcore(model, inputs)
    assert found.macs - len(inputs) * 3 * 7 == count_macs(make(Chain), inputs).macs


@pytest.mark.parametrize("convention", ["fvcore", *sorted({*CONVENTIONS} - {"fvcore"})])
def test_a_weight_that_is_computed_in_each_call_is_counted(convention: str) -> None:
    plain, normed = (
        count_macs(nn.Sequential(layer, nn.ReLU()).eval(), torch.randn(5, 8), convention=convention)
        for layer in (nn.Linear(8, 12), parametrizations.spectral_norm(nn.Linear(8, 12)))
    )
    assert normed.macs >= plain.macs
    assert normed.params == plain.params
