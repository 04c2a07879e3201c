"""What the server that workers are forked from imports, so that each new worker has it at once.

Only that server may import this: it does what the environment says.
"""

import os
from contextlib import suppress
from importlib import import_module

__all__: list[str] = []

# What does not import ends no server: the worker that needs it meets it again, and says so.
with suppress(Exception):
    import_module(os.environ["PRUNING_ANALYSIS_PRELOADED"])
