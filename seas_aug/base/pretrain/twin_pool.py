# SPDX-License-Identifier: Apache-2.0
"""Latents of rendered twins, more of them the longer training goes on: rendering and encoding go beside it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from seas_aug.artifact.atomic import atomic_write
from seas_aug.base.pretrain.architecture import NATIVE_SIZE
from seas_aug.base.pretrain.scenes import to_range
from seas_aug.base.renderer.photographs import Photographs
from seas_aug.base.renderer.twin import render_twin, twin_prompts
from seas_aug.errors import SeasError
from seas_aug.latents.codec import encode_latents

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 256  # twins rendered, encoded and saved at a time
_AHEAD = 4  # chunks in the making for each process
_ENCODED = 32  # pictures encoded at a time
_photographs: tuple[str, Photographs | None] = ("", None)  # of a rendering process: path and content


@dataclass(frozen=True)
class TwinRecipe:
    """What a pool is made of.

    Attributes:
        autoencoder: fingerprint of the base whose autoencoder encodes.
        photographs: fingerprint of the packed file, empty for none.
        renderer: version of the code that renders.
        first_seed: twin ``i`` has the seed ``first_seed + i``.
        size: side of the pictures in pixels.
    """

    autoencoder: str
    photographs: str
    renderer: str
    first_seed: int
    size: int = NATIVE_SIZE


@dataclass(frozen=True)
class TwinChunk:
    """Some twins, as they are kept.

    Attributes:
        latents: bfloat16 ``[n, 2, C, h, w]``, scaled: the normal picture and the defect.
        masks: bool ``[n, 1, H, W]``.
        prompts: ``n`` pairs: of the defect, of the normal picture.
    """

    latents: Tensor
    masks: Tensor
    prompts: list[tuple[str, str]]


class TwinPool:
    """Twins in memory, made when they are first asked for.

    Args:
        folder: where chunks are kept for a later run.
        recipe: what they are made of.
        photographs: packed file of the recipe, or None.
        vae: the autoencoder of the recipe, on the device that the latents are kept on.
        most: how many twins there will ever be.
        workers: rendering processes; 0 renders in this one.

    Raises:
        SeasError: the folder holds twins of another recipe.
    """

    def __init__(
        self, folder: Path, recipe: TwinRecipe, photographs: Path | None, vae: Any, most: int, workers: int = 0
    ) -> None:
        self.folder, self.recipe, self.vae = Path(folder), recipe, vae
        self._photographs = "" if photographs is None else str(photographs)
        self.prompts: list[tuple[str, str]] = []
        self.device = next(vae.parameters()).device
        self._most = -(-most // _CHUNK) * _CHUNK
        self._latents: Tensor | None = None
        self._masks = torch.empty(self._most, 1, recipe.size, recipe.size, dtype=torch.bool, device=self.device)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_recipe()
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._coming: dict[int, Future] = {}

    def __len__(self) -> int:
        return len(self.prompts)

    def __deepcopy__(self, _: dict[int, Any]) -> TwinPool:
        """Return the pool itself: a copy of the module that averages its weights needs no twins of its own."""
        return self

    @property
    def latents(self) -> Tensor:
        """bfloat16 ``[N, 2, C, h, w]`` of the twins made so far."""
        if self._latents is None:
            raise RuntimeError("No twins yet: call grow first.")
        return self._latents[: len(self)]

    @property
    def masks(self) -> Tensor:
        """Bool ``[N, 1, H, W]`` of the twins made so far."""
        return self._masks[: len(self)]

    def grow(self, count: int) -> Iterator[TwinChunk]:
        """Make sure that there are ``count`` twins, or as many as there will ever be; yield what is new.

        Args:
            count: wanted; it is rounded up to whole chunks.
        """
        while len(self) < min(count, self._most):
            chunk = self._chunk(len(self) // _CHUNK)
            if self._latents is None:
                self._latents = torch.empty(
                    self._most, *chunk.latents.shape[1:], dtype=torch.bfloat16, device=self.device
                )
            rows = slice(len(self), len(self) + _CHUNK)
            self._latents[rows], self._masks[rows] = chunk.latents.to(self.device), chunk.masks.to(self.device)
            self.prompts += chunk.prompts
            yield chunk

    def close(self) -> None:
        """Stop the rendering processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool, self._coming = None, {}

    def _check_recipe(self) -> None:
        path, mine = self.folder / "recipe.pt", asdict(self.recipe)
        if path.is_file():
            saved = torch.load(path, weights_only=True)
            if saved != mine:
                raise SeasError(f"{self.folder} holds other twins ({saved}) than {mine}; delete it to make these.")
        else:
            with atomic_write(path) as file:
                torch.save(mine, file)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.pt"

    def _chunk(self, number: int) -> TwinChunk:
        path = self._path(number)
        if path.is_file():
            return TwinChunk(**torch.load(path, weights_only=True))
        pictures, masks, prompts = self._rendered(number)
        encoded = [self._encode(part) for part in torch.from_numpy(pictures).flatten(0, 1).split(_ENCODED)]
        latents = torch.cat(encoded).unflatten(0, (-1, 2))
        chunk = TwinChunk(latents.cpu(), torch.from_numpy(masks)[:, None], prompts)
        with atomic_write(path) as file:
            torch.save(dict(vars(chunk)), file)
        return chunk

    @torch.inference_mode()
    def _encode(self, pictures: Tensor) -> Tensor:
        images = torch.stack([to_range(picture) for picture in pictures.numpy()]).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            return encode_latents(self.vae, images).bfloat16()

    def _rendered(self, number: int) -> tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]:
        if not self._workers:
            _start_rendering(self._photographs)
            return _render(self.recipe, number)
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers, multiprocessing.get_context("spawn"), _start_rendering, (self._photographs,)
            )
        last = min(number + _AHEAD * self._workers, self._most // _CHUNK)
        for ahead in range(number, last):
            if ahead not in self._coming and not self._path(ahead).is_file():
                self._coming[ahead] = self._pool.submit(_render, self.recipe, ahead)
        return self._coming.pop(number).result(timeout=600)


def _start_rendering(photographs: str) -> None:
    global _photographs  # noqa: PLW0603  # a process keeps them
    cv2.setNumThreads(1)
    if photographs != _photographs[0]:
        _photographs = photographs, Photographs(Path(photographs)) if photographs else None


def _render(recipe: TwinRecipe, number: int) -> tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]:
    """Return pictures uint8 ``[n, 2, S, S, 3]`` (normal, defect), masks bool ``[n, S, S]`` and prompts of a chunk."""
    first = recipe.first_seed + number * _CHUNK
    twins = [render_twin(seed, recipe.size, _photographs[1]) for seed in range(first, first + _CHUNK)]
    pictures = np.stack([np.stack([twin.reference, twin.image]) for twin in twins])
    prompts = [twin_prompts(twin, np.random.default_rng((1, first + row))) for row, twin in enumerate(twins)]
    return pictures, np.stack([twin.mask for twin in twins]), prompts
