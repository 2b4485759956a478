# SPDX-License-Identifier: Apache-2.0
"""Pretraining of the mask predictor's detail branch on rendered images, without the generator."""

from __future__ import annotations

from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchmetrics.classification import BinaryJaccardIndex

from seas_aug.base.load import load_base
from seas_aug.base.pretrain.scenes import ScenePool, to_range
from seas_aug.base.pretrain.schedule import adamw_with_cosine
from seas_aug.config import MaskConfig, SamplingConfig
from seas_aug.data.variation import vary_light
from seas_aug.errors import SeasError
from seas_aug.masks.predictor import MaskPredictor, probabilities
from seas_aug.masks.training import detail_loss, tell, with_normals
from seas_aug.prompt.embedding import encode_prompts

_FAINTEST = 0.3  # simulated masks of the generator's features are at most so unsure


class DetailScenes(Dataset):
    """Scenes with and without a defect, turned, mirrored and lit anew; item ``i`` is the same in every run.

    Args:
        pool: rendered scenes.
        length: number of items.
        normal_share: share of scenes without a defect, which get the prompt of one all the same.
        seed: seed of the draws.
        vary: whether they are turned and lit at all.
    """

    def __init__(self, pool: ScenePool, length: int, normal_share: float, seed: int, vary: bool = True) -> None:
        self.pool, self.length, self.share, self.seed, self.vary = pool, length, normal_share, seed, vary
        has_defect = pool.masks.any(axis=(1, 2))
        self.defects, self.normals = np.flatnonzero(has_defect), np.flatnonzero(~has_defect)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``image`` float32 ``[3, H, W]`` in [-1, 1], ``mask`` float32 ``[1, H, W]`` of 0 and 1, ``prompt``."""
        rng = np.random.default_rng((self.seed, index))
        defect = int(rng.choice(self.defects))
        chosen = int(rng.choice(self.normals)) if rng.random() < self.share else defect
        image, mask = self.pool.images[chosen], self.pool.masks[chosen]
        quarters, mirrored, light = int(rng.integers(0, 4)), rng.random() < 0.5, int(rng.integers(2**31))
        if self.vary:
            image, mask = (np.rot90(pixels, quarters)[:, :: -1 if mirrored else 1] for pixels in (image, mask))
        pixels = to_range(image)
        if self.vary:
            pixels = vary_light(pixels / 2 + 0.5, torch.Generator().manual_seed(light)) * 2 - 1
        return {
            "image": pixels,
            "mask": torch.from_numpy(np.ascontiguousarray(mask))[None].float(),
            "prompt": self.pool.prompts[chosen].partition(" with ")[0] + _defect_words(self.pool.prompts[defect]),
        }


def _defect_words(prompt: str) -> str:
    return "".join(prompt.partition(" with ")[1:])


class DetailPretraining(lightning.LightningModule):
    """Trains the detail branch of a mask predictor.

    Args:
        base: name or folder of the base, whose text encoder reads the prompts; the rest of its mask predictor is kept.
        total_steps: optimiser updates, for the learning rate.
        lr: peak learning rate.

    Raises:
        SeasError: the base has no mask predictor, or one of another than the default size.
    """

    def __init__(self, base: str, total_steps: int, lr: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        models = load_base(base)
        self.settings = MaskConfig()
        self.predictor = MaskPredictor.for_models(models.unet, models.vae, self.settings)
        found = models.mask_predictor
        if found is None or "features" not in self.predictor.take_over(found):
            message = (
                f"base '{base}' has no Refined Mask Prediction of the default size for the detail branch to go with; "
                "run the stages masks and export_base --masks first."
            )
            raise SeasError(message)
        self.predictor.requires_grad_(False)
        self.predictor.detail.requires_grad_(True)  # type: ignore[union-attr]
        models.text_encoder.requires_grad_(False).eval()
        self.models = models  # a plain object: frozen parts need no checkpoint
        self.iou = BinaryJaccardIndex(threshold=SamplingConfig().mask_threshold)

    def on_fit_start(self) -> None:
        """Move the frozen text encoder to the training device."""
        text_encoder: Any = self.models.text_encoder
        text_encoder.to(self.device)

    def _prompts(self, batch: dict[str, Any]) -> Tensor:
        return encode_prompts(self.models.tokenizer, self.models.text_encoder, batch["prompt"]).pooled

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Return the loss; of a quarter of the images the branch may be told the true mask, coarse and unsure."""
        count = len(batch["mask"])
        rows = torch.arange(max(1, count // 4))
        known = tell(blurred_masks(batch["mask"][: len(rows)]), rows, count)
        target = with_normals(batch["mask"], 0)
        loss = detail_loss(self.predictor, batch["image"], known, self._prompts(batch), target, self.settings.loss)
        self.log("loss_detail", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Log the IoU, pooled over scenes that are not trained on, when the branch is told nothing."""
        nothing = torch.zeros_like(batch["mask"])
        found = probabilities(self.predictor.detail_logits(nothing, batch["image"], self._prompts(batch)))
        self.iou.update(found, batch["mask"].int())
        self.log("val_iou", self.iou, prog_bar=True, batch_size=len(found))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the predictor's structure, so that it can be read without the base.

        Args:
            checkpoint: what is about to be written.
        """
        checkpoint["predictor"] = self.predictor.structure()

    def configure_optimizers(self) -> Any:
        """Return AdamW for the detail branch, with a short warm-up and a cosine fall."""
        assert self.predictor.detail is not None  # noqa: S101 - the default settings have one
        weights = self.predictor.detail.parameters()
        return adamw_with_cosine(weights, self.hparams["lr"], self.hparams["total_steps"], weight_decay=5e-2)


def blurred_masks(mask: Tensor) -> Tensor:
    """Return masks as the generator's features may show them: of a quarter of the size, and more or less sure.

    Args:
        mask: float ``[B, 1, H, W]`` of 0 and 1.

    Returns:
        float ``[B, 1, H, W]`` in [0, 1].
    """
    size = (mask.shape[-2], mask.shape[-1])
    coarse = torch.nn.functional.avg_pool2d(mask, 4)
    sure = _FAINTEST + (1 - _FAINTEST) * torch.rand(len(mask), 1, 1, 1, device=mask.device)
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False) * sure
