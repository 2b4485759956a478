# SPDX-License-Identifier: Apache-2.0
"""What several tests of drawing share."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import torch

from seas_aug.data.decode import as_rgb
from seas_aug.draw.output import SeaSPipelineOutput
from seas_aug.draw.pipeline import SeaSPipeline


def pixels(pipe: SeaSPipeline, indices: list[int]) -> torch.Tensor:
    """Return references of one size as the model sees them, uint8 ``[B, 3, S, S]``."""
    images = [as_rgb(pipe.references.native(index)) for index in indices]
    return torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in images])


def with_sampling(pipe: SeaSPipeline, **changes: Any) -> SeaSPipeline:
    """Change the sampling settings of a run."""
    pipe.register_to_config(sampling=dataclasses.asdict(dataclasses.replace(pipe.sampling, **changes)))
    return pipe


def same_pixels(left: Any, right: Any) -> bool:
    """Whether two arrays have the same bits in the same form."""
    return left.dtype == right.dtype and left.shape == right.shape and bool((left == right).all())


def assert_same(left: SeaSPipelineOutput, right: SeaSPipelineOutput) -> None:
    """Compare two calls to the last bit."""
    for name in ("images", "masks", "references"):
        pairs = zip(getattr(left, name), getattr(right, name), strict=True)
        assert all(same_pixels(one, other) for one, other in pairs), name
    assert left.records == right.records
    assert left.refused == right.refused


def grown(mask: np.ndarray, reach: int) -> np.ndarray:
    """Whether a pixel lies within some pixels of a mask."""
    return cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
