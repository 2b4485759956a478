# SPDX-License-Identifier: Apache-2.0
"""Which images of a category are tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.decode import content_hash
from seas_aug.data.few_shot import find_groups
from seas_aug.data.images import load_image, load_mask
from seas_aug.data.split_file import load_split
from seas_aug.errors import SeasError


@dataclass(frozen=True)
class TruePictures:
    """Images with their truth.

    Args:
        images: files.
        masks: the mask of each, None for a normal one.
        names: path of each, relative to the category's folder.
        groups: group of each; images of one group show the same part.
    """

    images: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...]

    def load(self, size: int) -> tuple[Tensor, NDArray[np.bool_]]:
        """Return pictures, uint8 ``[N, 3, size, size]``, and masks, bool ``[N, size, size]``."""
        pictures = torch.stack([load_image(path, size, "squash") for path in self.images])
        return pictures, load_masks(self.masks, size)


def load_masks(masks: Sequence[Path | None], size: int) -> NDArray[np.bool_]:
    """Return masks, bool ``[N, size, size]``; those of normal images are empty."""
    empty = torch.zeros(1, size, size)
    loaded = [empty if path is None else load_mask(path, size, "squash") for path in masks]
    return np.asarray(torch.stack([mask.float() for mask in loaded])[:, 0].numpy() > 0)


def read_test_set(folders: CategoryFolders) -> TruePictures:
    """Return the images that a network is tested on, whatever it was trained on.

    Args:
        folders: the category and its run.

    Returns:
        All test images but the few-shot ones of the run, and others of their groups.

    Raises:
        SeasError: a folder cannot be read, or no defect or no normal image is left to test on.
    """
    category = read_mvtec_folder(folders.root)
    record = load_split(folders.run / "split.json")
    groups = find_groups(category, folders.groups)
    tested: list[tuple[Path, Path | None]] = [(path, None) for path in category.test_others]
    tested += [(one.image, one.mask) for samples in category.defects.values() for one in samples]
    seen = set(record.forbidden_hashes)
    listed = (path for path in (*category.normals, *(image for image, _ in tested)) if groups.lists(path))
    taken = {groups.of(path) for path in listed if content_hash(path) in record.fine_tuning_hashes}
    left = [
        (image, mask) for image, mask in tested if content_hash(image) not in seen and groups.of(image) not in taken
    ]
    if not any(mask is None for _, mask in left) or all(mask is None for _, mask in left):
        message = f"{folders.root}: no normal or no defect test image is left beside the few-shot images; add some."
        raise SeasError(message)
    images = tuple(image for image, _ in left)
    root = folders.root.resolve()  # as the category's own paths
    names = tuple(path.relative_to(root).as_posix() for path in images)
    # A group of one is named after the image, and not after the folder that the category lies in.
    members = tuple(groups.of(path) if groups.lists(path) else name for path, name in zip(images, names, strict=True))
    return TruePictures(images, tuple(mask for _, mask in left), names, members)
