# SPDX-License-Identifier: Apache-2.0
"""Parts on a background: an outline, filled with a surface, shaded as a solid, lit from one side."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from seas_aug.base.renderer.noise import Field, blob, shift_field, spectral_noise
from seas_aug.base.renderer.surfaces import SURFACES

_BODIES = ("brushed metal", "cast metal", "metal plate", "plastic", "wood", "glass")


def _canvas(size: int) -> Field:
    return np.zeros((size, size), np.float32)


def _polygon(size: int, points: np.ndarray) -> Field:
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def screw(rng: np.random.Generator, size: int) -> Field:
    """Outline of a screw lying on its side: head, neck, thread with teeth, tip. ``[size, size]`` in [0, 1]."""
    length, head = size * rng.uniform(0.5, 0.8), size * rng.uniform(0.1, 0.18)
    neck, teeth = head * rng.uniform(0.35, 0.55), int(rng.integers(6, 14))
    along = np.linspace(0, 1, teeth * 8)
    half = np.where(along < 0.35, neck, neck * (1 + 0.35 * np.abs(np.sin(along * teeth * np.pi))))
    half *= np.clip((1 - along) * 6, 0.05, 1)
    xs = along * length - length / 2
    upper = np.stack([xs, -half], axis=1)
    lower = np.stack([xs[::-1], half[::-1]], axis=1)
    top = np.asarray([[-length / 2 - head * 0.5, head], [-length / 2 - head * 0.5, -head]])
    return _polygon(size, np.concatenate([top, upper, lower]) + size / 2)


def ring(rng: np.random.Generator, size: int) -> Field:
    """Outline of a ring or washer, ``[size, size]`` in [0, 1]."""
    mask, radius = _canvas(size), size * rng.uniform(0.25, 0.42)
    cv2.circle(mask, (size // 2, size // 2), int(radius), 1.0, -1, cv2.LINE_AA)
    cv2.circle(mask, (size // 2, size // 2), int(radius * rng.uniform(0.3, 0.75)), 0.0, -1, cv2.LINE_AA)
    return mask


def cap(rng: np.random.Generator, size: int) -> Field:
    """Outline of a round cap with ribs, ``[size, size]`` in [0, 1]."""
    angles = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    ribs = int(rng.integers(12, 40))
    radius = size * rng.uniform(0.25, 0.42) * (1 + rng.uniform(0, 0.03) * np.sign(np.sin(ribs * angles)))
    return _polygon(size, np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None] + size / 2)


def tube(rng: np.random.Generator, size: int) -> Field:
    """Outline of a tube or rod through the picture, ``[size, size]`` in [0, 1]."""
    mask, half = _canvas(size), size * rng.uniform(0.08, 0.25)
    end = size * rng.uniform(0.0, 0.2)
    mask[int(size / 2 - half) : int(size / 2 + half), int(end) : int(size - end)] = 1.0
    return mask


def tablet(rng: np.random.Generator, size: int) -> Field:
    """Outline of a tablet or capsule, ``[size, size]`` in [0, 1]."""
    mask = _canvas(size)
    axes = (size * rng.uniform(0.25, 0.42), size * rng.uniform(0.12, 0.3))
    cv2.ellipse(mask, (size // 2, size // 2), (int(axes[0]), int(axes[1])), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    return mask


def connector(rng: np.random.Generator, size: int) -> Field:
    """Outline of a connector: a block with a row of pins, ``[size, size]`` in [0, 1]."""
    mask = _canvas(size)
    left, right = int(size * rng.uniform(0.1, 0.25)), int(size * rng.uniform(0.75, 0.9))
    top, bottom = int(size * rng.uniform(0.2, 0.4)), int(size * rng.uniform(0.5, 0.65))
    mask[top:bottom, left:right] = 1.0
    pins = int(rng.integers(3, 9))
    pitch = (right - left) / pins
    for pin in range(pins):
        begin = int(left + pitch * (pin + 0.3))
        mask[bottom : int(size * 0.85), begin : int(begin + max(pitch * 0.4, 1))] = 1.0
    return mask


def plate(rng: np.random.Generator, size: int) -> Field:
    """Outline of a square-cut piece that nearly fills the picture, ``[size, size]`` in [0, 1]."""
    near = size * rng.uniform(0.0, 0.12, 4) * (rng.random(4) < 0.7)
    left, top, right, bottom = near[0], near[1], size - near[2], size - near[3]
    corners = np.asarray([[left, top], [right, top], [right, bottom], [left, bottom]])
    return _polygon(size, corners + rng.normal(0, size * 0.01, (4, 2)))


PARTS: dict[str, Callable[[np.random.Generator, int], Field]] = {
    "screw": screw,
    "ring": ring,
    "cap": cap,
    "tube": tube,
    "tablet": tablet,
    "connector": connector,
    "plate": plate,
}


def shade(rng: np.random.Generator, outline: Field) -> Field:
    """Return a shading factor ``[H, W]`` as if the outline were a rounded solid lit from one side."""
    inside = cv2.distanceTransform((outline > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rim = max(float(inside.max()) * rng.uniform(0.2, 1.0), 1.0)
    height = np.sqrt(np.clip(1 - (1 - np.clip(inside / rim, 0, 1)) ** 2, 0, 1)).astype(np.float32)
    height = cv2.GaussianBlur(height, (0, 0), 1.0) * rim
    turn = rng.uniform(0, 2 * np.pi)
    slope = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8) * np.cos(turn) + cv2.Sobel(
        height, cv2.CV_32F, 0, 1, scale=1 / 8
    ) * np.sin(turn)
    return 1 + rng.uniform(0.15, 0.6) * slope / (1 + np.abs(slope))


def background(rng: np.random.Generator, size: int) -> Field:
    """Return a plain or lightly textured backdrop ``[size, size, 3]``."""
    level = rng.choice([rng.uniform(0.02, 0.2), rng.uniform(0.6, 0.95)])
    grain = spectral_noise(rng, size, rng.uniform(0.3, 1.5)) * rng.uniform(0, 0.03)
    colour = level + rng.normal(0, 0.03, 3) * (rng.random() < 0.5)
    return (colour * (1 + grain[..., None])).astype(np.float32)


def render_part(rng: np.random.Generator, size: int, name: str) -> tuple[Field, Field]:
    """Return the picture ``[size, size, 3]`` and the outline ``[size, size]`` in [0, 1] of a part in a random pose."""
    outline = PARTS[name](rng, size)
    fills = name == "plate"  # lies straight under the camera, and can be of anything
    scale, angle = (
        (rng.uniform(0.95, 1.1), rng.normal(0, 2)) if fills else (rng.uniform(0.75, 1.1), rng.uniform(0, 360))
    )
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), angle, scale)
    matrix[:, 2] = matrix[:, 2] + rng.uniform(-0.06, 0.06, 2) * size * (0.3 if fills else 1)
    body = SURFACES[str(rng.choice(list(SURFACES) if fills else _BODIES))](rng, size)
    if not fills:
        body = body * shade(rng, outline)[..., None]
    if not fills and rng.random() < 0.4:
        mark = blob(rng, size, (size / 2, size / 2), size * rng.uniform(0.04, 0.12), 0.0)[..., None]
        body = body * (1 - mark * rng.uniform(0.2, 0.8))
    body = cv2.warpAffine(body, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
    outline = cv2.warpAffine(outline, matrix, (size, size))
    behind = background(rng, size)
    right, down = rng.integers(-4, 5, 2)
    shadow = cv2.GaussianBlur(shift_field(outline, right, down), (0, 0), 3.0)[..., None]
    behind = behind * (1 - shadow * rng.uniform(0, 0.5))
    return behind * (1 - outline[..., None]) + body * outline[..., None], outline
