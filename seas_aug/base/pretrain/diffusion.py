# SPDX-License-Identifier: Apache-2.0
"""Pretraining of text encoder and U-Net on cached latents of rendered scenes.

Beside the noise, the base learns what SeaS builds on: that the attention of a defect's word lies on the defect (the DA
loss with the renderer's exact masks), so that fine-tuning starts from attention that already looks for defects.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from seas_aug.artifact.atomic import atomic_write
from seas_aug.attention.capture import capture_attention
from seas_aug.attention.maps import reduce_maps
from seas_aug.base.load import BaseModels, load_base
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
from seas_aug.errors import SeasError
from seas_aug.losses import noise_loss
from seas_aug.losses.da import VISIBLE_TIMESTEP, da_loss
from seas_aug.prompt.ua_prompt import token_positions

if TYPE_CHECKING:
    from torch import Tensor

_WORDS = "embeddings.token_embedding.weight"


class LatentPool:
    """Latents of rendered scenes and their prompts.

    Attributes:
        latents: bfloat16 ``[N, C, h, w]``, unscaled.
        masks: bool ``[N, 1, H, W]``, at the size of the scenes.
        prompts: one text per latent.
        scaling_factor: 1 / standard deviation of the latents.
    """

    def __init__(self, latents: Tensor, masks: Tensor, prompts: list[str]) -> None:
        self.latents, self.masks, self.prompts = latents, masks, prompts
        self.scaling_factor = 1.0 / float(latents[:2000].float().std())

    @classmethod
    def cached(
        cls, path: Path, autoencoder: Path | str, count: int, first_seed: int, threads: int | None = None
    ) -> LatentPool:
        """Read the pool from ``path``, or render and encode it first.

        Raises:
            SeasError: ``path`` holds another pool.
        """
        recipe = {"autoencoder": str(autoencoder), "count": count, "first_seed": first_seed}
        if path.exists():
            saved = torch.load(path, weights_only=True)
            if saved.get("recipe") != recipe:
                message = f"{path} holds other latents ({saved.get('recipe')}) than {recipe}; delete it to make these."
                raise SeasError(message)
            return cls(saved["latents"], saved["masks"], saved["prompts"])
        if threads:
            torch.set_num_threads(threads)
        vae = load_autoencoder(autoencoder)
        latents, masks, prompts = [], [], []
        for start in tqdm(range(0, count, 16), desc="encoding scenes"):
            scenes = [render_scene(first_seed + index, NATIVE_SIZE) for index in range(start, min(start + 16, count))]
            with torch.inference_mode(), torch.autocast(vae.device.type, torch.bfloat16):
                images = torch.stack([to_range(scene.image) for scene in scenes])
                latents.append(vae.encode(images.to(vae.device)).latent.bfloat16().cpu())
            masks.append(torch.stack([torch.from_numpy(scene.mask)[None] > 0 for scene in scenes]))
            prompts += [scene.prompt for scene in scenes]
        pool = cls(torch.cat(latents), torch.cat(masks), prompts)
        with atomic_write(path) as file:
            torch.save({"recipe": recipe, "latents": pool.latents, "masks": pool.masks, "prompts": prompts}, file)
        return pool


def load_autoencoder(source: Path | str) -> Any:
    """Return an autoencoder in evaluation mode.

    Args:
        source: checkpoint of stage 1 (``.ckpt``), or a base such as ``embedded`` whose autoencoder is kept.
    """
    if str(source).endswith(".ckpt"):
        vae = AutoencoderModule.load_from_checkpoint(source, map_location="cpu", weights_only=True).vae
    else:
        vae = load_base(str(source)).vae
    return vae.eval().to("cuda" if torch.cuda.is_available() else "cpu")


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
        """Return ``{"latent": float32 [C, h, w] of about unit variance, "mask": float32 [1, H, W], "prompt": str}``."""
        choice = int(np.random.default_rng((self.seed, index)).integers(len(self.pool.prompts)))
        return {
            "latent": self.pool.latents[choice].float() * self.scaling_factor,
            "mask": self.pool.masks[choice].float(),
            "prompt": self.pool.prompts[choice],
        }


def supervised_words(prompt: str) -> tuple[str, str] | None:
    """Return the tokens of the last word of the product and of its defect, or None for a prompt without a defect.

    Args:
        prompt: of a rendered scene, such as ``a metal plate with colour change``.
    """
    product, _, defect = prompt.partition(" with ")
    # CLIP's vocabulary marks the end of a word.
    return (product.split()[-1] + "</w>", defect.split()[-1] + "</w>") if defect else None


class DiffusionModule(lightning.LightningModule):
    """Noise prediction with prompt dropout, as Stable Diffusion was trained, and attention on the defects.

    Args:
        total_steps: optimiser updates, for the learning rate.
        scaling_factor: recorded for the export.
        tokenizer_folder: where the vocabulary is written.
        lr: peak learning rate.
        prompt_dropout: share of prompts replaced by the empty one.
        da_weight: weight of the DA loss on the noun and the defect's word.
    """

    def __init__(
        self,
        total_steps: int,
        scaling_factor: float,
        tokenizer_folder: Path | str,
        lr: float = 1e-3,
        prompt_dropout: float = 0.1,
        da_weight: float = 0.5,
    ) -> None:
        super().__init__()
        tokenizer_folder = str(tokenizer_folder)
        self.save_hyperparameters()
        self.tokenizer = build_tokenizer(Path(tokenizer_folder), all_words())
        self.text_encoder = build_text_encoder(len(self.tokenizer))
        unet: Any = build_unet()
        self.unet = unet.to(memory_format=torch.channels_last)
        self.scheduler: Any = build_scheduler()

    def continue_from(self, base: BaseModels) -> None:
        """Take over U-Net and text encoder of an earlier base; words that it did not have start untrained.

        Args:
            base: of the same structure.
        """
        self.unet.load_state_dict(base.unet.state_dict())
        encoders: list[Any] = [self.text_encoder, base.text_encoder]
        mine, theirs = (encoder.get_input_embeddings().weight for encoder in encoders)
        rows, known = mine.detach().clone(), base.tokenizer.get_vocab()
        for piece, index in self.tokenizer.get_vocab().items():
            if piece in known:
                rows[index] = theirs[known[piece]]
        others = {name: weight for name, weight in base.text_encoder.state_dict().items() if name != _WORDS}
        self.text_encoder.load_state_dict({**others, _WORDS: rows})

    def losses(self, batch: dict, generator: torch.Generator | None, dropout: float) -> dict[str, Tensor]:
        """Return the loss ``noise`` (DDPM, equation 14) and ``attention`` (DA loss).

        Args:
            batch: ``latent``, ``mask`` and ``prompt`` of :class:`LatentScenes`.
            generator: source of randomness; None takes torch's own.
            dropout: share of empty prompts.
        """
        count = len(batch["prompt"])
        kept = torch.rand(count, generator=generator) >= dropout
        timesteps = torch.randint(0, self.scheduler.config.num_train_timesteps, (count,), generator=generator)
        noise = torch.randn(batch["latent"].shape, generator=generator)
        words = [supervised_words(prompt) for prompt in batch["prompt"]]
        # Only where a word names a defect and the noise leaves something of it to be seen; those rows go first.
        useful = kept & (timesteps < VISIBLE_TIMESTEP) & torch.tensor([found is not None for found in words])
        order = torch.argsort(useful.int(), descending=True, stable=True)
        latent, mask = batch["latent"][order.to(batch["latent"].device)], batch["mask"][order.to(batch["mask"].device)]
        timesteps, noise = timesteps[order].to(latent.device), noise[order].to(latent.device)
        prompts = [batch["prompt"][index] if kept[index] else "" for index in order.tolist()]
        tokens = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        context = self.text_encoder(tokens.to(latent.device)).last_hidden_state
        noisy = self.scheduler.add_noise(latent, noise, timesteps).contiguous(memory_format=torch.channels_last)
        number = int(useful.sum())
        attention = torch.zeros((), device=latent.device)
        with ExitStack() as stack:
            if number:
                chosen = [found for index in order[:number].tolist() if (found := words[index]) is not None]
                positions = token_positions(self.tokenizer, tokens[:number], chosen)
                side = latent.shape[-1]
                store = stack.enter_context(
                    capture_attention(self.unet, positions, slice(0, number), (side, side // 2), True)
                )
            prediction = self.unet(noisy, timesteps, context).sample.float()
            if number:
                attention = da_loss(reduce_maps(store), mask[:number], num_normal_tokens=1)
        return {
            "noise": noise_loss(prediction, noise),
            "attention": attention,
        }

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        """Return the weighted loss of one batch."""
        parts = self.losses(batch, None, self.hparams["prompt_dropout"])
        self.log_dict({f"loss_{name}": value.detach() for name, value in parts.items()}, prog_bar=True)
        return parts["noise"] + self.hparams["da_weight"] * parts["attention"]

    def validation_step(self, batch: dict, batch_index: int) -> None:
        """Log the losses on scenes that are not trained on, always with the same noise."""
        parts = self.losses(batch, torch.Generator().manual_seed(batch_index), 0.0)
        values = {f"val_{name}": value for name, value in parts.items()}
        self.log_dict(values, prog_bar=True, batch_size=len(batch["prompt"]))

    def configure_optimizers(self) -> Any:
        """Return AdamW with a short warm-up and a cosine fall."""
        weights = [*self.unet.parameters(), *self.text_encoder.parameters()]
        return adamw_with_cosine(weights, self.hparams["lr"], self.hparams["total_steps"], weight_decay=1e-3)
