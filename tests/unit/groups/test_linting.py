"""What a list of ignored layers excludes, against torch-pruning with the same list."""

import numpy as np
import pytest
import torch
import torchvision
from blocks import PROVED, Encoder, Stack, build, half_pruner
from drawn import part
from nets import (
    Chain,
    Concat,
    FixedBuffer,
    Flipped,
    Grouped,
    Named,
    Residual,
    inputs_for,
    make,
)
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch_pruning.pruner import MagnitudePruner
from torch_pruning.pruner.importance import MagnitudeImportance

from analysis import inspect_groups, verify
from analysis.errors import InputError
from analysis.groups import inspecting, policies
from analysis.groups.linting import lint
from analysis.network.inference import names_of
from analysis.pipeline import audit_groups
from analysis.records import Verdict

pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")


def called_in(model, inputs):
    called = set()
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.add(name))
        for name, module in model.named_modules()
    ]
    model(**inputs) if isinstance(inputs, dict) else model(inputs)
    for handle in handles:
        handle.remove()
    return called


def linted(model, ignored, inputs=None, groups=None):
    inputs = inputs_for(model) if inputs is None else inputs
    groups = inspect_groups(model, inputs) if groups is None else groups
    return lint(model, ignored, groups, called_in(model, inputs))


def audited(model):
    inputs = inputs_for(model)
    return audit_groups(inspecting.labelled(model, inputs), model, inputs)


def findings_of(answer, kind):
    return [finding for finding in answer.findings if finding.kind == kind]


def held_by(answer):
    return {layer for lock in answer.locks for layer in (*lock.layers, *lock.partners)}


def pruner_of(model, ignored, inputs=None):
    return MagnitudePruner(
        model,
        inputs_for(model) if inputs is None else inputs,
        importance=MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=ignored,
        in_channel_groups={},
        out_channel_groups={},
    )


def widths(model):
    return {
        name: module.weight.shape[0]
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
    }


def kept_by_torch_pruning(model, ignored):
    """Layers whose channels all stay when half of each group is asked to go; prunes the model."""
    before = widths(model)
    pruner_of(model, ignored).step()
    after = widths(model)
    return {name for name in before if after[name] == before[name]}


def freed(model):
    """The proof's verdict when only the model's outputs are held; prunes the model."""
    inputs = inputs_for(model)
    return verify(model, inputs, pruner_of(model, [model.head])).verdict


class Unused(Chain):
    """A layer that the forward pass never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Conv2d(4, 4, 1)


class Listed(nn.Module):
    """Layers in a list, which is not called itself."""

    size = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)])
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean((2, 3)))


class Segmenter(nn.Module):
    """A convolution makes the output, which is resized."""

    size = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 1)
        self.head = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))

    def forward(self, x):
        return nn.functional.interpolate(self.head(self.body(x)), scale_factor=2)


def between(layer):
    """Two convolutions with a layer between them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = (3, 6, 6)
        return Stack(size, nn.Conv2d(3, 8, 3), layer, nn.Conv2d(8, 6, 1), nn.Linear(6, 2)).eval()


# What is given: a type, a stranger, a name.


def test_a_list_without_findings_passes() -> None:
    model = make(Chain)
    answer = linted(model, [model.head])
    assert answer.passed
    assert {finding.kind for finding in answer.findings} == {"input-still-cut"}
    assert [(lock.root, lock.needed) for lock in answer.locks] == [("head", "output")]


def test_a_type_is_an_error_that_says_how_many_modules_it_misses() -> None:
    model = make(Chain)
    answer = linted(model, [nn.Conv2d, model.head])
    (finding,) = findings_of(answer, "type")
    assert finding.is_error
    assert not answer.passed
    assert finding.layer == "Conv2d"
    assert "model: 2)" in finding.message
    assert held_by(answer) == {"head"} == kept_by_torch_pruning(model, [nn.Conv2d, model.head])


def test_the_modules_that_the_message_names_are_excluded() -> None:
    model = make(Chain)
    ignored = [m for m in model.modules() if isinstance(m, nn.Conv2d)] + [model.head]
    answer = linted(model, ignored)
    assert answer.passed
    assert held_by(answer) == kept_by_torch_pruning(model, ignored)


