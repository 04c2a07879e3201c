"""Names of models, read from torchvision's source, against what torchvision says."""

import pytest
import torch
import torchvision

from analysis.errors import InputError
from analysis.network import model_names, subjects


def test_the_names_read_are_those_that_torchvision_lists() -> None:
    assert model_names.torchvision_names() == torchvision.models.list_models()


def test_what_is_built_here_is_known_by_name() -> None:
    case_study = {subject.name for subject in subjects.CASE_STUDY}
    assert set(model_names.BUILT_IN) <= case_study
    assert case_study <= {*model_names.BUILT_IN, *torchvision.models.list_models()}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2_cifar", "quantized_resnet18"])
def test_a_name_of_a_model_passes(name: str) -> None:
    model_names.check_name(name)


def test_a_misspelt_name_is_refused_with_the_closest() -> None:
    with pytest.raises(InputError, match=r"unknown model 'resnet81'.*did you mean 'resnet18'"):
        model_names.check_name("resnet81")


def test_without_torchvisions_source_nothing_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(model_names.util, "find_spec", lambda name: None)
    model_names.check_name("resnet81")


def test_random_weights_load_nothing_for_the_backbone_of_a_detector_either(tmp_path) -> None:
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path)
    try:
        assert subjects.resolve("lraspp_mobilenet_v3_large").factory().training
    finally:
        torch.hub.set_dir(before)
    assert not list(tmp_path.iterdir())
