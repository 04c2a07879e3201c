"""Three routes to one number of MACs, the rules of other counters, and the committed results."""

import json
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
import torch
import torchvision
from drawn import part
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from analysis import count_macs
from analysis.costs.followed import counted
from analysis.counters import others
from analysis.counters.__main__ import main
from analysis.counters.counting import counted as counted_cell
from analysis.counters.reasons import AMOUNTS, reasons
from analysis.counters.routes import agree, by_handles, entries, example
from analysis.counters.work import observe
from analysis.errors import InputError
from analysis.groups.inspecting import Labelled, labelled
from analysis.records import CONVENTIONS, COUNTERS, WORDS, Convention
from analysis.reporting.results.counters import section
from analysis.reporting.tables import as_markdown

REPORTS = Path(__file__).parents[3] / "reports"
COMMITTED = json.loads((REPORTS / "counters.json").read_text())
ENTRIES = {(entry.model, entry.size): entry for entry in entries()}


@pytest.mark.parametrize(
    ("name", "size"),
    part(
        [
            ("mobilenet_v2", 224),
            ("resnet18", 224),
            ("shufflenet_v2_x0_5", 224),
            ("regnet_y_400mf", 224),
            ("mnasnet0_5", 224),
            ("swin_t", 224),
            ("vit_b_32", 224),
        ]
    ),
)
def test_the_routes_give_one_number(name: str, size: int) -> None:
    model = torchvision.models.get_model(name, weights=None).eval()
    image = torch.zeros(1, 3, size, size)
    found, by_fvcore = count_macs(model, image), by_handles(model, size)
    assert [(row.layer, row.columns) for row in found.layers] == [
        (row.layer, row.columns) for row in by_fvcore.layers
    ]
    counted = found.products
    with FlopCounterMode(display=False) as counter:
        model.to("meta")(image.to("meta"))
    assert counted == counter.get_total_flops() / 2
    assert round(counted / 1e9, 3) == ENTRIES[name, size].published


def test_routes_that_differ_by_a_mac_or_round_otherwise_do_not_agree() -> None:
    assert agree([300_774_272] * 3, 0.301)
    assert not agree([300_774_272, 300_774_272, 300_774_271], 0.301)
    assert not agree([300_774_272, 300_774_271, 300_774_272], 0.301)
    assert not agree([300_774_272] * 3, 0.302)
    assert not agree([300_499_999] * 3, 0.301)


def test_a_model_that_is_counted_again_has_the_committed_routes() -> None:
    found = json.loads(json.dumps(counted_cell(ENTRIES["squeezenet1_1", 224], False)))
    (committed,) = (each for each in COMMITTED["routes"] if each["model"] == "squeezenet1_1")
    assert found == {"route": committed, "compared": None}


