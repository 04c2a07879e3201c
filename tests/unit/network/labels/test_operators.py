"""The table of operators names what there is."""

import pytest
import torch

from analysis.network.labels import operators

TABLES = {
    name: set(getattr(operators, name))
    for name in ("RESHAPES", "SAME", "MOVEMENT", "REDUCTIONS", "ALONG", "SPATIAL", "PER_CHANNEL",
                 "LIKE", "FACTORIES")
}  # fmt: skip


def test_no_operator_is_of_two_kinds() -> None:
    seen: dict[str, str] = {}
    for table, names in TABLES.items():
        for name in names:
            assert name not in seen, f"{name} is in {table} and {seen[name]}"
            seen[name] = table


def test_pointwise_is_what_torch_says() -> None:
    aten = torch.ops.aten
    assert operators.is_pointwise(aten.add.Tensor, "add")
    assert operators.is_pointwise(aten.silu.default, "silu")
    assert not operators.is_pointwise(aten.mm.default, "mm")
    assert not operators.is_pointwise(aten.cumsum.default, "cumsum")


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (torch.ops.aten.add_.Tensor, "add"),
        (torch.ops.aten.add.Tensor, "add"),
        (torch.ops.aten.relu_.default, "relu"),
        (torch.ops.aten._softmax.default, "_softmax"),
    ],
)
def test_an_operator_in_place_has_the_name_of_the_other(func: object, name: str) -> None:
    assert operators.name_of(func) == name
