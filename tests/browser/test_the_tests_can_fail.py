"""Every check of the page finds its faults, planted in a copy one at a time."""

import shutil
from pathlib import Path

import pytest
from browser.faults import FAULTS, Fault
from browser.finders import FINDERS
from browser.visiting import Visitor


def output(fault: Fault) -> str:
    return f"{fault.finder}: {fault.words}"


@pytest.mark.parametrize("fault", FAULTS, ids=output)
def test_a_planted_fault_is_found(
    visitor: Visitor, network: Path, tmp_path: Path, fault: Fault
) -> None:
    copy = tmp_path / "index.html"
    copy.write_text(fault.plant(network.read_text()))
    shutil.copy(network.parent / "results.json", tmp_path)
    found = FINDERS[fault.finder](visitor, copy)
    assert [finding for finding in found if fault.words in finding], found


def test_every_look_has_a_fault_that_it_must_find() -> None:
    assert {fault.finder for fault in FAULTS} == set(FINDERS)
