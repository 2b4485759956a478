# SPDX-License-Identifier: Apache-2.0
"""Independent seeds from one base seed and a name, the same on every machine."""

from __future__ import annotations

import hashlib

SEED_BITS = 48  # exact in a JSON number, and far too many values for two images to share one


def derive_seed(base: int, *parts: str | int) -> int:
    """Return a seed that depends on every argument and on nothing else.

    Args:
        base: the user's seed.
        parts: what the seed is for, such as an anomaly type and an index.

    Returns:
        An integer in [0, 2**48).
    """
    text = "\0".join(f"{type(part).__name__}:{part}" for part in (base, *parts))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[: SEED_BITS // 8], "big")