def test_a_type_among_the_ignored_layers_is_refused_with_what_to_pass() -> None:
    with pytest.raises(InputError, match=r"is a type, .* isinstance\(m, Conv2d\)\]") as error:
        names_of([nn.Conv2d], make(Chain))
    assert "<class Conv2d>" in str(error.value)


def test_a_layer_of_a_copy_is_foreign_and_holds_nothing() -> None:
    model, twin = make(Chain), make(Chain)
    answer = linted(model, [twin.first, twin.head])
    assert [finding.layer for finding in findings_of(answer, "foreign")] == ["Conv2d", "Linear"]
    assert all(finding.is_error for finding in findings_of(answer, "foreign"))
    assert findings_of(answer, "forgotten-output")
    assert not answer.locks
    assert not kept_by_torch_pruning(model, [twin.first, twin.head])


@pytest.mark.parametrize("entry", [None, 3, ["first"], torch.zeros(2), nn.Parameter(torch.ones(1))])
def test_what_is_neither_module_nor_name_is_foreign(entry) -> None:
    model = make(Chain)
    (finding,) = findings_of(linted(model, [entry, model.head]), "foreign")
    assert finding.is_error
    assert finding.layer == type(entry).__name__
    assert kept_by_torch_pruning(model, [entry, model.head]) == {"head"}


def test_a_misspelled_name_is_foreign_and_the_closest_is_named() -> None:
    model = make(Chain)
    (finding,) = findings_of(linted(model, ["secnod", "head"]), "foreign")
    assert "did you mean `second`?" in finding.message


def test_names_modules_a_generator_and_duplicates_say_the_same() -> None:
    model = make(Residual)
    named = linted(model, ["block.project", "head"])
    assert named == linted(model, [model.block.project, model.head])
    assert named == linted(model, (each for each in (model.block.project, model.head)))
    assert named == linted(model, ["block.project", model.block.project, "head", model.head])
    assert linted(model, [nn.Conv2d] * 2) == linted(model, [nn.Conv2d])


def test_a_layer_of_two_names_is_known_by_both() -> None:
    model = make(Chain)
    model.alias = model.first
    answer = linted(model, ["alias", "head"])
    assert answer.passed
    assert answer == linted(model, ["first", "head"])
    assert answer.locks[0].layers == ("first",)


# What holds nothing.


def test_a_layer_that_is_never_called_is_an_error_and_holds_nothing() -> None:
    model = make(Unused)
    answer = linted(model, [model.extra, model.head])
    (finding,) = findings_of(answer, "untraced")
    assert (finding.layer, finding.is_error) == ("extra", True)
    assert held_by(answer) == {"head"}
    # It keeps its channels because nobody knows it, not because it was ignored.
    assert kept_by_torch_pruning(model, [model.extra, model.head]) == {"extra", "head"}
    again = make(Unused)
    assert kept_by_torch_pruning(again, [again.head]) == {"extra", "head"}


def test_a_list_of_layers_that_is_not_called_itself_holds_what_is_inside() -> None:
    model = make(Listed)
    answer = linted(model, [model.layers, model.head])
    assert answer.passed
    assert [finding.layer for finding in findings_of(answer, "container")] == ["layers"]
    assert held_by(answer) == kept_by_torch_pruning(model, [model.layers, model.head])


def test_the_output_layer_inside_torchs_attention_holds_nothing() -> None:
    model = Encoder().eval()
    answer = linted(model, [model.attention.out_proj, model.head])
    assert [finding.layer for finding in findings_of(answer, "untraced")] == ["attention.out_proj"]
    assert "ignore `attention`" in answer.findings[0].message
    assert held_by(answer) == {"head"}
    pruner_of(model, [model.attention.out_proj, model.head]).step()
    assert model.attention.out_proj.weight.shape == (4, 4)


@pytest.mark.parametrize("inner", [[], ["attention.out_proj"]])
def test_the_output_layer_inside_torchs_attention_is_accused_of_nothing(inner) -> None:
    model = Encoder().eval()
    answer = linted(model, ["attention", *inner, "head"])
    assert answer.passed
    assert "out_proj" not in str(answer)
    first = next(name for name, layer in model.named_modules() if isinstance(layer, nn.Linear))
    assert "out_proj" not in str(linted(model, [first, "head"]))


