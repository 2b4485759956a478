# SPDX-License-Identifier: Apache-2.0
"""Random fields that surfaces and defects are made of. All are deterministic for a given generator."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[Any]  # floats; OpenCV's own type hints promise less than it does
Shape = int | tuple[int, int]  # side of a square, or height and width, in pixels


def normalise(field: Field) -> Field:
    """Shift and scale a field ``[H, W]`` to zero mean and unit standard deviation."""
    field = field.astype(np.float32)
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def spectral_noise(rng: np.random.Generator, shape: Shape, exponent: float) -> Field:
    """Return noise ``[H, W]`` of amplitude ``frequency ** -exponent`` (0 white, 1 cloud-like, 2 smooth)."""
    height, width = _height_width(shape)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) * frequency**-exponent
    spectrum[0, 0] = 0.0
    return normalise(np.fft.irfft2(spectrum, s=(height, width)))


def streaks(rng: np.random.Generator, shape: Shape, length: float, width: float) -> Field:
    """Return noise ``[H, W]`` drawn out vertically: Gaussian blur of ``length`` by ``width`` pixels."""
    white = rng.standard_normal(_height_width(shape)).astype(np.float32)
    blurred = cv2.GaussianBlur(white, (0, 0), sigmaX=max(width, 0.05), sigmaY=max(length, 0.05))
    return normalise(blurred)


def rotate_field(field: Field, angle: float) -> Field:
    """Rotate ``[H, W]`` or ``[H, W, C]`` by ``angle`` degrees around the middle, mirrored at the border."""
    height, width = field.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    return cv2.warpAffine(field, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def shift_field(field: Field, right: float, down: float) -> Field:
    """Move ``[H, W]`` or ``[H, W, C]`` by so many pixels; what comes in over the border is the border's own."""
    height, width = field.shape[:2]
    matrix = np.asarray([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(field, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def cells(rng: np.random.Generator, size: int, count: int) -> Field:
    """Return the distance to the nearest of ``count`` random points, ``[size, size]`` in pixels (leather, stones)."""
    seeds = np.full((size, size), 255, np.uint8)
    points = rng.integers(0, size, (count, 2))
    seeds[points[:, 0], points[:, 1]] = 0
    return cv2.distanceTransform(seeds, cv2.DIST_L2, 5)


def blob(rng: np.random.Generator, shape: Shape, centre: tuple[float, float], radius: float, roughness: float) -> Field:
    """Return a rough closed shape, antialiased, as coverage ``[H, W]`` in [0, 1].

    Args:
        rng: source of randomness.
        shape: side, or height and width, in pixels.
        centre: x and y in pixels.
        radius: mean radius in pixels.
        roughness: relative deviation of the outline, 0 is an ellipse.
    """
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    outline = np.ones_like(angles)
    for order in range(1, 7):
        outline += roughness / order * rng.normal() * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    outline = np.clip(outline, 0.25, 2.0) * radius
    aspect = np.exp(rng.normal(0, 0.3))
    turn = rng.uniform(0, 2 * np.pi)
    x, y = outline * np.cos(angles) * aspect, outline * np.sin(angles) / aspect
    points = np.stack(
        [centre[0] + x * np.cos(turn) - y * np.sin(turn), centre[1] + x * np.sin(turn) + y * np.cos(turn)], axis=1
    )
    mask = np.zeros(_height_width(shape), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def polyline(
    rng: np.random.Generator, start: tuple[float, float], length: float, heading: float, wiggle: float
) -> NDArray[np.float64]:
    """Return a random walk ``[N, 2]`` of ``length`` pixels in x, y; ``wiggle`` is the turn per step in radians."""
    steps = max(int(length / 2.5), 2)
    headings = heading + np.cumsum(rng.normal(0, wiggle, steps)) * 0.6 + rng.normal(0, wiggle, steps)
    moves = np.stack([np.cos(headings), np.sin(headings)], axis=1) * (length / steps)
    return np.concatenate([[start], np.asarray(start) + np.cumsum(moves, axis=0)])


def stroke(shape: Shape, points: NDArray[np.float64], widths: NDArray[np.float64] | float) -> Field:
    """Draw a line of varying width, antialiased (at four times the size), as coverage ``[H, W]`` in [0, 1]."""
    scale = 4
    height, width = _height_width(shape)
    canvas = np.zeros((height * scale, width * scale), np.uint8)
    widths = np.broadcast_to(widths, (len(points),))
    pixels = np.round(points * scale).astype(np.int32)
    for begin, end, thickness in zip(pixels[:-1], pixels[1:], widths[1:], strict=True):
        cv2.line(canvas, begin.tolist(), end.tolist(), 255, max(1, round(float(thickness) * scale)))
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _height_width(shape: Shape) -> tuple[int, int]:
    return shape if isinstance(shape, tuple) else (shape, shape)
