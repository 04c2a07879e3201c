"""How torch-pruning would cut each group, before pruning."""

from dataclasses import replace

import pytest
import torch
import torchvision
from blocks import Encoder, build
from nets import Chain, Concat, FixedBuffer, Flipped, Residual, inputs_for, make

from analysis.groups import inspecting
from analysis.groups.auditing import audit
from analysis.groups.depgraph import dependency_groups
from analysis.pipeline import audit_groups
from analysis.records import Verdict, Verification


def audited(model, inputs=None, budget=None):
    inputs = inputs_for(model) if inputs is None else inputs
    found = audit_groups(inspecting.labelled(model, inputs), model, inputs, budget)
    assert all(each.audit == "same" or each.why for each in found)
    return found


def entry(model, name):
    (found,) = (each for each in audited(model) if each.name == name)
    return found


def kinds(found):
    return {each.audit for each in found}


class Spatial(torch.nn.Module):
    """An attention of one channel over positions."""

    size = (3, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 1)
        self.weigh = torch.nn.Conv2d(8, 1, 1)
        self.second = torch.nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.first(x)
        return self.second(x * self.weigh(x).sigmoid())


class Unseen(Chain):
    """A weight that is used without its layer, which DepGraph does not see."""

    def forward(self, x):
        x = torch.nn.functional.conv2d(x, self.first.weight, padding=1)
        return self.head(self.second(self.norm(x).relu()).mean((2, 3)))


@pytest.mark.parametrize("kind", [Concat, Residual])
def test_a_network_that_is_followed_rightly_is_the_same_everywhere(kind) -> None:
    found = audited(make(kind))
    assert kinds(found) == {"same"}
    assert all(each.passed and not each.misread for each in found)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1", "convnext_tiny"])
def test_every_group_of_a_known_network_is_the_same_and_all_are_tried_at_once(name: str) -> None:
    model = torchvision.models.get_model(name, weights=None).eval()
    inputs = torch.randn(1, 3, 32, 32)
    followed = inspecting.labelled(model, inputs)

    asked = []

    def cut(channels):
        asked.append(set(channels))
        return Verification(Verdict.EXACT)

    found = audit(followed, dependency_groups(model, inputs), cut)
    (roots,) = asked
    assert len(roots) == sum(not group.is_output for group in followed.groups)
    assert [each.name for each in found] == [group.name for group in followed.groups]
    assert len(found) > 10
    assert kinds(found) == {"same"}


def test_a_flip_is_reported_with_both_maps() -> None:
    found = entry(build("flip"), "first")
    assert (found.audit, found.passed) == ("misread", False)
    (reader,) = found.misread
    assert reader.layer == "second"
    # 0 goes with 7 and so on: whichever of both names the pair, the other one is misplaced.
    assert {*zip(reader.believed, reader.found, strict=True)} <= {(c, 7 - c) for c in range(8)}
    assert reader.places == reader.believed