def test_layers_without_channels_exclude_nothing_and_are_reported_together() -> None:
    model = between(nn.Sequential(nn.ReLU(), nn.ReLU(), nn.Dropout()))
    first, second, dropout = model.body[1]
    answer = linted(model, [first, second, dropout, model.head])
    assert answer.passed
    findings = findings_of(answer, "no-channels")
    assert [finding.layer for finding in findings] == ["body.1.0", "body.1.2"]
    assert findings[0].message.startswith("`body.1.0` and `body.1.1` (ReLU)")
    assert held_by(answer) == {"head"}
    assert kept_by_torch_pruning(model, [first, second, dropout, model.head]) == {"head"}


def test_one_slope_for_all_channels_is_not_said_to_hold_nothing() -> None:
    model = between(nn.PReLU())
    answer = linted(model, [model.body[1], model.head])
    assert [finding.layer for finding in findings_of(answer, "unlisted")] == ["body.1"]
    assert not findings_of(answer, "no-channels")
    assert "body.0" in kept_by_torch_pruning(model, [model.body[1], model.head])


def test_a_slope_for_each_channel_holds_the_group() -> None:
    model = between(nn.PReLU(8))
    answer = linted(model, [model.body[1], model.head])
    assert held_by(answer) == {"body.0", "body.1", "head"}
    assert "body.0" in kept_by_torch_pruning(model, [model.body[1], model.head])


def test_a_layers_own_weight_excludes_nothing() -> None:
    model = make(Chain)
    answer = linted(model, [model.second.weight, model.head])
    (finding,) = findings_of(answer, "parameter")
    assert not finding.is_error
    assert "nothing is excluded" in finding.message
    assert answer.passed
    assert kept_by_torch_pruning(model, [model.second.weight, model.head]) == {"head"}


def test_a_parameter_of_a_group_that_goes_keeps_its_size_and_breaks_the_network() -> None:
    model = Encoder().eval()
    (finding,) = findings_of(linted(model, [model.position, model.head]), "parameter")
    assert "group `embed`, which it belongs to, is cut" in finding.message
    pruner = pruner_of(model, [model.position, model.head])
    assert verify(model, inputs_for(model), pruner).verdict is Verdict.BROKEN


def test_a_parameter_of_an_excluded_group_is_no_finding() -> None:
    model = Encoder().eval()
    ignored = [model.position, model.embed, model.head]
    assert not findings_of(linted(model, ignored), "parameter")
    pruner_of(model, ignored).step()
    assert model(inputs_for(model)).shape == (2, 2)


# What holds more than was named.


def test_a_container_means_the_layers_inside_it() -> None:
    model = make(Residual)
    answer = linted(model, [model.block, model.head])
    (finding,) = findings_of(answer, "container")
    assert (finding.layer, finding.is_error) == ("block", False)
    assert "inside it, 5: `block.expand`, `block.depthwise`, `block.norm` and 2" in finding.message
    assert held_by(answer) == kept_by_torch_pruning(model, [model.block, model.head])


def test_a_container_of_one_layer_is_reported_as_well() -> None:
    model = between(nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()))
    (finding,) = findings_of(linted(model, [model.body[1], model.head]), "container")
    assert finding.message.endswith("inside it, 1: `body.1.0`")


def test_the_model_itself_means_all_its_layers() -> None:
    model = make(Residual)
    answer = linted(model, [model])
    (finding,) = findings_of(answer, "container")
    assert finding.message.startswith("the model itself (Residual) means")
    assert held_by(answer) == set(widths(model)) == kept_by_torch_pruning(model, [model])


def test_a_layer_inside_another_entry_is_reported_once() -> None:
    model = make(Unused)
    model.extra = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
    assert [
        (finding.kind, finding.layer)
        for finding in linted(model, model.modules()).findings
        if finding.kind != "unneeded"
    ] == [("untraced", "extra"), ("container", "")]


@pytest.mark.parametrize("layer", ["block.norm", "block.depthwise", "block.expand"])
def test_one_layer_holds_its_whole_group(layer: str) -> None:
    model = make(Residual)
    ignored = [model.get_submodule(layer), model.head]
    answer = linted(model, ignored)
    group = {"block.expand", "block.depthwise", "block.norm"}
    assert held_by(answer) == group | {"head"} == kept_by_torch_pruning(model, ignored)
    (lock,) = (lock for lock in answer.locks if lock.root != "head")
    assert lock.layers == (layer,)
    assert set(lock.partners) == group - {layer}
    (finding,) = findings_of(answer, "locked-partners")
    assert not finding.is_error
    # A norm belongs to its convolution, which nobody wonders about.
    assert "`block.norm` cannot" not in finding.message
    assert finding.layer == min(group - {layer, "block.norm"}, key=list(widths(model)).index)


