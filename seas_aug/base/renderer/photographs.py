# SPDX-License-Identifier: Apache-2.0
"""Photographs of real surfaces in one packed file, which travels where folders of pictures do not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from seas_aug.artifact.atomic import atomic_write
from seas_aug.base.renderer.noise import Field
from seas_aug.errors import SeasError

_ENDINGS = (".jpg", ".jpeg", ".png")
_GENERIC = "surface"  # noun where a folder mixes materials
_MIXED = ("polyhaven", "nobiax")
_LARGEST_VIEW = 3  # a cut shows at most so many times the side it is scaled to
_GREY_SHARE = 0.35


class Photographs:
    """Real surfaces with the material as noun.

    Args:
        path: packed file of :func:`pack_photographs`.

    Attributes:
        fingerprint: hash of the pictures.

    Raises:
        SeasError: there is no such file.
    """

    def __init__(self, path: Path) -> None:
        if not Path(path).is_file():
            message = (
                f"photographs {path}: no such file; make it with 'python -m seas_aug.base.pretrain pack_photographs'."
            )
            raise SeasError(message)
        with np.load(path, allow_pickle=False) as packed:
            data, ends, self._nouns = packed["data"], packed["ends"], [str(noun) for noun in packed["nouns"]]
        self.fingerprint = hashlib.sha256(data.tobytes()).hexdigest()[:16]
        starts = [0, *ends[:-1].tolist()]
        # Decoded once: a cut is drawn in a fraction of the time that decoding takes.
        self._pictures = [
            np.asarray(cv2.imdecode(data[start:end], cv2.IMREAD_COLOR_RGB), dtype=np.uint8)
            for start, end in zip(starts, ends, strict=True)
        ]
        # Large pictures hold more different cuts than small ones.
        weights = np.sqrt([picture.shape[0] * picture.shape[1] for picture in self._pictures])
        self._shares = weights / weights.sum()

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def materials(self) -> list[str]:
        """Nouns, sorted, each once."""
        return sorted(set(self._nouns))

    def cut(self, rng: np.random.Generator, size: int) -> tuple[Field, str]:
        """Return a random square, float32 ``[size, size, 3]`` in [0, 1], turned, mirrored, sometimes grey; its noun."""
        index = int(rng.choice(len(self), p=self._shares))
        picture = self._pictures[index]
        most = min(picture.shape[:2])
        side = int(rng.integers(min(size, most), min(most, _LARGEST_VIEW * size) + 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
        method = cv2.INTER_AREA if side >= size else cv2.INTER_CUBIC
        scaled = cv2.resize(picture[top : top + side, left : left + side], (size, size), interpolation=method)
        square = np.rot90(scaled, int(rng.integers(4)))
        square = square[:, ::-1] if rng.random() < 0.5 else square
        image = np.ascontiguousarray(square).astype(np.float32) / 255
        if rng.random() < _GREY_SHARE:
            image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
        return image * np.float32(rng.uniform(0.6, 1.2)), self._nouns[index]


def pack_photographs(
    source: Path, output: Path = Path("runs/base/photographs.npz"), side: int = 512, quality: int = 80
) -> None:
    """Pack folders of photographs into one file of JPEGs.

    Args:
        source: folder of folders; the name of the folder that a picture lies in is its noun.
        output: file to write.
        side: larger pictures are reduced to so many pixels.
        quality: of the JPEGs.

    Raises:
        SeasError: there is no picture, or one cannot be read.
    """
    paths = sorted(path for path in Path(source).rglob("*") if path.suffix.lower() in _ENDINGS)
    if not paths:
        raise SeasError(f"{source} holds no photograph (.jpg, .png); give the folder of the surfaces.")
    blobs, nouns = [], []
    for path in tqdm(paths, desc="packing photographs"):
        read = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if read is None:
            raise SeasError(f"{path} cannot be read as a picture; take it out or save it again.")
        scale = side / max(read.shape[:2])
        if scale < 1:
            read = np.asarray(cv2.resize(read, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        blobs.append(cv2.imencode(".jpg", read, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].ravel())
        nouns.append(_GENERIC if path.parent.name in _MIXED else path.parent.name.replace("_", " "))
    with atomic_write(Path(output)) as file:
        np.savez(file, data=np.concatenate(blobs), ends=np.cumsum([len(blob) for blob in blobs]), nouns=nouns)
