# SPDX-License-Identifier: Apache-2.0
"""Procedural surfaces: what fills the picture, or the body of a part.

Every function takes ``(rng, size)`` and returns a float32 image ``[size, size, 3]``, roughly in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from seas_aug.base.renderer.noise import Field, cells, rotate_field, spectral_noise, streaks


def _tint(rng: np.random.Generator, field: Field, base: tuple[float, float, float], spread: float) -> Field:
    """Colour a grey field ``[H, W]`` around 0 with a base colour; half of all images are grey."""
    colour = np.asarray(base, np.float32) + rng.normal(0, spread, 3).astype(np.float32)
    if rng.random() < 0.5:
        colour[:] = colour.mean()
    brightness = np.float32(rng.uniform(0.6, 1.25))
    return colour * brightness * (1 + field[..., None])


def lighting(rng: np.random.Generator, size: int, amount: float) -> Field:
    """Return a smooth multiplicative light field ``[size, size, 1]`` around 1: a slope, a hot spot and a vignette."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    slope = rng.normal(0, amount) * x + rng.normal(0, amount) * y
    spot_x, spot_y, spread = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0.1, 0.5)
    spot = rng.uniform(0, amount) * np.exp(-((x - spot_x) ** 2 + (y - spot_y) ** 2) / spread**2)
    vignette = -rng.uniform(0, amount) * (x**2 + y**2)
    return np.clip(1 + slope + spot + vignette, 0.2, 2.0).astype(np.float32)[..., None]


def brushed_metal(rng: np.random.Generator, size: int) -> Field:
    """Fine parallel streaks of several widths."""
    fine = streaks(rng, size, rng.uniform(10, 60), 0.3) * rng.uniform(0.02, 0.10)
    broad = streaks(rng, size, size, rng.uniform(3, 20)) * rng.uniform(0.02, 0.15)
    field = fine + broad + spectral_noise(rng, size, 0.3) * rng.uniform(0.005, 0.04)
    angle = rng.choice([0.0, 90.0, rng.uniform(0, 180)])
    return _tint(rng, rotate_field(field, angle), (0.55, 0.54, 0.50), 0.05)


