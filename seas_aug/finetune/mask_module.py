# SPDX-License-Identifier: Apache-2.0
"""Stage 2 as a Lightning module: Refined Mask Prediction (RMP) on the frozen generator (SeaS section 3.3)."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor

from seas_aug.config import FineTuneConfig, MaskConfig
from seas_aug.data.seeds import derive_seed
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.errors import SeasError
from seas_aug.finetune.latent_cache import LatentCache
from seas_aug.finetune.optimiser import adamw
from seas_aug.latents.codec import latent_shape
from seas_aug.latents.ddpm import ddpm_step
from seas_aug.latents.hole import hidden_latents, whole_hole
from seas_aug.latents.prediction import is_inpainting
from seas_aug.latents.start import start_latent
from seas_aug.masks.features import read_features
from seas_aug.masks.predictor import MaskPredictor
from seas_aug.masks.training import detail_loss, mask_losses, tell, with_normals
from seas_aug.prompt.embedding import encode_prompts


class MaskModule(lightning.LightningModule):
    """Trains the mask predictor on noised real images.

    Args:
        generator: fine-tuned, frozen. If the base came with a mask predictor of the size that ``config`` asks for,
            training goes on from it: from its part on the features and its detail branch each for itself.
        config: mask settings and seed.

    Raises:
        SeasError: ``masks.normal_batch_size``, ``masks.feature_batch_size`` or ``masks.feature_every`` is below 1, or
            ``masks.max_timestep`` is not in 1 to the length of the base's noise schedule.
    """

    def __init__(self, generator: SeaSPipeline, config: FineTuneConfig) -> None:
        super().__init__()
        longest = generator.scheduler.config.num_train_timesteps
        for name in ("normal_batch_size", "feature_batch_size"):
            value = getattr(config.masks, name)
            if value is not None and value < 1:
                message = f"masks.{name} is {value}; give at least 1, or null for as many as masks.batch_size."
                raise SeasError(message)
        if config.masks.feature_every < 1:
            message = f"masks.feature_every is {config.masks.feature_every}; give 1 for every update, or more."
            raise SeasError(message)
        if not 1 <= config.masks.max_timestep <= longest:
            message = f"masks.max_timestep is {config.masks.max_timestep}; give 1 to {longest}, the base's noise steps."
            raise SeasError(message)
        self.predictor = MaskPredictor.for_models(generator.unet, generator.vae, config.masks, config.official)
        self.predictor.register_to_config(mirrored=config.data.flip)
        if generator.mask_predictor is not None and config.masks.from_base:
            self.predictor.take_over(generator.mask_predictor)
        for part in (generator.unet, generator.vae, generator.text_encoder):
            part.requires_grad_(False).eval()
        self.generator, self.config = generator, config
        self.latents = LatentCache(generator.vae)
        self.latent_shape = latent_shape(generator.unet, generator.vae, generator.config.image_size)
        hidden = hidden_latents(generator.vae, generator.config.image_size)
        self._hidden: Tensor
        self.register_buffer("_hidden", hidden, persistent=False)

    def on_fit_start(self) -> None:
        """Move the frozen generator to the training device."""
        self.generator.to(self.device)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Return the loss of the features' masks of some images, and of the detail branch on all of them.

        Without a detail branch the features' masks are trained at every update.
        """
        settings = self.config.masks
        step_seed = derive_seed(self.config.seed, "masks", self.global_step, batch_index % settings.accumulate)
        generator = torch.Generator().manual_seed(step_seed)
        count = len(batch["anomaly_type"])
        losses: dict[str, Tensor] = {}
        found, rows = batch["mask"][:0], 0
        if self.predictor.detail is None or self.global_step % settings.feature_every == 0:
            rows, normals = feature_counts(settings, count)
            features = self._features(batch, generator, rows, normals)
            official, partly = self.config.official, self.config.data.partly_marked
            losses, found = mask_losses(
                self.predictor, *features, batch["mask"][:rows], settings.loss, official, partly
            )
        if self.predictor.detail is not None:
            losses["loss_detail"] = self._detail_loss(batch, found, rows, generator)
        self.log_dict({name: value.detach() for name, value in losses.items()}, prog_bar=True, batch_size=count)
        return torch.stack(list(losses.values())).sum()

    def _detail_loss(self, batch: dict[str, Any], found: Tensor, rows: int, generator: torch.Generator) -> Tensor:
        """Return the loss of the detail branch on all images; the first ones' masks may be known from the features."""
        count = len(batch["anomaly_type"])
        normals = normal_count(self.config.masks, count)
        images = torch.cat([batch["anomaly_image"], batch["normal_image"][:normals]])
        # A normal image is asked about a type too, because every generated one is.
        types = self.generator.anomaly_types
        asked = torch.randint(len(types), (normals,), generator=generator).tolist()
        names = [*batch["anomaly_type"], *(types[choice] for choice in asked)]
        pipe = self.generator
        texts = [pipe.prompt.anomaly_prompt(name) for name in names]
        with torch.no_grad():
            prompts = encode_prompts(pipe.tokenizer, pipe.text_encoder, texts).pooled
        places = torch.cat([torch.arange(rows), torch.arange(count, count + len(found) - rows)])
        known = tell(found, places, len(images), generator)
        target = with_normals(batch["mask"], normals)
        return detail_loss(self.predictor, images, known, prompts, target, self.config.masks.loss, generator)

    @torch.no_grad()
    def _features(
        self, batch: dict[str, Any], generator: torch.Generator, count: int, normals: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return U-Net features of the first images and decoder features of the anomalies, at the same noise.

        With ``official`` those of the decoder are of one random step further (specification, section 4.5).
        """
        pipe = self.generator
        device = batch["mask"].device
        draw = torch.randn((count + normals, *self.latent_shape), generator=generator).to(device)
        halves = (("anomaly", draw[:count]), ("normal", draw[count:]))
        clean = torch.cat([self._encode(batch, kind, part) for kind, part in halves])
        noise = torch.randn(clean.shape, generator=generator).to(device)
        levels = pipe.scheduler.alphas_cumprod
        last = mask_timesteps(len(levels), self.config)
        timesteps = torch.randint(0, last, (len(clean),), generator=generator).to(device)
        # Not the solver's add_noise, whose levels follow its sampling steps and not the training schedule.
        noisy = start_latent(pipe.scheduler, clean, noise, timesteps)
        prompts = [pipe.prompt.anomaly_prompt(name) for name in batch["anomaly_type"][:count]]
        prompts += [pipe.prompt.normal_prompt()] * normals
        embeddings = encode_prompts(pipe.tokenizer, pipe.text_encoder, prompts)
        hole = whole_hole(self._hidden, len(noisy)) if is_inpainting(pipe.unet) else None
        if not self.config.official:
            return read_features(pipe.unet, pipe.vae, noisy, timesteps, embeddings, count, hole=hole)
        fresh = torch.randn(noisy[:count].shape, generator=generator).to(device)

        def step(predicted: Tensor) -> Tensor:
            return ddpm_step(levels, noisy[:count], predicted, timesteps[:count], fresh)

        return read_features(pipe.unet, pipe.vae, noisy, timesteps, embeddings, count, step, hole)

    def _encode(self, batch: dict[str, Any], kind: str, noise: Tensor) -> Tensor:
        """Return scaled latents ``[B, C, h, w]`` of the first images of one half."""
        images, indices, codes = (batch[f"{kind}_{name}"][: len(noise)] for name in ("image", "index", "augmentation"))
        return self.latents.encode(kind, images, indices, codes, noise)

    def configure_optimizers(self) -> Any:
        """Return AdamW for the mask predictor."""
        settings = self.config.masks
        groups = [{"params": list(self.predictor.parameters()), "lr": settings.lr}]
        return adamw(groups, settings, len(self.generator.anomaly_types))


def mask_timesteps(steps: int, config: FineTuneConfig) -> int:
    """Return below which timestep noise is drawn: ``masks.max_timestep``, or all with ``official``.

    Args:
        steps: timesteps of the noise schedule.
        config: of the run.
    """
    return steps if config.official else config.masks.max_timestep


def normal_count(settings: MaskConfig, count: int) -> int:
    """Return how many normal images are beside ``count`` anomaly images."""
    return count if settings.normal_batch_size is None else min(settings.normal_batch_size, count)


def feature_counts(settings: MaskConfig, count: int) -> tuple[int, int]:
    """Return of how many of ``count`` anomaly images, and of the normals beside them, the features are read.

    Args:
        settings: ``feature_batch_size`` and ``normal_batch_size``; normals in proportion, at least one.
        count: anomaly images of the batch.
    """
    rows = count if settings.feature_batch_size is None else min(settings.feature_batch_size, count)
    return rows, max(1, normal_count(settings, count) * rows // count)
