"""What a pruner leaves: two files of tensors, which is all that is compared."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def leave(name: str, build: Callable[[], Any], prune: Callable[[Any], Any]) -> None:
    """Build a network, prune it, and write its tensors before and after to the folder given.

    Weights are drawn once more, so that batch norms are not all alike.
    """
    import torch

    dense = build()
    _draw(dense)
    pruned = prune(copy.deepcopy(dense))
    folder = Path(sys.argv[1])
    torch.save(dense.state_dict(), folder / f"{name}-dense.pt")
    torch.save(pruned.state_dict(), folder / f"{name}-pruned.pt")


def _draw(model: Any) -> None:
    import torch

    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.dim() == 1 and tensor.is_floating_point():
                low = 0.5 if name.endswith(("weight", "running_var")) else -0.5
                tensor.copy_(low + torch.rand(tensor.shape, generator=generator))
