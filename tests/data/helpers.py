# SPDX-License-Identifier: Apache-2.0
"""Small rendered categories."""

from pathlib import Path

import cv2
import numpy as np

from seas_aug.data.decode import write_native

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


def ground(height: int, width: int, seed: int) -> np.ndarray:
    """Return a light, slightly tinted surface with a little grain."""
    noise = np.random.default_rng(seed).normal(0, 3, (height, width, 1))
    return np.clip(np.array([150, 146, 140]) + noise, 0, 255).astype(np.uint8)


def make_window_category(root: Path) -> Path:
    """Write a category of images much larger than the tiny base's pictures, with small dark defects.

    The normal images differ in size, depth and channels; a hole touches the left border, a crack comes twice.
    """
    normals = [ground(120, 160, 1), ground(96, 200, 2)[..., 0], ground(150, 110, 3), ground(128, 128, 4)]
    normals[2] = np.dstack([normals[2], np.arange(150 * 110, dtype=np.uint32).reshape(150, 110) % 251]).astype(np.uint8)
    normals[3] = normals[3].astype(np.uint16) * 257 + np.arange(128, dtype=np.uint16)[:, None]
    for index, pixels in enumerate(normals):
        _write(root / "train" / "good" / f"{index:03d}.png", pixels)
    _write(root / "test" / "good" / "000.png", ground(120, 160, 5))
    lines = [[(40, 30, 70, 44)], [(90, 60, 112, 88), (20, 90, 40, 100)]]
    for index, members in enumerate(lines):
        pixels, mask = ground(120, 160, 10 + index), np.zeros((120, 160), np.uint8)
        for left, top, right, bottom in members:
            cv2.line(mask, (left, top), (right, bottom), 255, 2)
        _write_defect(root, "crack", index, pixels, mask)
    for index, (column, row, radius) in enumerate([(60, 50, 5), (110, 80, 4), (0, 60, 6)]):
        pixels, mask = ground(120, 160, 20 + index), np.zeros((120, 160), np.uint8)
        cv2.circle(mask, (column, row), radius, 255, -1)
        _write_defect(root, "hole", index, pixels, mask)
    return root


def _write_defect(root: Path, name: str, index: int, pixels: np.ndarray, mask: np.ndarray) -> None:
    pixels[mask > 0] = pixels[mask > 0] // 4
    _write(root / "test" / name / f"{index:03d}.png", pixels)
    _write(root / "ground_truth" / name / f"{index:03d}_mask.png", mask)


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_native(pixels))
