# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "nvidia-modelopt==0.47.0",
#     "torch==2.15.0",
#     "torchvision",
#     # Imported by modelopt.torch, which declares none of them.
#     "huggingface-hub",
#     "requests",
#     # Its later releases have no table of handlers, which FastNAS looks for.
#     "torchprofile==0.0.4",
# ]
# ///
"""NVIDIA Model-Optimizer's FastNAS, to 60 % of the operations, with a score that ranks none."""

import tempfile
from pathlib import Path

import modelopt.torch.prune as mtp
import torch
from leaving import leave
from networks import image, mobilenet_v2, resnet18


def prune(model):
    with tempfile.TemporaryDirectory() as folder:
        found, _ = mtp.prune(
            model,
            "fastnas",
            constraints={"flops": "60%"},
            dummy_input=image(),
            config={
                "data_loader": [(torch.randn(2, 3, 32, 32), None) for _ in range(2)],
                "collect_func": lambda batch: batch[0],
                "score_func": lambda _: 0.0,
                "checkpoint": str(Path(folder, "search.pth")),
            },
        )
    return found


for build in (mobilenet_v2, resnet18):
    leave(build.__name__, build, prune)
