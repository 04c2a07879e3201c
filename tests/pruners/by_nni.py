# /// script
# requires-python = ">=3.10,<3.12"
# dependencies = [
#     "nni==3.0",
#     "numpy<2",
#     # The speedup looks for torch._C._TensorBase, which torch 2.1 renamed.
#     "torch==2.0.1",
#     "torchvision==0.15.2",
# ]
# ///
"""NNI's L1NormPruner and ModelSpeedup, half of each convolution."""

from leaving import leave
from networks import image, mobilenet_v2, resnet18
from nni.compression.pruning import L1NormPruner
from nni.compression.speedup import ModelSpeedup


def prune(model):
    pruner = L1NormPruner(model, [{"op_types": ["Conv2d"], "sparse_ratio": 0.5}])
    _, masks = pruner.compress()
    pruner.unwrap_model()
    ModelSpeedup(model, image(), masks).speedup_model()
    return model


for build in (resnet18, mobilenet_v2):
    leave(build.__name__, build, prune)
