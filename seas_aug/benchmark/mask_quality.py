# SPDX-License-Identifier: Apache-2.0
"""How good the masks are: Refined Mask Prediction (RMP) of a run on real test defects, against their true masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import torch
import yaml

from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.test_set import read_test_set
from seas_aug.config import Resize
from seas_aug.data.category import DefectSample, read_mvtec_folder
from seas_aug.data.decode import read_mask
from seas_aug.data.images import to_model_range
from seas_aug.data.pictures import seen_defects
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.reading import mask_probabilities
from seas_aug.errors import SeasError
from seas_aug.evaluate.mask_overlap import mask_overlap


def measure_masks(folders: CategoryFolders, seed: int, batch_size: int = 8) -> dict[str, Any]:
    """Compare the masks that a run predicts on real defects with their true ones, as its model sees them.

    The masks of generated pairs have no truth to compare with; they come from the same predictor, and lie near the
    defect that was copied, if one was. It is told the type of each image, as it is when it generates, so its figures
    are not those of a segmentation network. Types that it has not learnt, and what the run's crop cuts away, are left
    out.

    Args:
        folders: the category and its run.
        seed: seed of the low noise that features are read at.
        batch_size: images at a time.

    Returns:
        ``mask_iou`` (over all pixels of a type's images) and ``mask_iou_per_image``, each the mean over types, 0 to 1,
        and ``types``, those of each with its number of ``images``.

    Raises:
        SeasError: a run without a model or a mask predictor, or no test defect of a type that it knows; and see
            :func:`~seas_aug.benchmark.test_set.read_test_set`.
    """
    pipe = SeaSPipeline.from_pretrained(folders.run)
    pipe.to("cuda" if torch.cuda.is_available() else "cpu")
    tested, resize = set(read_test_set(folders).images), read_resize(folders.run)
    types: dict[str, dict[str, float]] = {}
    for name, samples in read_mvtec_folder(folders.root).defects.items():
        if name in pipe.anomaly_types:
            shown = [one for one in samples if one.image in tested and (pipe.sides or _in_view(one.mask, resize))]
            if shown:
                types[name] = _measure_type(pipe, shown, resize, seed, batch_size)
    if not types:
        known = ", ".join(pipe.anomaly_types)
        raise SeasError(f"{folders.root}: no test defect is of a type that the run knows ({known}); add some.")
    figures = ("mask_iou", "mask_iou_per_image")
    mean = {figure: sum(one[figure] for one in types.values()) / len(types) for figure in figures}
    return {**mean, "types": types}


def read_resize(run: Path) -> Resize:
    """Return how a run brings images to the size of its model.

    Args:
        run: run folder; one without ``config.yaml`` has the default.

    Raises:
        SeasError: the file is damaged.
    """
    path = run / "config.yaml"
    if not path.is_file():
        return "squash"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]["resize"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise SeasError(f"{path} tells no data.resize ({error!r}); copy the run folder anew.") from error
    if found not in get_args(Resize):
        raise SeasError(f"{path}: data.resize is {found!r}; expected one of {', '.join(get_args(Resize))}.")
    return found


def _in_view(mask: Path, resize: Resize) -> bool:
    """Return whether the centre square that ``crop`` cuts out shows any of a defect."""
    if resize == "squash":
        return True
    marked = read_mask(mask)
    top, left = ((side - min(marked.shape)) // 2 for side in marked.shape)
    return bool(marked[top : top + min(marked.shape), left : left + min(marked.shape)].any())


def _measure_type(
    pipe: SeaSPipeline, samples: list[DefectSample], resize: Resize, seed: int, batch_size: int
) -> dict[str, float]:
    images, truth = seen_defects(samples, int(pipe.config.image_size), pipe.sides, resize)
    names = [one.anomaly_type for one in samples]
    parts = [
        mask_probabilities(pipe, to_model_range(batch), names[begin : begin + batch_size], seed=seed)
        for begin, batch in zip(range(0, len(names), batch_size), images.split(batch_size), strict=True)
    ]
    found = mask_overlap(torch.cat(parts), truth, pipe.sampling.mask_threshold)
    return {"images": len(samples), "mask_iou": found.pooled, "mask_iou_per_image": found.per_image}
