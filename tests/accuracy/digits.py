"""The small-image network of the case study and scikit-learn's digits, which it is trained on."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from analysis.network.subjects import mobilenet_v2_cifar

__all__ = ["EPOCHS", "INPUT_SIZE", "WEIGHTS", "WIDTH", "accuracy", "finetune", "network", "split"]
__all__ += ["train"]

WEIGHTS = Path(__file__).with_name("digits.safetensors")

WIDTH = 0.5
"""Half of the channels are enough for digits, and keep the file of weights small."""

INPUT_SIZE = (3, 16, 16)
"""The images have 8 x 8 pixels; the last stages of the network need twice as many."""

EPOCHS = 3
"""Of a short fine-tuning; the dense network was trained for five times as many."""

_BATCH = 128
_HELD_OUT = 3


def network() -> nn.Module:
    """The dense network as it was trained; the file holds half precision."""
    model = mobilenet_v2_cifar(WIDTH)
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()


@cache
def split(held_out: bool) -> tuple[Tensor, Tensor]:
    """Images and digits: each third one is held out, the others are trained on."""
    from sklearn.datasets import load_digits

    data = load_digits()
    is_held_out = np.arange(len(data.target)) % _HELD_OUT == 0
    chosen = is_held_out if held_out else ~is_held_out
    # The pixels are whole numbers up to 16.
    grey = torch.from_numpy(data.images[chosen]).float()[:, None] / 8 - 1
    images = nn.functional.interpolate(grey, INPUT_SIZE[1:], mode="bilinear").expand(-1, 3, -1, -1)
    digits = torch.from_numpy(data.target[chosen])
    return images.contiguous(memory_format=torch.channels_last), digits


def accuracy(model: nn.Module) -> dict[str, float]:
    """The share of the images held out whose digit is recognized."""
    images, digits = split(held_out=True)
    with torch.no_grad():
        found = torch.cat([model(batch).argmax(1) for batch in images.split(_BATCH)])
    return {"accuracy": (found == digits).double().mean().item()}


def finetune(model: nn.Module) -> None:
    """A short training at a tenth of the rate that the network was trained at."""
    train(model, EPOCHS, rate=0.001)


def train(model: nn.Module, epochs: int, rate: float) -> None:
    """Train in place, under a fixed seed, at a rate that rises and falls again."""
    images, digits = split(held_out=False)
    torch.manual_seed(0)
    # Depthwise convolutions train several times faster on a processor in this order.
    model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    steps = epochs * -(-len(images) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(_BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), digits[batch]).backward()
            optimizer.step()
            schedule.step()
