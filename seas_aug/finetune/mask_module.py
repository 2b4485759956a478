# SPDX-License-Identifier: Apache-2.0
"""Stage 2 as a Lightning module: Refined Mask Prediction (RMP) on the frozen generator (SeaS section 3.3)."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor

from seas_aug.base.latents import decode_latents, latent_shape
from seas_aug.config import FineTuneConfig
from seas_aug.data.seeds import derive_seed
from seas_aug.errors import SeasError
from seas_aug.finetune.latent_cache import LatentCache
from seas_aug.finetune.optimiser import adamw
from seas_aug.losses.focal import focal_loss
from seas_aug.losses.mask_size import shrink_mask
from seas_aug.masks.features import UNetFeatures, VAEDecoderFeatures
from seas_aug.masks.predictor import MaskPredictor
from seas_aug.noise.start import start_latent
from seas_aug.pipeline.seas_pipeline import SeaSPipeline
from seas_aug.prompt.embedding import encode_prompts


class MaskModule(lightning.LightningModule):
    """Trains the mask predictor on noised real images.

    Args:
        generator: fine-tuned, frozen.
        config: mask settings and seed.

    Raises:
        SeasError: ``masks.max_timestep`` is not in 1 to the length of the base's noise schedule.
    """

    def __init__(self, generator: SeaSPipeline, config: FineTuneConfig) -> None:
        super().__init__()
        longest = generator.scheduler.config.num_train_timesteps
        if not 1 <= config.masks.max_timestep <= longest:
            message = f"masks.max_timestep is {config.masks.max_timestep}; give 1 to {longest}, the base's noise steps."
            raise SeasError(message)
        self.predictor = MaskPredictor.for_models(generator.unet, generator.vae, config.masks, config.official)
        for part in (generator.unet, generator.vae, generator.text_encoder):
            part.requires_grad_(False).eval()
        self.generator, self.config = generator, config
        self.latents = LatentCache(generator.vae)
        self.latent_shape = latent_shape(generator.unet, generator.vae, generator.config.image_size)

    def on_fit_start(self) -> None:
        """Move the frozen generator to the training device."""
        self.generator.to(self.device)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Return the focal loss of refined and coarse masks of B anomaly and B normal images."""
        count, settings = len(batch["anomaly_type"]), self.config.masks
        step_seed = derive_seed(self.config.seed, "masks", self.global_step, batch_index % settings.accumulate)
        generator = torch.Generator().manual_seed(step_seed)
        with torch.no_grad():
            low_and_mid, decoder_features = self._features(batch, generator, count)
        anomaly = self.predictor([feature[:count] for feature in low_and_mid], decoder_features)
        normal = self.predictor([feature[count:] for feature in low_and_mid])
        mask = (batch["mask"] > 0.5).float()
        empty = torch.zeros_like(mask)
        coarse_mask = torch.cat(
            [shrink_mask(mask, anomaly.coarse.shape[-1]), shrink_mask(empty, normal.coarse.shape[-1])]
        )
        refined = focal_loss(torch.cat([anomaly.refined, normal.refined]), torch.cat([mask, empty]))
        coarse = focal_loss(torch.cat([anomaly.coarse, normal.coarse]), coarse_mask)
        self.log_dict(
            {"loss_refined": refined.detach(), "loss_coarse": coarse.detach()}, prog_bar=True, batch_size=count
        )
        return refined + coarse

    def _features(
        self, batch: dict[str, Any], generator: torch.Generator, count: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return U-Net features of all images and decoder features of the anomaly half, at the same noise."""
        pipe = self.generator
        device = batch["mask"].device
        draw = torch.randn((2 * count, *self.latent_shape), generator=generator).to(device)
        clean = torch.cat(
            [
                self.latents.encode(
                    kind, batch[f"{kind}_image"], batch[f"{kind}_index"], batch[f"{kind}_augmentation"], part
                )
                for kind, part in (("anomaly", draw[:count]), ("normal", draw[count:]))
            ]
        )
        noise = torch.randn(clean.shape, generator=generator).to(device)
        timesteps = torch.randint(0, self.config.masks.max_timestep, (2 * count,), generator=generator).to(device)
        # Not the solver's add_noise, whose levels follow its sampling steps and not the training schedule.
        noisy = start_latent(pipe.scheduler, clean, noise, timesteps)
        prompts = [pipe.prompt.anomaly_prompt(name) for name in batch["anomaly_type"]]
        prompts += [pipe.prompt.normal_prompt()] * count
        context, _ = encode_prompts(pipe.tokenizer, pipe.text_encoder, prompts)
        with UNetFeatures(pipe.unet) as unet_hook:
            pipe.unet(noisy, timesteps, context)
        with VAEDecoderFeatures(pipe.vae) as vae_hook:
            decode_latents(pipe.vae, noisy[:count])
        return unet_hook.features, vae_hook.features

    def configure_optimizers(self) -> Any:
        """Return AdamW for the mask predictor."""
        settings = self.config.masks
        groups = [{"params": list(self.predictor.parameters()), "lr": settings.lr}]
        return adamw(groups, settings, len(self.generator.anomaly_types))
