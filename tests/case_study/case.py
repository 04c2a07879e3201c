"""What the case study runs, for parametrisation."""

from itertools import product

import pytest

from analysis.checks import OF_PRUNING, CheckFailedError
from analysis.gate.expected_failures import EXPECTED_FAILURES
from analysis.groups.policies import POLICIES
from analysis.records import Config
from analysis.study import RATIOS, SCOPES

SUBJECTS = ("mobilenet_v2", "mobilenet_v2_cifar")

CONFIGS = [
    Config(ratio, scope, policy=policy)
    for policy, scope, ratio in product(POLICIES, SCOPES, RATIOS)
]

# The ten inverted residuals of MobileNetV2 with stride 1 and equal widths (Sandler et al. 2018,
# table 2: within each stage all blocks but the first).
SKIPS = tuple(f"features.{index}" for index in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16))


def runs(*, policies=tuple(POLICIES)) -> list:
    """One parameter set a run, with an id to select it by."""
    return [
        pytest.param(name, config, id=f"{name}-{config.policy}-{config.scope}-{config.ratio:g}")
        for name in SUBJECTS
        for config in CONFIGS
        if config.policy in policies
    ]


def checked_runs(*, policies) -> list:
    """One parameter set a run and check; what is expected to fail has to."""
    return [
        pytest.param(
            name,
            config,
            check,
            id=f"{name}-{config.policy}-{config.scope}-{config.ratio:g}-{check}",
            marks=[
                pytest.mark.xfail(strict=True, raises=CheckFailedError, reason=entry.reason)
                for entry in EXPECTED_FAILURES
                if entry.check == check and entry.is_of(name, config)
            ],
        )
        for name in SUBJECTS
        for config in CONFIGS
        if config.policy in policies
        for check in OF_PRUNING
    ]


SAFE = ("residual-blocks", "skip-channels", "classifier")
