"""Where a run was made: versions and machine."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from selip_core._version import __version__

PACKAGES = ("torch", "monai", "transformers", "numpy")


def describe_environment() -> dict[str, str]:
    """Name and value of everything that helps to repeat a run; no path, no host name.

    Example:
        >>> list(describe_environment())[:3]
        ['selip-core', 'Python', 'torch']
    """
    import torch

    return {
        "selip-core": __version__,
        "Python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "System": f"{platform.system()} {platform.machine()}",
        "CPU cores": str(os.cpu_count()),
        "Torch threads": str(torch.get_num_threads()),
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
