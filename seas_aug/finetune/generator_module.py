# SPDX-License-Identifier: Apache-2.0
"""Stage 1 as a Lightning module: L = L_SD + L_NA + L_DA (SeaS section 3.2), and the noise loss inside the defects."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import Tensor

from seas_aug.attention.capture import capture_attention
from seas_aug.attention.maps import reduce_maps
from seas_aug.base.load import BaseModels
from seas_aug.config import FineTuneConfig
from seas_aug.data.seeds import derive_seed
from seas_aug.finetune.latent_cache import LatentCache
from seas_aug.finetune.optimiser import adamw
from seas_aug.latents.codec import latent_shape
from seas_aug.latents.hole import MARGIN, hidden_latents, make_hole
from seas_aug.latents.prediction import is_inpainting, predict, prediction_target
from seas_aug.latents.random_holes import draw_holes
from seas_aug.losses.da import VISIBLE_TIMESTEP, da_loss
from seas_aug.losses.defect import defect_noise_loss
from seas_aug.losses.hole import hole_noise_loss
from seas_aug.losses.na import noise_loss
from seas_aug.prompt.embedding import ExtendedTokenEmbedding, PromptEmbeddings, encode_prompts
from seas_aug.prompt.ua_prompt import UAPrompt, token_positions


@dataclass(frozen=True)
class _Noised:
    """Latents of B anomaly and B normal pictures on their way to the U-Net."""

    clean: Tensor
    target: Tensor
    timesteps: Tensor
    noisy: Tensor
    prompts: PromptEmbeddings


class GeneratorModule(lightning.LightningModule):
    """Trains the U-Net and the new embedding rows; autoencoder and text transformer stay frozen.

    Args:
        models: the base; its U-Net is trained in place, its text encoder holds ``embedding``.
        prompt: types and tokens.
        embedding: new rows to train.
        config: losses, learning rates, seed.
        image_size: side of the images in pixels.
    """

    def __init__(
        self,
        models: BaseModels,
        prompt: UAPrompt,
        embedding: ExtendedTokenEmbedding,
        config: FineTuneConfig,
        image_size: int,
    ) -> None:
        super().__init__()
        # Convolutions on a CPU prefer channels last.
        self.unet = models.unet.requires_grad_(True).to(memory_format=torch.channels_last)
        self.embedding = embedding
        models.vae.requires_grad_(False).eval()
        models.text_encoder.requires_grad_(False).eval()
        embedding.new_rows.requires_grad_(True)
        # A plain object, not a submodule: frozen parts need no checkpoint.
        self.models, self.prompt, self.config = models, prompt, config
        self.latents = LatentCache(models.vae)
        self.latent_shape = latent_shape(models.unet, models.vae, image_size)
        self._hidden: Tensor
        self.register_buffer("_hidden", hidden_latents(models.vae, image_size), persistent=False)

    def on_fit_start(self) -> None:
        """Move the frozen parts to the training device."""
        frozen: list[Any] = [self.models.vae, self.models.text_encoder]
        for part in frozen:
            part.to(self.device)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Return the total loss of B anomaly and B normal images in one U-Net pass."""
        count, settings = len(batch["anomaly_type"]), self.config.generator
        # Seeded by the step, so that a resumed run draws what an uninterrupted one would have drawn.
        step_seed = derive_seed(self.config.seed, "generator", self.global_step, batch_index % settings.accumulate)
        generator = torch.Generator().manual_seed(step_seed)
        clean = self._encode(batch, generator, count)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        steps = self.models.scheduler.config.num_train_timesteps
        timesteps = draw_timesteps(count, steps, self.config, generator, is_inpainting(self.unet)).to(clean.device)
        target = prediction_target(self.models.scheduler, clean, noise, timesteps)
        noisy = self.models.scheduler.add_noise(clean, noise, timesteps).contiguous(memory_format=torch.channels_last)
        dropped = torch.rand(count, generator=generator) < settings.prompt_dropout
        anomaly_prompts = [self.prompt.anomaly_prompt(name) for name in batch["anomaly_type"]]
        normal_prompts = ["" if drop else self.prompt.normal_prompt() for drop in dropped]
        embeddings = encode_prompts(self.models.tokenizer, self.models.text_encoder, anomaly_prompts + normal_prompts)
        words = [self.prompt.supervised_words(name) for name in batch["anomaly_type"]]
        positions = token_positions(self.models.tokenizer, embeddings.input_ids[:count], words)
        if is_inpainting(self.unet):
            return self._fill_holes(batch, _Noised(clean, target, timesteps, noisy, embeddings), positions, generator)
        read = self.config.attention
        with capture_attention(
            self.unet, positions, slice(0, count), read.resolutions, read.include_up_blocks
        ) as store:
            prediction = predict(self.unet, noisy, timesteps, embeddings)
        anomaly_loss = noise_loss(prediction[:count], target[:count])
        normal_loss = noise_loss(prediction[count:], target[count:])
        alignment = da_loss(
            reduce_maps(store, self.config.official),
            batch["mask"],
            self.prompt.normal_tokens,
            self.config.official,
            self.config.data.partly_marked,
        )
        inside = defect_noise_loss(prediction[:count], target[:count], batch["mask"])
        total = (
            anomaly_loss
            + settings.defect_weight * inside
            + settings.na_weight * normal_loss
            + settings.da_weight * alignment
        )
        parts = {"loss": total, "loss_sd": anomaly_loss, "loss_na": normal_loss, "loss_da": alignment}
        parts["loss_defect"] = inside
        self.log_dict({name: value.detach() for name, value in parts.items()}, prog_bar=True, batch_size=count)
        return total

    def _fill_holes(
        self, batch: dict[str, Any], step: _Noised, positions: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the total loss of a model of the inpainting layout.

        The same losses in holes: L_SD where a defect is drawn, L_NA where the normal prompt restores what is normal,
        and L_DA where the whole picture is the hole, and nothing tells where the defect is.
        """
        count, settings = len(batch["anomaly_type"]), self.config.generator
        # A normal picture gets the hole of another one's defect, turned, so that no hole stands for a defect.
        shapes = torch.cat([batch["mask"], batch["mask"].roll(1, 0).flip(-1)])
        holes = draw_holes(shapes, step.clean.shape[-1], settings.holes, generator, MARGIN)
        reference = torch.cat([self._twins(batch, generator), step.clean[count:]])
        hole = make_hole(holes.mask, reference, self._hidden, holes.seen)
        # Rows that the DA loss reads come first.
        supervised = holes.whole[:count] & (step.timesteps[:count] < VISIBLE_TIMESTEP)
        order = torch.argsort(supervised.int(), descending=True, stable=True)
        number = int(supervised.sum())
        everything = torch.cat([order, torch.arange(count, 2 * count, device=order.device)])
        read = self.config.attention
        alignment = torch.zeros((), device=step.clean.device)
        with ExitStack() as stack:
            if number:
                store = stack.enter_context(
                    capture_attention(
                        self.unet,
                        positions[order.to(positions.device)][:number],
                        slice(0, number),
                        read.resolutions,
                        read.include_up_blocks,
                    )
                )
            prediction = predict(
                self.unet,
                step.noisy[everything],
                step.timesteps[everything],
                step.prompts.rows(everything),
                hole.rows(everything),
            )
            if number:
                mask = batch["mask"][order][:number]
                alignment = da_loss(reduce_maps(store), mask, self.prompt.normal_tokens) * number / count
        error = hole_noise_loss(prediction, step.target[everything], hole.rows(everything).inside)
        anomaly_loss, normal_loss = error[:count].mean(), error[count:].mean()
        total = anomaly_loss + settings.na_weight * normal_loss + settings.da_weight * alignment
        parts = {"loss": total, "loss_sd": anomaly_loss, "loss_na": normal_loss, "loss_da": alignment}
        self.log_dict({name: value.detach() for name, value in parts.items()}, prog_bar=True, batch_size=count)
        return total

    def _twins(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        images, never = batch["twin_image"], torch.full_like(batch["anomaly_index"], -1)
        draw = torch.randn((len(images), *self.latent_shape), generator=generator).to(images.device)
        return self.latents.encode("twin", images, never, batch["anomaly_augmentation"], draw)

    def _encode(self, batch: dict[str, Any], generator: torch.Generator, count: int) -> Tensor:
        draw = torch.randn((2 * count, *self.latent_shape), generator=generator).to(batch["mask"].device)
        anomaly = self.latents.encode(
            "anomaly", batch["anomaly_image"], batch["anomaly_index"], batch["anomaly_augmentation"], draw[:count]
        )
        normal = self.latents.encode(
            "normal", batch["normal_image"], batch["normal_index"], batch["normal_augmentation"], draw[count:]
        )
        return torch.cat([anomaly, normal])

    def configure_optimizers(self) -> Any:
        """Return AdamW for U-Net and new rows (spec section 1)."""
        settings = self.config.generator
        groups: list[dict[str, Any]] = [
            {"params": list(self.unet.parameters()), "lr": settings.unet_lr},
            {"params": [self.embedding.new_rows], "lr": settings.embedding_lr},
        ]
        return adamw(groups, settings, len(self.prompt.anomaly_types))


def visited_timesteps(steps: int, config: FineTuneConfig, holes: bool = False) -> int:
    """Return how many timesteps, from 0 on, sampling can visit: those up to its strength, rounded by its grid.

    Args:
        steps: timesteps of the noise schedule.
        config: ``generator.limit_timesteps`` off, or ``official`` (which starts from almost pure noise), means all.
        holes: whether the base fills holes, in which nothing but noise is at first.
    """
    if config.official or not config.generator.limit_timesteps:
        return steps
    sampling = config.sampling
    if holes or sampling.fill == "hole":
        return steps
    # The steps that read the mask are always taken, and the start is the nearest step of the grid.
    strengths = [sampling.strength, *([sampling.copied_strength] if sampling.copied_share else [])]
    share = max(*strengths, sampling.mask_steps / sampling.num_inference_steps)
    return min(steps, math.ceil((share + 0.5 / sampling.num_inference_steps) * steps))


def draw_timesteps(
    count: int, steps: int, config: FineTuneConfig, generator: torch.Generator, holes: bool = False
) -> Tensor:
    """Draw the timesteps of B anomaly and then B normal images, int64 ``[2 B]``.

    Args:
        count: B.
        steps: timesteps of the noise schedule.
        config: ``generator.low_noise_share`` of the anomaly images get a timestep below ``masks.max_timestep``, all
            others one of those that sampling visits (paper: always any).
        generator: source of randomness.
        holes: whether the base fills holes.
    """
    timesteps = torch.randint(0, visited_timesteps(steps, config, holes), (2 * count,), generator=generator)
    low = torch.randint(0, min(config.masks.max_timestep, steps), (count,), generator=generator)
    chosen = torch.rand(count, generator=generator) < config.generator.low_noise_share
    return torch.cat([torch.where(chosen, low, timesteps[:count]), timesteps[count:]])
