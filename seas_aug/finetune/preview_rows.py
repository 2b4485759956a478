# SPDX-License-Identifier: Apache-2.0
"""What the previews show: one row per anomaly type."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from seas_aug.config import FineTuneConfig
from seas_aug.data.images import to_model_range
from seas_aug.data.pictures import Pictures
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.reading import attention_heatmaps, mask_probabilities


def _first_pictures(pictures: Pictures) -> tuple[list[str], Tensor, Tensor]:
    """Return the types, a real picture of each, uint8 ``[T, 3, S, S]``, and its mask, float ``[T, 3, S, S]``."""
    names = sorted(set(pictures.types))
    pairs = torch.stack([pictures.anomaly(pictures.types.index(name)) for name in names])
    return names, pairs[:, :3], pairs[:, 3:].float().expand(-1, 3, -1, -1)


def generator_rows(pipe: SeaSPipeline, pictures: Pictures, config: FineTuneConfig) -> Callable[[], Tensor]:
    """Return a drawing of: real picture, real mask, attention map, start, generated picture."""
    names, images, masks = _first_pictures(pictures)
    sampling = dataclasses.replace(config.sampling, num_inference_steps=10, mask_steps=1)

    def draw() -> Tensor:
        heat = attention_heatmaps(pipe, to_model_range(images), names, attention=config.attention)
        rows = []
        for row, name in enumerate(names):
            start, generated = pipe.preview(name, row, row % pipe.num_references, sampling)
            rows.append(torch.stack([images[row] / 255, masks[row], heat[row].expand(3, -1, -1), start, generated]))
        return torch.stack(rows)

    return draw


def mask_rows(pipe: SeaSPipeline, pictures: Pictures) -> Callable[[], Tensor]:
    """Return a drawing of: real picture, real mask, mask probability."""
    names, images, masks = _first_pictures(pictures)

    def draw() -> Tensor:
        predicted = mask_probabilities(pipe, to_model_range(images), names).expand(-1, 3, -1, -1)
        return torch.stack([images / 255, masks, predicted], dim=1)

    return draw
