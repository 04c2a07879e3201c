"""A folder of a user's, who has followed the tutorial."""

from pathlib import Path

import pytest
from installed.pages import Page

MODELS = Page("docs/tutorial.md").file("my_models.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_models.py").write_text(MODELS)
    return tmp_path
