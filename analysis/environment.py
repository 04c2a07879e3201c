"""What is installed, and whether it fits together, read from metadata. Imports none of it."""

import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

__all__ = [
    "MISSING",
    "ONNX_TORCH",
    "OWN",
    "PACKAGES",
    "diagnose",
    "explained",
    "too_old",
    "versions",
]

OWN = "pruning-analysis"
"""The name of this package."""

PACKAGES = ("torch", "torchvision", "torch-pruning", "fvcore")

_TOGETHER = "pip install --force-reinstall torch torchvision"


MISSING = "missing"
"""The version of a package that is not installed."""


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Installed versions from the packages' metadata.

    ``torch_pruning.__version__`` says 1.6.0 in release 1.6.1, so modules are not asked.
    """
    return {package: _version(package) or MISSING for package in packages}


ONNX_TORCH = "2.11"
"""The oldest PyTorch of which an ONNX file was tried and works: 2.6 raises in the exporter."""


def too_old(package: str, oldest: str) -> str:
    """What an installed package is too old for; empty if it is not, or not installed."""
    # Every command imports this module, and few ask this.
    from packaging.version import Version

    found = _version(package)
    if found is None or Version(found) >= Version(oldest):
        return ""
    return f"needs {package} {oldest} or newer, and {found} is installed"


def diagnose() -> list[str]:
    """Problems of the environment, one line each that says what to do; empty if there are none."""
    missing = [
        f"{package} is not installed: pip install {package}"
        for package in PACKAGES
        if _version(package) is None
    ]
    return missing or [*_unmet(), *_mixed_builds()]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _unmet() -> Iterator[str]:
    """Requirements of the packages that the installed versions do not meet."""
    # Every command imports this module, and the doctor alone asks this.
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    for package in (OWN, *PACKAGES):
        # A checkout that is run without being installed has no metadata.
        for text in (metadata.requires(package) if _version(package) else None) or ():
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            found = _version(requirement.name)
            if found is None or not requirement.specifier.contains(found, prereleases=True):
                needed = f"{requirement.name}{requirement.specifier}"
                together = {canonicalize_name(requirement.name), package} <= {*PACKAGES[:2]}
                cure = _TOGETHER if together else f"pip install '{needed}'"
                yield (
                    f"{package} {_version(package)} needs {needed}, and {found or 'none'} is "
                    f"installed: {cure}"
                )


def _mixed_builds() -> Iterator[str]:
    """Torch and torchvision of two builds, such as CPU-only and CUDA, do not import together."""
    builds = {package: _build(package) for package in PACKAGES[:2]}
    if None not in builds.values() and len(set(builds.values())) > 1:
        pair = " and ".join(f"{package} {build}" for package, build in builds.items())
        yield (
            f"{pair} are builds that do not belong together: install both from one index, "
            f"{_TOGETHER}"
        )


_VERSION = re.compile(r"""^__version__(?:: \w+)? = ['"]([^'"]*\+[^'"]+)['"]""", re.MULTILINE)


_PUBLISHED = re.compile(r"cpu|cu\d+|rocm[\d.]+|xpu")
"""Labels of builds on package indexes."""


def _build(package: str) -> str | None:
    """The version with its build, as in ``+cu132``, that a package states; None if it does not."""
    stated = Path(str(metadata.distribution(package).locate_file(f"{package}/version.py")))
    if not stated.is_file():
        return None
    found = _VERSION.search(stated.read_text(encoding="utf-8", errors="replace"))
    build = found[1].partition("+")[2] if found else ""
    # A local build is labelled by its commit, which says nothing of CUDA.
    return build if _PUBLISHED.fullmatch(build) else None


def explained(error: BaseException) -> str:
    """Why the installed packages do not import, and what to do, in one line."""
    message = " ".join(str(error).split()) or type(error).__name__
    cause = "torch and torchvision are builds that do not belong together; install both from one "
    if "torchvision::" in message or "undefined symbol" in message:
        return f"the installed packages do not import ({message}): {cause}index, {_TOGETHER}"
    return f"the installed packages do not import ({message}); run {OWN} doctor"
