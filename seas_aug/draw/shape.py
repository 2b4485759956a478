# SPDX-License-Identifier: Apache-2.0
"""Step 1 of drawing: the shape of a defect, with the few-shot texture that a small base starts from.

Not part of the paper, which starts from a normal image alone: Stable Diffusion invents a defect out of noise, a small
base cannot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from seas_aug.config import DrawConfig
from seas_aug.data.augmentation import Augmentation, draw_augmentation
from seas_aug.data.images import resize_mask
from seas_aug.data.windows import Box, scale_pixels
from seas_aug.draw.few_shot import Defect, FewShotDefects

SCALES = (0.75, 1.35)
"""Smallest and largest factor by which a few-shot defect is scaled, where no size is asked for."""
_SURROUNDINGS = 0.5  # of the extent: how far the texture around a defect reaches that its place is chosen by
_LEAST, _MOST = 10, 40  # pixels of the same
_SMALLEST = 3  # pixels of extent

Borders = tuple[bool, bool, bool, bool]


@dataclass(frozen=True, eq=False)
class Shape:
    """A defect to be put somewhere: its mask with a margin on all sides, and what it looked like where it was.

    Attributes:
        mask: uint8 ``[h, w]`` of 0 and 1, empty within ``margin`` pixels of each side and not further in.
        texture: few-shot image there, uint8 ``[h, w, 3]``.
        known: uint8 ``[h, w]`` of 0 and 1: where ``texture`` was part of the image and showed no other defect.
        margin: pixels.
        anomaly_type: its type.
        source: few-shot image it comes from.
        touches: whether it touched the top, left, bottom and right border of its image, and so belongs there.
        on_backdrop: share of it that lay beside the part; 1 where the product has no backdrop.
    """

    mask: NDArray[np.uint8]
    texture: NDArray[np.uint8]
    known: NDArray[np.uint8]
    margin: int
    anomaly_type: str
    source: str
    touches: Borders = (False, False, False, False)
    on_backdrop: float = 1.0

    @property
    def height(self) -> int:
        """Rows of the defect itself."""
        return self.mask.shape[0] - 2 * self.margin

    @property
    def width(self) -> int:
        """Columns of the defect itself."""
        return self.mask.shape[1] - 2 * self.margin

    @property
    def extent(self) -> int:
        """The longer side of the defect in pixels."""
        return max(self.height, self.width)


def propose_shape(
    few_shot: FewShotDefects, anomaly_type: str, settings: DrawConfig, generator: torch.Generator, turn: bool
) -> Shape:
    """Return a few-shot defect of a type, mirrored and scaled at random.

    Args:
        few_shot: of the model.
        anomaly_type: one of its types.
        settings: ``size``: the range that the extent has to be in.
        generator: source of randomness; always the same number of draws.
        turn: turn it by any angle too, where it touches no border.
    """
    members = few_shot.of_type(anomaly_type)
    chosen = members[int(torch.randint(len(members), (), generator=generator))]
    mirror = draw_augmentation(generator, few_shot.rotate, few_shot.flip)
    draws = torch.rand(2, generator=generator).tolist()
    shape = _mirrored(cut_shape(few_shot, chosen), mirror)
    if settings.size is None:
        factor = SCALES[0] * (SCALES[1] / SCALES[0]) ** draws[0]
    else:
        low, high = settings.size
        factor = low * (high / low) ** draws[0] / shape.extent
    across = [shape.touches[side] and shape.touches[side + 2] for side in (0, 1)]
    if settings.size is not None or not any(across):  # what fills its image is as large as the image
        shape = scaled(shape, factor, factor)
    if settings.size is not None:  # which would no longer be so if it were to reach from border to border
        top, left, bottom, right = (one and not across[side % 2] for side, one in enumerate(shape.touches))
        shape = replace(shape, touches=(top, left, bottom, right))
    if turn and not any(shape.touches):
        shape = turned(shape, 360 * draws[1])
        if settings.size is not None:  # turning changes the extent
            low, high = settings.size
            wanted = min(max(shape.extent, low), high)
            shape = shape if wanted == shape.extent else scaled(shape, wanted / shape.extent, wanted / shape.extent)
    return shape


def cut_shape(few_shot: FewShotDefects, defect: Defect) -> Shape:
    """Return a few-shot defect as it is.

    Args:
        few_shot: of the model.
        defect: one of its defects.
    """
    image, mask, box = few_shot.images[defect.member], few_shot.masks[defect.member], defect.box
    margin = round(min(max(_SURROUNDINGS * box.extent, _LEAST), _MOST)) + 2
    height, width = mask.shape
    touches = (box.top == 0, box.left == 0, box.top + box.height == height, box.left + box.width == width)
    own = np.zeros_like(mask)
    box.cut(own)[:] = box.cut(mask)
    other = np.asarray(cv2.dilate(mask - own, np.ones((3, 3), np.uint8)), dtype=np.uint8)
    wide = Box(box.top - margin, box.left - margin, box.height + 2 * margin, box.width + 2 * margin)
    return Shape(
        mask=_padded(own, wide, cv2.BORDER_CONSTANT),
        texture=_padded(image, wide, cv2.BORDER_REFLECT_101),
        known=_padded(np.uint8(1) - other, wide, cv2.BORDER_CONSTANT),
        margin=margin,
        anomaly_type=defect.anomaly_type,
        source=few_shot.names[defect.member],
        touches=touches,
        on_backdrop=few_shot.on_backdrop.get(defect, 1.0),
    )


def scaled(shape: Shape, down: float, right: float) -> Shape:
    """Return a shape stretched by a factor along each side.

    Args:
        shape: what to stretch.
        down: factor of its height.
        right: factor of its width.
    """
    height, width = (max(1, round(length * factor)) for length, factor in ((shape.height, down), (shape.width, right)))
    if max(height, width) < _SMALLEST:
        height = width = _SMALLEST
    if (height, width) == (shape.height, shape.width):
        return shape
    inner = slice(shape.margin, -shape.margin)
    # The defect itself has to become exactly so large, and the margin along with it, each to whole pixels.
    own = np.ascontiguousarray(shape.mask[inner, inner])
    marked = resize_mask(own, width, height)
    for end in (0, -1):  # those of a thin line may be lost
        if not marked[end].any():
            marked[end] = resize_mask(np.ascontiguousarray(own[end][None]), width, 1)[0]
        if not marked[:, end].any():
            marked[:, end] = resize_mask(np.ascontiguousarray(own[:, end][:, None]), 1, height)[:, 0]
    factors = height / shape.height, width / shape.width
    margin = min(max(_LEAST + 2, round(shape.margin * min(factors))), _MOST + 2)
    used = min(shape.margin, math.ceil(margin / min(factors)) + 1)  # of a much larger one, the rest is not scaled
    tall, wide = (max(1, round(used * factor)) for factor in factors)
    whole = Box(tall - margin, wide - margin, height + 2 * margin, width + 2 * margin)
    first = shape.margin - used
    around = Box(first, first, shape.height + 2 * used, shape.width + 2 * used)
    texture, known = (
        scale_pixels(np.ascontiguousarray(around.cut(one)), width + 2 * wide, height + 2 * tall)
        for one in (shape.texture, shape.known)
    )
    return replace(
        shape,
        mask=np.pad(marked, margin),
        texture=_padded(np.ascontiguousarray(texture), whole, cv2.BORDER_REFLECT_101),
        known=_padded(np.ascontiguousarray(known), whole, cv2.BORDER_CONSTANT),
        margin=margin,
    )


def turned(shape: Shape, degrees: float) -> Shape:
    """Return a shape turned around its middle.

    Args:
        shape: one that belongs to no border.
        degrees: counter-clockwise.
    """
    height, width = shape.mask.shape
    side = math.ceil(math.hypot(height, width)) + 2
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    matrix[:, 2] += ((side - width) / 2, (side - height) / 2)
    size, mirror = (side, side), cv2.BORDER_REFLECT
    texture = np.asarray(
        cv2.warpAffine(shape.texture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=mirror), dtype=np.uint8
    )
    known = np.asarray(cv2.warpAffine(shape.known, matrix, size, flags=cv2.INTER_NEAREST), dtype=np.uint8)
    share = cv2.warpAffine(shape.mask.astype(np.float32), matrix, (side, side), flags=cv2.INTER_LINEAR)
    # Above a third, not a half, or a line of a pixel would break.
    mask = (share > 0.34).astype(np.uint8)
    if not mask.any():
        return shape
    return _trimmed(replace(shape, mask=mask, texture=texture, known=known))


def with_mask(shape: Shape, mask: NDArray[np.uint8]) -> Shape:
    """Return another outline filled with the texture of a defect: what lies inside it goes on to wherever is bare.

    Args:
        shape: gives the texture.
        mask: uint8 ``[h, w]`` of 0 and 1, the outline, not empty.
    """
    box = _hull_of(mask)
    height, width = box.height, box.width
    factor = max(1.0, max(height, width) / shape.extent)
    source = scaled(shape, factor, factor) if factor > 1 else shape
    inside = source.mask > 0
    # Each pixel outside of the defect takes the value of the nearest one inside.
    _, nearest = cv2.distanceTransformWithLabels(
        1 - source.mask, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    values[nearest[inside]] = source.texture[inside]
    filled = values[nearest]
    margin = shape.margin
    wide = (source.mask.shape[0] - height - 2 * margin) // 2, (source.mask.shape[1] - width - 2 * margin) // 2
    whole = Box(wide[0], wide[1], height + 2 * margin, width + 2 * margin)
    return replace(
        source,
        mask=np.pad(np.ascontiguousarray(box.cut(mask)), margin),
        texture=_padded(filled, whole, cv2.BORDER_REFLECT_101),
        known=np.zeros((height + 2 * margin, width + 2 * margin), np.uint8),
        margin=margin,
        touches=(False, False, False, False),
    )


def _mirrored(shape: Shape, mirror: Augmentation) -> Shape:
    def turn(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        pixels = np.rot90(pixels, mirror.quarter_turns)
        side = {"none": None, "horizontal": 1, "vertical": 0}[mirror.flip]
        return np.ascontiguousarray(pixels if side is None else np.flip(pixels, side))

    top, left, bottom, right = shape.touches
    for _ in range(mirror.quarter_turns):
        top, left, bottom, right = right, top, left, bottom  # counter-clockwise: what was right is now on top
    if mirror.flip == "horizontal":
        left, right = right, left
    if mirror.flip == "vertical":
        top, bottom = bottom, top
    return replace(
        shape,
        mask=turn(shape.mask),
        texture=turn(shape.texture),
        known=turn(shape.known),
        touches=(top, left, bottom, right),
    )


def _trimmed(shape: Shape) -> Shape:
    """Return a shape whose margin is again exactly as wide as it says."""
    box, margin = _hull_of(shape.mask), shape.margin
    wide = Box(box.top - margin, box.left - margin, box.height + 2 * margin, box.width + 2 * margin)
    return replace(
        shape,
        mask=_padded(shape.mask, wide, cv2.BORDER_CONSTANT),
        texture=_padded(shape.texture, wide, cv2.BORDER_REFLECT_101),
        known=_padded(shape.known, wide, cv2.BORDER_CONSTANT),
    )


def _hull_of(mask: NDArray[np.uint8]) -> Box:
    left, top, width, height = cv2.boundingRect(mask)
    return Box(top, left, height, width)


def _padded(pixels: NDArray[np.uint8], box: Box, border: int) -> NDArray[np.uint8]:
    """Return a part of a picture that may reach beyond it."""
    height, width = pixels.shape[:2]
    beyond = max(0, -box.top, -box.left, box.top + box.height - height, box.left + box.width - width)
    if beyond:
        # A mirror image is as wide as the picture at most; what is further away repeats.
        kind = cv2.BORDER_REPLICATE if border != cv2.BORDER_CONSTANT and beyond >= min(height, width) else border
        pixels = np.asarray(cv2.copyMakeBorder(pixels, beyond, beyond, beyond, beyond, kind), dtype=np.uint8)
    shifted = Box(box.top + beyond, box.left + beyond, box.height, box.width)
    return np.ascontiguousarray(shifted.cut(pixels))