def test_a_flattened_channels_last_image_is_misread_where_the_maps_differ() -> None:
    (reader,) = entry(build("flattened with channels last"), "first").misread
    right = [place for place in range(128) if place // 16 != place % 8]
    assert reader.places == tuple(right)
    assert reader.believed == tuple(place // 16 for place in right)
    assert reader.found == tuple(place % 8 for place in right)


@pytest.mark.parametrize("name", ["channels of two places added", "roll", "shuffle"])
def test_what_runs_and_is_another_function_is_misread(name: str) -> None:
    found = entry(build(name), "first")
    assert found.audit == "misread"
    assert "computes another function" in found.why


def test_heads_that_are_not_given_to_torch_pruning_are_misread() -> None:
    """One channel of each head goes together; it takes those that rank lowest."""
    found = audited(build("attention, fused, torch scale"))
    assert {each.name: each.audit for each in found} == {
        "embed": "same", "qkv": "misread", "head": "same",
    }  # fmt: skip


def test_a_removable_set_is_tried_and_reported_as_well() -> None:
    """Where any channels are asked the cut is wrong, and right where the same goes of each head."""
    found = entry(build("attention, fused, torch scale"), "qkv")
    assert found.why.endswith("are removed together, its cut is right")


class WrittenHeads(torch.nn.Module):
    """Two heads of four channels, whose number a torch-pruning pruner does not set."""

    size = (5, 8)

    def __init__(self):
        super().__init__()
        self.heads = 2
        self.q, self.k, self.v = (torch.nn.Linear(8, 8) for _ in range(3))
        self.head = torch.nn.Linear(8, 3)

    def split(self, x):
        return x.view(*x.shape[:2], self.heads, 4).transpose(1, 2)

    def forward(self, x):
        q, k, v = (self.split(each(x)) for each in (self.q, self.k, self.v))
        y = ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2)
        return self.head(y.mean(1))


def test_whole_heads_are_tried_where_no_single_channel_may_go() -> None:
    found = entry(make(WrittenHeads), "q")
    assert found.audit == "cannot-be-cut"
    assert "raised in view on (2, 5, 4): shape '[2, 5, 2, 4]'" in found.why


class Stepping(torch.nn.Module):
    size = (5, 6)

    def __init__(self):
        super().__init__()
        self.steps, self.head = torch.nn.LSTM(6, 8, batch_first=True), torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.steps(x)[0].mean(1))


def test_a_recurrent_layer_is_cut_as_torch_prunings_pruners_do() -> None:
    found = entry(make(Stepping), "steps")
    assert found.audit == "cannot-be-cut"
    assert found.why.startswith("unprunable: pruning the group of `steps` raised ")


def test_torchs_attention_is_misread_if_torch_pruning_is_not_given_the_heads() -> None:
    found = entry(Encoder().eval(), "embed")
    assert found.audit == "misread"
    assert "as they are split into heads" in found.why


@pytest.mark.parametrize(
    ("make_model", "name", "why"),
    [
        (lambda: make(FixedBuffer), "first", "broken: the model's own forward raised in mul"),
        (lambda: build("functional batch norm"), "first", "raised in batch_norm"),
        (lambda: build("zero-padded shortcut"), "wide", "DepGraph couples channel 9 of `first`"),
    ],
    ids=["buffer", "functional", "not numbered"],
)
def test_a_cut_that_leaves_no_network_says_what_raises(make_model, name, why) -> None:
    found = entry(make_model(), name)
    assert (found.audit, found.passed) == ("cannot-be-cut", False)
    assert why in found.why


def test_a_group_that_is_mixed_over_channels_has_no_answer() -> None:
    found = entry(build("response norm"), "body.0")
    assert (found.audit, found.passed) == ("cannot-be-told", True)
    assert found.why.startswith("mixed: ")


def test_a_spatial_attention_of_one_channel_is_not_taken_for_a_misreading() -> None:
    """DepGraph numbers the one channel as the many, so that a pruner leaves the group out."""
    found = entry(make(Spatial), "first")
    assert (found.audit, found.misread) == ("cannot-be-cut", ())
    assert "channel 7 of `weigh`, whose output axis has 1 channel" in found.why


def test_a_group_that_depgraph_has_not_is_missing() -> None:
    found = entry(make(Unseen), "first")
    assert (found.audit, found.passed) == ("missing", True)


def test_frozen_layers_are_missing_and_what_hangs_on_them_cannot_be_cut() -> None:
    model = make(Chain)
    model.first.requires_grad_(False)
    model.norm.requires_grad_(False)
    found = entry(model, "first")
    assert (found.audit, found.passed) == ("missing", True)
    assert "frozen" in found.why
    model = make(Residual)
    model.stem.requires_grad_(False)
    found = entry(model, "stem")
    assert found.audit == "cannot-be-cut"
    assert "`stem` is frozen" in found.why
    assert not model.stem.weight.requires_grad


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [(Verdict.UNPRUNABLE, "cannot-be-cut"), (Verdict.TIMEOUT, "cannot-be-told")],
)
def test_a_network_that_depgraph_cannot_read_has_its_reason_at_every_group(verdict, kind) -> None:
    model = make(Residual)
    followed = inspecting.labelled(model, inputs_for(model))
    found = audit(followed, Verification(verdict, reason="for a reason"), pytest.fail)
    assert [each.name for each in found] == [group.name for group in followed.groups]
    assert {(each.audit, each.why) for each in found} == {(kind, f"{verdict}: for a reason")}


