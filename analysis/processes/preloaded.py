"""What the server that workers are forked from imports, so that each new worker has it at once.

Only that server may import this: it does what the environment says.
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

# What does not import ends no server: the worker that needs it meets it again, and says so.
with suppress(Exception):
    import_module(os.environ["PRUNING_ANALYSIS_PRELOADED"])

gc.freeze()