def test_partners_of_an_addition_are_reported_unless_they_are_named_too() -> None:
    model = make(Residual)
    (finding,) = findings_of(linted(model, ["block.project", "head"]), "locked-partners")
    assert finding.layer == "stem"
    assert not findings_of(linted(model, ["block.project", "stem", "head"]), "locked-partners")


def test_an_ignored_layer_is_still_cut_at_its_input() -> None:
    model = make(Chain)
    answer = linted(model, [model.second, model.head])
    (finding,) = findings_of(answer, "input-still-cut")
    assert (finding.layer, finding.is_error) == ("second", False)
    assert [lock.cut_inputs for lock in answer.locks] == [("second",), ()]
    pruner_of(model, [model.second, model.head]).step()
    assert model.second.weight.shape[:2] == (5, 2)
    assert model.head.weight.shape == (2, 5)


def test_a_layer_behind_a_concatenation_is_cut_by_every_group_it_reads() -> None:
    model = make(Concat)
    (finding,) = findings_of(linted(model, ["join", "head"]), "input-still-cut")
    assert "groups `left` and `right`" in finding.message
    (finding,) = findings_of(linted(model, ["join", "right", "head"]), "input-still-cut")
    assert "group `left`," in finding.message
    assert not findings_of(linted(model, ["join", "left", "right", "head"]), "input-still-cut")


# What need not be held.


@pytest.mark.parametrize(
    ("kind", "layer"),
    [(Chain, "first"), (Residual, "stem"), (Residual, "block.norm"), (Concat, "left")],
)
def test_a_group_that_is_excluded_without_need_is_pruned_exactly_once_it_is_free(
    kind, layer: str
) -> None:
    model = make(kind)
    answer = linted(model, [layer, "head"])
    (finding,) = findings_of(answer, "unneeded")
    assert not finding.is_error
    (lock,) = (lock for lock in answer.locks if lock.root == finding.layer)
    assert f"{lock.macs:,} MACs and {lock.params:,} parameters" in finding.message
    assert layer in lock.layers
    assert freed(model) is Verdict.EXACT


@pytest.mark.parametrize("name", part(sorted(PROVED)))
def test_what_need_not_be_held_and_is_audited_the_same_passes_the_proof_once_it_is_free(
    name: str,
) -> None:
    model = build(name)
    inputs = inputs_for(model)
    answer = linted(model, [model])
    free = {finding.layer for finding in findings_of(answer, "unneeded")}
    assert "head" not in free
    free &= {each.name for each in audited(model) if each.audit == "same"}
    held = [lock.layers[0] for lock in answer.locks if lock.root not in free]
    pruner = half_pruner(model, (inputs,), ignored_layers=[*map(model.get_submodule, held)])
    verdict = verify(model, inputs, pruner).verdict
    assert verdict.passes or (verdict is Verdict.UNCHANGED and not free)


