# SPDX-License-Identifier: Apache-2.0
"""Stage 2 as a Lightning module: Refined Mask Prediction (RMP) on the frozen generator (SeaS section 3.3)."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor

from seas_aug.base.latents import encode_latents, latent_shape
from seas_aug.config import FineTuneConfig, MaskConfig
from seas_aug.data.seeds import derive_seed
from seas_aug.errors import SeasError
from seas_aug.finetune.latent_cache import LatentCache
from seas_aug.finetune.optimiser import adamw
from seas_aug.masks.predictor import MaskPredictor
from seas_aug.masks.training import mask_losses, read_features
from seas_aug.noise.start import start_latent
from seas_aug.pipeline.seas_pipeline import SeaSPipeline
from seas_aug.prompt.embedding import encode_prompts


class MaskModule(lightning.LightningModule):
    """Trains the mask predictor on noised real images.

    Args:
        generator: fine-tuned, frozen. If the base came with a mask predictor of the size that ``config`` asks for,
            training goes on from it.
        config: mask settings and seed.

    Raises:
        SeasError: ``masks.normal_batch_size`` is below 1, or ``masks.max_timestep`` is not in 1 to the length of the
            base's noise schedule.
    """

    def __init__(self, generator: SeaSPipeline, config: FineTuneConfig) -> None:
        super().__init__()
        longest = generator.scheduler.config.num_train_timesteps
        if config.masks.normal_batch_size is not None and config.masks.normal_batch_size < 1:
            message = f"masks.normal_batch_size is {config.masks.normal_batch_size}; give at least 1, or leave it out."
            raise SeasError(message)
        if not 1 <= config.masks.max_timestep <= longest:
            message = f"masks.max_timestep is {config.masks.max_timestep}; give 1 to {longest}, the base's noise steps."
            raise SeasError(message)
        self.predictor = MaskPredictor.for_models(generator.unet, generator.vae, config.masks, config.official)
        pretrained = generator.mask_predictor
        if pretrained is not None and config.masks.from_base and pretrained.same_architecture(self.predictor):
            self.predictor.load_state_dict(pretrained.state_dict())
        for part in (generator.unet, generator.vae, generator.text_encoder):
            part.requires_grad_(False).eval()
        self.generator, self.config = generator, config
        self.latents = LatentCache(generator.vae)
        self.latent_shape = latent_shape(generator.unet, generator.vae, generator.config.image_size)

    def on_fit_start(self) -> None:
        """Move the frozen generator to the training device."""
        self.generator.to(self.device)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Return the loss of refined and coarse masks of B anomaly images and the first normal ones."""
        count, settings = len(batch["anomaly_type"]), self.config.masks
        step_seed = derive_seed(self.config.seed, "masks", self.global_step, batch_index % settings.accumulate)
        generator = torch.Generator().manual_seed(step_seed)
        features = self._features(batch, generator, count, _normal_count(settings, count))
        losses = mask_losses(self.predictor, *features, batch["mask"], settings.loss)
        self.log_dict({name: value.detach() for name, value in losses.items()}, prog_bar=True, batch_size=count)
        return losses["loss_refined"] + losses["loss_coarse"]

    @torch.no_grad()
    def _features(
        self, batch: dict[str, Any], generator: torch.Generator, count: int, normals: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return U-Net features of all images and decoder features of those that are refined, at the same noise."""
        pipe = self.generator
        device = batch["mask"].device
        draw = torch.randn((count + normals, *self.latent_shape), generator=generator).to(device)
        halves = (("anomaly", draw[:count]), ("normal", draw[count:]))
        clean = torch.cat([self._encode(batch, kind, part) for kind, part in halves])
        noise = torch.randn(clean.shape, generator=generator).to(device)
        timesteps = torch.randint(0, self.config.masks.max_timestep, (len(clean),), generator=generator).to(device)
        # Not the solver's add_noise, whose levels follow its sampling steps and not the training schedule.
        noisy = start_latent(pipe.scheduler, clean, noise, timesteps)
        prompts = [pipe.prompt.anomaly_prompt(name) for name in batch["anomaly_type"]]
        prompts += [pipe.prompt.normal_prompt()] * normals
        context, _ = encode_prompts(pipe.tokenizer, pipe.text_encoder, prompts)
        decoded = count if self.predictor.detail is None else count + normals
        return read_features(pipe.unet, pipe.vae, noisy, timesteps, context, decoded)

    def _encode(self, batch: dict[str, Any], kind: str, noise: Tensor) -> Tensor:
        """Return scaled latents ``[B, C, h, w]`` of one half; varied images never come again, so are not kept."""
        rows = len(noise)
        images = batch[f"{kind}_image"][:rows]
        if f"{kind}_index" in batch:
            indices, codes = (batch[f"{kind}_{name}"][:rows] for name in ("index", "augmentation"))
            return self.latents.encode(kind, images, indices, codes, noise)
        return encode_latents(self.generator.vae, images, noise)

    def configure_optimizers(self) -> Any:
        """Return AdamW for the mask predictor."""
        settings = self.config.masks
        groups = [{"params": list(self.predictor.parameters()), "lr": settings.lr}]
        return adamw(groups, settings, len(self.generator.anomaly_types))


def _normal_count(settings: MaskConfig, count: int) -> int:
    return count if settings.normal_batch_size is None else min(settings.normal_batch_size, count)
