"""Changes that no random input shows, and that the proof reports where it can find them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from between import Net, altering, answer, built, images, pruner_of
from torch import Tensor, nn

from analysis import verify
from analysis.records import Verdict, Verification


def plain() -> Net:
    return Net(lambda m, x: m.part(x), part=nn.ReLU())


def frozen(output: Tensor) -> Tensor:
    return output * 2 if output.shape[0] == 1 else output


def hooked(model: Any) -> None:
    model.part.register_forward_hook(lambda _module, _args, output: frozen(output))


def hooked_before(model: Any) -> None:
    model.register_forward_pre_hook(lambda _module, args: (frozen(args[0]),))


def replaced(model: Any) -> None:
    model.part.forward = torch.no_grad()(model.part.forward)


def kept_as_a_buffer(model: Any) -> None:
    bias = model.read.bias.detach()
    del model.read.bias
    model.read.register_buffer("bias", bias)


def not_saved(model: Any) -> None:
    model.part._non_persistent_buffers_set.add("running_mean")


ELSEWHERE: dict[str, tuple[Callable[[], Net], Callable[[Any], None], str]] = {
    "a hook": (plain, hooked, "the hooks of `part` are others"),
    "a hook before": (plain, hooked_before, "the hooks of the model are others"),
    "a forward of its own": (plain, replaced, "`forward` of `part` is another function"),
    "a function that is kept": (
        plain, lambda m: setattr(m, "function", lambda m, x: m.part(x)),
        "`function` of the model is another function",
    ),
    "a parameter that is kept as a buffer": (
        plain, kept_as_a_buffer, "`bias` of `read` is a buffer and was a parameter"
    ),
    "a buffer that is not saved": (
        lambda: Net(lambda m, x: m.part(x), part=nn.BatchNorm2d(8)), not_saved,
        "`running_mean` of `part` is a buffer that is not saved and was a buffer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_change_outside_of_the_operators_is_reported(name: str) -> None:
    make, change, text = ELSEWHERE[name]
    assert answer(make).reason == ""
    found = answer(make, change)
    assert found.verdict.passes
    assert text in found.reason


def test_hooks_and_functions_that_were_there_are_no_news() -> None:
    def make() -> Net:
        net = plain()
        hooked(net)
        net.part.register_forward_pre_hook(Counting())
        net.activation = torch.relu
        return net

    found = answer(make)
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")


class Counting:
    """A hook that keeps something, of which a copied network holds another one."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, _module: nn.Module, _args: Any) -> None:
        self.calls += 1


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
def test_unused_parameters_of_the_model_itself_are_reported_in_words() -> None:
    found = answer(lambda: Net(lambda m, x: x, unused=nn.Parameter(torch.ones(3))))
    assert found.unexercised == ("",)
    assert found.reason == "not exercised in eval mode: parameters of the model itself"


class Telling(Net):
    """Puts out more than tensors."""

    def __init__(self, text: Callable[[Any, Tensor], Any], factor: float = 1.0) -> None:
        super().__init__(lambda m, x: x.relu())
        self.text, self.factor = text, factor

    def forward(self, x: Tensor) -> Any:
        scores = super().forward(x)
        return {"scores": scores, "beside": [self.text(self, scores)]}


def beside(
    text: Callable[[Any, Tensor], Any], after: Callable[[Any], None] = lambda _: None
) -> Verification:
    model = built(lambda: Telling(text))
    pruner = pruner_of(
        model, images(), altering(after), output_transform=lambda output: [output["scores"]]
    )
    return verify(model, images(), pruner)


BESIDE: dict[str, tuple[Callable[[Any, Tensor], Any], Any]] = {
    "a number of the scores": (lambda m, y: float(y.detach().sum()) * m.factor, 1.2),
    "a word": (lambda m, y: "sure" if m.factor < 2 else "unsure", 3.0),
    "a flag": (lambda m, y: m.factor < 2, 3.0),
    "nothing": (lambda m, y: None if m.factor < 2 else "something", 3.0),
}


@pytest.mark.parametrize("name", BESIDE)
def test_an_output_that_is_no_tensor_is_compared(name: str) -> None:
    text, factor = BESIDE[name]
    assert beside(text).verdict is Verdict.EXACT
    assert beside(text, lambda m: setattr(m, "factor", factor)).verdict is Verdict.WRONG


def test_a_size_beside_the_outputs_may_follow_a_width() -> None:
    assert beside(lambda m, y: m.make.out_channels).verdict is Verdict.EXACT
