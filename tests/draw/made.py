# SPDX-License-Identifier: Apache-2.0
"""Few-shot defects and surfaces that are made, for the parts of drawing that need no model."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch

from seas_aug.draw.few_shot import FewShotDefects

HOLES = [(40, 60, 9, 9), (70, 30, 7, 11), (0, 80, 6, 10)]  # top, left, height, width; the last is at the top border
CRACKS = [((20, 30), (60, 44)), ((90, 80), (104, 40))]


def chance(seed: int = 0) -> torch.Generator:
    """Return a source of randomness."""
    return torch.Generator().manual_seed(seed)


def plain(height: int, width: int, seed: int = 0, level: int = 150) -> np.ndarray:
    """Return a surface with a little grain, uint8 ``[H, W, 3]``."""
    noise = np.random.default_rng(seed).normal(level, 2, (256, 256, 1))
    tile = np.repeat(np.clip(noise, 0, 255).astype(np.uint8), 3, axis=2)
    return np.ascontiguousarray(np.tile(tile, (height // 256 + 1, width // 256 + 1, 1))[:height, :width])


def defects(height: int = 120, width: int = 160, **changes: Any) -> FewShotDefects:
    """Return black holes, one of them at the top border, and dark grey cracks, on a grain."""
    images, masks = [], []
    for number, (top, left, tall, wide) in enumerate(HOLES):
        mask = np.zeros((height, width), np.uint8)
        mask[top : top + tall, left : left + wide] = 1
        masks.append(mask)
        images.append(np.where(mask[..., None] > 0, np.uint8(15), plain(height, width, number)))
    for number, (first, last) in enumerate(CRACKS):
        mask = cv2.line(np.zeros((height, width), np.uint8), first, last, 1, 2)
        masks.append(mask)
        images.append(np.where(mask[..., None] > 0, np.uint8(60), plain(height, width, 9 + number)))
    types = ("hole",) * len(HOLES) + ("crack",) * len(CRACKS)
    names = tuple(f"{kind}/{number}.png" for number, kind in enumerate(types))
    return FewShotDefects(images, masks, types, names, **changes)


def one_defect(image: np.ndarray, mask: np.ndarray, **changes: Any) -> FewShotDefects:
    """Return few-shot defects of a single image."""
    return FewShotDefects([image], [mask], ("hole",), ("hole/0.png",), **changes)
