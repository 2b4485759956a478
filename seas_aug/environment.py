# SPDX-License-Identifier: Apache-2.0
"""What a figure depends on besides its settings: versions and machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform

_PACKAGES = ("seas-aug", "anomalib", "torch", "diffusers", "transformers", "torchmetrics", "numpy")


def describe_environment() -> dict[str, str]:
    """Return versions of the packages that results depend on, the Python version and the machine.

    Returns:
        Name -> value; a package that is not installed is ``not installed``.
    """
    environment = {name: _version(name) for name in _PACKAGES}
    environment["python"] = platform.python_version()
    environment["machine"] = f"{platform.machine()} ({_capability()}), {_processors()} CPU cores"
    environment["accelerator"] = _accelerator()
    return environment


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _capability() -> str:
    import torch

    return torch.backends.cpu.get_cpu_capability()


def _accelerator() -> str:
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return "mps" if torch.backends.mps.is_available() else "none"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
