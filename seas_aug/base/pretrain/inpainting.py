# SPDX-License-Identifier: Apache-2.0
"""Pretraining of text encoder and U-Net in the layout of Stable Diffusion's inpainting checkpoints, on twins.

Half of the samples draw a defect into a hole, half restore the normal picture in one: a hole alone says nothing, the
prompt decides. The reference is hidden in the hole or seen there. Where the whole picture is the hole, the attention of
the defect's word is drawn to the defect (DA loss), so that fine-tuning starts from attention that looks for defects.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import torch
from transformers import CLIPTokenizer

from seas_aug.attention.capture import capture_attention
from seas_aug.attention.maps import reduce_maps
from seas_aug.base.load import BaseModels
from seas_aug.base.pretrain.architecture import (
    MAX_TOKENS,
    build_inpainting_unet,
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
)
from seas_aug.base.pretrain.crops import crop_around
from seas_aug.base.pretrain.schedule import Budget, trapezoid
from seas_aug.base.pretrain.twin_pool import TwinPool
from seas_aug.config import HoleConfig
from seas_aug.data.seeds import derive_seed
from seas_aug.latents.hole import Hole, hidden_latents, make_hole
from seas_aug.latents.prediction import predict, prediction_target
from seas_aug.latents.random_holes import draw_holes
from seas_aug.losses.da import VISIBLE_TIMESTEP, da_loss
from seas_aug.losses.hole import hole_noise_loss
from seas_aug.prompt.embedding import PromptEmbeddings, pool_prompts
from seas_aug.prompt.ua_prompt import token_positions

if TYPE_CHECKING:
    from torch import Tensor

_WORDS = "embeddings.token_embedding.weight"


@dataclass(frozen=True)
class InpaintingSettings:
    """Settings of the stage.

    Attributes:
        batch_size: samples per update, defects and normals alike.
        crop: at first, samples are crops of so many latents a side around the defects, as many more of them as they are
            smaller: what is local, texture and the way from reference to picture, is learnt from four times as many.
            0 never crops.
        crop_share: share of the budget that is spent on crops.
        lr: peak learning rate; it falls to a hundredth over the last quarter.
        holes: kinds of holes.
        prompt_dropout: share of prompts replaced by the empty one.
        da_weight: weight of the DA loss.
        first_twins: twins before the first update.
        twins_per_update: further twins with each update, up to ``most_twins``.
        most_twins: how many there will ever be; 48 KB of memory each.
        seed: of weights, batches and twins.
    """

    batch_size: int = 16
    crop: int = 16
    crop_share: float = 0.7
    lr: float = 1e-3
    holes: HoleConfig = field(default_factory=HoleConfig)
    prompt_dropout: float = 0.1
    da_weight: float = 0.25
    first_twins: int = 2048
    twins_per_update: float = 2.0
    most_twins: int = 24_000
    seed: int = 7


@dataclass(frozen=True)
class _Batch:
    clean: Tensor
    hole: Hole
    tokens: Tensor
    positions: Tensor
    mask: Tensor
    supervised: Tensor  # bool [B]: the whole picture is the hole, and one word names the defect


class InpaintingModule(lightning.LightningModule):
    """Prediction in holes, for the prompt's sake.

    Args:
        pool: twins.
        held_out: twins that are not trained on.
        settings: of the stage.
        budget: when it ends.
        words: vocabulary of the tokenizer.
        tokenizer_folder: where it is written.
    """

    def __init__(
        self,
        pool: TwinPool,
        held_out: TwinPool,
        settings: InpaintingSettings,
        budget: Budget,
        words: list[str],
        tokenizer_folder: Path,
    ) -> None:
        super().__init__()
        self.pool, self.held_out, self.settings, self.budget = pool, held_out, settings, budget
        self.tokenizer = build_tokenizer(tokenizer_folder, words)
        self.text_encoder = build_text_encoder(len(self.tokenizer))
        unet: Any = build_inpainting_unet()
        self.unet = unet.to(memory_format=torch.channels_last)
        self.scheduler: Any = build_scheduler("v_prediction")
        self._hidden = hidden_latents(pool.vae, pool.recipe.size)
        self._prompts = {id(pool): _Prompts(self.tokenizer), id(held_out): _Prompts(self.tokenizer)}

    def continue_from(self, base: BaseModels) -> None:
        """Take over U-Net and text encoder of a base; inputs and words that it lacks start at zero.

        Args:
            base: of the same widths.
        """
        rows = base.unet.state_dict()
        first = self.unet.state_dict()["conv_in.weight"].clone().zero_()
        first[:, : rows["conv_in.weight"].shape[1]] = rows["conv_in.weight"]
        self.unet.load_state_dict({**rows, "conv_in.weight": first}, strict=False)
        if "class_embedding.linear_2.weight" not in rows:
            torch.nn.init.zeros_(self.unet.class_embedding.linear_2.weight)
            torch.nn.init.zeros_(self.unet.class_embedding.linear_2.bias)
        encoders: list[Any] = [self.text_encoder, base.text_encoder]
        mine, theirs = (encoder.get_input_embeddings().weight for encoder in encoders)
        embedding, known = mine.detach().clone(), base.tokenizer.get_vocab()
        for piece, index in self.tokenizer.get_vocab().items():
            if piece in known:
                embedding[index] = theirs[known[piece]]
        others = {name: weight for name, weight in base.text_encoder.state_dict().items() if name != _WORDS}
        self.text_encoder.load_state_dict({**others, _WORDS: embedding})

    def losses(
        self, pool: TwinPool, count: int, generator: torch.Generator, dropout: float, crop: int = 0
    ) -> dict[str, Tensor]:
        """Return the noise loss of defects and of normals in their holes, and the DA loss.

        Args:
            pool: twins that the batch is drawn from.
            count: size of the batch.
            generator: source of all randomness, on the CPU.
            dropout: share of empty prompts.
            crop: latents a side; 0 takes whole pictures.
        """
        batch = self._draw(pool, count, generator, dropout, crop)
        timesteps = torch.randint(0, self.scheduler.config.num_train_timesteps, (count,), generator=generator)
        timesteps = timesteps.to(batch.clean.device)
        noise = torch.randn(batch.clean.shape, generator=generator).to(batch.clean)
        order = torch.argsort((batch.supervised & (timesteps < VISIBLE_TIMESTEP)).int(), descending=True, stable=True)
        number = int((batch.supervised & (timesteps < VISIBLE_TIMESTEP)).sum())
        clean, noise, timesteps = batch.clean[order], noise[order], timesteps[order]
        tokens, hole, half = batch.tokens[order], batch.hole.rows(order), count // 2
        hidden = self.text_encoder(tokens).last_hidden_state
        prompts = PromptEmbeddings(hidden, pool_prompts(hidden, tokens, int(self.tokenizer.eos_token_id)), tokens)
        noisy = self.scheduler.add_noise(clean, noise, timesteps).contiguous(memory_format=torch.channels_last)
        target = prediction_target(self.scheduler, clean, noise, timesteps)
        attention = torch.zeros((), device=clean.device)
        side = clean.shape[-1]
        with ExitStack() as stack:
            if number:
                store = stack.enter_context(
                    capture_attention(
                        self.unet, batch.positions[order][:number], slice(0, number), (side, side // 2), True
                    )
                )
            prediction = predict(self.unet, noisy, timesteps, prompts, hole)
            if number:
                attention = da_loss(reduce_maps(store), batch.mask[order][:number], num_normal_tokens=1)
        error = hole_noise_loss(prediction, target, hole.inside)
        defect = (order < half).to(error)
        return {
            "defect": (error * defect).sum() / defect.sum().clamp(min=1),
            "normal": (error * (1 - defect)).sum() / (1 - defect).sum().clamp(min=1),
            "attention": attention * number / count,
        }

    def _draw(self, pool: TwinPool, count: int, generator: torch.Generator, dropout: float, crop: int) -> _Batch:
        """Draw a batch: first the defects, then as many normals in holes of other twins' shapes."""
        device, half = pool.latents.device, count // 2
        chosen = torch.randint(len(pool), (count,), generator=generator)
        shapes = torch.cat([chosen[:half], torch.randint(len(pool), (count - half,), generator=generator)]).to(device)
        mask, latents = pool.masks[shapes].float(), pool.latents[chosen.to(device)].float()
        hidden = self._hidden
        if crop:
            mask, latents, places = crop_around(mask, latents, crop, generator)
            hidden = hidden.expand(count, -1, -1, -1)[places]
        holes = draw_holes(mask, latents.shape[-1], self.settings.holes, generator)
        is_defect = (torch.arange(count) < half).to(device)
        clean = torch.where(is_defect.reshape(-1, 1, 1, 1), latents[:, 1], latents[:, 0])
        tokens, positions = self._prompts[id(pool)].of(pool, chosen, half)
        kept = torch.rand(count, generator=generator) >= dropout
        tokens = torch.where(kept[:, None], tokens, self._prompts[id(pool)].empty)
        named = (positions >= 0).all(dim=1) & kept
        hole = make_hole(holes.mask, latents[:, 0], hidden, holes.seen)
        supervised = holes.whole & is_defect & named.to(device)
        return _Batch(clean, hole, tokens.to(device), positions.to(device), mask, supervised)

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Return the loss of one update; what it is of follows from the number of the update alone."""
        settings, step = self.settings, self.global_step
        for _ in self.pool.grow(int(settings.first_twins + step * settings.twins_per_update)):
            pass
        generator = torch.Generator().manual_seed(derive_seed(settings.seed, "inpainting", step))
        crop = settings.crop if self.budget.spent(step) < settings.crop_share else 0
        count = settings.batch_size * (self.pool.latents.shape[-1] // crop) ** 2 if crop else settings.batch_size
        parts = self.losses(self.pool, count, generator, settings.prompt_dropout, crop)
        self.log_dict({f"loss_{name}": value.detach() for name, value in parts.items()}, prog_bar=True)
        return parts["defect"] + parts["normal"] + settings.da_weight * parts["attention"]

    def on_train_batch_start(self, *_: Any) -> None:
        """Set the learning rate by what is left of the budget."""
        factor = trapezoid(self.budget.spent(self.global_step), self.global_step)
        optimiser: Any = self.optimizers()
        for group in optimiser.param_groups:
            group["lr"] = self.settings.lr * factor

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop when the time is up."""
        if self.budget.spent(self.global_step) >= 1:
            self.trainer.should_stop = True

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Log the losses on twins that are not trained on, always with the same noise."""
        for _ in self.held_out.grow(512):
            pass
        generator = torch.Generator().manual_seed(batch_index)
        parts = self.losses(self.held_out, 64, generator, 0.0)
        self.log_dict({f"val_{name}": value for name, value in parts.items()}, prog_bar=True, batch_size=64)

    def configure_optimizers(self) -> Any:
        """Return AdamW; the learning rate follows the budget."""
        weights = [*self.unet.parameters(), *self.text_encoder.parameters()]
        return torch.optim.AdamW(weights, lr=self.settings.lr, betas=(0.9, 0.98), weight_decay=1e-3)


@dataclass(frozen=True)
class InpaintingParts:
    """Trained parts of a checkpoint.

    Attributes:
        unet: with averaged weights.
        text_encoder: likewise.
        tokenizer: of the stage.
        scheduler: training noise schedule.
    """

    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any


def is_inpainting_checkpoint(checkpoint: Path) -> bool:
    """Return whether a checkpoint is of this stage."""
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return "unet.class_embedding.linear_1.weight" in weights


def load_inpainting(checkpoint: Path) -> InpaintingParts:
    """Return what a checkpoint holds; its tokenizer lies in the folder beside it.

    Args:
        checkpoint: file in the output folder of the stage.
    """
    tokenizer = CLIPTokenizer.from_pretrained(checkpoint.parent / "tokenizer", model_max_length=MAX_TOKENS)
    parts = InpaintingParts(
        build_inpainting_unet(), build_text_encoder(len(tokenizer)), tokenizer, build_scheduler("v_prediction")
    )
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    for name in ("unet", "text_encoder"):
        own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
        getattr(parts, name).load_state_dict(own)
    return parts


class _Prompts:
    """Token ids of a pool's prompts, and where the noun and the defect's word stand."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.empty = self._ids([""])
        self._tokens = torch.empty(0, 2, self.empty.shape[1], dtype=torch.long)
        self._positions = torch.empty(0, 2, dtype=torch.long)

    def of(self, pool: TwinPool, chosen: Tensor, half: int) -> tuple[Tensor, Tensor]:
        """Return token ids ``[B, L]`` and positions ``[B, 2]`` (-1 where no one word names a defect)."""
        new = pool.prompts[len(self._tokens) :]
        if new:
            defects, normals = self._ids([pair[0] for pair in new]), self._ids([pair[1] for pair in new])
            self._tokens = torch.cat([self._tokens, torch.stack([defects, normals], dim=1)])
            places = [self._position(pair[0], row) for pair, row in zip(new, defects, strict=True)]
            self._positions = torch.cat([self._positions, torch.stack(places)])
        which = (torch.arange(len(chosen)) >= half).long()
        return self._tokens[chosen, which], self._positions[chosen]

    def _ids(self, prompts: list[str]) -> Tensor:
        return self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids

    def _position(self, prompt: str, row: Tensor) -> Tensor:
        noun, _, defects = prompt.partition(" with ")
        if " and " in defects:
            return torch.tensor([-1, -1])
        # CLIP's vocabulary marks the end of a word.
        words = (noun.split()[-1] + "</w>", defects.split()[-1] + "</w>")
        return token_positions(self.tokenizer, row[None], [words])[0]
