# SPDX-License-Identifier: Apache-2.0
"""Generic defects with exact masks.

Every function takes ``(rng, image [H, W, 3], support [H, W])`` - the support is 1 where the product is - and returns
the changed image and the mask of what it changed, ``[H, W]`` in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from seas_aug.base.renderer.noise import Field, blob, polyline, shift_field, spectral_noise, stroke

Defect = Callable[[np.random.Generator, Field, Field], tuple[Field, Field]]


def _place(rng: np.random.Generator, support: Field) -> tuple[float, float]:
    """Draw a pixel (x, y) of the support."""
    rows, columns = np.nonzero(support > 0.5)
    index = int(rng.integers(0, len(rows)))
    return float(columns[index]), float(rows[index])


def _blend(image: Field, change: Field | float, coverage: Field) -> Field:
    return image * (1 - coverage[..., None]) + change * coverage[..., None]


def crack(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """Dark or faint, thin, branching random walk."""
    size = image.shape[0]
    heading, length = rng.uniform(0, 2 * np.pi), size * rng.uniform(0.2, 0.9)
    path = polyline(rng, _place(rng, support), length, heading, rng.uniform(0.1, 0.45))
    width = rng.uniform(0.5, 2.2) * size / 128
    cover = stroke(size, path, width * rng.uniform(0.6, 1.3, len(path)))
    for _ in range(int(rng.integers(0, 3))):
        joint = path[rng.integers(0, len(path))]
        branch = polyline(rng, tuple(joint), length * rng.uniform(0.1, 0.5), heading + rng.normal(0, 0.9), 0.3)
        cover = np.maximum(cover, stroke(size, branch, width * 0.7))
    cover = cover * support
    return _blend(image, image * rng.choice([rng.uniform(0.05, 0.5), rng.uniform(0.5, 0.8)]), cover), cover


def scratch(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """One or several nearly straight lines, brighter or darker than the surface."""
    size = image.shape[0]
    heading, start = rng.uniform(0, np.pi), _place(rng, support)
    cover = np.zeros(support.shape, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        begin = (start[0] + rng.normal(0, 4), start[1] + rng.normal(0, 4))
        path = polyline(rng, begin, size * rng.uniform(0.1, 0.5), heading + rng.normal(0, 0.1), 0.02)
        cover = np.maximum(cover, stroke(size, path, rng.uniform(0.5, 2.0) * size / 128))
    cover = cover * support
    tone = image * rng.uniform(0.3, 0.7) if rng.random() < 0.4 else image + rng.uniform(0.15, 0.5)
    return _blend(image, tone, cover), cover


def hole(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """One or a few dark pits, often with a bright rim on one side."""
    size = image.shape[0]
    cover = np.zeros(support.shape, np.float32)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        radius = size * rng.choice([rng.uniform(0.012, 0.03), rng.uniform(0.03, 0.08)])
        cover = np.maximum(cover, blob(rng, size, _place(rng, support), radius, rng.uniform(0, 0.4)))
    cover = cover * support
    right, down = rng.integers(-2, 3, 2)
    lit = np.clip(shift_field(cover, right, down) - cover, 0, 1)[..., None] * rng.uniform(0, 0.4)
    return _blend(image + lit, image * rng.uniform(0.0, 0.45), cover), np.maximum(cover, lit[..., 0] > 0.12)


def dent(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """A shallow depression: lit on one side, shaded on the other."""
    size = image.shape[0]
    cover = blob(rng, size, _place(rng, support), size * rng.uniform(0.04, 0.13), 0.1) * support
    depth = cv2.GaussianBlur(cover, (0, 0), size * 0.02)
    turn = rng.uniform(0, 2 * np.pi)
    slope = cv2.Sobel(depth, cv2.CV_32F, 1, 0) * np.cos(turn) + cv2.Sobel(depth, cv2.CV_32F, 0, 1) * np.sin(turn)
    return image * (1 + rng.uniform(0.5, 1.3) * slope[..., None] * cover[..., None]), cover


def stain(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """A soft-edged change of colour."""
    size = image.shape[0]
    cover = blob(rng, size, _place(rng, support), size * rng.uniform(0.05, 0.2), 0.35) * support
    soft = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.5, 2.0)) * support
    tone = image * (rng.uniform(0.4, 1.5) + rng.normal(0, 0.12, 3) * (rng.random() < 0.5)).astype(np.float32)
    return _blend(image, tone, soft), cover


def contamination(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """Crumbs or fibres of something else."""
    size = image.shape[0]
    cover = np.zeros(support.shape, np.float32)
    start = _place(rng, support)
    for _ in range(int(rng.integers(1, 7))):
        centre = (start[0] + rng.normal(0, size * 0.05), start[1] + rng.normal(0, size * 0.05))
        if rng.random() < 0.3:
            path = polyline(rng, centre, size * rng.uniform(0.06, 0.25), rng.uniform(0, 6.3), 0.35)
            cover = np.maximum(cover, stroke(size, path, rng.uniform(0.7, 1.6) * size / 128))
        else:
            cover = np.maximum(cover, blob(rng, size, centre, size * rng.uniform(0.01, 0.05), 0.3))
    colour = rng.uniform(0, 1, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(0, 1))
    matter = (colour * (1 + 0.15 * spectral_noise(rng, size, 0.7)[..., None])).astype(np.float32)
    return _blend(image, matter, cover), cover


def chip(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """Material broken off at the rim of the product, showing a rough dark or bright fracture."""
    size = image.shape[0]
    inside = cv2.distanceTransform(np.pad((support > 0.5).astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    rim = ((inside > 0) & (inside < size * 0.05)).astype(np.float32)
    centre = _place(rng, rim if rim.any() else support)
    cover = blob(rng, size, centre, size * rng.uniform(0.04, 0.13), 0.4) * support
    fracture = image.mean() * rng.uniform(0.2, 1.6) * (1 + 0.25 * spectral_noise(rng, size, 0.8)[..., None])
    return _blend(image, fracture.astype(np.float32), cover), cover


def fray(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """A worn patch: an irregular large region, with its texture rubbed out or roughened."""
    size = image.shape[0]
    cover = blob(rng, size, _place(rng, support), size * rng.uniform(0.12, 0.3), 0.3) * support
    worn = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.5, 4))
    rough = 1 + rng.uniform(0.02, 0.2) * spectral_noise(rng, size, 0.5)[..., None]
    return _blend(image, (worn * rng.uniform(0.55, 1.35) * rough).astype(np.float32), cover), cover


def colour_change(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """Everything beyond a wavy line, or a large cloudy region, is brighter or darker."""
    size = image.shape[0]
    factor = np.float32(rng.choice([rng.uniform(0.5, 0.85), rng.uniform(1.15, 1.6)]))
    if rng.random() < 0.4:
        cloud = blob(rng, size, _place(rng, support), size * rng.uniform(0.15, 0.4), 0.5)
        soft = cv2.GaussianBlur(cloud, (0, 0), size * rng.uniform(0.01, 0.05)) * support
        return _blend(image, image * factor, soft), (soft > 0.4).astype(np.float32)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    centre, turn = _place(rng, support), rng.choice([0, np.pi / 2, np.pi, 3 * np.pi / 2]) + rng.normal(0, 0.15)
    wave = spectral_noise(rng, size, 2.0) * size * rng.uniform(0, 0.02)
    distance = (x - centre[0]) * np.cos(turn) + (y - centre[1]) * np.sin(turn) + wave
    cover = (np.clip(distance + 0.5, 0, 1) * support).astype(np.float32)
    if rng.random() < 0.4:
        cover *= distance < size * rng.uniform(0.1, 0.4)
    return _blend(image, image * factor, cover), cover


def missing_part(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """A piece of the product is not there: one sees what lies behind it, or a dark recess."""
    size = image.shape[0]
    x, y = _place(rng, support)
    corners = cv2.boxPoints(((x, y), tuple(size * rng.uniform(0.08, 0.3, 2)), float(rng.uniform(0, 90))))
    cover = np.zeros(support.shape, np.float32)
    if rng.random() < 0.5:
        cv2.fillPoly(cover, [np.round(corners * 16).astype(np.int32)], 1.0, cv2.LINE_AA, shift=4)
    else:
        cover = blob(rng, size, (x, y), size * rng.uniform(0.05, 0.15), 0.1)
    cover = cover * support
    behind = image[support < 0.5]
    seen = np.median(behind, axis=0) if len(behind) > 0.02 * size * size else image.mean() * rng.uniform(0.05, 0.5)
    grain = 1 + 0.03 * spectral_noise(rng, size, 1.0)[..., None]
    return _blend(image, (seen * grain).astype(np.float32), cover), cover


def bend(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """A local displacement of the surface or the part."""
    size = image.shape[0]
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    centre, radius = _place(rng, support), size * rng.uniform(0.08, 0.2)
    weight = np.exp(-(((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2)).astype(np.float32)
    turn, reach = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.3, 0.6)
    from_x = (x + weight * reach * np.cos(turn)).astype(np.float32)
    from_y = (y + weight * reach * np.sin(turn)).astype(np.float32)
    warped = cv2.remap(image, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    changed = (np.abs(warped - image).max(axis=-1) > 0.06).astype(np.uint8)
    cover = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(np.float32)
    return warped, cover


DEFECTS: dict[str, Defect] = {
    "crack": crack,
    "scratch": scratch,
    "hole": hole,
    "dent": dent,
    "stain": stain,
    "contamination": contamination,
    "chip": chip,
    "fray": fray,
    "colour change": colour_change,
    "bend": bend,
    "missing part": missing_part,
}
