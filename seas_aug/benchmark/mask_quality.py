# SPDX-License-Identifier: Apache-2.0
"""How good the masks are: Refined Mask Prediction (RMP) of a run on real test defects, against their true masks."""

from __future__ import annotations

from typing import Any

import torch

from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.test_set import read_test_set
from seas_aug.data.category import DefectSample, read_mvtec_folder
from seas_aug.data.images import load_image, load_mask, to_model_range
from seas_aug.errors import SeasError
from seas_aug.evaluate.mask_overlap import mask_overlap
from seas_aug.evaluate.real_images import mask_probabilities
from seas_aug.pipeline.seas_pipeline import SeaSPipeline


def measure_masks(folders: CategoryFolders, seed: int, batch_size: int = 16) -> dict[str, Any]:
    """Compare the masks that a run predicts on real defects with their true ones, at the size of its model.

    The masks of generated pairs have no truth to compare with; they come from the same predictor. It is told the type
    of each image, as it is when it generates, so its figures are not those of a segmentation network.

    Args:
        folders: the category and its run.
        seed: seed of the low noise that features are read at.
        batch_size: images at a time.

    Returns:
        ``mask_iou`` (over all pixels of a type's images) and ``mask_iou_per_image``, each the mean over types, 0 to 1,
        and ``types``, those of each with its number of ``images``.

    Raises:
        SeasError: a run without a model or a mask predictor, or no test defect of a type that it knows.
    """
    pipe = SeaSPipeline.from_pretrained(folders.run)
    pipe.to("cuda" if torch.cuda.is_available() else "cpu")
    tested = set(read_test_set(folders).images)
    types: dict[str, dict[str, float]] = {}
    for name, samples in read_mvtec_folder(folders.root).defects.items():
        chosen = [one for one in samples if one.image in tested]
        if chosen and name in pipe.anomaly_types:
            types[name] = _measure_type(pipe, chosen, seed, batch_size)
    if not types:
        known = ", ".join(pipe.anomaly_types)
        raise SeasError(f"{folders.root}: no test defect is of a type that the run knows ({known}); add some.")
    figures = ("mask_iou", "mask_iou_per_image")
    mean = {figure: sum(one[figure] for one in types.values()) / len(types) for figure in figures}
    return {**mean, "types": types}


def _measure_type(pipe: SeaSPipeline, samples: list[DefectSample], seed: int, batch_size: int) -> dict[str, float]:
    size, parts = int(pipe.config.image_size), []
    for start in range(0, len(samples), batch_size):
        batch = samples[start : start + batch_size]
        images = to_model_range(torch.stack([load_image(one.image, size, "squash") for one in batch]))
        parts.append(mask_probabilities(pipe, images, [one.anomaly_type for one in batch], seed=seed))
    truth = torch.stack([load_mask(one.mask, size, "squash") for one in samples])
    found = mask_overlap(torch.cat(parts), truth, pipe.sampling.mask_threshold)
    return {"images": len(samples), "mask_iou": found.pooled, "mask_iou_per_image": found.per_image}
