"""Saving, exporting and moving a pruned network; each possible fault is planted."""

import logging

import pytest
import torch
import torch_pruning as tp
from drawn import part
from nets import Chain, Concat, Flattened, Grouped, Named, Residual, inputs_for, make
from safetensors.torch import load_file, save_model
from torch import Tensor, nn

from analysis.checks import CATALOGUE, CheckFailedError, CheckSkippedError, evaluate
from analysis.errors import InputError
from analysis.pipeline import Outcome, analyse, prune_and_prove
from analysis.proof import round_trips
from analysis.records import Config

HALF = Config(0.5, "local")
TRIPS = [name for name in CATALOGUE if name.startswith("survives_")]


def outcome(model: nn.Module, inputs=None, **more) -> Outcome:
    given = inputs_for(model) if inputs is None else inputs
    return prune_and_prove(analyse(model, given), HALF, "classifier", **more)


def failure(check: str, found: Outcome) -> str:
    with pytest.raises(CheckFailedError) as caught:
        CATALOGUE[check].run(found)
    return str(caught.value)


def skipped(check: str, found: Outcome) -> str:
    with pytest.raises(CheckSkippedError) as caught:
        CATALOGUE[check].run(found)
    return str(caught.value)


@pytest.mark.parametrize("kind", part([Chain, Residual, Concat, Grouped, Flattened]))
def test_a_sound_network_survives_every_trip(kind: type[nn.Module]) -> None:
    results = evaluate(outcome(make(kind)), TRIPS)
    assert [result.name for result in results if not result.passed] == []


def test_inputs_and_outputs_by_name_survive() -> None:
    inputs = {"vector": torch.randn(2, 5), "image": torch.randn(2, 3, 6, 6)}
    results = evaluate(outcome(make(Named), inputs), TRIPS)
    assert [result.message for result in results if not result.passed] == []


class Nested(nn.Module):
    """A tuple with a number and a list of tensors in; tensors nested in lists and a tuple out."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1)
        self.head = nn.Linear(6, 2)

    def forward(self, images: list[Tensor], factor: int) -> tuple[list[Tensor], Tensor]:
        one, two = self.one(images[0]), self.two(images[1]) * factor
        scores = [self.head(each.mean((2, 3))) for each in (one, two)]
        return scores, scores[0] + scores[1]


@pytest.mark.parametrize("check", TRIPS)
def test_nested_inputs_and_numbers_survive(check: str) -> None:
    images = (torch.randn(2, 3, 5, 5), torch.randn(2, 3, 4, 4))
    (result,) = evaluate(outcome(make(Nested), (images, 2)), [check])
    assert result.passed, result.message


def test_the_weights_that_are_saved_are_those_of_the_pruned_widths(tmp_path) -> None:
    """A second route: the file read without the package, its shapes worked out by hand."""
    found = outcome(make(Chain))
    save_model(found.pruned, str(tmp_path / "chain.safetensors"))
    shapes = {name: tuple(t.shape) for name, t in load_file(tmp_path / "chain.safetensors").items()}
    # Half of 4, and of 5 rounded up, go: 2 and 2 channels are left.
    assert shapes["first.weight"] == (2, 3, 3, 3)
    assert shapes["second.weight"] == (2, 2, 1, 1)
    assert shapes["head.weight"] == (2, 2)
    rebuilt = make(Chain, seed=5)
    assert found.rebuild is not None
    found.rebuild(rebuilt)
    loaded = round_trips.reloaded(found.pruned, rebuilt)
    x = inputs_for(loaded)
    assert torch.equal(loaded(x), found.pruned(x))


class Shipped(Chain):
    """Computes something else where it is exported."""

    is_shipped = staticmethod(torch.compiler.is_exporting)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        if self.is_shipped():
            x = x.flip(1)
        return self.head(self.second(x.relu()).mean((2, 3)))


@pytest.mark.parametrize("check", ["survives_export", "survives_onnx"])
def test_a_network_that_is_exported_otherwise_is_seen_with_the_layer(check: str) -> None:
    message = failure(check, outcome(make(Shipped)))
    assert message.startswith("the exported network computes another function: `second` is the")
    assert "torch's own rounding is" in message


def test_what_only_its_onnx_file_computes_otherwise_is_seen() -> None:
    class Other(Shipped):
        is_shipped = staticmethod(torch.onnx.is_in_onnx_export)

    results = evaluate(outcome(make(Other)), ["survives_export", "survives_onnx"])
    assert [result.passed for result in results] == [True, False]


class TwoHeads(Shipped):
    """Scores and the place of the greatest; the scores are exported the other way round."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = Chain.forward(self, x)
        return (scores.flip(1) if self.is_shipped() else scores), torch.tensor([3, 4])


