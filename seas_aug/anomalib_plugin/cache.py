# SPDX-License-Identifier: Apache-2.0
"""The folder in which automatic fine-tuning and stand-in files are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(cache: str | Path | None = None) -> Path:
    """Return the cache folder, which need not exist yet.

    Args:
        cache: a folder to use instead; None takes ``$SEAS_AUG_CACHE``, else ``seas_aug`` in the user's cache folder
            (``$XDG_CACHE_HOME`` or ``~/.cache``).
    """
    chosen = cache or os.environ.get("SEAS_AUG_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "seas_aug"
