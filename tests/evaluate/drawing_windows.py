# SPDX-License-Identifier: Apache-2.0
"""Small made windows for the measures of drawing."""

import numpy as np

from seas_aug.evaluate.window_set import WindowSet

SIZE = 32


def texture(count, seed=0, size=SIZE):
    """Grey noise around the middle, uint8 [N, S, S, 3]."""
    noise = np.random.default_rng(seed).normal(120, 8, (count, size, size, 1))
    return np.repeat(noise, 3, axis=3).clip(0, 255).astype(np.uint8)


def boxes(count, seed=0, size=SIZE, least=8, most=14):
    """One filled rectangle each, away from the border, uint8 [N, S, S]."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, size, size), np.uint8)
    for mask in masks:
        height, width = rng.integers(least, most, 2)
        top, left = (int(rng.integers(4, size - 4 - side)) for side in (height, width))
        mask[top : top + height, left : left + width] = 1
    return masks


def filled(images, masks, level):
    """Another grey level inside the masks."""
    return np.where(masks[..., None] > 0, np.uint8(level), images)


def window_set(count, seed=0, types=("crack", "hole"), groups=6, level=None):
    """Windows of textures, darker inside the masks where a level is given."""
    masks = boxes(count, seed)
    images = texture(count, seed) if level is None else filled(texture(count, seed), masks, level)
    names = [types[row % len(types)] for row in range(count)]
    return WindowSet(images, masks, names, [f"part {(row // len(types)) % groups}" for row in range(count)])
