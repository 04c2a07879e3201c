"""The prediction of the cost model for each printed row, from one dense network."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import cache, lru_cache

from analysis.costs.accounting import Account
from analysis.costs.followed import counted
from analysis.costs.predicting import account_of
from analysis.groups.inspecting import Labelled, labelled
from analysis.records import CONVENTIONS, Config
from tests.published.rows import Key, Row, asked_of, dense, image

__all__ = ["agrees", "example_of", "figure", "followed", "in_order", "predicted"]


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows of one dense network after each other: it is built and followed once."""
    return sorted(
        rows, key=lambda row: (str(asked_of(row).key), row.input_size, row.convention, row.setting)
    )


@lru_cache(maxsize=1)
def followed(key: Key, input_size: str, example: Row) -> Labelled:
    """A dense network with its channels followed; the last one is kept."""
    return labelled(dense(key), image(example), "alike" if key[0] == "vit" else None)


@lru_cache(maxsize=1)
def _accounts(key: Key, input_size: str, example: Row) -> Callable[[str], Account]:
    """By convention the account of a dense network; those of the last one are kept."""
    network = followed(key, input_size, example)

    @cache
    def by(convention: str) -> Account:
        table = counted(network, convention)
        return account_of(dense(key), network, table, (), Config(0.0, cut="groups"))

    return by


_EXAMPLES: dict[tuple[Key, str], Row] = {}
"""By network and size one of its rows: rows share what is followed."""


def example_of(row: Row) -> Row:
    """The row that stands for all of the same network and size."""
    return _EXAMPLES.setdefault((asked_of(row).key, row.input_size), row)


@cache
def predicted(row: Row) -> Decimal:
    """The row's quantity by the closed form, before it is rounded."""
    asked = asked_of(row)
    account = _accounts(asked.key, row.input_size, example_of(row))(row.convention)
    point = account.point_at(asked.widths)
    return figure(row, point.macs, point.params)


def figure(row: Row, macs: int, params: int) -> Decimal:
    """What a row prints of a network with such costs."""
    if row.quantity == "params":
        return Decimal(params)
    # MACs by a convention of FLOPs are half of them.
    halves = row.quantity == "macs" and CONVENTIONS[row.convention].unit == "FLOPs"
    return Decimal(macs) / (2 if halves else 1)


def agrees(row: Row, number: Decimal) -> bool:
    """Whether a number is printed as the row says."""
    return row.printed_of(number) == Decimal(row.value)
