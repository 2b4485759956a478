# SPDX-License-Identifier: Apache-2.0
"""A drawer without any network: few-shot texture pasted where the model would draw, normal texture from other images.

It is what the controls are tried on before anything is trained, and the opponent that ``realism`` compares with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.drawing.drawer import Pixels, Proposal, Reference
from benchmarks.drawing.fills import as_pixels, feathered, normal_twin
from benchmarks.drawing.windows import ProductWindows, cut_windows
from seas_aug.data.seeds import derive_seed
from seas_aug.evaluate.window_difference import grown
from seas_aug.evaluate.window_set import WindowSet

_TRIED = 6  # normal windows that a hole is filled from, other ones for each seed
_REACH = 2  # pixels around the mask that are filled too


class PasteDrawer:
    """Pastes and fills as :class:`~benchmarks.drawing.drawer.Drawer`.

    Args:
        run: not looked at, since nothing is trained.
        root: folder of the product.
        size: side of the windows in pixels.
        whole: whole images squashed to squares in place of windows.
    """

    fills_holes = True
    has_severity = True
    mask_threshold = 0.5

    def __init__(self, run: Path, root: Path, size: int = 128, whole: bool = False) -> None:
        self.size, self.whole = size, whole
        self.windows: ProductWindows = cut_windows(root, size, whole)
        self.name = f"paste-1-{root.name}-{size}-{whole}"

    def propose(self, anomaly_type: str, seeds: Sequence[int]) -> list[Proposal]:
        """Paste a few-shot defect, mirrored or not, onto a normal window at its own place."""
        few, normals = self.windows.few_shot, self.windows.train_normals
        rows = [row for row, name in enumerate(few.types) if name == anomaly_type]
        found = []
        for seed in seeds:
            rng = np.random.default_rng(derive_seed(seed, anomaly_type))
            row, index = int(rng.choice(rows)), int(rng.integers(len(normals)))
            image, mask = few.images[row], few.masks[row]
            if rng.integers(2):
                image, mask = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
            reference = normals.images[index]
            start = feathered(reference, _lit(image, reference, mask), mask)
            name = normals.groups[index]
            found.append(Proposal(reference, start, mask, anomaly_type, seed, name, self.windows.names[row]))
        return found

    def draw(
        self,
        proposals: Sequence[Proposal],
        prompt_types: Sequence[tuple[str, ...]],
        seeds: Sequence[int],
        reference: Reference = "own",
        severity: float = 1.0,
    ) -> Pixels:
        """Return the pastes; another type's texture where the prompt says so, and normal texture for none."""
        images = []
        for one, types, seed in zip(proposals, prompt_types, seeds, strict=True):
            if not types:
                images.append(one.reference if reference == "seen" else self._normal(one, seed))
            elif one.anomaly_type in types:
                images.append(one.start)
            else:
                images.append(self._texture(one, types[0], seed))
        drawn = np.stack(images).astype(np.float32)
        references = np.stack([one.reference for one in proposals]).astype(np.float32)
        return as_pixels(references + (drawn - references) * severity)

    def _normal(self, one: Proposal, seed: int) -> Pixels:
        normals = self.windows.train_normals.images
        rows = np.random.default_rng(seed).choice(len(normals), min(_TRIED, len(normals)), replace=False)
        return normal_twin(one.reference, grown(one.mask[None], _REACH)[0], normals[rows])

    def _texture(self, one: Proposal, anomaly_type: str, seed: int) -> Pixels:
        """Fill a mask with the few-shot texture of another type, scaled to its box."""
        few: WindowSet = self.windows.few_shot.of_type(anomaly_type)
        row = int(np.random.default_rng(seed).integers(len(few)))
        (top, bottom), (left, right) = (_ends(one.mask, axis) for axis in (0, 1))
        (a, b), (c, d) = (_ends(few.masks[row], axis) for axis in (0, 1))
        patch = one.reference.copy()
        source = few.images[row][a:b, c:d]
        patch[top:bottom, left:right] = cv2.resize(source, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        return feathered(one.reference, patch, one.mask)

    def masks_of(self, proposals: Sequence[Proposal], images: Pixels) -> Pixels:
        """Return the masks of the pastes."""
        return np.stack([one.mask for one in proposals])

    def find_masks(self, images: Pixels, types: Sequence[str]) -> NDArray[np.float32]:
        """Find nothing, as nothing was learnt."""
        return np.zeros(images.shape[:3], np.float32)

    def through_codec(self, images: Pixels) -> Pixels:
        """Return the windows as they are, since none of them went through an autoencoder."""
        return images


def _lit(image: Pixels, reference: Pixels, mask: Pixels) -> Pixels:
    """Return a defect window as bright around its mask as the reference is there."""
    around = (grown(mask[None], 4)[0] > 0) & (mask == 0)
    light = reference[around].mean(0) - image[around].mean(0) if around.any() else np.zeros(3)
    return as_pixels(image + light)


def _ends(mask: Pixels, axis: int) -> tuple[int, int]:
    places = np.flatnonzero(mask.any(1 - axis))
    return int(places[0]), int(places[-1]) + 1
