# SPDX-License-Identifier: Apache-2.0
"""How much memory a cell takes at most."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak_memory() -> None:
    """Let :func:`peak_memory` count from now on, where the system lets it: on Linux, and on CUDA devices."""
    import torch

    if os.access(_RESET, os.W_OK):  # containers may mount /proc read-only
        _RESET.write_text("5")  # the peak of resident memory, see proc(5)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> dict[str, float]:
    """Return the largest memory use in MiB: of this process (``host``) and, with CUDA, on its device (``cuda``).

    Where the system does not let it be reset, the host's counts from the start of the process.
    """
    import torch

    result: dict[str, float] = {}
    lines = (
        dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line) if _STATUS.exists() else {}
    )
    if "VmHWM" in lines:
        result["host"] = round(int(lines["VmHWM"].split()[0]) / 1024, 1)
    elif sys.platform != "win32":
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result["host"] = round(used / (1024**2 if sys.platform == "darwin" else 1024), 1)
    if torch.cuda.is_available():
        result["cuda"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return result
