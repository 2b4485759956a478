# SPDX-License-Identifier: Apache-2.0
"""One rendered product category in MVTec layout: a turned metal flange, always the same part, never the same photo.

The demo and the tests run on it. The embedded base never sees it: its own pictures come from :mod:`.scene`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.artifact.atomic import atomic_folder, recover_folder
from seas_aug.base.renderer.defects import Defect
from seas_aug.base.renderer.noise import Field, blob, polyline, spectral_noise, stroke
from seas_aug.base.renderer.surfaces import lighting
from seas_aug.errors import SeasError

_RECORD = "category.json"
_BOLTS = 6
# Radii and bolt circle as shares of the picture's side.
_OUTER, _STEP, _BORE, _BOLT_CIRCLE, _BOLT = 0.44, 0.25, 0.14, 0.345, 0.045
# A defect must be seen: so many pixels (at 128 px) and so strong a mean change of brightness.
_MIN_AREA = {"hole": 25, "scratch": 40, "stain": 120}
_MIN_CHANGE = {"hole": 0.18, "scratch": 0.18, "stain": 0.10}


def _place(rng: np.random.Generator, support: Field) -> tuple[float, float]:
    """Draw a pixel (x, y) of the support."""
    rows, columns = np.nonzero(support > 0.5)
    index = int(rng.integers(0, len(rows)))
    return float(columns[index]), float(rows[index])


def _blend(image: Field, change: Field, coverage: Field) -> Field:
    return (image * (1 - coverage[..., None]) + change * coverage[..., None]).astype(np.float32)


def _hole(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """One dark casting pore with a rough outline."""
    size = image.shape[0]
    cover = blob(rng, size, _place(rng, support), size * rng.uniform(0.026, 0.06), 0.3) * support
    return _blend(image, image * np.float32(rng.uniform(0.05, 0.25)), cover), cover


def _scratch(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """One to three nearly parallel bright lines."""
    size = image.shape[0]
    start, heading = _place(rng, support), rng.uniform(0, 2 * np.pi)
    cover = np.zeros(support.shape, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        begin = (start[0] + rng.normal(0, 0.03) * size, start[1] + rng.normal(0, 0.03) * size)
        path = polyline(rng, begin, size * rng.uniform(0.15, 0.4), heading + rng.normal(0, 0.08), 0.02)
        cover = np.maximum(cover, stroke(size, path, rng.uniform(1.3, 2.2) * size / 128))
    cover = cover * support
    return _blend(image, image + np.float32(rng.uniform(0.3, 0.5)), cover), cover


def _stain(rng: np.random.Generator, image: Field, support: Field) -> tuple[Field, Field]:
    """A patch of rust: brown, with a soft edge; the metal's texture shows through."""
    size = image.shape[0]
    cover = blob(rng, size, _place(rng, support), size * rng.uniform(0.06, 0.13), 0.35) * support
    soft = cv2.GaussianBlur(cover, (0, 0), 0.006 * size) * support
    rust = np.asarray([0.80, 0.52, 0.30], np.float32) * rng.uniform(0.8, 1.05)
    mottle = 1 + 0.12 * spectral_noise(rng, size, 1.0)[..., None]
    return _blend(image, image * rust * mottle, soft), (soft > 0.35).astype(np.float32)


CATEGORY_TYPES: dict[str, Defect] = {"hole": _hole, "scratch": _scratch, "stain": _stain}