def machined_plate(rng: np.random.Generator, size: int) -> Field:
    """A dark ground plate: vertical grinding marks, uneven light across, darker rims, a few pits of the casting."""
    x = np.linspace(-1, 1, size, dtype=np.float32)
    across = np.interp(x, np.linspace(-1, 1, 6), rng.normal(0, 0.25, 6)).astype(np.float32)[None, :]
    field = across + streaks(rng, size, rng.uniform(8, 50), 0.5) * rng.uniform(0.02, 0.14)
    field += spectral_noise(rng, size, 1.2) * rng.uniform(0.02, 0.12) + rng.normal(0, 0.03, (size, size))
    image = _tint(rng, field.astype(np.float32), (0.38, 0.38, 0.38), 0.02)
    for side in range(4):
        if rng.random() < 0.4:
            depth = int(rng.integers(1, max(size // 16, 2)))
            image = np.rot90(image, side).copy()
            image[:depth] *= np.float32(rng.uniform(0.1, 0.6))
            image = np.rot90(image, -side).copy()
    return image


def cast_metal(rng: np.random.Generator, size: int) -> Field:
    """Rough, granular metal."""
    field = spectral_noise(rng, size, rng.uniform(0.3, 0.9)) * rng.uniform(0.05, 0.18)
    return _tint(rng, field, (0.45, 0.45, 0.46), 0.04)


def concrete(rng: np.random.Generator, size: int) -> Field:
    """Grains of several sizes, as in concrete and asphalt."""
    field = spectral_noise(rng, size, 1.0) * rng.uniform(0.03, 0.1)
    grains = cells(rng, size, int(size * size * rng.uniform(0.01, 0.06)))
    field += np.clip(grains / 3 - 0.5, -1, 1) * rng.uniform(-0.2, 0.2)
    field += rng.standard_normal((size, size)) * rng.uniform(0.02, 0.12)
    return _tint(rng, field.astype(np.float32), (0.55, 0.55, 0.56), 0.06)


def leather(rng: np.random.Generator, size: int) -> Field:
    """Cells with dark furrows between them."""
    distance = cells(rng, size, int(size * size / rng.uniform(20, 120)))
    field = -np.clip(distance / max(float(distance.max()), 1.0), 0, 1) * rng.uniform(0.2, 0.6)
    field += spectral_noise(rng, size, 0.8) * 0.04
    return _tint(rng, field.astype(np.float32), (0.45, 0.30, 0.20), 0.12)


def fabric(rng: np.random.Generator, size: int) -> Field:
    """A woven grid of threads."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    period = rng.uniform(3.5, 12)
    bend = spectral_noise(rng, size, 2.0) * rng.uniform(0, 1.5)
    over = np.sin(2 * np.pi * (x + bend) / period) * np.sin(2 * np.pi * (y + bend) / period)
    threads = np.cos(2 * np.pi * (x + bend) / period * 2) * (over > 0) + np.cos(2 * np.pi * (y + bend) / period * 2) * (
        over <= 0
    )
    field = threads * rng.uniform(0.05, 0.25) + rng.standard_normal((size, size)) * 0.04
    return _tint(rng, rotate_field(field.astype(np.float32), rng.uniform(0, 90)), (0.55, 0.50, 0.45), 0.15)


def wood(rng: np.random.Generator, size: int) -> Field:
    """Warped annual rings with fine fibres."""
    x = np.mgrid[0:size, 0:size][1].astype(np.float32)
    warp = cv2.GaussianBlur(spectral_noise(rng, size, 1.8), (0, 0), sigmaX=1, sigmaY=size / 10) * rng.uniform(3, 12)
    rings = np.sin(2 * np.pi * (x + warp) / rng.uniform(6, 24))
    field = rings * rng.uniform(0.05, 0.2) + streaks(rng, size, rng.uniform(8, 30), 0.4) * 0.05
    return _tint(rng, rotate_field(field.astype(np.float32), rng.choice([0.0, 90.0])), (0.60, 0.42, 0.25), 0.06)


def plastic(rng: np.random.Generator, size: int) -> Field:
    """Smooth and coloured, with a little grain."""
    field = spectral_noise(rng, size, 1.6) * rng.uniform(0.0, 0.08) + rng.standard_normal((size, size)) * 0.01
    return _tint(rng, field.astype(np.float32), tuple(rng.uniform(0.15, 0.9, 3)), 0.0)


def glass(rng: np.random.Generator, size: int) -> Field:
    """Smooth with bright bands of reflection."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    turn = rng.uniform(0, np.pi)
    along = x * np.cos(turn) + y * np.sin(turn) + spectral_noise(rng, size, 2.2) * 0.03
    field = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        field += rng.uniform(0.1, 0.6) * np.exp(-(((along - rng.uniform(-0.5, 1.3)) / rng.uniform(0.02, 0.2)) ** 2))
    return _tint(rng, field - 0.1, (0.45, 0.50, 0.52), 0.08)


def circuit_board(rng: np.random.Generator, size: int) -> Field:
    """Tracks, pads and chips on a coloured board."""
    image = np.ones((size, size, 3), np.float32) * np.asarray([0.08, 0.32, 0.16], np.float32) * rng.uniform(0.6, 1.5)
    if rng.random() < 0.4:
        image = np.ascontiguousarray(image[..., rng.permutation(3)])
    track = np.asarray([0.45, 0.55, 0.30], np.float32) * rng.uniform(0.6, 1.4)
    for _ in range(int(rng.integers(4, 14))):
        start = rng.integers(0, size, 2)
        width = int(rng.integers(1, 4))
        for _ in range(int(rng.integers(1, 4))):
            end = start.copy()
            end[rng.integers(0, 2)] = rng.integers(0, size)
            cv2.line(image, start.tolist(), end.tolist(), track.tolist(), width, cv2.LINE_AA)
            start = end
        cv2.circle(image, start.tolist(), width + 1, (0.75, 0.72, 0.55), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 4))):
        corner = rng.integers(0, size, 2)
        far = corner + rng.integers(size // 12, size // 3, 2)
        cv2.rectangle(image, corner.tolist(), far.tolist(), tuple(rng.uniform(0.05, 0.3, 3).tolist()), -1)
    return image + rng.normal(0, 0.015, image.shape).astype(np.float32)


def clutter(rng: np.random.Generator, size: int) -> Field:
    """Occluding shapes of all sizes ("dead leaves"): the edge statistics of photographs."""
    image = np.zeros((size, size, 3), np.float32) + rng.uniform(0, 1, 3).astype(np.float32)
    grey = rng.random() < 0.4
    texture = spectral_noise(rng, size, rng.uniform(0.2, 1.2))
    radii = np.sort(size * 0.5 / np.sqrt(rng.uniform(1, 400, int(rng.integers(30, 160)))))[::-1]
    for radius in radii:
        colour = rng.uniform(0, 1, 3)
        colour = np.full(3, colour.mean()) if grey else colour
        centre = rng.integers(0, size, 2).tolist()
        axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.2, 1))))
        if rng.random() < 0.5:
            cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, colour.tolist(), -1, cv2.LINE_AA)
        else:
            box = cv2.boxPoints((tuple(map(float, centre)), tuple(map(float, axes)), float(rng.uniform(0, 90))))
            cv2.fillPoly(image, [np.round(box * 16).astype(np.int32)], colour.tolist(), cv2.LINE_AA, shift=4)
    return image * (1 + texture[..., None] * rng.uniform(0, 0.12))


SURFACES: dict[str, Callable[[np.random.Generator, int], Field]] = {
    "brushed metal": brushed_metal,
    "metal plate": machined_plate,
    "cast metal": cast_metal,
    "concrete": concrete,
    "leather": leather,
    "fabric": fabric,
    "wood": wood,
    "plastic": plastic,
    "glass": glass,
    "circuit board": circuit_board,
    "clutter": clutter,
}
