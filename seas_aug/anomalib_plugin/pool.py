# SPDX-License-Identifier: Apache-2.0
"""A folder of generated triples (defect image, mask, reference) that a detector draws from while it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from seas_aug.anomalib_plugin.sources import Triple
from seas_aug.data.decode import read_mask, read_rgb
from seas_aug.data.images import resize_mask
from seas_aug.errors import SeasError
from seas_aug.generate.writer import MANIFEST, first_of_each
from seas_aug.generate.writer import read_manifest as read_lines


@dataclass(frozen=True)
class PoolEntry:
    """Where one triple lies.

    Args:
        image: generated defect image.
        mask: its mask, 0/255.
        reference: the real normal image it started from.
        anomaly_type: name of the folder, several recombined types joined by ``+``.
    """

    image: Path
    mask: Path
    reference: Path
    anomaly_type: str


Entry = TypeVar("Entry", bound=Hashable)


class TriplePool(ABC, Generic[Entry]):
    """Triples that are made when they are drawn, and kept in memory at the detector's size.

    Each pass hands out every triple once, in an order that the caller's generator draws, so that no two epochs look
    alike and no triple is left out.

    Args:
        entries: what the triples are made from.
        cache_bytes: bound on the pictures kept in memory.

    Attributes:
        entries: as given.
        anomaly_types: types of the defects.
        native_size: height and width of the pictures in pixels, as the first of them has it.
    """

    anomaly_types: tuple[str, ...]
    native_size: tuple[int, int]

    def __init__(self, entries: Sequence[Entry], cache_bytes: int = 512 * 2**20) -> None:
        self.entries = tuple(entries)
        self._cache_bytes = cache_bytes
        self._held_bytes = 0
        self._cache: OrderedDict[tuple[Entry, int, int], Triple] = OrderedDict()
        self._deck: list[Entry] = []

    def __len__(self) -> int:
        """Number of triples."""
        return len(self.entries)

    def draw(self, generator: torch.Generator, n: int, size: tuple[int, int]) -> Triple:
        """Draw triples, each once before any comes again.

        Args:
            generator: source of the order (a CPU generator).
            n: how many, 0 or more.
            size: height and width in pixels.

        Returns:
            ``(images, masks, references)``: float32 ``[n, 3, H, W]`` in [0, 1], float32 ``[n, 1, H, W]`` of 0 and 1,
            float32 ``[n, 3, H, W]`` in [0, 1].
        """
        triples = [self._load(self._next(generator), size) for _ in range(n)]
        height, width = size
        if not triples:
            return torch.zeros(0, 3, height, width), torch.zeros(0, 1, height, width), torch.zeros(0, 3, height, width)
        images, masks, references = (torch.stack(part) for part in zip(*triples, strict=True))
        return images.float() / 255, masks.float(), references.float() / 255

    def reshuffle(self) -> None:
        """Forget what is left of the current pass; the next draw starts a new one."""
        self._deck.clear()

    @abstractmethod
    def _make(self, entry: Entry, size: tuple[int, int]) -> Triple:
        """Return a triple as uint8: ``[3, H, W]``, ``[1, H, W]`` of 0 and 1, ``[3, H, W]``."""

    def _next(self, generator: torch.Generator) -> Entry:
        if not self._deck:
            order = torch.randperm(len(self.entries), generator=generator).tolist()
            self._deck = [self.entries[index] for index in order]
        return self._deck.pop()

    def _load(self, entry: Entry, size: tuple[int, int]) -> Triple:
        key = (entry, *size)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        triple = self._make(entry, size)
        self._cache[key] = triple
        self._held_bytes += _bytes(triple)
        while self._held_bytes > self._cache_bytes and self._cache:
            self._held_bytes -= _bytes(self._cache.popitem(last=False)[1])
        return triple


class PairPool(TriplePool[PoolEntry]):
    """Triples of a generated folder, each seen whole, as the detector sees its other images.

    Args:
        folder: what ``seas-aug generate --output`` wrote (``manifest.jsonl`` in it names the files).
        anomaly_types: only these types (``a+b`` for recombined ones); None takes all of them.
        cache_bytes: bound on the decoded pictures kept in memory.
        without: pairs that are not to be drawn.
        most: pairs of each type; the folder may hold more, which were made for something else. None takes all.

    Raises:
        SeasError: no manifest, a file that is missing, an unknown type, or no pair at all.
    """

    def __init__(
        self,
        folder: str | Path,
        anomaly_types: Sequence[str] | None = None,
        cache_bytes: int = 512 * 2**20,
        without: Sequence[PoolEntry] = (),
        most: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        entries = read_manifest(self.folder, most)
        known = sorted({entry.anomaly_type for entry in entries})
        wanted = {name if name in known else "+".join(sorted(name.split("+"))) for name in anomaly_types or ()}
        unknown = sorted(wanted - set(known))
        if unknown:
            message = f"{self.folder} has no pairs of type {', '.join(unknown)}; it has {', '.join(known)}."
            raise SeasError(message)
        chosen = tuple(entry for entry in entries if not wanted or entry.anomaly_type in wanted)
        super().__init__([entry for entry in chosen if entry not in without], cache_bytes)
        if not self.entries:
            message = f"all {len(chosen)} pairs of {self.folder} are evaluated on, so none is left; generate more."
            raise SeasError(message)
        self.anomaly_types = tuple(sorted({entry.anomaly_type for entry in self.entries}))
        height, width = read_rgb(self.entries[0].image).shape[:2]
        self.native_size = (int(height), int(width))

    def _make(self, entry: PoolEntry, size: tuple[int, int]) -> Triple:
        return (
            read_picture(entry.image, size),
            read_mask_file(entry.mask, size),
            read_picture(entry.reference, size),
        )


def read_manifest(folder: Path, most: int | None = None) -> list[PoolEntry]:
    """Read the triples that a generated folder's manifest lists; generated normal images have no mask and are skipped.

    Args:
        folder: folder with ``manifest.jsonl``.
        most: pairs of each type, the first ones; None for all.

    Returns:
        The triples, by type and number.

    Raises:
        SeasError: the manifest or a file is missing, or there is no pair.
    """
    entries = []
    manifest = folder / MANIFEST
    for record in first_of_each(read_lines(folder), most):
        image, mask, reference = record["file"], record["mask"], record["reference"]
        if not mask or not reference:
            continue
        entry = PoolEntry(folder / image, folder / mask, folder / reference, record["folder"])
        missing = [path for path in (entry.image, entry.mask, entry.reference) if not path.is_file()]
        if missing:
            message = f"{missing[0]} is named in {manifest} but does not exist; generate the folder again."
            raise SeasError(message)
        entries.append(entry)
    if not entries:
        message = f"{manifest} lists no defect pair; run `seas-aug generate` with --num_images 1 or more."
        raise SeasError(message)
    return entries


def read_picture(path: Path, size: tuple[int, int]) -> Tensor:
    """Return uint8 ``[3, H, W]``, resized just as anomalib resizes the pictures beside it."""
    image = torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)
    return transforms.resize(image, list(size), antialias=True).contiguous()


def read_mask_file(path: Path, size: tuple[int, int]) -> Tensor:
    """Return uint8 ``[1, H, W]`` of 0 and 1; a defect thinner than a pixel of the new size survives."""
    return torch.from_numpy(resize_mask(read_mask(path), size[1], size[0]).copy())[None]


def _bytes(triple: Triple) -> int:
    return sum(part.numel() for part in triple)