def render_category(
    root: Path, seed: int = 0, size: int = 128, normals: int = 60, per_type: int = 24, few_shot: int = 8
) -> Path:
    """Write a rendered category in MVTec layout, with a ``split.json`` beside it.

    Args:
        root: category folder; appears whole or not at all. One made with the same settings is left as it is.
        seed: the same seed gives the same files.
        size: side of the pictures in pixels, at least 32.
        normals: normal pictures for training; half as many are made for testing.
        per_type: defect pictures of each type (hole, scratch, stain).
        few_shot: how many of them, the first by name, ``split.json`` lists as few-shot; the others are for testing.

    Returns:
        ``root``.

    Raises:
        SeasError: a number out of range, or ``root`` holds something else.
    """
    root = Path(root)
    settings: dict[str, int | str] = {
        "product": "flange",
        "seed": seed,
        "size": size,
        "normals": normals,
        "per_type": per_type,
        "few_shot": few_shot,
    }
    _check(settings)
    recover_folder(root)
    if root.exists() and any(root.iterdir()):
        if _is_made(root, settings):
            return root
        message = f"{root} holds other files than this rendered category; choose another folder or delete this one."
        raise SeasError(message)
    with atomic_folder(root) as folder:
        for index in range(normals):
            _write(folder / "train" / "good", index, render_flange(np.random.default_rng([seed, 0, index]), size)[0])
        for index in range(max(1, normals // 2)):
            _write(folder / "test" / "good", index, render_flange(np.random.default_rng([seed, 1, index]), size)[0])
        for number, name in enumerate(CATEGORY_TYPES):
            for index in range(per_type):
                image, mask = render_defect(np.random.default_rng([seed, 2 + number, index]), size, name)
                _write(folder / "test" / name, index, image)
                _write(folder / "ground_truth" / name, index, mask * 255, "_mask")
        names = [f"{index:03d}.png" for index in range(per_type)]
        split = {name: {"few_shot": names[:few_shot], "test": names[few_shot:]} for name in CATEGORY_TYPES}
        (folder / "split.json").write_text(json.dumps(split, indent=1) + "\n", encoding="utf-8")
        (folder / _RECORD).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    return root


def render_flange(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], Field]:
    """Render one photo of the flange without a defect.

    Args:
        rng: source of pose (a few degrees, a few pixels), lighting, turning marks and grain.
        size: side in pixels.

    Returns:
        RGB picture, uint8 ``[size, size, 3]``, and where the metal is, float ``[size, size]`` in [0, 1].
    """
    image, metal = _flange(rng, size)
    return _photo(rng, image), metal


def render_defect(
    rng: np.random.Generator, size: int, anomaly_type: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Render one photo of the flange with a defect that can be seen.

    Args:
        rng: source of randomness.
        size: side in pixels.
        anomaly_type: key of ``CATEGORY_TYPES``.

    Returns:
        RGB picture, uint8 ``[size, size, 3]``, and its exact mask, uint8 ``[size, size]`` of 0 and 1, not empty.
    """
    image, metal = _flange(rng, size)
    support = cv2.erode(metal, np.ones((3, 3), np.uint8))
    smallest = _MIN_AREA[anomaly_type] * (size / 128) ** 2
    best: tuple[float, Field, Field] | None = None
    for _ in range(60):
        changed, cover = CATEGORY_TYPES[anomaly_type](rng, image, support)
        inside = cover > 0.5
        if not inside.any():
            continue
        strength = float(np.abs(changed - image).mean(axis=-1)[inside].mean())
        fitness = min(strength / _MIN_CHANGE[anomaly_type], 1.0) + min(float(inside.sum()) / smallest, 1.0)
        if best is None or fitness > best[0]:
            best = (fitness, changed, cover)
        if fitness >= 2:
            break
    if best is None:
        message = f"a {anomaly_type} does not fit on a part of {size} pixels; render it larger."
        raise SeasError(message)
    return _photo(rng, best[1]), (best[2] > 0.5).astype(np.uint8)


def _flange(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Return the picture ``[size, size, 3]`` before the camera, and the metal ``[size, size]`` in [0, 1]."""
    turn = np.deg2rad(rng.uniform(-4, 4))
    shift = rng.uniform(-0.012, 0.012, 2) * size
    scale = rng.uniform(0.985, 1.015) * size
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    x, y = x - (size - 1) / 2 - shift[0], y - (size - 1) / 2 - shift[1]
    radius, angle = np.hypot(x, y), np.arctan2(y, x) - turn

    def disc(distance: Field, share: float) -> Field:
        return np.clip(share * scale - distance + 0.5, 0, 1).astype(np.float32)

    sector = 2 * np.pi / _BOLTS
    folded = (angle + sector / 2) % sector - sector / 2  # all bolt holes on top of one another
    bolt = np.hypot(radius * np.cos(folded) - _BOLT_CIRCLE * scale, radius * np.sin(folded))
    metal = disc(radius, _OUTER) * (1 - disc(radius, _BORE)) * (1 - disc(bolt, _BOLT))

    raised = disc(radius, _STEP)
    light = rng.uniform(0, 2 * np.pi)
    # Turned metal shines in two opposite sectors, more narrowly on the raised ring.
    sheen = 0.20 * np.cos(2 * (angle - light)) * (1 - 0.4 * raised) + 0.10 * np.cos(angle - light)
    grooves = cv2.GaussianBlur(rng.normal(0, 1, (1, size * 2)).astype(np.float32), (0, 0), 1.0)[0]
    marks = np.interp(radius, np.arange(size * 2) / 2, grooves).astype(np.float32)
    field = 0.50 + 0.08 * raised + sheen * 0.5 + 0.035 * marks + 0.012 * spectral_noise(rng, size, 0.4)
    for distance, share, sign in ((radius, _OUTER, 1), (radius, _STEP, -1), (radius, _BORE, 1), (bolt, _BOLT, 1)):
        edge = np.exp(-(((distance - share * scale) / (0.011 * size)) ** 2))
        field = field + sign * edge * (0.16 + 0.12 * np.cos(angle - light))
    tint = np.asarray([1.0, 0.985, 0.95], np.float32)
    ground = 0.09 * (1 + 0.10 * spectral_noise(rng, size, 0.8))[..., None] * np.asarray([0.9, 1.0, 1.15], np.float32)
    image = ground * (1 - metal[..., None]) + field[..., None] * tint * metal[..., None]
    return (image * lighting(rng, size, 0.12)).astype(np.float32), metal


def _photo(rng: np.random.Generator, image: Field) -> NDArray[np.uint8]:
    """Apply exposure, a little sensor noise and 8-bit rounding."""
    noisy = image * rng.uniform(0.92, 1.08) + rng.normal(0, 0.008, image.shape)
    return (np.clip(noisy, 0, 1) * 255 + 0.5).astype(np.uint8)


def _write(folder: Path, index: int, pixels: NDArray[np.uint8], ending: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    (folder / f"{index:03d}{ending}.png").write_bytes(data.tobytes())


def _check(settings: dict[str, int | str]) -> None:
    rules: dict[str, tuple[Callable[[int], bool], str]] = {
        "size": (lambda value: value >= 32, "at least 32 pixels"),
        "normals": (lambda value: value >= 2, "at least 2"),
        "per_type": (lambda value: value >= 1, "at least 1"),
        "few_shot": (lambda value: 1 <= value <= int(settings["per_type"]), "1 up to per_type"),
    }
    for name, (rule, expected) in rules.items():
        if not rule(int(settings[name])):
            message = f"{name} of the rendered category is {settings[name]}; give {expected}."
            raise SeasError(message)


def _is_made(root: Path, settings: dict[str, int | str]) -> bool:
    record = root / _RECORD
    if not record.is_file():
        return False
    try:
        return json.loads(record.read_text(encoding="utf-8")) == settings
    except ValueError:
        return False