def test_an_error_of_torch_pruning_is_reported() -> None:
    model = torchvision.models.shufflenet_v2_x0_5().eval()
    found = audited(model, torch.randn(1, 3, 64, 64))
    assert kinds(found) == {"cannot-be-cut"}
    assert "ZeroDivisionError" in found[0].why


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        (Verdict.EXACT, "same"),
        (Verdict.RENORMALIZED, "same"),
        (Verdict.MIXED, "cannot-be-told"),
        (Verdict.TIMEOUT, "cannot-be-told"),
        (Verdict.WRONG, "misread"),
        (Verdict.BROKEN, "cannot-be-cut"),
        (Verdict.UNPRUNABLE, "cannot-be-cut"),
    ],
)
def test_the_proof_of_its_cut_decides_where_the_numbering_differs(verdict, kind) -> None:
    model = make(Flipped)
    inputs = inputs_for(model)
    asked = []

    def cut(channels):
        if "first" not in channels:
            return Verification(Verdict.EXACT)
        asked.extend(channels.items())
        return Verification(verdict, reason="as it is")

    followed = inspecting.labelled(model, inputs)
    first, *others = audit(followed, dependency_groups(model, inputs), cut)
    assert first.audit == kind
    assert kinds(others) == {"same"}
    assert {root for root, _ in asked} == {"first"}
    assert all(len(channels) in (1, 2) for _, channels in asked)


def test_blocks_that_are_cut_alike_are_tried_together() -> None:
    """A group norm of two groups behind a flip: a channel goes from each at once."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 1), torch.nn.GroupNorm(2, 8), Flip(), torch.nn.Conv2d(8, 2, 1)
    ).eval()
    inputs = torch.randn(2, 3, 4, 4)
    asked = []

    def cut(channels):
        asked.extend(channels.values())
        return Verification(Verdict.EXACT)

    audit(inspecting.labelled(model, inputs), dependency_groups(model, inputs), cut)
    assert asked
    assert all(len(channels) == 2 and channels[1] == channels[0] + 4 for channels in asked)


class Flip(torch.nn.Module):
    def forward(self, x):
        return x.flip(1)


class Normed(Chain):
    """A norm of which torch-pruning cuts the scale as a parameter, and not the shape."""

    def __init__(self):
        super().__init__()
        self.scaled = torch.nn.RMSNorm(4)

    def forward(self, x):
        x = self.scaled(self.first(x).movedim(1, -1)).movedim(-1, 1)
        return self.head(self.second(x.relu()).mean((2, 3)))


def test_a_cut_that_no_map_shows_to_be_wrong_is_found_by_making_it() -> None:
    found = {each.name: each for each in audited(make(Normed))}
    assert found["first"].audit == "cannot-be-cut"
    assert "rms_norm" in found["first"].why
    assert found["second"].audit == found["head"].audit == "same"


def test_without_time_for_depgraph_every_group_is_unknown() -> None:
    found = audited(make(Chain), budget=1e-9)
    assert kinds(found) == {"cannot-be-told"}
    assert all("timeout" in each.why for each in found)


def test_the_model_is_not_changed() -> None:
    model = make(Flipped)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    audited(model)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_ignored_group_is_audited_all_the_same() -> None:
    model = make(Flipped)
    inputs = inputs_for(model)
    graph = tuple(replace(g, ignored=True) for g in dependency_groups(model, inputs))
    cut = lambda *_: Verification(Verdict.WRONG, reason="it is")  # noqa: E731
    first, *_ = audit(inspecting.labelled(model, inputs), graph, cut)
    assert first.audit == "misread"
