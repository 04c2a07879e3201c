"""Show what a test is waiting for: pruning and proof take seconds to minutes in the first test.

Only on a terminal, on standard error, after what pytest has written there.
"""

import sys
from collections.abc import Generator
from typing import Any

import pytest

from analysis.pytest_plugin.items import bound_to

__all__ = ["configure"]

# The cursor stays, and no line is broken: pytest's next output replaces this one.
_SHOWN = "\x1b7\x1b[?7l {}\x1b[K\x1b[?7h\x1b8"
_NOTHING = "\x1b[K"


def configure(config: pytest.Config) -> None:
    """Show progress, except in workers of pytest-xdist."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Progress(config), "pruning-analysis-progress")


class _Progress:
    """Shows the network, the ratio and the current step."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Show the steps of a test whose pruning is not done yet."""
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