class Small(nn.Module):
    """A convolution with bias, a norm, an activation, attention and one function of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.unseen = nn.Linear(4, 5)
        self.linear = nn.Linear(5, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x))).flatten(2).mT
        x, _ = self.attention(x, x, x, need_weights=False)
        x = functional.linear(x, self.unseen.weight, self.unseen.bias)
        return self.linear(functional.relu(x))


# 2x2 pixels, so 4 positions, of 4, 5 and 6 features.
NORM, ACT = 4 * 4, 4 * 4
CONV_BIAS, ATTENTION_BIAS, UNSEEN_BIAS, LINEAR_BIAS = 4 * 4, 4 * 4 * 4, 4 * 5, 4 * 6
SCALE, SOFTMAX = 4 * 4, 2 * 4 * 4
PROJECTIONS, ATTENTION, UNSEEN, LINEAR = 4 * 4 * 16, 2 * 4 * 4 * 4, 4 * 20, 4 * 30
EXPECTED = {
    "torch-pruning": 2 * NORM + CONV_BIAS + 6 + ACT + SCALE + SOFTMAX + ATTENTION_BIAS - UNSEEN,
    "thop": 4 * NORM - PROJECTIONS - ATTENTION - UNSEEN,
    "ptflops (pytorch)": (
        2 * NORM + CONV_BIAS + LINEAR_BIAS + ACT + ACT + UNSEEN_BIAS  # the ReLU of 4 x 5
        + SCALE + SOFTMAX + ATTENTION_BIAS - UNSEEN
    ),
    "ptflops (aten)": CONV_BIAS + ATTENTION_BIAS + UNSEEN_BIAS + LINEAR_BIAS - ATTENTION,
    "torchinfo": CONV_BIAS + 6 + 8 - LINEAR + 30 - PROJECTIONS - ATTENTION - UNSEEN,
}  # fmt: skip


@pytest.mark.parametrize("counter", COUNTERS)
def test_the_rules_of_a_counter_written_out_by_hand(counter: str) -> None:
    model, image = Small().eval(), example(2)
    table = by_handles(model, 2)
    work = observe(model, image, table)
    assert table.products == 4 * 4 * 27 + PROJECTIONS + ATTENTION + UNSEEN + LINEAR
    assert sum(reasons(counter, work).values()) == EXPECTED[counter]


@pytest.mark.parametrize("column", AMOUNTS)
def test_calls_and_channels_give_one_amount_of_each_column(column: str, monkeypatch) -> None:
    model, image = Small().eval(), example(2)
    table = by_handles(model, 2)
    alone = Convention("MACs", {column: 1}, "")
    monkeypatch.setitem(CONVENTIONS, "alone", alone)
    by_calls = AMOUNTS[column](observe(model, image, table))
    assert count_macs(model, image, convention="alone").macs == by_calls


@pytest.mark.parametrize("answer", range(len(COUNTERS)))
@pytest.mark.parametrize("name", ["mobilenet_v2", "regnet_y_400mf"])
def test_what_other_counters_answered_is_counted_by_their_conventions(
    name: str, answer: int
) -> None:
    (found,) = (model for model in COMMITTED["models"] if model["model"] == name)
    asked = found["answers"][answer]
    followed = labelled_once(name, found["size"])
    assert counted(followed, COUNTERS[asked["counter"]]).macs == asked["macs"]


@cache
def labelled_once(name: str, size: int) -> Labelled:
    """The network with its channels followed."""
    return labelled(torchvision.models.get_model(name, weights=None).eval(), example(size))


def test_conventions_are_rows_over_columns_that_have_words_and_units() -> None:
    used = {column for rule in CONVENTIONS.values() for column in rule.counts}
    assert used == set(WORDS)
    assert {rule.unit for rule in CONVENTIONS.values()} == {"MACs", "FLOPs"}
    assert set(COUNTERS.values()) < set(CONVENTIONS)


def test_an_unknown_convention_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="convention 'thopp' is not known; did you mean 'thop'"):
        count_macs(Small(), example(2), convention="thopp")


def test_observing_leaves_no_hook() -> None:
    model = Small().eval()
    observe(model, example(2), by_handles(model, 2))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_pruners_own_counter_is_explained() -> None:
    asked = next(counter for counter in others.COUNTERS if counter.name == "torch-pruning")
    model, image = Small().eval(), example(2)
    table = by_handles(model, 2)
    answer = others.count(asked, model, image)
    assert answer - table.products == sum(
        reasons("torch-pruning", observe(model, image, table)).values()
    )


def test_every_counter_has_rules() -> None:
    assert [counter.name for counter in others.COUNTERS] == list(COUNTERS)
    assert not set(others.LEFT_OUT) & set(COUNTERS)


def test_the_committed_results_cover_every_classification_model_and_size() -> None:
    routes = COMMITTED["routes"]
    assert len({route["model"] for route in routes}) == 80
    assert {(route["model"], route["size"]) for route in routes} == set(ENTRIES)
    for route in routes:
        assert route["published"] == ENTRIES[route["model"], route["size"]].published


def test_the_committed_routes_agree() -> None:
    for route in COMMITTED["routes"]:
        counts = [route[f"by_{name}"] for name in ("pass", "handles", "flop_counter")]
        assert route["agree"] == agree(counts, route["published"])
        assert route["agree"], route["model"]
        columns = route["columns"]
        products = columns["convolution"] + columns["linear"] + columns["attention"]
        assert products == route["by_handles"]


def test_the_committed_differences_are_the_sum_of_their_parts() -> None:
    for model in COMMITTED["models"]:
        assert [answer["counter"] for answer in model["answers"]] == list(COUNTERS)
        for answer in model["answers"]:
            parts = sum(answer["parts"].values()) + answer["unexplained"]
            assert parts == answer["macs"] - model["products"]
            assert answer["unexplained"] == 0, (model["model"], answer["counter"])


TINY = {
    "routes": [
        {
            "model": "net",
            "size": 8,
            "published": 0.001,
            "by_pass": 1_000_000,
            "by_handles": 1_000_000,
            "by_flop_counter": 1_000_000,
            "agree": True,
        },
        {
            "model": "odd",
            "size": 16,
            "published": 0.003,
            "by_pass": 2_000_000,
            "by_handles": 2_000_000,
            "by_flop_counter": 2_000_000,
            "agree": False,
        },
    ],
    "counters": [{"name": "a", "version": "1", "call": "a.count(m)"}],
    "left_out": {"z": "it does not import"},
    "models": [
        {
            "model": "net",
            "size": 8,
            "products": 1_000_000,
            "answers": [
                {
                    "counter": "a",
                    "macs": 1_050_007,
                    "parts": {"norms": 60_000, "no attention": -10_000},
                    "unexplained": 7,
                }
            ],
        },
        {
            "model": "odd",
            "size": 16,
            "products": 2_000_000,
            "answers": [{"counter": "a", "error": "ValueError: no"}],
        },
    ],
}


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A report's folder with the tiny comparison in it."""
    (tmp_path / "counters.json").write_text(json.dumps(TINY))
    return str(tmp_path)


def test_the_page_says_what_agrees_and_what_does_not(tiny: str) -> None:
    made = section(tiny)
    text = "\n".join(made.paragraphs)
    assert made.title == "Counters compared"
    assert "1 of 2 entries (2 classification models" in text
    assert "`odd` at 16 does not agree: `count_macs` says 2,000,000" in text
    assert "explain 0 of 2 answers" in text
    assert "+7 MACs of a's answer for `net` are unexplained." in text
    assert "a does not count `odd`: ValueError: no." in text
    assert "`z` is left out: it does not import." in text


def test_the_tables_of_the_page_hold_every_difference_and_its_parts(tiny: str) -> None:
    rows = [row for table in section(tiny).tables for row in table.rows]
    assert ("net", "8", "1,000,000", "+5.0%") in rows
    assert ("odd", "16", "2,000,000", "error") in rows
    assert ("a", "norms", "1", "+6.0% (net)") in rows
    assert ("a", "1", "`a.count(m)`", "-", "-") in rows
    assert (
        "net", "a", "1,050,007", "+50,007", "+60,000 norms; -10,000 no attention", "7",
    ) in rows  # fmt: skip
    assert ("odd", "16", "2,000,000", "2,000,000", "2,000,000", "0.003", "no") in rows


def test_the_committed_page_can_be_written() -> None:
    for table in section(str(REPORTS)).tables:
        assert as_markdown(table.headers, table.rows).count("\n") == len(table.rows) + 1


def test_without_the_packages_it_says_how_to_install_them(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert main(["--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("is not installed: pip install '.[counters]'")
    assert not [*tmp_path.iterdir()]
