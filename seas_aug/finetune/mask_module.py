# SPDX-License-Identifier: Apache-2.0
"""Stage 2 as a Lightning module: Refined Mask Prediction (RMP) on the frozen generator (SeaS section 3.3)."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor

from seas_aug.base.latents import latent_shape
from seas_aug.config import FineTuneConfig
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
        SeasError: ``masks.max_timestep`` is not in 1 to the length of the base's noise schedule.
    """

    def __init__(self, generator: SeaSPipeline, config: FineTuneConfig) -> None:
        super().__init__()
        longest = generator.scheduler.config.num_train_timesteps
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
        """Return the focal loss of refined and coarse masks of B anomaly and B normal images."""
        count, settings = len(batch["anomaly_type"]), self.config.masks
        step_seed = derive_seed(self.config.seed, "masks", self.global_step, batch_index % settings.accumulate)
        generator = torch.Generator().manual_seed(step_seed)
        losses = mask_losses(self.predictor, *self._features(batch, generator, count), batch["mask"])
        self.log_dict({name: value.detach() for name, value in losses.items()}, prog_bar=True, batch_size=count)
        return losses["loss_refined"] + losses["loss_coarse"]

    @torch.no_grad()
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
        return read_features(pipe.unet, pipe.vae, noisy, timesteps, context, count)

    def configure_optimizers(self) -> Any:
        """Return AdamW for the mask predictor."""
        settings = self.config.masks
        groups = [{"params": list(self.predictor.parameters()), "lr": settings.lr}]
        return adamw(groups, settings, len(self.generator.anomaly_types))
