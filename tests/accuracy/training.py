"""``python -m tests.accuracy.training``: train the dense network and write its weights."""

import torch
from safetensors.torch import save_file

from analysis.network.subjects import mobilenet_v2_cifar
from tests.accuracy.digits import EPOCHS, WEIGHTS, WIDTH, accuracy, network, train


def main() -> None:
    """Train under a fixed seed and write half precision, which measurements read as well."""
    torch.manual_seed(0)
    model = mobilenet_v2_cifar(WIDTH)
    train(model, 5 * EPOCHS, rate=0.01)
    halves = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(halves, WEIGHTS)
    print(f"wrote {WEIGHTS.name}: {accuracy(network())['accuracy']:.4f} of the images held out")


if __name__ == "__main__":
    main()
