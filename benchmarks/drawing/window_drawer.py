# SPDX-License-Identifier: Apache-2.0
"""The package's own way: windows at the scale of the defect, drawn in a hole or from a copied few-shot defect."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.drawing.drawer import Pixels, Proposal, Reference
from benchmarks.drawing.gate import Gate, GateRecord
from benchmarks.drawing.windows import cut_windows
from seas_aug.artifact.code import DRAWING, code_version
from seas_aug.artifact.model_hash import find_model, model_hash
from seas_aug.config import DrawConfig
from seas_aug.data.images import to_model_range
from seas_aug.data.windows import view, view_mask
from seas_aug.draw.attempt import Request, Start
from seas_aug.draw.compose import put_copies
from seas_aug.draw.draw import begin
from seas_aug.draw.few_shot import FewShotDefects
from seas_aug.draw.gate import Candidate, GateLimits, check_pair_looks_right
from seas_aug.draw.holes import near
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.reading import mask_probabilities
from seas_aug.draw.sample import decode_pictures, draw_windows
from seas_aug.errors import SeasError
from seas_aug.latents.codec import encode_latents

_BATCH = 8
_NAME = "window-1"  # of what this file does with a model; a change makes cached windows worthless
_MOST_RETRIES = 8
_GATE_SIZE = 128  # of the embedded base's windows


class WindowDrawer:
    """A fine-tuned model as :class:`~benchmarks.drawing.drawer.Drawer`.

    Args:
        run: run folder of ``seas-aug finetune``, or the model in it.
        root: folder of the product; the model has all it needs of it.

    Raises:
        SeasError: there is no finished model, or it sees whole images.
    """

    whole = False

    def __init__(self, run: Path, root: Path | None = None) -> None:
        folder = find_model(run)
        self._pipe = SeaSPipeline.from_pretrained(folder)
        self._pipe.to("cuda" if torch.cuda.is_available() else "cpu")
        self._start: Start = "copy" if self._pipe.sampling.copied_share else self._pipe.sampling.fill
        self.fills_holes = self._start == "hole"
        self.has_severity = not self.fills_holes
        if not self._pipe.sides:
            raise SeasError(f"{run}: the model sees whole images; measure it with version 0.1's drawer (whole).")
        self.name = f"{_NAME}-{model_hash(folder)}-{code_version(DRAWING)}"
        self.size = int(self._pipe.config.image_size)
        self.mask_threshold = float(self._pipe.sampling.mask_threshold)

    def propose(self, anomaly_type: str, seeds: Sequence[int]) -> list[Proposal]:
        """Copy a few-shot defect onto a normal image where it fits, as drawing with the same seed does.

        Raises:
            SeasError: a seed has no room for a defect.
        """
        pipe, found = self._pipe, []
        call = pipe.make_call((anomaly_type,), DrawConfig())
        for seed in seeds:
            index = seed % pipe.num_references
            for retry in range(_MOST_RETRIES):
                attempt = begin(call, Request(seed, index, retries=retry), self._start)
                if attempt.spots:
                    break
            else:
                raise SeasError(f"seed {seed}: there is no room for {anomaly_type} on {call.references.names[index]}.")
            spot, reference = attempt.spots[0], attempt.before
            place, start = spot.windows[0], put_copies(reference, spot, 1.0)
            mask = view_mask(spot.area(*reference.shape[:2]), place, self.size)
            seen = [view(pixels, place, self.size) for pixels in (reference, start)]
            name = call.references.names[index]
            square = (place.top, place.left, place.side)
            source = spot.shapes[0].source
            found.append(Proposal(seen[0], seen[1], mask, anomaly_type, seed, name, source, square))
        return found

    def draw(
        self,
        proposals: Sequence[Proposal],
        prompt_types: Sequence[tuple[str, ...]],
        seeds: Sequence[int],
        reference: Reference = "own",
        severity: float = 1.0,
    ) -> Pixels:
        """Redraw the placed pastes, or the references, at the strength that copies are redrawn with."""
        drawn = np.zeros((len(proposals), self.size, self.size, 3), np.uint8)
        for types in sorted(set(prompt_types)):
            rows = [row for row, entry in enumerate(prompt_types) if entry == types]
            for first in range(0, len(rows), _BATCH):
                batch = rows[first : first + _BATCH]
                chosen = [seeds[row] for row in batch]
                if self.fills_holes:
                    drawn[batch] = self._fill([proposals[row] for row in batch], types, chosen, reference)
                    continue
                starts = [_start(proposals[row], reference == "seen", severity) for row in batch]
                drawn[batch] = self._redraw(np.stack(starts), types, chosen)
        return drawn

    @torch.no_grad()
    def _fill(self, batch: list[Proposal], types: tuple[str, ...], seeds: list[int], reference: Reference) -> Pixels:
        call = self._pipe.make_call(types, DrawConfig())
        shown = call.sampling.hole_reference if reference == "own" else reference
        sampling = dataclasses.replace(call.sampling, hole_reference=shown)
        settings = dataclasses.replace(call.sampler, strength=1.0, sampling=sampling)
        pictures = torch.from_numpy(np.stack([one.reference for one in batch])).permute(0, 3, 1, 2)
        shapes = torch.from_numpy(np.stack([one.mask for one in batch]))[:, None].float()
        latents, _ = draw_windows(self._pipe, pictures, seeds, call.prompt, False, settings, shapes)
        return _as_pixels(decode_pictures(self._pipe, latents, call.grey))

    @torch.no_grad()
    def _redraw(self, starts: Pixels, types: tuple[str, ...], seeds: list[int]) -> Pixels:
        call = self._pipe.make_call(types, DrawConfig())
        settings = dataclasses.replace(call.sampler, strength=call.sampling.copied_strength)
        pictures = torch.from_numpy(np.ascontiguousarray(starts.transpose(0, 3, 1, 2)))
        latents, _ = draw_windows(self._pipe, pictures, seeds, call.prompt, False, settings)
        return _as_pixels(decode_pictures(self._pipe, latents, call.grey))

    def masks_of(self, proposals: Sequence[Proposal], images: Pixels) -> Pixels:
        """Return what Refined Mask Prediction finds near the copies, as it is given out; some may be empty."""
        found = self.find_masks(images, [one.anomaly_type for one in proposals])
        close = np.stack([near(one.mask) for one in proposals])
        return np.asarray(found * close > self.mask_threshold).astype(np.uint8)

    def find_masks(self, images: Pixels, types: Sequence[str]) -> NDArray[np.float32]:
        """Return what Refined Mask Prediction finds in whole windows, ``[N, S, S]`` in [0, 1]."""
        found = []
        for first in range(0, len(images), _BATCH):
            names = list(types[first : first + _BATCH])
            found.append(mask_probabilities(self._pipe, _as_input(images[first : first + _BATCH]), names)[:, 0].numpy())
        return np.concatenate(found)

    @torch.no_grad()
    def through_codec(self, images: Pixels) -> Pixels:
        """Return windows after the autoencoder's round trip."""
        pipe, done = self._pipe, []
        grey = pipe.make_call((), DrawConfig()).grey
        for first in range(0, len(images), _BATCH):
            batch = _as_input(images[first : first + _BATCH]).to(pipe.unet.device)
            done.append(_as_pixels(decode_pictures(pipe, encode_latents(pipe.vae, batch), grey)))
        return np.concatenate(done)


def _start(one: Proposal, from_reference: bool, severity: float) -> Pixels:
    if from_reference:
        return one.reference
    stronger = one.reference + severity * (one.start.astype(np.float32) - one.reference)
    return np.clip(np.rint(stronger), 0, 255).astype(np.uint8)


def _as_pixels(images: torch.Tensor) -> Pixels:
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def _as_input(images: Pixels) -> torch.Tensor:
    return to_model_range(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))


def gate(run: Path, root: Path) -> Gate:
    """Return the package's gate, with the few-shot defects of a product as it sees them in windows.

    Args:
        run: not looked at; a model changes nothing about the gate.
        root: folder of the product.
    """
    few = cut_windows(root, _GATE_SIZE).few_shot
    limits = GateLimits.of(FewShotDefects(list(few.images), list(few.masks), tuple(few.types), tuple(few.groups)))

    def check(record: GateRecord) -> list[str]:
        candidate = Candidate(record.image, record.reference, record.mask, (record.anomaly_type,))
        return list(check_pair_looks_right(candidate, limits))

    return check
