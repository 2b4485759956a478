# SPDX-License-Identifier: Apache-2.0
"""What the previews show: one row per anomaly type."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from seas_aug.base.latents import decode_latents
from seas_aug.config import FineTuneConfig
from seas_aug.data.few_shot import FewShotSplit
from seas_aug.data.images import load_image, load_mask, to_model_range
from seas_aug.evaluate.real_images import attention_heatmaps, mask_probabilities
from seas_aug.pipeline.drawing import Drawing, copied_starts
from seas_aug.pipeline.sampler import ImageRequest, SamplerSettings, draw_pairs
from seas_aug.pipeline.seas_pipeline import SeaSPipeline


def _first_images(split: FewShotSplit, config: FineTuneConfig, size: int) -> tuple[list[str], Tensor, Tensor]:
    samples = [samples[0] for samples in split.few_shot.values()]
    images = torch.stack([load_image(sample.image, size, config.data.resize) for sample in samples])
    masks = torch.stack([load_mask(sample.mask, size, config.data.resize) for sample in samples])
    return list(split.few_shot), images, masks.float().expand(-1, 3, -1, -1)


def generator_rows(pipe: SeaSPipeline, split: FewShotSplit, config: FineTuneConfig, size: int) -> Callable[[], Tensor]:
    """Return a drawing of: real image, real mask, attention map, start, generated image."""
    names, images, masks = _first_images(split, config, size)
    sampling = dataclasses.replace(config.sampling, num_inference_steps=10, mask_steps=1)
    plain = SamplerSettings.of(sampling, pipe.prompt, config.official, pipe.config.max_timestep)

    def draw() -> Tensor:
        assert pipe.references is not None  # noqa: S101 - set by the run before the first preview
        heat = attention_heatmaps(pipe, to_model_range(images), names, attention=config.attention)
        rows = []
        for row, name in enumerate(names):
            requests, bank, settings = [ImageRequest(row, row, row % len(pipe.references), 0)], pipe.references, plain
            prompt = pipe.prompt.anomaly_prompt(name)
            if pipe.few_shot is not None:
                settings = dataclasses.replace(plain, strength=config.sampling.copied_strength)
                drawing = Drawing(bank, prompt, (name,), plain, settings, 1.0)
                requests, bank, *_ = copied_starts(pipe, requests, drawing)
            latents, _ = draw_pairs(pipe, requests, bank, prompt, False, settings)
            generated = (decode_latents(pipe.vae, latents)[0].cpu() + 1) / 2
            start = bank.images[requests[0].reference] / 255
            rows.append(torch.stack([images[row] / 255, masks[row], heat[row].expand(3, -1, -1), start, generated]))
        return torch.stack(rows)

    return draw


def mask_rows(pipe: SeaSPipeline, split: FewShotSplit, config: FineTuneConfig, size: int) -> Callable[[], Tensor]:
    """Return a drawing of: real image, real mask, mask probability."""
    names, images, masks = _first_images(split, config, size)

    def draw() -> Tensor:
        predicted = mask_probabilities(pipe, to_model_range(images), names).expand(-1, 3, -1, -1)
        return torch.stack([images / 255, masks, predicted], dim=1)

    return draw
