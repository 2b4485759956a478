# SPDX-License-Identifier: Apache-2.0
"""A product folder as windows: few-shot and unseen defects, normals of training and of the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seas_aug.config import DataConfig
from seas_aug.data.category import DefectSample, read_mvtec_folder
from seas_aug.data.decode import read_rgb
from seas_aug.data.few_shot import find_groups, select_few_shot
from seas_aug.data.images import load_image
from seas_aug.data.pictures import needed_sides, seen_defect
from seas_aug.data.seeds import derive_seed
from seas_aug.data.windows import view, window
from seas_aug.errors import SeasError
from seas_aug.evaluate.window_set import WindowSet

NORMAL = "good"
_MOST_NORMALS = 200
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ProductWindows:
    """What is known of a product, as windows of one size.

    Attributes:
        few_shot: defects that the model was trained on.
        unseen: defects of the test lists; nothing of their groups was trained on.
        train_normals: normal windows with empty masks and the type ``good``.
        test_normals: likewise, of images that were not trained on.
        names: file of each few-shot window, such as ``test/crack/000.png``.
    """

    few_shot: WindowSet
    unseen: WindowSet
    train_normals: WindowSet
    test_normals: WindowSet
    names: tuple[str, ...]


def cut_windows(root: Path, size: int, whole: bool = False) -> ProductWindows:
    """Cut the windows of a product; the same ones every time.

    Args:
        root: folder in MVTec layout with ``split.json`` and, where parts were photographed several times,
            ``groups.csv``.
        size: side of the windows in pixels.
        whole: each image is one window, squashed to a square, as version 0.1 sees them; else a window around the
            largest defect of each image, of the sizes that the few-shot defects ask for.

    Raises:
        SeasError: a file is missing or does not fit.
    """
    category = read_mvtec_folder(root)
    split = select_few_shot(category, str(root / "split.json"))
    listed = json.loads((root / "split.json").read_text(encoding="utf-8"))
    unseen = [
        sample
        for name, samples in split.held_out.items()
        for sample in samples
        if sample.image.name in listed.get(name, {}).get("test", ())
    ]
    if not unseen:
        raise SeasError(f"{root / 'split.json'}: lists no test defects; add them under test of each type.")
    groups = find_groups(category, None)
    cutter = _Cutter(size, () if whole else needed_sides(split, DataConfig(), size))

    def defects(samples: Sequence[DefectSample]) -> tuple[WindowSet, tuple[str, ...]]:
        cut = [(sample, cutter.defect(sample)) for sample in samples]
        kept = [(sample, pair) for sample, pair in cut if pair[1].any()]
        return (
            _as_set(
                [pair for _, pair in kept],
                [sample.anomaly_type for sample, _ in kept],
                [groups.of(sample.image) for sample, _ in kept],
            ),
            tuple("/".join(sample.image.parts[-3:]) for sample, _ in kept),
        )

    def normals(paths: Sequence[Path]) -> WindowSet:
        chosen = [paths[int(i)] for i in np.linspace(0, len(paths) - 1, min(len(paths), _MOST_NORMALS)).round()]
        pictures = [cutter.normal(path) for path in chosen]
        empty = np.zeros((size, size), np.uint8)
        return _as_set(
            [(picture, empty) for picture in pictures], [NORMAL] * len(chosen), [groups.of(path) for path in chosen]
        )

    few_shot, names = defects(split.samples)
    good = [path for path in category.test_others if path.parent.name == NORMAL and path not in split.excluded]
    return ProductWindows(few_shot, defects(unseen)[0], normals(category.normals), normals(good), names)


def _as_set(pairs: Sequence[tuple[Pixels, Pixels]], types: Sequence[str], groups: Sequence[str]) -> WindowSet:
    if not pairs:
        raise SeasError("a product lacks few-shot, test or normal images; add them, as in MVTec AD's layout.")
    images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
    return WindowSet(images, masks, list(types), list(groups))


class _Cutter:
    """What a model sees of a product: windows of the sizes that its few-shot defects ask for, or whole images.

    Args:
        size: side of the windows in pixels.
        sides: sizes in pixels of the images; none for whole images.
    """

    def __init__(self, size: int, sides: tuple[int, ...]) -> None:
        self.size, self.sides = size, sides

    def defect(self, sample: DefectSample) -> tuple[Pixels, Pixels]:
        image, mask = seen_defect(sample, self.size, self.sides, "squash")
        return np.ascontiguousarray(image.permute(1, 2, 0).numpy()), mask[0].numpy()

    def normal(self, path: Path) -> Pixels:
        if not self.sides:
            return np.ascontiguousarray(load_image(path, self.size, "squash").permute(1, 2, 0).numpy())
        image = read_rgb(path)
        # By the last folders only, so that windows do not depend on where the product lies.
        generator = torch.Generator().manual_seed(derive_seed(0, "/".join(path.parts[-3:])))
        draw: Callable[[int], int] = lambda n: int(torch.randint(n, (), generator=generator))  # noqa: E731
        side = min(self.sides[draw(len(self.sides))], *image.shape[:2])
        top, left = (draw(length - side + 1) for length in image.shape[:2])
        return view(image, window(top, left, side, image.shape), self.size)
