# SPDX-License-Identifier: Apache-2.0
"""Cut-paste of the few-shot defects: the simplest thing that the same images allow, to compare SeaS with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from seas_aug.anomalib_plugin.sources import Triple
from seas_aug.data.category import DefectSample
from seas_aug.data.decode import read_mask, read_rgb
from seas_aug.data.images import resize_mask
from seas_aug.data.paste import paste_defect
from seas_aug.data.variation import move_defect, warp
from seas_aug.errors import SeasError

_KEPT = 512  # decoded pictures kept in memory


class CutPastePool:
    """Few-shot defects pasted on normal images: mirrored, turned and bent a little, anywhere, as bright as around them.

    Each pass pastes every few-shot defect once, on normal images and at places that the caller's generator draws.

    Args:
        samples: few-shot defects of each type, with masks.
        normals: normal training images.
        anomaly_types: only these types; None takes all of them.

    Raises:
        SeasError: an unknown type, no defect, or no normal image.
    """

    def __init__(
        self,
        samples: dict[str, Sequence[DefectSample]],
        normals: Sequence[Path],
        anomaly_types: Sequence[str] | None = None,
    ) -> None:
        unknown = sorted(set(anomaly_types or ()) - set(samples))
        if unknown:
            message = f"there is no few-shot defect of type {', '.join(unknown)}; there are {', '.join(samples)}."
            raise SeasError(message)
        self.samples = [one for name in sorted(anomaly_types or samples) for one in samples[name]]
        if not self.samples or not normals:
            message = "cut-paste saw no few-shot defect or no normal image; it needs at least one of each."
            raise SeasError(message)
        self.normals = list(normals)
        self.anomaly_types = tuple(sorted({sample.anomaly_type for sample in self.samples}))
        self._deck: list[int] = []
        self._cache: OrderedDict[tuple[Path, int, int], Tensor] = OrderedDict()

    def __len__(self) -> int:
        """Number of few-shot defects."""
        return len(self.samples)

    @cached_property
    def native_size(self) -> tuple[int, int]:
        """Height and width of the first few-shot picture in pixels."""
        height, width = read_rgb(self.samples[0].image).shape[:2]
        return int(height), int(width)

    def draw(self, generator: torch.Generator, n: int, size: tuple[int, int]) -> Triple:
        """Draw triples, see :meth:`seas_aug.anomalib_plugin.sources.TripleSource.draw`.

        Args:
            generator: source of every random choice (a CPU generator).
            n: how many, 0 or more.
            size: height and width in pixels.
        """
        triples = [self._paste(generator, size) for _ in range(n)]
        if not triples:
            return torch.zeros(0, 3, *size), torch.zeros(0, 1, *size), torch.zeros(0, 3, *size)
        images, masks, references = (torch.stack(part) for part in zip(*triples, strict=True))
        return images, masks, references

    def reshuffle(self) -> None:
        """Forget what is left of the current pass; the next draw starts a new one."""
        self._deck.clear()

    def _paste(self, generator: torch.Generator, size: tuple[int, int]) -> Triple:
        if not self._deck:
            self._deck = torch.randperm(len(self.samples), generator=generator).tolist()
        sample = self.samples[self._deck.pop()]
        normal = self.normals[int(torch.randint(len(self.normals), (), generator=generator))]
        mirrored = [side for side, draw in ((-1, 0), (-2, 1)) if torch.rand(2, generator=generator)[draw] < 0.5]
        defect, mask, reference = (
            self._load(path, size, is_mask) for path, is_mask in ((sample.image, 0), (sample.mask, 1), (normal, 0))
        )
        image, mask = warp(defect.flip(mirrored), mask.flip(mirrored), generator)
        image, mask = move_defect(image, mask, generator)
        return paste_defect(image, mask, reference), mask, reference

    def _load(self, path: Path, size: tuple[int, int], is_mask: int) -> Tensor:
        key = (path, *size)
        if key not in self._cache:
            self._cache[key] = _read_mask(path, size) if is_mask else _read_picture(path, size)
            while len(self._cache) > _KEPT:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]


# Real files are read as everywhere else: a mask of 0 and 1, a thin crack or an orientation tag changes nothing.


def _read_picture(path: Path, size: tuple[int, int]) -> Tensor:
    pixels = torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)
    return transforms.resize(pixels, list(size), antialias=True).float() / 255


def _read_mask(path: Path, size: tuple[int, int]) -> Tensor:
    mask = read_mask(path)
    if not mask.any():
        raise SeasError(
            f"{path}: the mask of a few-shot defect is empty; mark the defect in it or leave the image out."
        )
    return torch.from_numpy(resize_mask(mask, size[1], size[0]))[None].float()
