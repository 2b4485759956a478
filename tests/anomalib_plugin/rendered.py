# SPDX-License-Identifier: Apache-2.0
"""A rendered category and a folder of generated pairs, both 64 px, for the plugin's and the command line's tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from seas_aug.artifact.record import Record
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.few_shot import select_few_shot
from seas_aug.data.split_file import save_split
from seas_aug.generate.writer import PairWriter

MADE_FROM = Record(code="1", model="a", settings={"seed": 0})


SIZE = 64
TYPES = ("hole", "scratch")


def normal(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.normal(0, 30, (SIZE, SIZE, 3)), (0, 0), 2)
    return np.clip(120 + grain, 0, 255).astype(np.uint8)


def defect(seed: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return image and mask 0/255; outside the mask the image is ``normal(seed)``."""
    image, mask = normal(seed), np.zeros((SIZE, SIZE), np.uint8)
    rng = np.random.default_rng(seed + 1000)
    x, y = (int(value) for value in rng.integers(16, SIZE - 16, 2))
    if name == "hole":
        cv2.circle(mask, (x, y), 6, 255, -1)
    else:
        cv2.line(mask, (x - 10, y), (x + 10, y + 4), 255, 2)
    image[mask > 0] = (10, 10, 40)
    return image, mask


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def make_category(root: Path, defects: int = 4) -> Path:
    for index in range(6):
        write(root / "train" / "good" / f"{index:03d}.png", normal(index))
    for index in range(3):
        write(root / "test" / "good" / f"{index:03d}.png", normal(100 + index))
    for offset, name in enumerate(TYPES):
        for index in range(defects):
            image, mask = defect(200 + 50 * offset + index, name)
            write(root / "test" / name / f"{index:03d}.png", image)
            write(root / "ground_truth" / name / f"{index:03d}_mask.png", mask)
    return root


def make_generated(folder: Path, category: Path | None, pairs: int = 3) -> Path:
    """Write pairs as ``seas-aug generate`` does, with a split.json of the category's first quarter of each type."""
    writer = PairWriter(folder, MADE_FROM)
    for offset, name in enumerate(TYPES):
        for index in range(pairs):
            seed = 300 + 50 * offset + index
            image, mask = defect(seed, name)
            image = np.clip(image.astype(int) + 3, 0, 255).astype(np.uint8)  # generated backgrounds drift a little
            writer.write(name, index, to_rgb(image), mask // 255, to_rgb(normal(seed)), {})
    writer.finish()
    if category is not None:
        read = read_mvtec_folder(category)
        save_split(folder / "split.json", select_few_shot(read, "0.25"), read.normals)
    return folder


def add_normals(folder: Path, number: int = 2) -> Path:
    """Write generated normal images beside the pairs of :func:`make_generated`."""
    writer = PairWriter(folder, MADE_FROM)
    for index in range(number):
        image = to_rgb(normal(700 + index))
        writer.write("good", index, image, None, image, {})
    writer.finish()
    return folder


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Return a picture of OpenCV's order of channels in RGB order."""
    return np.ascontiguousarray(image[..., ::-1])


def to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(to_rgb(image)).permute(2, 0, 1).float() / 255
