# SPDX-License-Identifier: Apache-2.0
"""Pictures whose answer is known, made without any model: fills of a mask, copies, twins and composites."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.window_difference import grown
from seas_aug.evaluate.window_set import WindowSet

Pixels = NDArray[np.uint8]
_NOISE = 40.0  # standard deviation in grey levels
_GAIN, _OFFSET = 0.85, 8.0  # of light
_RING, _FEATHER = 6, 1.0  # pixels
_CANDIDATES = 24


def as_pixels(values: NDArray[np.floating]) -> Pixels:
    """Return float grey levels as uint8."""
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def noise_filled(images: Pixels, masks: Pixels, seed: int = 0) -> Pixels:
    """Return windows with grey noise around their own mean inside the masks: what no defect looks like.

    Args:
        images: uint8 ``[N, S, S, 3]``.
        masks: uint8 ``[N, S, S]`` of 0 and 1.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, _NOISE, masks.shape)[..., None] + images.mean((1, 2))[:, None, None]
    return np.where(masks[..., None] > 0, as_pixels(noise), images)


def blurred_holes(images: Pixels, masks: Pixels, sigma: float = 2.0) -> Pixels:
    """Return windows that are blurred inside the masks."""
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images])
    return np.where(masks[..., None] > 0, blurred, images)


def relit_copies(windows: WindowSet) -> WindowSet:
    """Return windows turned by a quarter, with less contrast and more light: copies that look new at first sight."""
    pixels = windows.images.astype(np.float32)
    mean = pixels.mean((1, 2), keepdims=True)
    images = np.rot90(as_pixels((pixels - mean) * _GAIN + mean + _OFFSET), axes=(1, 2))
    masks = np.rot90(windows.masks, axes=(1, 2))
    return WindowSet(np.ascontiguousarray(images), np.ascontiguousarray(masks), windows.types, windows.groups)


def shifted(masks: Pixels, pixels: int) -> Pixels:
    """Return masks moved down by so many pixels, or up where they would leave the window; none wraps around."""
    moved = np.zeros_like(masks)
    for row, mask in enumerate(masks):
        down = np.zeros_like(mask)
        down[pixels:] = mask[:-pixels]
        up = np.zeros_like(mask)
        up[:-pixels] = mask[pixels:]
        moved[row] = down if down.sum() >= up.sum() else up
    return moved


def feathered(base: Pixels, patch: Pixels, mask: Pixels) -> Pixels:
    """Return a window with another one inside a mask, over a soft rim of a pixel or two outside of it.

    Args:
        base: uint8 ``[S, S, 3]``.
        patch: likewise.
        mask: uint8 ``[S, S]`` of 0 and 1.
    """
    soft = np.maximum(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _FEATHER), mask)[..., None]
    return as_pixels(base * (1 - soft) + patch.astype(np.float32) * soft)


def normal_twin(image: Pixels, mask: Pixels, normals: Pixels) -> Pixels:
    """Return a defect window without its defect: filled from the normal window that fits best around it.

    Normals are tried in all eight orientations; the best one is brought to the brightness of the ring around the mask
    and feathered in.

    Args:
        image: uint8 ``[S, S, 3]``.
        mask: the defect, grown so that nothing of it is left, uint8 ``[S, S]`` of 0 and 1.
        normals: uint8 ``[M, S, S, 3]``; up to 24 are tried.
    """
    ring = (grown(mask[None], _RING)[0] > 0) & (mask == 0)
    ring = ring if ring.any() else np.ones_like(ring)
    own = image[ring].astype(np.float32)
    best: tuple[float, Pixels, NDArray[np.float32]] | None = None
    for normal in normals[np.linspace(0, len(normals) - 1, min(len(normals), _CANDIDATES)).round().astype(int)]:
        for turn in range(4):
            for face in (normal, normal[:, ::-1]):
                view = np.rot90(face, turn)
                away = own - view[ring].astype(np.float32)
                light = away.mean(0)
                misfit = float(((away - light) ** 2).mean())
                if best is None or misfit < best[0]:
                    best = (misfit, view, light)
    if best is None:
        raise ValueError("no normal window to fill from")
    return feathered(image, as_pixels(best[1] + best[2]), mask)


def composites(windows: WindowSet, count: int, seed: int = 0) -> tuple[WindowSet, list[tuple[str, ...]]]:
    """Return windows that show two real defects of different types.

    Args:
        windows: real defects of two or more types.
        count: how many composites.
        seed: of the choice.

    Returns:
        The windows, whose masks are both united, with the group of the first defect; and both types of each.
    """
    rng = np.random.default_rng(seed)
    names = np.asarray(windows.types)
    images: list[Pixels] = []
    masks: list[Pixels] = []
    types: list[tuple[str, ...]] = []
    groups: list[str] = []
    for _ in range(20 * count):
        first = int(rng.integers(len(windows)))
        others = np.flatnonzero(names != names[first])
        if len(images) == count or not len(others):
            break
        second = int(rng.choice(others))
        image, mask = windows.images[second], windows.masks[second]
        free = grown(windows.masks[first][None], 3)[0]
        room = _room(mask)
        for _ in range(20):
            down, right = (int(rng.integers(low, high + 1)) for low, high in room)
            moved = np.roll(mask, (down, right), (0, 1))
            if not (moved & free).any():
                base = windows.images[first]
                patch = np.roll(image, (down, right), (0, 1))
                images.append(feathered(base, _as_bright(patch, base, moved), moved))
                masks.append(np.maximum(moved, windows.masks[first]))
                types.append(tuple(sorted((windows.types[first], windows.types[second]))))
                groups.append(windows.groups[first])
                break
    size = windows.images.shape[1]
    if not images:
        return WindowSet(np.zeros((0, size, size, 3), np.uint8), np.zeros((0, size, size), np.uint8), [], []), []
    return WindowSet(np.stack(images), np.stack(masks), ["+".join(pair) for pair in types], groups), types


def _room(mask: Pixels) -> list[tuple[int, int]]:
    """Return by how much a mask may be moved down and right so that it stays inside."""
    rows, columns = np.nonzero(mask)
    return [(-int(place.min()), mask.shape[0] - 1 - int(place.max())) for place in (rows, columns)]


def _as_bright(patch: Pixels, base: Pixels, mask: Pixels) -> Pixels:
    """Return a window as bright around a mask as another one."""
    ring = (grown(mask[None], _RING)[0] > 0) & (mask == 0)
    light = base[ring].mean(0) - patch[ring].mean(0) if ring.any() else np.zeros(3)
    return as_pixels(patch + light)


def halves(windows: WindowSet) -> tuple[Sequence[int], Sequence[int]]:
    """Return the rows of two halves of windows of which no group is in both, each type divided as evenly as can be."""
    sides: dict[str, int] = {}
    counts: dict[tuple[str, int], int] = {}
    groups: dict[str, list[int]] = {}
    for row, group in enumerate(windows.groups):
        groups.setdefault(group, []).append(row)
    for group, rows in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        loads = [sum(counts.get((windows.types[row], side), 0) for row in rows) for side in (0, 1)]
        sides[group] = int(loads[1] < loads[0])
        for row in rows:
            key = (windows.types[row], sides[group])
            counts[key] = counts.get(key, 0) + 1
    found = [[row for row, group in enumerate(windows.groups) if sides[group] == side] for side in (0, 1)]
    return found[0], found[1]
