# SPDX-License-Identifier: Apache-2.0
"""anomalib's DRAEM, narrow enough for a few minutes on two CPU cores."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from anomalib.metrics import AUPR, AUROC, Evaluator
from anomalib.models import Draem
from anomalib.models.image.draem.torch_model import DiscriminativeSubNetwork, DraemModel, ReconstructiveSubNetwork
from anomalib.pre_processing import PreProcessor
from torch import nn
from torchvision.transforms import v2

METRICS = {
    "pixel_AUPR": "pixel AP (AUPR)",
    "pixel_AUROC": "pixel AUROC",
    "image_AUPR": "image AP (AUPR)",
    "image_AUROC": "image AUROC",
}


class NarrowDraem(Draem):
    """DRAEM with fewer channels, a higher learning rate and a focal loss that sees the background; else anomalib's.

    Anomalib 2.7 asks kornia for ``FocalLoss(alpha=1)``. Kornia 0.9 weights class 0, the background, by ``1 - alpha``,
    that is not at all, so that nothing keeps the detector from calling every pixel anomalous.

    Args:
        width: channels of the first layer of both sub-networks.
        lr: learning rate.
        size: side of the images in pixels.
        dtd_dir: folder of textures for anomalib's Perlin source.
        bfloat16: run the layers, not the loss, in that precision: more images a second where the hardware has it, and
            far fewer where a CPU imitates it.
    """

    def __init__(self, width: int, lr: float, size: int, dtd_dir: str, bfloat16: bool = False) -> None:
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
        self.model = _NarrowModel(width, bfloat16).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def configure_optimizers(self) -> Any:
        """Return Adam with a cosine decay to zero over the training."""
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _NarrowModel(DraemModel):
    """anomalib's networks, narrow; tested in full precision."""

    def __init__(self, width: int, bfloat16: bool) -> None:
        nn.Module.__init__(self)  # DraemModel's own would make 97 million weights first
        self.reconstructive_subnetwork = ReconstructiveSubNetwork(base_width=width)
        self.discriminative_subnetwork = DiscriminativeSubNetwork(6, 2, base_width=width)
        self._bfloat16 = bfloat16

    def forward(self, batch: torch.Tensor) -> Any:
        device = batch.device.type
        half = self._bfloat16 and self.training and torch.amp.is_autocast_available(device)
        with torch.autocast(device, torch.bfloat16) if half else nullcontext():
            found: Any = super().forward(batch)
        return tuple(part.float() for part in found) if self.training else found


def _metrics() -> list[Any]:
    pixel, image = ["anomaly_map", "gt_mask"], ["pred_score", "gt_label"]
    metrics: list[Any] = []
    for kind in (AUPR, AUROC):
        metrics += [kind(fields=pixel, prefix="pixel_"), kind(fields=image, prefix="image_")]
    return metrics
