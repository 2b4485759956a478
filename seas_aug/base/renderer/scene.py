# SPDX-License-Identifier: Apache-2.0
"""One training picture of the embedded base: a product, perhaps a defect, a camera, and a prompt in plain words."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.base.renderer.defects import DEFECTS
from seas_aug.base.renderer.noise import Field
from seas_aug.base.renderer.parts import PARTS, render_part
from seas_aug.base.renderer.surfaces import SURFACES, lighting


@dataclass(frozen=True)
class Scene:
    """A rendered picture.

    Attributes:
        image: uint8 ``[size, size, 3]``, RGB.
        mask: uint8 ``[size, size]``, 1 where the defect is; all 0 without a defect.
        prompt: plain words, such as ``a leather with crack``; ``object`` and ``defect`` stand for any of them.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    prompt: str


def camera(rng: np.random.Generator, image: Field) -> NDArray[np.uint8]:
    """Apply focus, exposure, sensor noise and 8-bit rounding to a float image ``[H, W, 3]``."""
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.9))
    image = image * rng.uniform(0.75, 1.25)
    noise = rng.normal(0, rng.uniform(0, 0.02), (*image.shape[:2], 1 if rng.random() < 0.5 else 3))
    return (np.clip(image + noise, 0, 1) * 255 + 0.5).astype(np.uint8)


def add_defect(rng: np.random.Generator, image: Field, support: Field, name: str) -> tuple[Field, Field]:
    """Put a defect on the product, drawing again (up to eight times) until at least 6 pixels show it."""
    for _ in range(8):
        changed, cover = DEFECTS[name](rng, image, support)
        if (cover > 0.5).sum() >= 6:
            return changed, cover
    return image, np.zeros(support.shape, np.float32)


def render_scene(seed: int, size: int = 128, defect_share: float = 0.6, part_share: float = 0.4) -> Scene:
    """Render one picture.

    Args:
        seed: the same seed gives the same picture.
        size: side in pixels.
        defect_share: probability that the picture has a defect.
        part_share: probability of a part on a background rather than a surface that fills the picture.

    Returns:
        The picture, its exact mask and its prompt.
    """
    rng = np.random.default_rng(seed)
    if rng.random() < part_share:
        noun = str(rng.choice(list(PARTS)))
        image, support = render_part(rng, size, noun)
    else:
        noun = str(rng.choice(list(SURFACES)))
        image, support = SURFACES[noun](rng, size), np.ones((size, size), np.float32)
    image = image * lighting(rng, size, rng.uniform(0, 0.5))
    mask, words = np.zeros((size, size), np.float32), ""
    if rng.random() < defect_share and (support > 0.5).any():
        for name in rng.permutation(list(DEFECTS)):  # the next kind where one cannot be seen: a bend of plain plastic
            image, mask = add_defect(rng, image.astype(np.float32), support, str(name))
            if mask.any():
                words = " with " + ("defect" if rng.random() < 0.3 else str(name))
                break
    noun = "object" if rng.random() < 0.3 else noun
    return Scene(camera(rng, image), (mask > 0.5).astype(np.uint8), f"a {noun}{words}")


def all_words() -> list[str]:
    """Return every word that a prompt can hold, sorted: the vocabulary of the base's tokenizer."""
    nouns = " ".join([*SURFACES, *PARTS, *DEFECTS])
    return sorted({"a", "with", "and", "object", "defect", "good", "photo", "of", *nouns.split()})
