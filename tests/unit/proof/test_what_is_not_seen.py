"""The limits of the proof, one test for each line of docs/what-the-proof-does-not-see.md."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from between import Net, built, images, pruned, pruner_of
from torch import Tensor, nn

from analysis import compare, prune, verify
from analysis.records import Verdict

PAGE = Path(__file__).parents[3] / "docs" / "what-the-proof-does-not-see.md"


def loud(x: Tensor) -> bool:
    return float(x.detach().abs().max()) > 1e3


def test_a_branch_on_values_that_no_run_takes() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return m.early(x) if loud(x) else x

    model, found = pruned(lambda: Net(function, early=nn.Conv2d(8, 8, 1)))
    assert (found.verdict, found.unexercised) == (Verdict.EXACT, ("early",))
    with pytest.raises(RuntimeError, match="to have 8 channels"):
        model(torch.full((1, 3, 6, 6), 1e6))
    _, silent = pruned(lambda: Net(lambda m, x: x.flip(1) if loud(x) else x))
    assert (silent.verdict, silent.reason) == (Verdict.EXACT, "")


def test_an_optional_input_that_is_not_given() -> None:
    class Masked(Net):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
            return super().forward(x if mask is None else x + self.early(mask))

    _, found = pruned(lambda: Masked(lambda m, x: x, early=nn.Conv2d(3, 3, 1)))
    assert (found.verdict, found.unexercised) == (Verdict.EXACT, ("early",))

    class Flipping(Net):
        def forward(self, x: Tensor, turn: bool = False) -> Any:
            self.turn = turn
            return super().forward(x)

    _, silent = pruned(lambda: Flipping(lambda m, x: x.flip(1) if m.turn else x))
    assert (silent.verdict, silent.reason) == (Verdict.EXACT, "")


def test_what_a_later_call_does() -> None:
    def counting(m: Net, x: Tensor) -> Tensor:
        m.calls = m.calls + 1
        return x.flip(1) if m.calls > 9 else x

    model, found = pruned(lambda: Net(counting, calls=torch.tensor(0)))
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")
    assert model.calls <= 9


def test_a_hook_that_acts_elsewhere() -> None:
    def hook(module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return output * 2 if module.training else output

    _, found = pruned(
        lambda: Net(lambda m, x: x), lambda model: model.make.register_forward_hook(hook)
    )
    assert found.verdict is Verdict.EXACT
    assert "the hooks of `make` are others" in found.reason


def test_values_that_leave_the_tensors() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        y = m.middle(x)
        return y * torch.from_numpy(y.detach()[:, -1:].numpy()).to(y)

    def make() -> Net:
        net = Net(function, middle=nn.Conv2d(8, 8, 1))
        net.middle.weight.data[:4] *= 0.1  # so the last channel stays
        return net

    _, found = pruned(make)
    assert found.verdict is Verdict.EXACT
    assert "shown on random inputs alone: values that are taken out of tensors" in found.reason


def test_a_largest_channel_that_python_takes() -> None:
    def make(function: Any) -> Net:
        net = Net(function)
        with torch.no_grad():
            net.make.weight[:4] *= 0.1  # these go, and lie far below the others
            net.make.bias[:4] = -50.0
        return net

    _, silent = pruned(lambda: make(lambda m, x: x * max(x.detach().amax((0, 2, 3)).tolist())))
    assert (silent.verdict, silent.structure) == (Verdict.EXACT, "proved")
    _, seen = pruned(lambda: make(lambda m, x: x * x.detach().max().item()))
    assert seen.verdict is Verdict.MIXED


def test_a_bound_that_a_number_comes_nowhere_near() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return x * max(x.detach().max().item(), m.least)

    _, silent = pruned(lambda: Net(function, least=1e6))
    assert (silent.verdict, silent.structure) == (Verdict.EXACT, "proved")
    _, seen = pruned(lambda: Net(function, least=3.0))
    assert seen.verdict is Verdict.MIXED


def test_a_whole_number_beside_the_outputs() -> None:
    class Counted(Net):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x), int(self.make(x).sum() > 0) + self.make.out_channels

    model = built(lambda: Counted(lambda m, x: x))
    pruner = pruner_of(model, images(), output_transform=lambda output: output[:1])
    found = verify(model, images(), pruner)
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")


def test_whether_gradients_flow() -> None:
    def detached(m: Net, x: Tensor) -> Tensor:
        return x.detach() if x.shape[1] < 8 else x

    model, found = pruned(lambda: Net(detached))
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")
    model(images()).sum().backward()
    assert model.make.weight.grad is None


def test_what_a_checkpoint_holds() -> None:
    def doubled(module: nn.Module, state: dict[str, Tensor], prefix: str, _: Any) -> None:
        state[f"{prefix}weight"] = 2 * state[f"{prefix}weight"]

    model, found = pruned(
        lambda: Net(lambda m, x: x),
        lambda model: model.read.register_state_dict_post_hook(doubled),
    )
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")
    assert torch.equal(model.state_dict()["read.weight"], 2 * model.read.weight)


def test_what_train_mode_computes() -> None:
    _, found = pruned(lambda: Net(lambda m, x: x.flip(1) if m.training else x))
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")


def test_an_attribute_that_no_operator_reads() -> None:
    _, found = pruned(lambda: Net(lambda m, x: x, note=3), lambda model: setattr(model, "note", 5))
    assert found.verdict is Verdict.EXACT
    assert "`note` of the model is 5 and was 3" in found.reason


def test_a_softmax_over_fewer_channels() -> None:
    _, found = pruned(lambda: Net(lambda m, x: x.softmax(1)))
    assert found.verdict is Verdict.MIXED
    assert "softmax" in found.reason


def test_a_scale_that_follows_a_width() -> None:
    # Eight channels became four, so a half may be what the width asks for.
    _, found = pruned(
        lambda: Net(lambda m, x: x * m.scale, scale=1.0), lambda model: setattr(model, "scale", 0.5)
    )
    assert found.verdict is Verdict.RENORMALIZED
    assert "scales by 0.5 where 1 was" in found.reason


def test_a_bound_that_follows_a_width() -> None:
    # Eight channels became four; a value of 60 is within one bound and beyond the other.
    _, found = pruned(lambda: Net(lambda m, x: x.clamp(max=10.0 * x.shape[1])))
    assert found.verdict is Verdict.EXACT
    assert "calls `clamp` with 40 where 80 was; the random inputs do not show it" in found.reason


def test_rounding_of_short_types() -> None:
    # In half precision what is added here is lost, in both networks alike.
    model, found = pruned(lambda: Net(lambda m, x: x + 1e-12))
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")
    x = torch.randn(1, 3, 6, 6)
    assert (model(x).double() - model.double()(x.double())).abs().max() > 0


def test_outputs_that_are_left_out() -> None:
    class Telling(Net):
        def forward(self, x: Tensor) -> Any:
            kept = self.make(x)
            return super().forward(x), kept.flip(1) if kept.shape[1] < 8 else kept

    model, found = pruned(lambda: Telling(lambda m, x: x), outputs=["0"])
    assert found.verdict is Verdict.EXACT
    assert "outputs compared: `0` alone" in found.reason
    assert model(torch.randn(1, 3, 6, 6))[1].shape[1] == 4


@torch.jit.script
def is_narrow_and_small(x: Tensor) -> bool:
    return x.size(1) < 8 and x.size(2) <= 64


def test_a_size_that_a_script_reads() -> None:
    def net() -> nn.Module:
        made = Net(lambda m, x: (x.flip(1) if is_narrow_and_small(x) else x).relu())
        made.make.bias.data.sub_(1e3)  # the rectifier lets nothing pass
        return made

    model, found = pruned(net, inputs=torch.randn(1, 3, 96, 96))
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")
    turned = [is_narrow_and_small(model.make(torch.randn(1, 3, n, n))) for n in (32, 96)]
    assert turned == [True, False]


def test_two_nearly_equal_numbers_of_a_trained_vector() -> None:
    class Wide(Net):
        def __init__(self) -> None:
            super().__init__(lambda m, x: x.relu())
            self.make, self.read = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3)
            self.head = nn.Linear(24, 2)

    dense = built(Wide)
    # Of the channels that stay, two with biases that differ by a hundredth of what others do.
    one, other = prune(dense, images(), 0.5, ignore=["head"]).kept["make"]["out"][:2]
    dense.make.bias.data[other] = dense.make.bias.data[one] + 1e-3
    small = prune(dense, images(), 0.5, ignore=["head"])
    left = small.kept["make"]["out"]
    first, second = left.index(one), left.index(other)
    with torch.no_grad():
        for tensor in small.model.parameters():
            tensor.mul_(1.001)
    apart = {}
    for bias in ((first, second), (second, first)):
        small.model.make.bias.data[list(bias)] = small.model.make.bias.data[[first, second]]
        found = compare(dense, small.model, images())
        assert found.verdict is Verdict.CONSISTENT
        apart[bias] = dict(found.moved)["make.bias"]
    assert apart[second, first] != apart[first, second]


def test_each_line_of_the_page_has_its_test() -> None:
    named = set(re.findall(r"`(test_\w+)` \|$", PAGE.read_text("utf-8"), re.MULTILINE))
    own = {name for name in globals() if name.startswith("test_")}
    assert named == own - {"test_each_line_of_the_page_has_its_test"}
