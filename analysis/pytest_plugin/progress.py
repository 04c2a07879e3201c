"""What a test is waiting for: pruning and proof take seconds to minutes in the first of its tests.

On a terminal alone, on standard error, behind what pytest has written there.
"""

import sys
from collections.abc import Generator
from typing import Any

import pytest

from analysis.pytest_plugin.items import bound_to

__all__ = ["configure"]

# The cursor is kept, and no line is broken: what pytest writes next takes the place of it.
_SHOWN = "\x1b7\x1b[?7l {}\x1b[K\x1b[?7h\x1b8"
_NOTHING = "\x1b[K"


def configure(config: pytest.Config) -> None:
    """Show progress, but for processes that pytest-xdist started."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Progress(config), "pruning-analysis-progress")


class _Progress:
    """Names the network, the ratio and the step that is going on."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Follow the steps of a test whose pruning is yet to be done."""
        waiting = [bound for bound in bound_to(item) if not bound.pruning.is_done]
        if not waiting:
            return (yield)
        from analysis.processes.budgets import announced_to

        name = f"{waiting[0].subject} at {waiting[0].pruning.config.asked}"
        try:
            with announced_to(lambda step: self._show(_SHOWN.format(f"{name}: {step}"))):
                return (yield)
        finally:
            self._show(_NOTHING)

    def _show(self, text: str) -> None:
        if self._capture is None:
            _write(text)
            return
        with self._capture.global_and_fixture_disabled():
            _write(text)


def _write(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(text)
        sys.stderr.flush()
