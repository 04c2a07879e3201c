"""How this project's own tests ended, from the file that pytest's ``--junit-xml`` wrote."""

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from analysis.errors import InputError

__all__ = ["Outcomes", "read"]

Outcomes = dict[str, dict[str, Counter[str]]]
"""By file and function, how many of its parameter sets passed, failed, were skipped."""


_MODULE = re.compile(r"^(.*?\btest_\w+).*$")


def read(directory: str) -> Outcomes:
    """What ``junit.xml`` of a report's directory holds; nothing if there is no such file.

    Raises:
        InputError: the file is not what pytest writes.
    """
    path = Path(directory) / "junit.xml"
    if not path.is_file():
        return {}
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: {error}; expected what pytest --junit-xml writes") from error
    found: Outcomes = {}
    for case in cases:
        # A test in a class has that behind its module; a file that does not import is the name.
        place = case.get("classname", "") or case.get("name", "")
        file = _MODULE.sub(r"\1", place).replace(".", "/") + ".py"
        function = case.get("name", "").split("[")[0]
        found.setdefault(file, {}).setdefault(function, Counter())[_outcome(case)] += 1
    return found


def _outcome(case: ElementTree.Element) -> str:
    skipped = case.find("skipped")
    if skipped is not None:
        return "expected to fail" if skipped.get("type") == "pytest.xfail" else "skipped"
    is_bad = case.find("failure") is not None or case.find("error") is not None
    return "failed" if is_bad else "passed"
