# SPDX-License-Identifier: Apache-2.0
"""What the camera sees of the power board: another pose, surface and light in each photo."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.base.renderer.board.defects import Change
from seas_aug.base.renderer.board.part import Layout, make_textures
from seas_aug.base.renderer.noise import Field

_METAL, _LAMINATE, _COPPER = (0.60, 0.595, 0.58), (0.075, 0.165, 0.125), (0.74, 0.575, 0.365)
_BACKDROP = (0.085, 0.095, 0.115)
_COPPER_HEIGHT = 0.9  # pixels


@dataclass(frozen=True)
class Scene:
    """What is in front of the camera, without a defect; all fields float32 ``[H, W]``.

    Attributes:
        part: coverage with the part in [0, 1]; not in its holes.
        laminate: coverage of the part with laminate in [0, 1]; under the copper too.
        copper: coverage of the laminate with copper in [0, 1].
        height: relief without the copper, in pixels.
        metal: brightness of the metal around 1.
        resin: brightness of the bare laminate around 1.
        foil: brightness of the copper around 1.
        ground: brightness of the backdrop around 1, in the shadow of the part less.
        light: light that falls on all of it, around 1.
        towards_lamp: direction x, y of length 1.
    """

    part: Field
    laminate: Field
    copper: Field
    height: Field
    metal: Field
    resin: Field
    foil: Field
    ground: Field
    light: Field
    towards_lamp: tuple[float, float]

    def cut(self, rows: slice, columns: slice) -> Scene:
        """Return a piece of the scene; its fields are views."""
        fields = {name: value[rows, columns] for name, value in vars(self).items() if name != "towards_lamp"}
        return Scene(**fields, towards_lamp=self.towards_lamp)


def draw_pose(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> NDArray[np.float64]:
    """Draw how the part lies: turned by up to 1.8 degrees, moved by up to 8 pixels, up to 1 % nearer or further.

    Args:
        rng: source of randomness.
        shape: height and width of the photo in pixels.
        scale: factor on the movement.

    Returns:
        Matrix ``[2, 3]`` from a point (x, y, 1) of the layout to one of the photo.
    """
    middle = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    pose = np.asarray(cv2.getRotationMatrix2D(middle, rng.uniform(-1.8, 1.8), rng.uniform(0.99, 1.01)), np.float64)
    pose[:, 2] += rng.uniform(-8, 8, 2) * scale
    return pose


def move(field: Field, pose: NDArray[np.float64], interpolation: int = cv2.INTER_LINEAR) -> Field:
    """Return a field ``[H, W]`` of the layout as it lies in the photo, 0 beyond its borders."""
    return cv2.warpAffine(field, pose, (field.shape[1], field.shape[0]), flags=interpolation)


def draw_scene(rng: np.random.Generator, layout: Layout, pose: NDArray[np.float64], scale: float) -> Scene:
    """Draw surface and light of one photo.

    Args:
        rng: source of randomness.
        layout: the part, for photos of its size.
        pose: how it lies, see :func:`draw_pose`.
        scale: size of what is seen.
    """
    shape = (layout.part.shape[0], layout.part.shape[1])
    brushed, grain = make_textures()
    turn = rng.uniform(0, 2 * np.pi)
    lamp = (float(np.cos(turn)), float(np.sin(turn)))
    part, laminate, copper = (
        move(cover, pose).astype(np.float32) / 255 for cover in (layout.part, layout.laminate, layout.copper)
    )
    light, sheen = _draw_light(rng, shape)
    metal = _texture(rng, brushed, pose, shape) * np.float32(rng.uniform(0.05, 0.085))
    metal += 1
    metal *= sheen
    fine = _texture(rng, grain, pose, shape)
    resin = np.float32(rng.uniform(0.05, 0.09)) * fine + 1
    resin *= 0.75 + 0.25 * sheen
    # Foil was rolled in the direction in which the plate was brushed; its grain hardly shows.
    foil = metal * np.float32(0.55) + np.float32(0.45)
    foil *= np.float32(rng.uniform(0.015, 0.035)) * fine + 1
    metal *= move(layout.tone, pose)
    ground = 0.10 * _texture(rng, grain, np.eye(2, 3), shape) + 1
    ground *= 1 - _shadow(part, lamp, scale)
    height = move(layout.height, pose)
    return Scene(part, laminate, copper, height, metal, resin, foil, ground, light, towards_lamp=lamp)


def render_scene(scene: Scene, change: Change | None = None) -> Field:
    """Return what falls on the sensor.

    Args:
        scene: what is in front of the camera, ``[h, w]``.
        change: a defect in it, of the same size.

    Returns:
        RGB, float32 ``[h, w, 3]``, 1 is white; may exceed 1.
    """
    copper, height = scene.copper, scene.height
    if change is not None:
        copper = np.clip(copper + change.copper, 0, 1).astype(np.float32)
        height = (height + change.height).astype(np.float32)
    right, down = scene.towards_lamp
    # What falls towards the lamp faces it: Sobel's slope in that direction, turned round.
    kernel = -0.125 * np.asarray(
        [[-right - down, -2 * down, right - down], [-2 * right, 0, 2 * right], [-right + down, 2 * down, right + down]]
    )
    slope: Field = cv2.filter2D(
        height + copper * np.float32(_COPPER_HEIGHT), -1, kernel.astype(np.float32), borderType=cv2.BORDER_REPLICATE
    )
    shade = (1 + np.float32(0.42) * np.clip(slope, -1.2, 1.2)) * scene.light
    shade *= scene.part
    metal = scene.metal * ((1 - scene.laminate) * shade)
    resin = scene.resin * (scene.laminate * (1 - copper) * shade)
    foil = scene.foil * (scene.laminate * copper * shade)
    ground = scene.ground * (1 - scene.part) * scene.light
    picture: Field = np.empty((*scene.part.shape, 3), np.float32)
    for channel in range(3):
        mixed = metal * np.float32(_METAL[channel])
        mixed += resin * np.float32(_LAMINATE[channel])
        mixed += foil * np.float32(_COPPER[channel])
        mixed += ground * np.float32(_BACKDROP[channel])
        picture[..., channel] = mixed
    if change is not None:
        changed = picture * change.gain + change.glare * scene.light[..., None]
        picture += change.cover[..., None] * (changed - picture)
    return picture


def expose(picture: Field, exposure: float, noise: Field) -> NDArray[np.uint8]:
    """Take the photo: exposure, sensor noise that grows with the light, and 8 bits.

    Args:
        picture: what falls on the sensor, ``[h, w, 3]``.
        exposure: factor on it.
        noise: standard normal noise times its deviation in mid grey, 1 is white; ``[h, w, 3]``.

    Returns:
        uint8 ``[h, w, 3]``.
    """
    seen = picture * np.float32(255 * exposure)
    seen += noise * (picture * 150 + 165)
    seen += 0.5
    return np.clip(seen, 0, 255).astype(np.uint8)


def _texture(rng: np.random.Generator, texture: Field, pose: NDArray[np.float64], shape: tuple[int, int]) -> Field:
    """Return another piece of a texture in each photo, in the pose of the part."""
    # Mirrored at its borders where the picture is larger than the texture.
    down, right = (
        int(rng.integers(0, max(have - need, have // 2))) for have, need in zip(texture.shape, shape, strict=True)
    )
    matrix = np.vstack([pose, [0, 0, 1]]) @ np.asarray([[1, 0, -right], [0, 1, -down], [0, 0, 1.0]])
    return cv2.warpAffine(texture, matrix[:2], shape[::-1], borderMode=cv2.BORDER_REFLECT)


def _draw_light(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field]:
    """Return the light and how metal mirrors the lamp, ``[H, W]`` around 1."""
    down = np.linspace(-0.5, 0.5, 48)[:, None] * shape[0] / max(shape)
    right = np.linspace(-0.5, 0.5, 64)[None, :] * shape[1] / max(shape)
    light = 1.06 + rng.normal(0, 0.09) * right + rng.normal(0, 0.09) * down
    light = light - rng.uniform(0.1, 0.35) * (right**2 + down**2)
    along = right + rng.uniform(-0.3, 0.3) * down
    sheen = 1 + rng.normal(0, 0.12) * along
    for _ in range(2):  # brushed from left to right, it mirrors a lamp as an upright band
        strength, middle, spread = rng.uniform(0.04, 0.2), rng.uniform(-0.5, 0.5), rng.uniform(0.08, 0.3)
        sheen = sheen + strength * np.exp(-(((along - middle) / spread) ** 2))
    return _enlarge(light, shape), _enlarge(sheen, shape)


def _shadow(part: Field, towards_lamp: tuple[float, float], scale: float) -> Field:
    """Return how much of the light the part keeps from the backdrop, ``[H, W]``; it lies a little above it."""
    small = cv2.resize(part, [max(side // 4, 8) for side in part.shape[::-1]], interpolation=cv2.INTER_AREA)
    offset = np.asarray([[1, 0, -towards_lamp[0] * 4 * scale], [0, 1, -towards_lamp[1] * 4 * scale]])
    small = cv2.warpAffine(small, offset, (small.shape[1], small.shape[0]))
    return 0.75 * _enlarge(cv2.GaussianBlur(small, (0, 0), 2.5 * scale), (part.shape[0], part.shape[1]))


def _enlarge(field: Field, shape: tuple[int, int]) -> Field:
    """Return a smooth field at another size; smooth fields are made small, which is fast."""
    return cv2.resize(field.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)
