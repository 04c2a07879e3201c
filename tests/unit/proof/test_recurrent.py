"""Recurrent layers: gates in blocks of the hidden size, cut by hand and proved."""

import copy

import pytest
import torch
import torch_pruning as tp
from drawn import part
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from analysis import prune, verify
from analysis.proof.proving import prove
from analysis.records import Cut, Removal, Verdict

GATES = {
    nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1, nn.LSTMCell: 4, nn.GRUCell: 3, nn.RNNCell: 1,
}  # fmt: skip
STAYING, WIDTH = (0, 2, 3, 5), 6
READ, READ_WIDTH = (1, 2, 4), 5


class Sequential(nn.Module):
    """What a linear layer makes of each step, a recurrent layer, and a head on every step."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Linear(3, READ_WIDTH)
        self.along = recurrent
        self.head = nn.Linear(WIDTH * (1 + getattr(recurrent, "bidirectional", False)), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.along(self.embed(x).relu())[0])


class ByCell(Sequential):
    """The steps one after another, with a state that is carried."""

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in self.embed(x).relu().unbind(1):
            state = self.along(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Started(Sequential):
    """The first state is made of the input, by a layer of the same channels."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__(recurrent)
        self.start = nn.Linear(READ_WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.embed(x).relu()
        return self.head(self.along(steps, hx=self.start(steps[:, 0])[None])[0])


class Packed(Sequential):
    """Sequences of several lengths."""

    def forward(self, x: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embed(x).relu(), [4, 2], batch_first=True)
        return self.head(pad_packed_sequence(self.along(packed)[0], batch_first=True)[0])


def indexed(tensor: Tensor, dim: int, places) -> Tensor:
    return tensor.index_select(dim, torch.tensor(places))


def in_gates(count: int) -> list[int]:
    """Rows of the stacked gates that stay."""
    return [gate * WIDTH + channel for gate in range(count) for channel in STAYING]


def cut_by_hand(dense: Sequential) -> Sequential:
    """The same network with fewer channels, each tensor indexed as PyTorch documents it."""
    pruned = copy.deepcopy(dense)
    along = pruned.along
    rows = in_gates(GATES[type(along)])
    sides = 2 if getattr(along, "bidirectional", False) else 1
    beside = [side * WIDTH + channel for side in range(sides) for channel in STAYING]
    for name, tensor in along.named_parameters():
        value = indexed(tensor.data, 0, rows)
        if name.startswith("weight_hh"):
            value = indexed(value, 1, STAYING)
        elif name.startswith("weight_ih"):
            value = indexed(value, 1, beside if "_l1" in name else READ)
        tensor.data = value
    along.input_size, along.hidden_size = len(READ), len(STAYING)
    pruned.embed.weight.data = indexed(pruned.embed.weight.data, 0, READ)
    pruned.embed.bias.data = indexed(pruned.embed.bias.data, 0, READ)
    pruned.embed.out_features = len(READ)
    pruned.head.weight.data = indexed(pruned.head.weight.data, 1, beside)
    pruned.head.in_features = len(beside)
    return pruned


def removals_of(dense: Sequential) -> list[Removal]:
    gone = tuple(sorted(set(range(WIDTH)) - set(STAYING)))
    unread = tuple(sorted(set(range(READ_WIDTH)) - set(READ)))
    width = dense.head.in_features
    beside = tuple(side * WIDTH + one for side in range(width // WIDTH) for one in gone)
    return [
        Removal("embed", unread, (
            Cut("embed", "out", READ_WIDTH, unread), Cut("along", "in", READ_WIDTH, unread),
        )),
        Removal("along", gone, (
            Cut("along", "out", WIDTH, gone), Cut("head", "in", width, beside),
        )),
    ]  # fmt: skip


def made(kind: type[nn.Module], **options) -> Sequential:
    torch.manual_seed(0)
    outer = ByCell if kind.__name__.endswith("Cell") else Sequential
    options |= {} if outer is ByCell else {"batch_first": True}
    return outer(kind(READ_WIDTH, WIDTH, **options)).eval()


CASES = [
    *((kind, {}) for kind in GATES),
    *((kind, {"bias": False}) for kind in (nn.LSTM, nn.GRUCell)),
    *((kind, {"bidirectional": True}) for kind in (nn.LSTM, nn.GRU, nn.RNN)),
    *((kind, {"num_layers": 2}) for kind in (nn.LSTM, nn.GRU, nn.RNN)),
    (nn.GRU, {"num_layers": 2, "bidirectional": True}),
    (nn.RNN, {"nonlinearity": "relu"}),
]
INPUTS = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_network_that_is_cut_by_its_gates_is_exact(kind, options) -> None:
    dense = made(kind, **options)
    answer = prove(dense, cut_by_hand(dense), removals_of(dense), INPUTS)
    assert answer.verdict is Verdict.EXACT, answer.reason
    assert answer.max_rel_error is not None
    assert answer.max_rel_error < 1e-12


@pytest.mark.parametrize(
    ("kind", "options", "tensor"),
    [
        (kind, options, tensor)
        for kind, options in CASES
        for tensor in part(["weight_ih", "weight_hh"], (kind.__name__, options))
    ],
)
def test_rows_of_one_gate_that_are_shifted_are_found(kind, options, tensor: str) -> None:
    dense = made(kind, **options)
    pruned = cut_by_hand(dense)
    name = next(name for name, _ in pruned.along.named_parameters() if name.startswith(tensor))
    value = getattr(pruned.along, name).data
    value[-len(STAYING) :] = value[-len(STAYING) :].roll(1, 0)
    answer = prove(dense, pruned, removals_of(dense), INPUTS)
    assert answer.verdict is Verdict.WRONG
    assert answer.first_divergence == "along"


def test_other_channels_of_the_step_before_are_found() -> None:
    """The right rows, but the columns of what was removed in place of those that stay."""
    dense = made(nn.GRU)
    pruned = cut_by_hand(dense)
    columns = [1, 2, 3, 4]
    whole = indexed(dense.along.weight_hh_l0.data, 0, in_gates(3))
    pruned.along.weight_hh_l0.data = indexed(whole, 1, columns)
    assert prove(dense, pruned, removals_of(dense), INPUTS).verdict is Verdict.WRONG


def test_channels_may_be_numbered_over_both_directions() -> None:
    dense = made(nn.LSTM, bidirectional=True)
    inner, outer = removals_of(dense)
    gone = outer.cuts[1].removed
    outer = Removal("along", gone, (Cut("along", "out", 2 * WIDTH, gone), outer.cuts[1]))
    answer = prove(dense, cut_by_hand(dense), [inner, outer], INPUTS)
    assert answer.verdict is Verdict.EXACT, answer.reason


def test_what_an_lstm_projects_is_cut_and_its_cells_stay() -> None:
    torch.manual_seed(0)
    dense = Sequential(nn.LSTM(READ_WIDTH, 8, proj_size=WIDTH, batch_first=True)).eval()
    pruned = copy.deepcopy(dense)
    for layer, name, dim, places in (
        ("embed", "weight", 0, READ), ("embed", "bias", 0, READ), ("head", "weight", 1, STAYING),
        ("along", "weight_ih_l0", 1, READ), ("along", "weight_hh_l0", 1, STAYING),
        ("along", "weight_hr_l0", 0, STAYING),
    ):  # fmt: skip
        tensor = getattr(pruned.get_submodule(layer), name)
        tensor.data = indexed(tensor.data, dim, places)
    pruned.along.input_size, pruned.along.proj_size = len(READ), len(STAYING)
    pruned.embed.out_features, pruned.head.in_features = len(READ), len(STAYING)
    answer = prove(dense, pruned, removals_of(dense), INPUTS)
    assert answer.verdict is Verdict.EXACT, answer.reason
    pruned.along.weight_hr_l0.data = pruned.along.weight_hr_l0.data.roll(1, 0)
    assert prove(dense, pruned, removals_of(dense), INPUTS).verdict is Verdict.WRONG


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_packed_sequences_are_masked_as_well(kind) -> None:
    torch.manual_seed(0)
    dense = Packed(kind(READ_WIDTH, WIDTH, batch_first=True)).eval()
    answer = prove(dense, cut_by_hand(dense), removals_of(dense), INPUTS)
    assert answer.verdict is Verdict.EXACT, answer.reason


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN])
def test_a_first_state_is_cut_along(kind) -> None:
    torch.manual_seed(0)
    dense = Started(kind(READ_WIDTH, WIDTH, batch_first=True)).eval()
    pruned = cut_by_hand(dense)
    for name, dims in (("weight", (STAYING, READ)), ("bias", (STAYING,))):
        tensor = getattr(pruned.start, name)
        for dim, places in enumerate(dims):
            tensor.data = indexed(tensor.data, dim, places)
    pruned.start.in_features, pruned.start.out_features = len(READ), len(STAYING)
    inner, outer = removals_of(dense)
    inner = Removal(
        "embed", inner.removed, (*inner.cuts, Cut("start", "in", READ_WIDTH, inner.removed))
    )
    outer = Removal(
        "along", outer.removed, (*outer.cuts, Cut("start", "out", WIDTH, outer.removed))
    )
    answer = prove(dense, pruned, [inner, outer], INPUTS)
    assert answer.verdict is Verdict.EXACT, answer.reason
    pruned.start.weight.data = pruned.start.weight.data.roll(1, 0)
    assert prove(dense, pruned, [inner, outer], INPUTS).verdict is Verdict.WRONG


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 1}])
def test_a_cut_of_the_inputs_by_torch_pruning_has_a_verdict(options) -> None:
    model = made(nn.LSTM, **options)
    pruner = tp.pruner.MagnitudePruner(
        model,
        INPUTS,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[model.head, model.along],
    )
    answer = verify(model, INPUTS, pruner)
    assert answer.verdict is Verdict.EXACT, answer.reason
    assert model.along.input_size == len(answer.kept["along"]["in"]) < READ_WIDTH


