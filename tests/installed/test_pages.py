"""The README and every page of the site do what they say: commands, Python, outputs."""

import inspect
import re
import shlex
from pathlib import Path

import pytest
from installed.pages import PAGES, ROOT, Page, do

import analysis
from analysis import records
from analysis.command_line.options import parser
from analysis.records import Reason, Verdict

LANGUAGES = {"console", "ini", "python", "text", "toml", "yaml"}

RIDDLES = (
    " told ",
    " door",
    "what becomes of",
    "stands in",
    "the story",
    "the groups as they are",
    "numbers that nothing found",
)

SMALL = """
```python
# my_net.py
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3))
```

```python
from my_net import net
assert net()[0].out_channels == 8
```

<!-- exits with 2 -->
```console
$ pruning-analysis verify my_net.py:nett \\
    --input-size 3,8,8
pruning-analysis verify: ... did you mean 'net'?
```

<!-- not run: there is no such file -->
```console
$ cat nowhere
```
"""


@pytest.mark.parametrize("path", [page for page in PAGES if Page(page).blocks], ids=str)
def test_a_page_does_what_it_says(folder: Path, path: Path) -> None:
    assert do(Page(path), folder) == []


@pytest.mark.parametrize(
    ("right", "wrong", "output"),
    [
        ("did you mean 'net'?", "did you mean 'nett'?", "prints\n"),
        ("--input-size", "--input-sizes", "exits with 2"),
        ("exits with 2", "exits with 0", "exits with 2"),
        ("out_channels == 8", "out_channels == 9", "AssertionError"),
        ("from my_net", "from my_nets", "ModuleNotFoundError"),
        ("not run: there is no such file", "a remark", "exits with 1"),
    ],
)
def test_a_page_that_says_something_wrong_is_found(
    tmp_path: Path, right: str, wrong: str, output: str
) -> None:
    assert right in SMALL
    assert do(Page("small.md", SMALL), tmp_path) == []
    wrongly = SMALL.replace(right, wrong)
    if right == "--input-size":  # bad usage exits with 2, too
        wrongly = wrongly.replace("exits with 2", "exits with 1")
    (found,) = do(Page("small.md", wrongly), tmp_path)
    assert output in found


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_every_block_is_done_or_says_why_not(path: Path) -> None:
    page = Page(path)
    assert {block.language for block in page.blocks} <= LANGUAGES
    assert all(block.commands for block in page.blocks if block.language == "console")
    fences = page.text.count("```")
    assert fences == 2 * len(page.blocks)
    reasons = page.text.count("<!-- not run: ")
    assert reasons == sum(bool(block.why_not) for block in page.blocks)


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_commands_between_words_parse(path: Path) -> None:
    for line in Page(path).commands_in_text:
        if "COMMAND" in line or "--help" in line or "--version" in line:
            continue  # what stands for any command, and what argparse answers itself
        arguments = shlex.split(line, comments=True)[1:]
        if len(arguments) > 1 or arguments in (["doctor"], ["checks"]):
            parser().parse_args(arguments)
        else:
            assert arguments[0] in str(parser().format_help())


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_pages_have_no_riddles(path: Path) -> None:
    # The page on style shows what not to write.
    text = re.sub(r"^\| .* \|$", "", Page(path).text, flags=re.M) if path.name == "style.md" else (
        Page(path).text
    )  # fmt: skip
    assert [riddle for riddle in RIDDLES if riddle in " ".join(text.split())] == []


def test_the_reference_names_everything() -> None:
    reference = "\n".join(path.read_text() for path in (ROOT / "docs/reference").glob("*.md"))
    shown = {name for name in analysis.__all__ if not name.startswith("__")}
    assert {name for name in shown if f"::: analysis.{name}\n" not in reference} == set()
    words = [*Verdict, *Reason, "same", "misread", "missing", "cannot-be-cut", "cannot-be-told"]
    words += re.findall(
        r"``([\w ]+)``", (inspect.getdoc(records.Coupling) or "").split("operator:")[0]
    )
    assert [word for word in words if f"`{word}`" not in reference] == []
