# SPDX-License-Identifier: Apache-2.0
"""Pretrain the embedded base: ``python -m seas_aug.base.pretrain STAGE --help``.

The stages, in this order: autoencoder, diffusion, export_base, masks, export_base, details, export_base, each for up to
an hour on one CPU core. Each continues where it was stopped. They read nothing but the renderer.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonargparse
import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from torch.utils.data import DataLoader

from seas_aug.artifact.code import code_version
from seas_aug.base.load import base_hash, load_base
from seas_aug.base.pretrain.architecture import LATENT_CHANNELS, NATIVE_SIZE
from seas_aug.base.pretrain.autoencoder import AutoencoderModule
from seas_aug.base.pretrain.details import DetailPretraining, DetailScenes
from seas_aug.base.pretrain.diffusion import DiffusionModule, LatentPool, LatentScenes, load_autoencoder
from seas_aug.base.pretrain.export import export_base
from seas_aug.base.pretrain.inpainting import InpaintingModule, InpaintingSettings
from seas_aug.base.pretrain.linear_start import patch_basis, write_linear_code
from seas_aug.base.pretrain.masks import MaskPretraining, MaskScenes
from seas_aug.base.pretrain.normalise import normalise
from seas_aug.base.pretrain.scenes import CropDataset, ScenePool
from seas_aug.base.pretrain.schedule import Budget
from seas_aug.base.pretrain.twin_pool import TwinPool, TwinRecipe
from seas_aug.base.renderer.photographs import Photographs, pack_photographs
from seas_aug.base.renderer.twin import twin_words

_HELD_OUT_SEED = 10_000_000
_INPAINTING = InpaintingSettings()
_NORMAL_SHARE = 0.3  # of the scenes that the detail branch learns from


def _trainer(folder: Path, steps: int, precision: str, threads: int | None, ema_decay: float) -> lightning.Trainer:
    if threads:
        torch.set_num_threads(threads)
    where = "cuda" if torch.cuda.is_available() else None  # else it would average beside the GPU
    averaging = [EMAWeightAveraging(device=where, decay=ema_decay)] if ema_decay else []
    return lightning.Trainer(
        max_steps=steps,
        precision=precision,  # type: ignore[arg-type]
        default_root_dir=folder,
        logger=lightning.pytorch.loggers.CSVLogger(folder, name="log", version=0),
        log_every_n_steps=25,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
        val_check_interval=500,
        check_val_every_n_epoch=None,
        callbacks=[
            ModelCheckpoint(folder, filename="last", every_n_train_steps=250, enable_version_counter=False),
            *averaging,
            TQDMProgressBar(refresh_rate=25),
        ],
    )


def _resume(folder: Path) -> Path | None:
    checkpoint = folder / "last.ckpt"
    return checkpoint if checkpoint.exists() else None


def autoencoder(
    output: Path = Path("runs/base/autoencoder"),
    steps: int = 4000,
    batch_size: int = 16,
    crop: int = 64,
    scenes: int = 6000,
    lr: float = 1e-3,
    start_from: str | None = None,
    photographs: Path | None = None,
    decoder_only: bool = False,
    precision: str = "bf16-mixed",
    threads: int | None = None,
    seed: int = 0,
) -> None:
    """Stage 1: the autoencoder, on crops of rendered scenes.

    Args:
        output: folder for checkpoints and the log.
        steps: optimiser updates.
        batch_size: crops per update.
        crop: side of the crops in pixels.
        scenes: rendered scenes kept in memory.
        lr: peak learning rate.
        start_from: checkpoint of an earlier autoencoder, or base, to go on from.
        photographs: packed file of ``pack_photographs``; none renders all surfaces.
        decoder_only: keep the encoder fixed.
        precision: Lightning precision.
        threads: CPU threads.
        seed: seed of crops and weights.
    """
    lightning.seed_everything(seed)
    module = AutoencoderModule(steps, lr, decoder_only=decoder_only)
    surfaces = None if photographs is None else Photographs(photographs)
    pool = ScenePool(scenes, NATIVE_SIZE, seed, surfaces)
    if start_from is not None:
        module.vae.load_state_dict(load_autoencoder(start_from).state_dict())
    else:
        write_linear_code(module.vae, *patch_basis(pool.images, LATENT_CHANNELS))
    train = CropDataset(pool, crop, steps * batch_size, seed)
    held_out = CropDataset(ScenePool(64, NATIVE_SIZE, _HELD_OUT_SEED, surfaces), NATIVE_SIZE, 64)
    trainer = _trainer(output, steps, precision, threads, 0.998)
    trainer.fit(
        module,
        DataLoader(train, batch_size, shuffle=False),
        DataLoader(held_out, 16),
        ckpt_path=_resume(output),
        weights_only=True,
    )
    trainer.save_checkpoint(output / "final.ckpt")


def diffusion(
    autoencoder: str = "runs/base/autoencoder/final.ckpt",
    output: Path = Path("runs/base/diffusion"),
    steps: int = 8000,
    batch_size: int = 16,
    scenes: int = 12000,
    lr: float = 1e-3,
    start_from: str | None = None,
    precision: str = "bf16-mixed",
    threads: int | None = None,
    seed: int = 1,
) -> None:
    """Stage 2: text encoder and U-Net, on cached latents of rendered scenes with their prompts.

    Args:
        autoencoder: checkpoint of stage 1, or a base whose autoencoder is kept, such as ``embedded``.
        output: folder for checkpoints, previews and the log.
        steps: optimiser updates.
        batch_size: latents per update.
        scenes: rendered scenes whose latents are cached.
        lr: peak learning rate.
        start_from: base whose U-Net and text encoder are trained on; give its autoencoder too.
        precision: Lightning precision.
        threads: CPU threads.
        seed: seed of scenes and weights.
    """
    lightning.seed_everything(seed)
    pool = LatentPool.cached(output / "latents.pt", autoencoder, scenes, first_seed=20_000_000, threads=threads)
    held_out = LatentPool.cached(output / "held_out.pt", autoencoder, 256, first_seed=_HELD_OUT_SEED, threads=threads)
    base = None if start_from is None else load_base(start_from)
    scale = pool.scaling_factor if base is None else float(base.vae.config.scaling_factor)
    module = DiffusionModule(steps, scale, output / "tokenizer", lr)
    if base is not None:
        module.continue_from(base)
    trainer = _trainer(output, steps, precision, threads, 0.999)
    trainer.fit(
        module,
        DataLoader(LatentScenes(pool, steps * batch_size, seed, scale), batch_size, shuffle=False),
        DataLoader(LatentScenes(held_out, 256, 0, scaling_factor=scale), 64),
        ckpt_path=_resume(output),
        weights_only=True,
    )
    trainer.save_checkpoint(output / "final.ckpt")


def inpainting(
    start_from: str = "embedded",
    from_scratch: bool = False,
    output: Path = Path("runs/base/inpainting"),
    photographs: Path | None = None,
    settings: InpaintingSettings = _INPAINTING,
    steps: int = 20000,
    minutes: float = 0.0,
    workers: int = 0,
    precision: str = "bf16-mixed",
    threads: int | None = None,
) -> None:
    """Stage 2 of version 7: text encoder and U-Net in the inpainting layout, on rendered twins.

    Args:
        start_from: base whose autoencoder is kept and whose U-Net and text encoder are trained on.
        from_scratch: keep the autoencoder alone.
        output: folder for twins, checkpoints and the log.
        photographs: packed file of ``pack_photographs``; none trains on rendered surfaces alone.
        settings: batches, holes, learning rate, seed.
        steps: optimiser updates at most.
        minutes: end after so many minutes; 0 means after ``steps``.
        workers: processes that render twins beside the training.
        precision: Lightning precision.
        threads: CPU threads.
    """
    lightning.seed_everything(settings.seed)
    budget = Budget(steps, minutes, time.monotonic())
    if threads:
        torch.set_num_threads(threads)
    base = load_base(start_from)
    vae = base.vae.requires_grad_(False).eval().to("cuda" if torch.cuda.is_available() else "cpu")
    surfaces = None if photographs is None else Photographs(photographs)
    materials = [] if surfaces is None else surfaces.materials
    packed = "" if surfaces is None else surfaces.fingerprint
    recipe = TwinRecipe(base_hash(start_from), packed, code_version(["base/renderer"]), 100_000_000 * settings.seed)
    pool = TwinPool(output / "twins", recipe, photographs, vae, settings.most_twins, workers)
    other = replace(recipe, first_seed=_HELD_OUT_SEED)
    held_out = TwinPool(output / "held_out", other, photographs, vae, 512, workers)
    module = InpaintingModule(pool, held_out, settings, budget, twin_words(materials), output / "tokenizer")
    if not from_scratch:
        module.continue_from(base)
    trainer = _trainer(output, steps, precision, threads, 0.998)
    numbers: list[Any] = [range(steps), range(4)]  # a batch follows from its number alone
    train, test = (DataLoader(part, None) for part in numbers)
    try:
        trainer.fit(module, train, test, ckpt_path=_resume(output), weights_only=True)
    finally:
        for twins in (pool, held_out):
            twins.close()
    trainer.save_checkpoint(output / "final.ckpt")


def masks(
    base: str = "seas_aug/base/weights/v6",
    output: Path = Path("runs/base/masks"),
    steps: int = 4000,
    batch_size: int = 4,
    scenes: int = 12000,
    lr: float = 2e-3,
    precision: str = "bf16-mixed",
    threads: int | None = None,
    seed: int = 4,
) -> None:
    """Stage 4, after an export without it: the mask predictor, on rendered defects.

    Args:
        base: folder or name of the base that stage 3 wrote.
        output: folder for checkpoints and the log.
        steps: optimiser updates.
        batch_size: scenes with a defect per update, and as many without.
        scenes: rendered scenes whose latents are cached.
        lr: peak learning rate.
        precision: Lightning precision.
        threads: CPU threads.
        seed: seed of scenes and weights.
    """
    lightning.seed_everything(seed)
    pool = LatentPool.cached(output / "latents.pt", base, scenes, first_seed=30_000_000, threads=threads)
    held_out = LatentPool.cached(output / "held_out.pt", base, 256, first_seed=_HELD_OUT_SEED, threads=threads)
    module = MaskPretraining(base, steps, lr)
    trainer = _trainer(output, steps, precision, threads, 0.998)
    trainer.fit(
        module,
        DataLoader(MaskScenes(pool, steps * batch_size, seed), batch_size, shuffle=False),
        DataLoader(MaskScenes(held_out, 128, 0), 32),
        ckpt_path=_resume(output),
        weights_only=True,
    )
    trainer.save_checkpoint(output / "final.ckpt")


def details(
    base: str = "embedded",
    output: Path = Path("runs/base/details"),
    steps: int = 6000,
    batch_size: int = 14,
    scenes: int = 12000,
    lr: float = 3e-3,
    precision: str = "bf16-mixed",
    threads: int | None = None,
    seed: int = 5,
) -> None:
    """Stage 5: the detail branch of the mask predictor, on rendered images; the rest of it is kept.

    Args:
        base: folder or name of the base with the mask predictor of stage 4.
        output: folder for checkpoints and the log.
        steps: optimiser updates.
        batch_size: scenes per update.
        scenes: rendered scenes kept in memory.
        lr: peak learning rate.
        precision: Lightning precision.
        threads: CPU threads.
        seed: seed of scenes and weights.
    """
    lightning.seed_everything(seed)
    pool = ScenePool(scenes, 128, first_seed=40_000_000 + 100_000 * seed)
    train = DetailScenes(pool, steps * batch_size, _NORMAL_SHARE, seed)
    held_out = DetailScenes(ScenePool(256, 128, _HELD_OUT_SEED), 256, _NORMAL_SHARE, 0, vary=False)
    module = DetailPretraining(base, steps, lr)
    # Averaged weights do not fit the statistics of batch normalisation, which follow the current ones.
    trainer = _trainer(output, steps, precision, threads, ema_decay=0.0)
    trainer.fit(
        module,
        DataLoader(train, batch_size, shuffle=False),
        DataLoader(held_out, 32),
        ckpt_path=_resume(output),
        weights_only=True,
    )
    trainer.save_checkpoint(output / "final.ckpt")


def main() -> None:
    """Run one stage."""
    jsonargparse.CLI(
        [pack_photographs, autoencoder, normalise, diffusion, inpainting, export_base, masks, details],
        as_positional=False,
    )


if __name__ == "__main__":
    main()
