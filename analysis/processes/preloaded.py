"""What the server that workers are forked from imports, so that each new worker has it at once."""

import os
from contextlib import suppress
from importlib import import_module

__all__ = ["MODULE"]

MODULE = "PRUNING_ANALYSIS_PRELOADED"
"""The environment variable that names the module."""

# What does not import ends no server: the worker that needs it meets it again, and says so.
with suppress(Exception):
    if MODULE in os.environ:
        import_module(os.environ[MODULE])
