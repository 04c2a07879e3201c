"""What is installed, and whether it can work together. Imports none of it."""

import subprocess
import sys
from importlib import metadata

__all__ = ["PACKAGES", "diagnose", "versions"]

PACKAGES = ("torch", "torchvision", "torch-pruning", "fvcore")

_IMPORT_TORCHVISION = "import torch, torchvision; torchvision.ops.nms"


def versions() -> dict[str, str]:
    """Installed versions from the packages' metadata.

    ``torch_pruning.__version__`` says 1.6.0 in release 1.6.1, so modules are not asked.
    """
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def diagnose(python: str = sys.executable) -> list[str]:
    """Troubles of the environment, each one line that says what to do; empty if there is none.

    Args:
        python: the interpreter whose packages are tried.
    """
    troubles = [
        f"{package} is not installed: pip install {package}"
        for package, version in versions().items()
        if version == "missing"
    ]
    if troubles:
        return troubles
    # In a process of its own: a mismatched pair may abort the interpreter.
    trial = subprocess.run(
        [python, "-W", "ignore", "-c", _IMPORT_TORCHVISION],
        capture_output=True,
        text=True,
        check=False,
    )
    return [] if trial.returncode == 0 else [_explain(trial.stderr)]


def _explain(stderr: str) -> str:
    lines = stderr.strip().splitlines() or ["no message"]
    pair = ", ".join(f"{name} {version}" for name, version in list(versions().items())[:2])
    if "torchvision::" in stderr or "undefined symbol" in stderr:
        return (
            f"{pair} are builds that do not belong together ({lines[-1]}): install both from one "
            "index, pip install --force-reinstall torch torchvision"
        )
    return f"{pair} do not import: {lines[-1]}"
