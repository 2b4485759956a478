# SPDX-License-Identifier: Apache-2.0
"""Procedural textures that stand in for the DTD data set where it cannot be downloaded.

DRAEM's constructor wants the Describable Textures Dataset (DTD, 600 MB), even if its own Perlin anomalies are replaced
by SeaS pairs and no texture is ever read. Without a network these few rendered textures let it start. They are **not**
DTD: Perlin anomalies filled with them are less varied, so a Perlin result meant for publication needs the real data.

Command line: ``python -m seas_aug.anomalib_plugin.textures FOLDER``, then ``dtd_dir: FOLDER`` in anomalib's config.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np

from seas_aug.anomalib_plugin.cache import cache_folder
from seas_aug.artifact.atomic import atomic_folder
from seas_aug.base.renderer.surfaces import SURFACES
from seas_aug.errors import SeasError

DTD_URL = "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz"


def make_textures(folder: str | Path, per_kind: int = 6, size: int = 256, seed: int = 0) -> Path:
    """Write procedural textures as ``folder/<kind>/NN.png`` unless the folder already exists.

    Args:
        folder: where they go; it appears whole or not at all.
        per_kind: pictures of each kind of surface, at least 1.
        size: side in pixels.
        seed: the same seed makes the same pictures.

    Returns:
        The folder.

    Raises:
        SeasError: the folder cannot be written, or ``per_kind`` is below 1.
    """
    folder = Path(folder)
    if folder.is_dir():
        return folder
    if per_kind < 1:
        message = f"per_kind is {per_kind}; give at least 1 texture of each kind."
        raise SeasError(message)
    with atomic_folder(folder) as scratch:
        for index, (name, kind) in enumerate(SURFACES.items()):
            (scratch / name).mkdir()
            for number in range(per_kind):
                picture = kind(np.random.default_rng([seed, index, number]), size)
                pixels = (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
                _, data = cv2.imencode(".png", pixels[..., ::-1])
                (scratch / name / f"{number:02d}.png").write_bytes(data.tobytes())  # imwrite hides a full disk
    return folder


def stand_in_folder(cache: str | Path | None = None) -> Path:
    """Return where the stand-in textures lie in the cache, whether or not they have been made."""
    return cache_folder(cache) / "textures" / "v1"


def dtd_reachable(timeout: float = 5.0) -> bool:
    """Return whether the DTD archive could be downloaded now (one request for its header)."""
    request = urllib.request.Request(DTD_URL, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310 - a constant address
            return answer.status < 400
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m seas_aug.anomalib_plugin.textures FOLDER")
    print(make_textures(sys.argv[1]))
