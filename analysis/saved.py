"""A pruned network on disk, without a pickle: its weights, and the pruning as data."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from analysis.environment import versions
from analysis.errors import InputError
from analysis.network.cutting import recut
from analysis.network.inference import Inputs, copy_of, named_tensors, one_line
from analysis.network.labels.tracing import state_of
from analysis.network.outputs import only_outputs
from analysis.proof.distinct_values import make_distinct
from analysis.proof.proving import prove
from analysis.pruned import Pruned
from analysis.records import Attribute, Cut, Removal

__all__ = ["load_pruned", "save"]

WEIGHTS, INPUTS, PRUNING = "weights.safetensors", "inputs.safetensors", "pruning.json"
"""Files of a folder that a pruned network is saved in."""

_SCHEMA = 1
