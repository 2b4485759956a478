# SPDX-License-Identifier: Apache-2.0
"""Which version of this package's code made something: the version's number and a digest of the source files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import seas_aug

# What decides the weights of a run, the pixels of a pair, and the figures of a benchmark.
_METHOD = ("attention", "base/load.py", "config", "data", "latents", "losses", "masks", "presets.py", "prompt")
TRAINING = (*_METHOD, "draw", "finetune", "precision.py")
DRAWING = (*_METHOD, "draw", "generate")
_TEXTURES = ("base/renderer/noise.py", "base/renderer/surfaces.py")  # which fill Perlin anomalies
BENCHMARK = (*DRAWING, *_TEXTURES, "anomalib_plugin", "benchmark", "evaluate", "finetune", "precision.py")


def code_version(parts: Iterable[str]) -> str:
    """Return the version of some of the code.

    A number alone would not do: it is the same from one release to the next, and what was made in between would be
    mixed with what is made later.

    Args:
        parts: packages and modules of ``seas_aug``, such as :data:`DRAWING`.

    Returns:
        Version and eight hexadecimal digits over the source files, ``0.2.0+1a2b3c4d``: the same on every system.
    """
    return _code_version(tuple(sorted(parts)))


@lru_cache
def _code_version(parts: tuple[str, ...]) -> str:
    root = Path(seas_aug.__file__).parent
    digest = hashlib.sha256()
    for part in parts:
        path = root / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            content = file.read_bytes().replace(b"\r\n", b"\n")  # as git may write them on Windows
            digest.update(f"{file.relative_to(root).as_posix()} {len(content)} ".encode())
            digest.update(content)
    return f"{seas_aug.__version__}+{digest.hexdigest()[:8]}"
