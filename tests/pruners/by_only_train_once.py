# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "only-train-once==3.0.1",
#     "packaging",
#     # torch.onnx._globals, which it imports, is gone from later ones.
#     "torch==2.4.1",
#     "torchvision==0.19.1",
# ]
# ///
"""OTO: half of its zero-invariant groups set to zero at random, and the subnetwork built."""

import tempfile

import torch
from leaving import leave
from networks import image, mobilenet_v2, resnet18
from only_train_once import OTO


def prune(model):
    oto = OTO(model.train(), image())
    oto.random_set_zero_groups(target_group_sparsity=0.5)
    with tempfile.TemporaryDirectory() as folder:
        oto.construct_subnet(out_dir=folder)
        return torch.load(oto.compressed_model_path, weights_only=False).eval()


for build in (resnet18, mobilenet_v2):
    leave(build.__name__, build, prune)
