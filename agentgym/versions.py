"""The versions of the packages that decide what a dataset or a result holds."""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "agentgym-ifm"  # what pip calls this package; on PyPI `agentgym` is another project
FORMERLY = "agentgym"  # the name of an installation older than 0.2.0
LEARNING = ("minigrid", "torch", "transformers", "accelerate")  # what decides a training and its scores


def own_version() -> str:
    """This package's version. Raises PackageNotFoundError where it runs without being installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return version(FORMERLY)


def installed_versions(packages: Iterable[str] = ("minigrid",)) -> dict[str, str]:
    """The versions of agentgym, Gymnasium, NumPy and those packages; a package that is not installed: "none"."""
    return {name: _version(name) for name in sorted({"agentgym", "gymnasium", "numpy", *packages})}


@cache  # looking one up takes half a millisecond, and every recorder asks for five
def _version(package: str) -> str:
    try:
        return own_version() if package == "agentgym" else version(package)
    except PackageNotFoundError:
        return "none"
