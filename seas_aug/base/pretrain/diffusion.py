# SPDX-License-Identifier: Apache-2.0
"""Pretraining of text encoder and U-Net on cached latents of rendered scenes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Dataset
from tqdm import tqdm

from seas_aug.atomic import atomic_write
from seas_aug.base.pretrain.architecture import (
    NATIVE_SIZE,
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
    build_unet,
)
from seas_aug.base.pretrain.autoencoder import AutoencoderModule
from seas_aug.base.pretrain.scenes import to_range
from seas_aug.base.pretrain.schedule import adamw_with_cosine
from seas_aug.base.renderer.scene import all_words, render_scene

if TYPE_CHECKING:
    from torch import Tensor


class LatentPool:
    """Latents of rendered scenes and their prompts.

    Attributes:
        latents: bfloat16 ``[N, C, h, w]``, unscaled.
        prompts: one text per latent.
        scaling_factor: 1 / standard deviation of the latents.
    """

    def __init__(self, latents: Tensor, prompts: list[str]) -> None:
        self.latents, self.prompts = latents, prompts
        self.scaling_factor = 1.0 / float(latents[:2000].float().std())

    @classmethod
    def cached(
        cls, path: Path, autoencoder: Path, count: int, first_seed: int, threads: int | None = None
    ) -> LatentPool:
        """Read the pool from ``path``, or render and encode it first."""
        if path.exists():
            saved = torch.load(path, weights_only=True)
            return cls(saved["latents"], saved["prompts"])
        if threads:
            torch.set_num_threads(threads)
        vae = load_autoencoder(autoencoder)
        latents, prompts = [], []
        for start in tqdm(range(0, count, 16), desc="encoding scenes"):
            scenes = [render_scene(first_seed + index, NATIVE_SIZE) for index in range(start, min(start + 16, count))]
            with torch.inference_mode(), torch.autocast(vae.device.type, torch.bfloat16):
                images = torch.stack([to_range(scene.image) for scene in scenes])
                latents.append(vae.encode(images.to(vae.device)).latent.bfloat16().cpu())
            prompts += [scene.prompt for scene in scenes]
        pool = cls(torch.cat(latents), prompts)
        with atomic_write(path) as file:
            torch.save({"latents": pool.latents, "prompts": prompts}, file)
        return pool


def load_autoencoder(checkpoint: Path) -> Any:
    """Return the autoencoder of a stage 1 checkpoint, in evaluation mode."""
    module = AutoencoderModule.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return module.vae.eval().to(device)


class LatentScenes(Dataset):
    """Draws from a pool; item ``i`` is the same in every run.

    Args:
        pool: cached latents.
        length: number of items.
        seed: seed of the draws.
        scaling_factor: of the latents; None takes the pool's own.
    """

    def __init__(self, pool: LatentPool, length: int, seed: int, scaling_factor: float | None = None) -> None:
        self.pool, self.length, self.seed = pool, length, seed
        self.scaling_factor = scaling_factor or pool.scaling_factor

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        """Return ``{"latent": float32 [C, h, w] of about unit variance, "prompt": str}``."""
        choice = int(np.random.default_rng((self.seed, index)).integers(len(self.pool.prompts)))
        return {
            "latent": self.pool.latents[choice].float() * self.scaling_factor,
            "prompt": self.pool.prompts[choice],
        }


class DiffusionModule(lightning.LightningModule):
    """Noise prediction with prompt dropout, as Stable Diffusion was trained.

    Args:
        total_steps: optimiser updates, for the learning rate.
        scaling_factor: recorded for the export.
        tokenizer_folder: where the vocabulary is written.
        lr: peak learning rate.
        prompt_dropout: share of prompts replaced by the empty one.
    """

    def __init__(
        self,
        total_steps: int,
        scaling_factor: float,
        tokenizer_folder: Path | str,
        lr: float = 1e-3,
        prompt_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        tokenizer_folder = str(tokenizer_folder)
        self.save_hyperparameters()
        self.tokenizer = build_tokenizer(Path(tokenizer_folder), all_words())
        self.text_encoder = build_text_encoder(len(self.tokenizer))
        unet: Any = build_unet()
        self.unet = unet.to(memory_format=torch.channels_last)
        self.scheduler: Any = build_scheduler()

    def loss(self, batch: dict, generator: torch.Generator | None, dropout: float) -> Tensor:
        """Return the mean squared error of the predicted noise (DDPM, equation 14)."""
        latent = batch["latent"]
        count = len(latent)
        dropped = torch.rand(count, generator=generator) < dropout
        prompts = ["" if drop else prompt for drop, prompt in zip(dropped, batch["prompt"], strict=True)]
        tokens = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        context = self.text_encoder(tokens.to(latent.device)).last_hidden_state
        timesteps = torch.randint(0, self.scheduler.config.num_train_timesteps, (count,), generator=generator)
        timesteps = timesteps.to(latent.device)
        noise = torch.randn(latent.shape, generator=generator).to(latent.device)
        noisy = self.scheduler.add_noise(latent, noise, timesteps).contiguous(memory_format=torch.channels_last)
        return functional.mse_loss(self.unet(noisy, timesteps, context).sample.float(), noise)

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        """Return the loss of one batch."""
        loss = self.loss(batch, None, self.hparams["prompt_dropout"])
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict, batch_index: int) -> None:
        """Log the loss on scenes that are not trained on, always with the same noise."""
        generator = torch.Generator().manual_seed(batch_index)
        self.log("val_loss", self.loss(batch, generator, 0.0), prog_bar=True, batch_size=len(batch["latent"]))

    def configure_optimizers(self) -> Any:
        """Return AdamW with a short warm-up and a cosine fall."""
        weights = [*self.unet.parameters(), *self.text_encoder.parameters()]
        return adamw_with_cosine(weights, self.hparams["lr"], self.hparams["total_steps"], weight_decay=1e-3)