MISCUT = {
    "cut wrongly": (lambda: make(Flipped), "first", "misread", Verdict.WRONG),
    "cut in part": (lambda: make(FixedBuffer), "first", "cannot-be-cut", Verdict.BROKEN),
    "not numbered": (
        lambda: build("zero-padded shortcut"), "wide", "cannot-be-cut", Verdict.UNPRUNABLE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISCUT)
def test_the_audit_judges_torch_prunings_cut_of_a_free_group(name: str) -> None:
    factory, layer, audit, verdict = MISCUT[name]
    model = factory()
    answer = linted(model, [layer, "head"])
    free = {lock.root for lock in answer.locks if layer in lock.layers and not lock.needed}
    assert free
    assert {each.audit for each in audited(model) if each.name in free} == {audit}
    assert freed(model) is verdict


def test_a_group_without_removable_channels_is_needed_and_says_where() -> None:
    model = between(nn.LocalResponseNorm(3))
    answer = linted(model, ["body.0", "head"])
    (lock,) = (lock for lock in answer.locks if lock.root != "head")
    assert "aten" not in lock.needed
    assert " at " in lock.needed
    assert "body.1" in lock.needed
    assert not findings_of(answer, "unneeded")


def test_a_layer_of_one_channel_could_not_go_and_locks_nothing() -> None:
    model = make(Chain)
    model.second, model.head = nn.Conv2d(4, 1, 1), nn.Linear(1, 2)
    answer = linted(model, ["second", "head"])
    assert [lock.root for lock in answer.locks] == ["head"]
    assert [finding.layer for finding in findings_of(answer, "no-channels")] == ["second"]
    assert not findings_of(answer, "unneeded")
    assert "second" in kept_by_torch_pruning(model, [model.head])


def test_a_frozen_group_can_be_pruned_but_not_by_torch_pruning() -> None:
    model = make(Chain)
    model.first.requires_grad_(False)
    model.norm.requires_grad_(False)
    assert findings_of(linted(model, ["first", "head"]), "unneeded")
    first, *_ = audited(model)
    assert (first.name, first.audit) == ("first", "missing")
    assert "frozen" in first.why
    assert "first" in kept_by_torch_pruning(model, [model.head])


# What was forgotten.


@pytest.mark.parametrize("kind", [Chain, Residual, Segmenter])
def test_an_output_that_nothing_holds_is_an_error_and_changes_shape(kind) -> None:
    model = make(kind)
    inputs = inputs_for(model)
    before = model(inputs).shape
    answer = linted(model, [])
    (finding,) = findings_of(answer, "forgotten-output")
    assert finding.is_error
    assert finding.layer == ("head.2" if kind is Segmenter else "head")
    assert not answer.locks
    pruner_of(model, []).step()
    assert model(inputs).shape[1] == before[1] // 2


@pytest.mark.parametrize("kind", [Chain, Residual, Segmenter])
def test_an_output_that_is_held_keeps_its_shape(kind) -> None:
    model = make(kind)
    inputs = inputs_for(model)
    before = model(inputs).shape
    assert not findings_of(linted(model, [model.head]), "forgotten-output")
    pruner_of(model, [model.head]).step()
    assert model(inputs).shape == before


@pytest.mark.parametrize("ignored", [(), ("head",), ("mix",), ("head", "vector")])
def test_every_output_is_asked_for(ignored) -> None:
    model = make(Named)
    inputs = {"image": torch.randn(2, 3, 6, 6), "vector": torch.randn(2, 5)}
    before = {name: output.shape for name, output in model(**inputs).items()}
    answer = linted(model, ignored, inputs)
    pruner_of(model, [model.get_submodule(name) for name in ignored], inputs).step()
    after = {name: output.shape for name, output in model(**inputs).items()}
    makers = {"scores": "head", "embedding": "vector"}
    assert {finding.layer for finding in findings_of(answer, "forgotten-output")} == {
        makers[name] for name in before if before[name] != after[name]
    }


def test_an_output_of_one_channel_cannot_be_forgotten() -> None:
    model = make(Chain)
    model.head = nn.Linear(5, 1)
    assert not findings_of(linted(model, []), "forgotten-output")
    assert "head" in kept_by_torch_pruning(model, [])


def test_errors_come_first_then_the_models_order() -> None:
    model = make(Residual)
    findings = linted(model, ["block", "stem", nn.Conv2d, "block.depthwise"]).findings
    errors = [finding.is_error for finding in findings]
    assert errors == sorted(errors, reverse=True)
    order = [name for name, _ in model.named_modules()]
    for half in (True, False):
        places = [
            order.index(each.layer)
            for each in findings
            if each.is_error is half and each.kind != "type"
        ]
        assert places == sorted(places)
    assert len({finding.kind for finding in findings}) == 4
    assert not any("\n" in finding.message for finding in findings)


# What it costs.


def counted(model):
    """MACs by torch's own counter, with two for each value that a batch norm puts out."""
    norms = []
    handles = [
        module.register_forward_hook(lambda _, __, output: norms.append(2 * output.numel()))
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(inputs_for(model))
    for handle in handles:
        handle.remove()
    macs = counter.get_total_flops() // 2 + sum(norms)
    return np.array([macs, sum(each.numel() for each in model.parameters())])


def narrowed(kind, **layers):
    """The network with other layers in these places."""
    model = make(kind)
    for name, layer in layers.items():
        owner, _, own = name.replace("__", ".").rpartition(".")
        setattr(model.get_submodule(owner), own, layer)
    return model.eval()


NARROWED = {
    (Chain, "first", 4): lambda n: {
        "first": nn.Conv2d(3, n, 3, padding=1, bias=False),
        "norm": nn.BatchNorm2d(n),
        "second": nn.Conv2d(n, 5, 1),
    },
    (Chain, "second", 5): lambda n: {"second": nn.Conv2d(4, n, 1), "head": nn.Linear(n, 2)},
    (Chain, "head", 2): lambda n: {"head": nn.Linear(5, n)},
    (Residual, "stem", 4): lambda n: {
        "stem": nn.Conv2d(3, n, 3, padding=1),
        "block__expand": nn.Conv2d(n, 8, 1, bias=False),
        "block__project": nn.Conv2d(8, n, 1, bias=False),
        "block__project_norm": nn.BatchNorm2d(n),
        "head": nn.Linear(n, 2),
    },
    (Residual, "block.depthwise", 8): lambda n: {
        "block__expand": nn.Conv2d(4, n, 1, bias=False),
        "block__depthwise": nn.Conv2d(n, n, 3, padding=1, groups=n, bias=False),
        "block__norm": nn.BatchNorm2d(n),
        "block__project": nn.Conv2d(n, 4, 1, bias=False),
    },
    (Concat, "right", 6): lambda n: {"right": nn.Conv2d(3, n, 1), "join": nn.Conv2d(4 + n, 4, 1)},
    (Grouped, "grouped", 8): lambda n: {
        "grouped": nn.Conv2d(8, n, 3, groups=2),
        "head": nn.Linear(n, 2),
    },
}
"""By network, layer and its width: the same network with n channels in the layer's group."""


@pytest.mark.parametrize(
    ("kind", "layer", "width"), NARROWED, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_a_lock_costs_what_the_network_loses_without_its_channels(kind, layer, width) -> None:
    model = make(kind)
    (lock,) = (lock for lock in linted(model, [layer]).locks if layer in lock.layers)
    assert lock.width == width
    # No layer here reads the channels of its own group, so each of them costs the same.
    half = width // 2
    narrow = counted(narrowed(kind, **NARROWED[kind, layer, width](half)))
    saved = counted(model) - narrow
    assert np.array_equal(np.array([lock.macs, lock.params]) * (width - half), saved * width)


# Known networks.


def test_mobilenets_residual_blocks_need_not_be_held() -> None:
    model = torchvision.models.mobilenet_v2().eval()
    inputs = torch.randn(1, 3, 64, 64)
    groups = inspect_groups(model, inputs)
    named = policies.ignored_layers("residual-blocks", model, groups)
    answer = linted(model, named, inputs, groups)
    assert answer.passed
    assert {lock.needed for lock in answer.locks} == {"", "output"}
    assert [lock.root for lock in answer.locks if lock.needed] == ["classifier.1"]
    # Ten blocks add their input, in five groups; the other five reach through four of them.
    blocks = [block for block in model.features[1:18] if block.use_res_connect]
    assert len(blocks) == 10
    assert len(findings_of(answer, "unneeded")) == len(answer.locks) - 1 == len(blocks) + 5
    # The block before each run of skips ends in the same group, and no policy named it.
    first = [place for place in range(1, 17) if not model.features[place].use_res_connect]
    joined = [place for place in first if model.features[place + 1].use_res_connect]
    assert [finding.layer for finding in findings_of(answer, "locked-partners")] == [
        f"features.{place}.conv.2" for place in joined
    ]
    assert [finding.layer for finding in findings_of(answer, "input-still-cut")] == ["classifier.1"]


def test_mobilenets_residual_blocks_prune_exactly_once_they_are_free() -> None:
    model = torchvision.models.mobilenet_v2().eval()
    inputs = torch.randn(1, 3, 64, 64)
    pruner = pruner_of(model, [model.classifier[1]], inputs)
    assert verify(model, inputs, pruner).verdict is Verdict.EXACT


def test_squeezenets_convolutional_classifier_is_an_output() -> None:
    model = torchvision.models.squeezenet1_1().eval()
    inputs = torch.randn(1, 3, 64, 64)
    answer = linted(model, [], inputs)
    assert [(each.kind, each.layer) for each in answer.findings] == [
        ("forgotten-output", "classifier.1")
    ]
    pruner_of(model, [], inputs).step()
    assert model(inputs).shape == (1, 500)