class Scaled(Shipped):
    """Exported a seventh greater: less than 16 bits can tell, many times over."""

    def forward(self, x: Tensor) -> Tensor:
        scores = Chain.forward(self, x)
        return scores * 1.15 if self.is_shipped() else scores


@pytest.mark.parametrize("kind", [TwoHeads, Scaled])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_no_other_output_and_no_short_type_hides_a_fault(kind, dtype: torch.dtype) -> None:
    model = make(kind).to(dtype)
    found = outcome(model, inputs_for(model).to(dtype))
    assert "its output 0 is off by" in failure("survives_export", found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_sound_network_of_a_short_type_survives(dtype: torch.dtype) -> None:
    model = make(Residual).to(dtype)
    results = evaluate(outcome(model, inputs_for(model).to(dtype)), TRIPS)
    assert [result.message for result in results if not result.passed] == []


def test_an_infinite_output_hides_no_fault() -> None:
    class Infinite(TwoHeads):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            scores, _ = super().forward(x)
            return scores, scores.float().exp() * 3e38  # beyond what single precision holds

    def shipped(inputs: Tensor) -> list[Tensor]:
        scores, great = model(inputs)
        return [scores.flip(1), great]

    model = make(Infinite)
    form = round_trips.Shipped(shipped, lambda inputs: {})
    assert "its output 0 is off" in round_trips.shipped_departure(model, form, inputs_for(model))


def test_a_dense_network_that_differs_as_well_is_reported() -> None:
    assert failure("survives_export", outcome(make(Shipped))).endswith(
        "; so does that of the dense network"
    )


class Sharing(Chain):
    """A buffer that is a part of a larger tensor, which safetensors refuses to save."""

    def __init__(self, factor: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("factor", torch.rand(8)[:2] if factor is None else factor)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.factor


def test_a_buffer_that_shares_memory_comes_back() -> None:
    (result,) = evaluate(outcome(make(Sharing)), ["survives_state_dict"])
    assert (result.passed, result.skipped) == (True, "")


def test_weights_that_no_network_takes_back_are_not_prunings_fault() -> None:
    """torch does not write to a buffer whose elements are one place in memory."""
    reason = skipped("survives_state_dict", outcome(Sharing(torch.rand(1).expand(2)).eval()))
    assert reason.endswith("the dense network fails in the same way")


def test_a_network_that_is_another_when_copied_is_refused() -> None:
    class Dropping(Chain):
        def __getstate__(self) -> dict:
            return self.__dict__ | {"factor": 1.0}

        factor = 2.0

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.factor

    with pytest.raises(InputError, match="a copy of the Dropping computes something else"):
        outcome(make(Dropping))


def test_a_network_that_writes_to_its_input_is_proved() -> None:
    class Normalizing(Chain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.sub_(0.5).div_(0.2))

    model = make(Normalizing)
    images = inputs_for(model)
    before = images.clone()
    results = evaluate(outcome(model, images), CATALOGUE)
    assert [result.message for result in results if not result.passed] == []
    assert torch.equal(images, before)


class Forgetful(Chain):
    """Loses a weight where it is unpickled."""

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if getattr(self, "is_pruned", False):
            with torch.no_grad():
                self.second.weight[0, 0] += 1


def test_a_weight_that_pickling_changes_is_seen_with_the_layer() -> None:
    found = outcome(make(Forgetful))
    found.pruned.is_pruned = True
    message = failure("survives_pickling", found)
    assert message.startswith("the network that came back runs with the right output shape")
    assert "`second` is the first to differ" in message


def test_a_difference_that_the_history_does_not_record_is_detected() -> None:
    """An attribute that a pruner's step sets is not set where the structure is rebuilt."""

    class Viewed(Chain):
        channels = 5

        def forward(self, x: Tensor) -> Tensor:
            x = self.second(self.norm(self.first(x)).relu())
            return self.head(x.view(len(x), self.channels, 36).mean(2))

    class Setting(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            yield from super().step(interactive=True)
            self.model.channels = self.model.second.out_channels

    def setting(model: nn.Module, inputs: Tensor, ratio: float) -> Setting:
        return Setting(
            model,
            inputs,
            importance=tp.importance.MagnitudeImportance(p=1),
            pruning_ratio=ratio,
            ignored_layers=[model.head],
        )

    found = outcome(make(Viewed), pruner_factory=setting)
    assert found.run.verification.verdict.passes
    message = failure("survives_state_dict", found)
    assert message.startswith("the network that came back does not run: the model's own forward")


def test_weights_that_do_not_fit_the_history_are_seen() -> None:
    found = outcome(make(Chain))
    tp.prune_conv_out_channels(found.pruned.second, [0])
    tp.prune_linear_in_channels(found.pruned.head, [0])
    assert "size mismatch for second.weight" in failure("survives_state_dict", found)


def test_a_network_without_a_history_is_skipped_with_the_reason() -> None:
    found = prune_and_prove(analyse(make(Chain), inputs_for(make(Chain))), HALF, "none")
    assert found.rebuild is not None
    untold = Outcome(
        found.dense, found.pruned, found.ignored, found.planned, found.removals, found.run, None
    )
    assert skipped("survives_state_dict", untold).startswith("the pruner keeps no history")


def test_what_the_dense_network_cannot_do_either_is_skipped_with_the_reason() -> None:
    class Local(Chain):  # pickle finds no class inside a function
        pass

    reason = skipped("survives_pickling", outcome(make(Local)))
    assert reason.startswith("saving the whole module raised")
    assert reason.endswith("the dense network fails in the same way")


def test_what_pruning_alone_spoils_is_a_failure() -> None:
    found = outcome(make(Chain))
    found.pruned.note = lambda: None  # cannot be pickled
    assert failure("survives_pickling", found).endswith("; the dense network passes")


def test_a_network_that_does_not_run_survives_nothing() -> None:
    found = outcome(make(Chain))
    tp.prune_conv_out_channels(found.pruned.second, [0])
    for result in evaluate(found, [trip for trip in TRIPS if trip != "survives_gpu"]):
        assert not result.passed
        assert "`head` raised" in result.message


def test_a_check_whose_packages_are_missing_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr("analysis.checks.catalogue.find_spec", lambda module: None)
    (result,) = evaluate(outcome(make(Chain)), ["survives_onnx"])
    assert result.passed
    needed = "needs onnx, onnxscript, onnxruntime"
    assert result.skipped == f"{needed}: pip install onnx onnxscript onnxruntime"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_check_without_a_gpu_says_so() -> None:
    (result,) = evaluate(outcome(make(Chain)), ["survives_gpu"])
    assert result.skipped == "there is no CUDA device here"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_on_the_gpu_is_proved_there() -> None:
    model = make(Residual).cuda()
    found = outcome(model, inputs_for(model).cuda())
    assert next(found.pruned.parameters()).is_cuda
    assert all(result.passed for result in evaluate(found, CATALOGUE))


def test_exports_leave_no_files_and_logging_as_it_was(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    evaluate(outcome(make(Chain)), TRIPS)
    assert [path.name for path in tmp_path.glob("pruning-analysis-*")] == []
    assert logging.root.manager.disable == logging.NOTSET
    assert caplog.records == []
