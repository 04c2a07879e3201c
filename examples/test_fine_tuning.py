"""A ResNet pruned in three steps and fine-tuned after each: every step is proved on its own.

What training does to the weights is not pruning's fault, so a step is compared with the network
that it started from, not with the one of the beginning.
"""

import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18

from analysis import parametrize_with_checks, verify_steps

STEPS = 3


def small_resnet() -> nn.Module:
    return resnet18(num_classes=10)


def in_steps(model: nn.Module, inputs: torch.Tensor, ratio: float):
    return tp.pruner.MagnitudePruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=ratio,
        iterative_steps=STEPS,
        ignored_layers=[model.fc],
    )


def fine_tune(model: nn.Module, steps: int = 2) -> None:
    """A few steps on noise, in place of your training."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(steps):
        images, labels = torch.randn(8, 3, 64, 64), torch.randint(10, (8,))
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()


def test_every_step_is_right_with_training_in_between() -> None:
    """In a training script: the loop body has the network between two steps."""
    model, inputs = small_resnet(), torch.randn(1, 3, 64, 64)
    left = []
    for step in verify_steps(model, inputs, in_steps(model, inputs, 0.5)):
        assert step.verdict.passes, step.reason
        left.append(sum(group.left for group in step.groups))
        fine_tune(model)
    assert len(left) == STEPS
    assert left == sorted(left, reverse=True)


def trained_in_between(model: nn.Module, inputs: torch.Tensor, ratio: float):
    """For the decorator and the command line: a pruner, and what to do between its steps."""
    return in_steps(model, inputs, ratio), fine_tune


@parametrize_with_checks(
    small_resnet, input_size=(3, 64, 64), ratios=[0.5], pruner=trained_in_between
)
def test_fine_tuned_resnet(check) -> None:
    check()
