# SPDX-License-Identifier: Apache-2.0
"""Pretraining of Refined Mask Prediction on rendered defects, whose masks are exact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from torch.utils.data import Dataset
from torchmetrics.classification import BinaryJaccardIndex

from seas_aug.base.load import load_base
from seas_aug.base.pretrain.diffusion import LatentPool
from seas_aug.base.pretrain.schedule import adamw_with_cosine
from seas_aug.config import MaskConfig, SamplingConfig
from seas_aug.latents.hole import hidden_latents, whole_hole
from seas_aug.latents.prediction import is_inpainting
from seas_aug.masks.features import read_features
from seas_aug.masks.predictor import MaskPredictor, probabilities
from seas_aug.masks.training import mask_losses
from seas_aug.prompt.embedding import encode_prompts

if TYPE_CHECKING:
    from torch import Tensor


class MaskScenes(Dataset):
    """Pairs of a scene with a defect and one without, drawn from a pool; item ``i`` is the same in every run.

    Args:
        pool: cached latents with masks at full size.
        length: number of items.
        seed: seed of the draws.
    """

    def __init__(self, pool: LatentPool, length: int, seed: int) -> None:
        self.pool, self.length, self.seed = pool, length, seed
        has_defect = pool.masks.flatten(1).any(dim=1).numpy()
        self.defects, self.normals = np.flatnonzero(has_defect), np.flatnonzero(~has_defect)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        """Return ``defect_latent`` and ``normal_latent`` (float32 ``[C, h, w]``, unscaled), ``mask``, two prompts."""
        rng = np.random.default_rng((self.seed, index))
        defect, normal = int(rng.choice(self.defects)), int(rng.choice(self.normals))
        return {
            "defect_latent": self.pool.latents[defect].float(),
            "normal_latent": self.pool.latents[normal].float(),
            "mask": self.pool.masks[defect].float(),
            "defect_prompt": self.pool.prompts[defect],
            "normal_prompt": self.pool.prompts[normal],
        }


class MaskPretraining(lightning.LightningModule):
    """Trains a mask predictor, its detail branch left out, on the frozen base, at the settings of fine-tuning.

    Args:
        base: name or folder of the base.
        total_steps: optimiser updates, for the learning rate.
        lr: peak learning rate.
    """

    def __init__(self, base: str, total_steps: int, lr: float = 2e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        models = load_base(base)
        self.settings = MaskConfig(detail_width=0)  # that branch has a stage of its own
        self.predictor = MaskPredictor.for_models(models.unet, models.vae, self.settings)
        for part in (models.unet, models.vae, models.text_encoder):
            part.requires_grad_(False).eval()
        self.models = models  # a plain object: frozen parts need no checkpoint
        self.iou = BinaryJaccardIndex(threshold=SamplingConfig().mask_threshold)

    def on_fit_start(self) -> None:
        """Move the frozen base to the training device."""
        frozen: list[Any] = [self.models.unet, self.models.vae, self.models.text_encoder]
        for part in frozen:
            part.to(self.device)

    def _features(self, batch: dict, generator: torch.Generator | None) -> tuple[list[Tensor], list[Tensor]]:
        latents = torch.cat([batch["defect_latent"], batch["normal_latent"]])
        latents = latents * float(self.models.vae.config.scaling_factor)
        count = len(batch["mask"])
        timesteps = torch.randint(0, self.settings.max_timestep, (2 * count,), generator=generator).to(latents.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = self.models.scheduler.add_noise(latents, noise, timesteps)
        prompts = [*batch["defect_prompt"], *batch["normal_prompt"]]
        embeddings = encode_prompts(self.models.tokenizer, self.models.text_encoder, prompts)
        models, hole = self.models, None
        if is_inpainting(models.unet):
            hole = whole_hole(hidden_latents(models.vae, models.image_size), len(noisy))
        return read_features(models.unet, models.vae, noisy, timesteps, embeddings.detach(), count, hole=hole)

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        """Return the loss of refined and coarse masks."""
        losses, _ = mask_losses(self.predictor, *self._features(batch, None), batch["mask"], self.settings.loss)
        self.log_dict({name: value.detach() for name, value in losses.items()}, prog_bar=True)
        return losses["loss_refined"] + losses["loss_coarse"]

    def validation_step(self, batch: dict, batch_index: int) -> None:
        """Log the IoU, pooled over scenes that are not trained on, always with the same noise."""
        unet_features, vae_features = self._features(batch, torch.Generator().manual_seed(batch_index))
        count = len(batch["mask"])
        found = probabilities(self.predictor([feature[:count] for feature in unet_features], vae_features).refined)
        self.iou.update(found, batch["mask"].int())
        self.log("val_iou", self.iou, prog_bar=True, batch_size=count)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the predictor's structure, so that it can be read without the base.

        Args:
            checkpoint: what is about to be written.
        """
        checkpoint["predictor"] = self.predictor.structure()

    def configure_optimizers(self) -> Any:
        """Return AdamW with a short warm-up and a cosine fall."""
        weights = self.predictor.parameters()
        return adamw_with_cosine(weights, self.hparams["lr"], self.hparams["total_steps"], weight_decay=1e-2)


def load_mask_predictor(checkpoint: Path) -> MaskPredictor:
    """Return the mask predictor of a checkpoint, in evaluation mode; the base it was trained on is not needed.

    Args:
        checkpoint: file of :class:`MaskPretraining` or of
            :class:`~seas_aug.base.pretrain.details.DetailPretraining`.
    """
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    predictor = MaskPredictor(**saved["predictor"])
    prefix = "predictor."
    weights = saved["state_dict"].items()
    predictor.load_state_dict({name.removeprefix(prefix): value for name, value in weights if name.startswith(prefix)})
    return predictor.eval()
