# SPDX-License-Identifier: Apache-2.0
"""The demo's detector: anomalib's DRAEM, narrow enough for a few minutes on two CPU cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import seed_everything

from seas_aug.anomalib_plugin.callback import SeasAugmentation
from seas_aug.anomalib_plugin.sources import Origin
from seas_aug.benchmark.detection import train_detector
from seas_aug.benchmark.detectors import has_bfloat16
from seas_aug.benchmark.narrow_draem import METRICS, NarrowDraem
from seas_aug.data.images import load_image

__all__ = ["METRICS", "DetectorSettings", "anomaly_maps", "train_and_test"]


@dataclass(frozen=True)
class DetectorSettings:
    """Training of the demo's detector, the same for every source of anomalies.

    Args:
        steps: optimiser updates.
        batch_size: images per update.
        width: channels of the first layer of both sub-networks. DRAEM's own are 128 and 64, which takes about 8 s an
            update on two cores.
        lr: learning rate of Adam; DRAEM's own 1e-4 is meant for a hundred times as many updates.
    """

    steps: int = 400
    batch_size: int = 4
    width: int = 16
    lr: float = 1e-3


def train_and_test(
    category: Path,
    run: Path,
    generated: Path,
    source: Origin,
    textures: Path,
    output: Path,
    settings: DetectorSettings,
    seed: int,
    size: int,
    pictures: Sequence[Path],
) -> tuple[dict[str, float], torch.Tensor]:
    """Train a detector and test it on the images that SeaS was not fine-tuned on.

    Args:
        category: category in MVTec layout.
        run: fine-tuned run; its few-shot images are taken out of the test set.
        generated: pairs; read for ``source="seas"`` alone.
        source: where the training anomalies come from.
        textures: pictures that fill anomalib's Perlin anomalies.
        output: folder for anomalib's own files.
        settings: training, the same for each source.
        seed: seed of weights and order.
        size: side of the images in pixels.
        pictures: images whose anomaly maps are returned.

    Returns:
        The metrics named in ``METRICS``, and anomaly maps ``[N, 1, size, size]`` in [0, 1] on the CPU.
    """
    augmentation = SeasAugmentation(run=str(run), generated=str(generated), source=source, seed=seed)
    seed_everything(seed, workers=True)
    model = NarrowDraem(settings.width, settings.lr, size, str(textures), has_bfloat16())
    engine, datamodule = train_detector(
        model, category, [augmentation], output, settings.steps, settings.batch_size, seed
    )
    measured = engine.test(model=model, datamodule=datamodule)[0]
    return {name: float(measured[name]) for name in METRICS}, anomaly_maps(model, pictures, size)


@torch.no_grad()
def anomaly_maps(model: NarrowDraem, pictures: Sequence[Path], size: int) -> torch.Tensor:
    """Return the detector's anomaly maps ``[N, 1, size, size]`` in [0, 1] on the CPU for image files."""
    if not pictures:
        return torch.empty(0, 1, size, size)
    model.eval()
    images = torch.stack([load_image(path, size, "squash") for path in pictures]).float() / 255
    return model.model(images.to(model.device)).anomaly_map.float().cpu().reshape(-1, 1, size, size)