class Attending(Sequential):
    """The last state looks at all steps, so that channels of states are multiplied."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__(recurrent)
        self.query = nn.Linear(self.head.in_features, self.head.in_features)

    def states(self, steps: Tensor) -> Tensor:
        return self.along(steps)[0]

    def forward(self, x: Tensor) -> Tensor:
        states = self.states(self.embed(x).relu())
        looks = torch.einsum("bd,btd->bt", self.query(states[:, -1]), states).softmax(-1)
        return self.head(torch.einsum("bt,btd->bd", looks, states))


class AttendingCell(Attending):
    def states(self, steps: Tensor) -> Tensor:
        state, found = None, []
        for step in steps.unbind(1):
            state = self.along(step, state)
            found.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(found, 1)


class PackedAttending(Attending):
    def states(self, steps: Tensor) -> Tensor:
        packed = pack_padded_sequence(steps, [4, 4], batch_first=True)
        return pad_packed_sequence(self.along(packed)[0], batch_first=True)[0]


@pytest.mark.parametrize(
    ("kind", "options", "outer"),
    [
        *((kind, {}, Attending) for kind in (nn.LSTM, nn.GRU, nn.RNN)),
        *((kind, {}, AttendingCell) for kind in (nn.LSTMCell, nn.GRUCell, nn.RNNCell)),
        (nn.LSTM, {"bidirectional": True}, Attending),
        (nn.GRU, {"num_layers": 2}, Attending),
        (nn.GRU, {}, PackedAttending),
    ],
)
def test_attention_over_the_states_of_a_recurrent_layer_is_proved(kind, options, outer) -> None:
    torch.manual_seed(0)
    options |= {} if outer is AttendingCell else {"batch_first": True}
    dense = outer(kind(READ_WIDTH, WIDTH, **options)).eval()
    cured = prune(dense, INPUTS, 0.5)
    assert cured.verification.verdict is Verdict.EXACT, cured.verification.reason
    # By hand: gates of zeros leave a state of zeros, which nothing reads.
    masked = copy.deepcopy(dense)
    tensors = dict(masked.named_parameters())
    for (name, dim), left in cured.axes.items():
        gone = [each for each in range(tensors[name].shape[dim]) if each not in left]
        tensors[name].data.index_fill_(dim, torch.tensor(gone), 0.0)
    assert cured.axes["query.weight", 1]
    torch.testing.assert_close(cured.model(INPUTS), masked(INPUTS), rtol=1e-4, atol=1e-6)
    turned = copy.deepcopy(cured.model)
    turned.query.weight.data = turned.query.weight.data.roll(1, 0)
    assert prove(dense, turned, cured.outcome.removals, INPUTS).verdict is Verdict.WRONG


@pytest.mark.parametrize("both", [False, True])
def test_states_that_are_projected_are_cut_by_their_groups(both: bool) -> None:
    """PyTorch reads the hidden size and that of the projection from attributes."""
    torch.manual_seed(0)
    lstm = nn.LSTM(READ_WIDTH, 12, proj_size=WIDTH, batch_first=True, bidirectional=both)
    found = prune(Sequential(lstm), torch.randn(2, 4, 3), 0.5)
    assert found.verification.verdict is Verdict.EXACT, found.verification.reason
    along = found.model.along
    assert along.hidden_size < 12
    assert along.proj_size < WIDTH
    shapes = {name: tuple(each.shape) for name, each in along.named_parameters()}
    assert shapes["weight_hr_l0"] == (along.proj_size, along.hidden_size)
    assert shapes["weight_hh_l0"] == (4 * along.hidden_size, along.proj_size)
    assert shapes["weight_ih_l0"] == (4 * along.hidden_size, found.model.embed.out_features)
