"""Imports of the server that workers are forked from.

Only that server may import this module, whose imports depend on the environment.
"""

import gc
import os
from contextlib import suppress
from importlib import import_module

__all__: list[str] = []

# As the documentation of gc.freeze advises servers that fork: what is imported is no garbage, and a
# collection in a child would copy the pages it touches. Workers collect again. It also takes a
# third off the time of the import.
gc.disable()

# A failing import does not end the server: the worker that needs the module reports it.
for module in os.environ["PRUNING_ANALYSIS_PRELOADED"].split(","):
    with suppress(Exception):
        import_module(module)

gc.freeze()
