# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["fasterai==0.4.1", "torch==2.15.0"]
# ///
"""fasterai's Pruner, by the size of filters, half of each layer."""

from fasterai.prune.all import Pruner, large_final
from leaving import leave
from networks import image, mobilenet_v2, resnet18, vit


def prune(model):
    Pruner(model, 0.5, "local", large_final, example_inputs=image()).prune_model()
    return model


for build in (resnet18, mobilenet_v2, vit):
    leave(build.__name__, build, prune)
