# SPDX-License-Identifier: Apache-2.0
"""Which number format a network trains in."""

from __future__ import annotations

from typing import Any

import torch

from seas_aug.config import Precision


def best_precision(accelerator: str = "auto") -> Precision:
    """Return bf16-mixed where the hardware calculates in bfloat16, else 32-true.

    With it two CPU cores train 2-3 times faster; a CPU without it imitates it, and takes many times as long.

    Args:
        accelerator: as Lightning names it, such as ``auto`` or ``cpu``.
    """
    if accelerator in {"auto", "gpu", "cuda"} and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    if accelerator in {"auto", "cpu"} and "bf16" in " ".join(_cpu_features()):
        return "bf16-mixed"
    return "32-true"


def _cpu_features() -> list[str]:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not tell
    return [name for name, there in capabilities.items() if there is True]
