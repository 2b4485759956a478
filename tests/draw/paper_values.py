# SPDX-License-Identifier: Apache-2.0
"""What the ``paper`` preset, plain and ``official``, makes of a tiny base: numbers that any change would change."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from seas_aug.finetune.run import finetune
from seas_aug.presets import paper_preset


def paper_config(root: Path, base: Path, output: Path, official: bool) -> Any:
    """Return the preset with what a tiny base and few updates ask for, and nothing else changed."""
    paper = paper_preset()
    return dataclasses.replace(
        paper,
        output=output,
        base=str(base),
        official=official,
        precision="32-true",
        accelerator="cpu",
        preview_every=0,
        data=dataclasses.replace(paper.data, root=root, few_shot="1", image_size=32, num_normals=3),
        prompt=dataclasses.replace(paper.prompt, anomaly_tokens=2),
        attention=dataclasses.replace(paper.attention, resolutions=(8, 4)),
        generator=dataclasses.replace(paper.generator, max_steps=12, unet_lr=1e-3, embedding_lr=1e-2),
        masks=dataclasses.replace(paper.masks, max_steps=12),
        # A mask branch that has learnt nothing yet is sure that all is normal, unless its head starts without a prior.
        sampling=dataclasses.replace(paper.sampling, mask_threshold=0.2 if official else 0.02),
    )


def measured(root: Path, base: Path, output: Path, official: bool) -> dict[str, list[float]]:
    """Fine-tune and draw; return losses, and of images and masks the means by quarter."""
    from seas_aug.draw.pipeline import SeaSPipeline

    finetune(paper_config(root, base, output, official))
    pipe = SeaSPipeline.from_pretrained(output)
    pipe.set_progress_bar_config(disable=True)
    found = {f"loss {stage}": _losses(output / "log" / f"{stage}.csv") for stage in ("generator", "masks")}
    for name in ("crack", None):
        pairs = pipe(name, num_images=2, seed=5)
        found[f"images {name}"] = [value for image in pairs.images for value in _quarters(image / 255)]
        found[f"masks {name}"] = [value for mask in pairs.masks for value in _quarters(mask)]
    return found


def _losses(path: Path) -> list[float]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [float(row[name]) for row in rows for name in sorted(row) if name.startswith("loss") and row[name]]


def _quarters(pixels: np.ndarray) -> list[float]:
    height, width = (side // 2 for side in pixels.shape[:2])
    parts = [pixels[top : top + height, left : left + width] for top in (0, height) for left in (0, width)]
    return [float(part.mean()) for part in parts]
