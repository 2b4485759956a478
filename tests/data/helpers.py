# SPDX-License-Identifier: Apache-2.0
"""Small rendered categories."""

from pathlib import Path

import cv2
import numpy as np

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def write_image(path: Path, height: int = 24, width: int = 32, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def write_mask(path: Path, height: int = 24, width: int = 32, box=(4, 10, 6, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((height, width), np.uint8)
    mask[box[0] : box[1], box[2] : box[3]] = 255
    path.write_bytes(cv2.imencode(path.suffix, mask)[1].tobytes())
    return path


def make_category(root: Path, types=None, normals: int = 4, test_good: int = 2, extension: str = ".png") -> Path:
    """Write a category in MVTec layout; every picture differs."""
    seed = 0
    for index in range(normals):
        write_image(root / "train" / "good" / f"{index:03d}{extension}", seed=(seed := seed + 1))
    for index in range(test_good):
        write_image(root / "test" / "good" / f"{index:03d}{extension}", seed=(seed := seed + 1))
    for name, count in (types or {"crack": 3, "hole": 6}).items():
        for index in range(count):
            write_image(root / "test" / name / f"{index:03d}{extension}", seed=(seed := seed + 1))
            write_mask(root / "ground_truth" / name / f"{index:03d}_mask.png")
    return root


def write_groups(root: Path, rows) -> Path:
    path = root / "groups.csv"
    path.write_text("folder,file,group\n" + "".join(f"{','.join(row)}\n" for row in rows))
    return path
