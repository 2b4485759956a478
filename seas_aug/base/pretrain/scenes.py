# SPDX-License-Identifier: Apache-2.0
"""The only training data of the embedded base: a pool of rendered scenes, cut and turned at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from seas_aug.base.renderer.scene import Scene, render_scene
from seas_aug.base.renderer.twin import render_twin, twin_prompts

if TYPE_CHECKING:
    from torch import Tensor

    from seas_aug.base.renderer.photographs import Photographs

_NORMAL_SHARE = 0.4


class ScenePool:
    """Rendered scenes in memory: ``images`` uint8 ``[N, H, W, 3]``, ``masks`` bool ``[N, H, W]``, ``prompts``.

    Args:
        count: number of scenes.
        size: side in pixels.
        first_seed: scene ``i`` has the seed ``first_seed + i``.
        photographs: real surfaces that some of the scenes lie on.
    """

    def __init__(self, count: int, size: int, first_seed: int = 0, photographs: Photographs | None = None) -> None:
        def render(seed: int) -> Scene:
            return render_scene(seed, size) if photographs is None else as_scene(seed, size, photographs)

        scenes = [render(first_seed + index) for index in tqdm(range(count), desc="rendering scenes")]
        self.images = np.stack([scene.image for scene in scenes])
        self.masks = np.stack([scene.mask > 0 for scene in scenes])
        self.prompts = [scene.prompt for scene in scenes]

    def __len__(self) -> int:
        return len(self.prompts)


def as_scene(seed: int, size: int, photographs: Photographs) -> Scene:
    """Render one side of a twin: sometimes the normal one.

    Args:
        seed: of the twin.
        size: side in pixels.
        photographs: real surfaces.
    """
    twin, rng = render_twin(seed, size, photographs), np.random.default_rng((2, seed))
    defect, normal = twin_prompts(twin, rng)
    if rng.random() < _NORMAL_SHARE:
        return Scene(twin.reference, np.zeros_like(twin.mask, np.uint8), normal)
    return Scene(twin.image, twin.mask.astype(np.uint8), defect)


def to_range(image: np.ndarray) -> Tensor:
    """Turn uint8 ``[H, W, 3]`` into float32 ``[3, H, W]`` in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 127.5 - 1


class CropDataset(Dataset):
    """Random crops of the pool, turned and mirrored; item ``i`` is the same in every run.

    Args:
        pool: rendered scenes.
        crop: side of the crop in pixels.
        length: number of items.
        seed: seed of the crops.
    """

    def __init__(self, pool: ScenePool, crop: int, length: int, seed: int = 0) -> None:
        self.pool, self.crop, self.length, self.seed = pool, crop, length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        """Return a float32 crop ``[3, crop, crop]`` in [-1, 1]."""
        rng = np.random.default_rng((self.seed, index))
        image = self.pool.images[rng.integers(len(self.pool))]
        top, left = rng.integers(0, image.shape[0] - self.crop + 1, 2)
        image = np.rot90(image[top : top + self.crop, left : left + self.crop], int(rng.integers(0, 4)))
        image = image[:, ::-1] if rng.random() < 0.5 else image
        # A random exposure keeps the autoencoder from relying on the renderer's own brightness.
        image = image.astype(np.float32) * rng.uniform(0.5, 1.2)
        return to_range(np.clip(image, 0, 255))
