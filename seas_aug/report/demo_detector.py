# SPDX-License-Identifier: Apache-2.0
"""The demo's detector: anomalib's DRAEM, narrow enough for a few minutes on two CPU cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from anomalib.data import MVTecAD
from anomalib.engine import Engine
from anomalib.metrics import AUPR, AUROC, Evaluator
from anomalib.models import Draem
from anomalib.models.image.draem.torch_model import DiscriminativeSubNetwork, ReconstructiveSubNetwork
from anomalib.pre_processing import PreProcessor
from lightning import seed_everything
from lightning.pytorch import Callback
from torchvision.transforms import v2

from seas_aug.anomalib_plugin.callback import SeasAugmentation
from seas_aug.anomalib_plugin.sources import Origin
from seas_aug.data.images import load_image

METRICS = {
    "pixel_AUPR": "pixel AP (AUPR)",
    "pixel_AUROC": "pixel AUROC",
    "image_AUPR": "image AP (AUPR)",
    "image_AUROC": "image AUROC",
}


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

    steps: int = 300
    batch_size: int = 4
    width: int = 16
    lr: float = 1e-3


class NarrowDraem(Draem):
    """DRAEM with fewer channels, a higher learning rate and a focal loss that sees the background; else anomalib's.

    Anomalib 2.7 asks kornia for ``FocalLoss(alpha=1)``. Kornia 0.9 weights class 0, the background, by ``1 - alpha``,
    that is not at all, so that nothing keeps the detector from calling every pixel anomalous.

    Args:
        width: channels of the first layer of both sub-networks.
        lr: learning rate.
        size: side of the images in pixels.
        dtd_dir: folder of textures for anomalib's Perlin source.
    """

    def __init__(self, width: int, lr: float, size: int, dtd_dir: str) -> None:
        super().__init__(
            dtd_dir=dtd_dir,
            pre_processor=PreProcessor(v2.Resize((size, size), antialias=True)),
            post_processor=False,  # raw probabilities: nothing is scaled by what was seen in validation
            evaluator=Evaluator(test_metrics=_metrics()),
            visualizer=False,
        )
        self.lr = lr
        loss: Any = self.loss
        loss.focal_loss.alpha = None  # every class counts
        self.model.reconstructive_subnetwork = ReconstructiveSubNetwork(base_width=width)
        self.model.discriminative_subnetwork = DiscriminativeSubNetwork(6, 2, base_width=width)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def configure_optimizers(self) -> Any:
        """Return Adam with a cosine decay to zero over the training."""
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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
    engine, model, datamodule = train(category, [augmentation], textures, output, settings, seed, size)
    measured = engine.test(model=model, datamodule=datamodule)[0]
    return {name: float(measured[name]) for name in METRICS}, anomaly_maps(model, pictures, size)


def train(
    category: Path,
    callbacks: Sequence[Callback],
    textures: Path,
    output: Path,
    settings: DetectorSettings,
    seed: int,
    size: int,
) -> tuple[Engine, NarrowDraem, MVTecAD]:
    """Train a detector.

    Args:
        category: category in MVTec layout.
        callbacks: the augmentation, and others.
        textures: pictures that fill anomalib's Perlin anomalies.
        output: folder for anomalib's own files.
        settings: training.
        seed: seed of weights and order.
        size: side of the images in pixels.

    Returns:
        The engine, the trained detector and the datamodule.
    """
    seed_everything(seed, workers=True)
    model = NarrowDraem(settings.width, settings.lr, size, str(textures))
    datamodule = MVTecAD(
        root=category.parent,
        category=category.name,
        train_batch_size=settings.batch_size,
        eval_batch_size=8,
        num_workers=0,
    )
    engine = Engine(
        callbacks=list(callbacks),
        default_root_dir=output,
        max_steps=settings.steps,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_model_summary=False,
        accelerator="auto",
        devices=1,
    )
    engine.fit(model=model, datamodule=datamodule)
    return engine, model, datamodule


@torch.no_grad()
def anomaly_maps(model: NarrowDraem, pictures: Sequence[Path], size: int) -> torch.Tensor:
    """Return the detector's anomaly maps ``[N, 1, size, size]`` in [0, 1] on the CPU for image files."""
    if not pictures:
        return torch.empty(0, 1, size, size)
    model.eval()
    images = torch.stack([load_image(path, size, "squash") for path in pictures]).float() / 255
    return model.model(images.to(model.device)).anomaly_map.float().cpu().reshape(-1, 1, size, size)


def _metrics() -> list[Any]:
    pixel, image = ["anomaly_map", "gt_mask"], ["pred_score", "gt_label"]
    metrics: list[Any] = []
    for kind in (AUPR, AUROC):
        metrics += [kind(fields=pixel, prefix="pixel_"), kind(fields=image, prefix="image_")]
    return metrics
