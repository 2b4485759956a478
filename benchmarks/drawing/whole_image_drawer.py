# SPDX-License-Identifier: Apache-2.0
"""Version 0.1's way: whole images squashed to squares, a copied few-shot defect redrawn at little noise.

Everything that depends on that version is in this file. The package no longer has its modules: copy this folder,
``seas_aug/data/windows.py``, ``seas_aug/data/pictures.py`` and what ``seas_aug/evaluate`` has in addition onto a
checkout of version 0.1; run there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.drawing.drawer import Pixels, Proposal, Reference
from seas_aug.artifact.model_hash import find_model, model_hash
from seas_aug.data.images import from_model_range, to_model_range
from seas_aug.data.seeds import derive_seed
from seas_aug.errors import SeasError

_BATCH = 8
_NAME = "whole-1"  # of what this file does with a model; a change makes cached windows worthless


class WholeImageDrawer:
    """A model of version 0.1 as :class:`~benchmarks.drawing.drawer.Drawer`.

    Args:
        run: run folder of ``seas-aug finetune``, or the model in it.
        root: folder of the product; the model has all it needs of it.

    Raises:
        SeasError: there is no finished model.
    """

    whole = True
    fills_holes = False
    has_severity = False

    def __init__(self, run: Path, root: Path | None = None) -> None:
        folder = find_model(run)
        self._pipe: Any = _old("pipeline", "seas_pipeline").SeaSPipeline.from_pretrained(folder)
        self._pipe.to("cuda" if torch.cuda.is_available() else "cpu")
        if self._pipe.few_shot is None or self._pipe.references is None:
            raise SeasError(f"{run}: the model has no few-shot defects or references to draw from; fine-tune again.")
        self.name = f"{_NAME}-{model_hash(folder)}"
        self.size = int(self._pipe.config.image_size)
        self.mask_threshold = float(self._pipe.sampling.mask_threshold)
        self._grey = bool(self._pipe._is_grey(self._pipe.references))

    def propose(self, anomaly_type: str, seeds: Sequence[int]) -> list[Proposal]:
        """Copy a few-shot defect onto a normal image, as version 0.1 does for an image of the same seed."""
        pipe, found = self._pipe, []
        for seed in seeds:
            index = seed % len(pipe.references)
            generator = torch.Generator().manual_seed(derive_seed(seed, "copy"))
            start, area, names = pipe.few_shot.copy_onto(pipe.references.images[index], (anomaly_type,), generator)
            reference, mask = pipe.references.images[index], area[0].numpy().astype(np.uint8)
            name = pipe.references.names[index]
            found.append(
                Proposal(_as_pixels(reference), _as_pixels(start), mask, anomaly_type, seed, name, str(names[0]))
            )
        return found

    def draw(
        self,
        proposals: Sequence[Proposal],
        prompt_types: Sequence[tuple[str, ...]],
        seeds: Sequence[int],
        reference: Reference = "own",
        severity: float = 1.0,
    ) -> Pixels:
        """Redraw the placed pastes, or the references, at the strength that copies are redrawn with.

        Raises:
            SeasError: a severity other than 1, which this version does not know.
        """
        if severity != 1.0:
            raise SeasError(f"severity is {severity}; version 0.1 knows none, give 1.")
        drawn = np.zeros((len(proposals), self.size, self.size, 3), np.uint8)
        for types in sorted(set(prompt_types)):
            rows = [row for row, entry in enumerate(prompt_types) if entry == types]
            for begin in range(0, len(rows), _BATCH):
                batch = rows[begin : begin + _BATCH]
                starts = [proposals[row].reference if reference == "seen" else proposals[row].start for row in batch]
                drawn[batch] = self._redraw(np.stack(starts), types, [seeds[row] for row in batch])
        return drawn

    @torch.no_grad()
    def _redraw(self, starts: Pixels, types: tuple[str, ...], seeds: Sequence[int]) -> Pixels:
        sampler, references = _old("pipeline", "sampler"), _old("pipeline", "references")
        pipe = self._pipe
        prompt = pipe.prompt.anomaly_prompt(*types) if types else pipe.prompt.normal_prompt()
        bank = references.References(torch.from_numpy(starts.transpose(0, 3, 1, 2)).contiguous(), ("",) * len(starts))
        requests = [sampler.ImageRequest(seed, seed, row, 0) for row, seed in enumerate(seeds)]
        settings = sampler.SamplerSettings.of(pipe.sampling, pipe.prompt, False, pipe.config.max_timestep)
        settings = dataclasses.replace(settings, strength=pipe.sampling.copied_strength)
        latents, _ = sampler.draw_pairs(pipe, requests, bank, prompt, False, settings)
        return self._decoded(latents)

    def masks_of(self, proposals: Sequence[Proposal], images: Pixels) -> Pixels:
        """Return what Refined Mask Prediction finds near the copies, as version 0.1 gives it out; some may be empty."""
        near = _old("pipeline", "drawing").near
        areas = torch.from_numpy(np.stack([one.mask for one in proposals])).float()[:, None]
        found = self.find_masks(images, [one.anomaly_type for one in proposals]) * near(areas)[:, 0].numpy()
        return np.asarray(found > self.mask_threshold).astype(np.uint8)

    def find_masks(self, images: Pixels, types: Sequence[str]) -> NDArray[np.float32]:
        """Return what Refined Mask Prediction finds, ``[N, S, S]`` in [0, 1]."""
        mask_probabilities = _old("evaluate", "real_images").mask_probabilities
        found = []
        for begin in range(0, len(images), _BATCH):
            batch, names = images[begin : begin + _BATCH], list(types[begin : begin + _BATCH])
            found.append(mask_probabilities(self._pipe, _as_input(batch), names)[:, 0].numpy())
        return np.concatenate(found)

    @torch.no_grad()
    def through_codec(self, images: Pixels) -> Pixels:
        """Return windows after the autoencoder's round trip."""
        pipe, done = self._pipe, []
        for begin in range(0, len(images), _BATCH):
            batch = _as_input(images[begin : begin + _BATCH]).to(pipe.unet.device)
            done.append(self._decoded(_old("base", "latents").encode_latents(pipe.vae, batch)))
        return np.concatenate(done)

    def _decoded(self, latents: torch.Tensor) -> Pixels:
        decode = _old("base", "latents").decode_latents
        images = torch.cat([decode(self._pipe.vae, latent[None]).cpu() for latent in latents])
        images = images.mean(1, keepdim=True).expand_as(images) if self._grey else images
        return np.ascontiguousarray(from_model_range(images).permute(0, 2, 3, 1).numpy())


def _old(folder: str, name: str) -> Any:
    """Return a module of version 0.1.

    Raises:
        SeasError: this is another version.
    """
    try:
        return import_module(f"seas_aug.{folder}.{name}")
    except ModuleNotFoundError as error:
        message = f"this version has no seas_aug.{folder}.{name}; see {__name__} for how to measure version 0.1."
        raise SeasError(message) from error


def _as_pixels(image: torch.Tensor) -> Pixels:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _as_input(images: Pixels) -> torch.Tensor:
    return to_model_range(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
