# SPDX-License-Identifier: Apache-2.0
"""One stage of fine-tuning under Lightning's Trainer: checkpoints, resume, precision, progress, log."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger

from seas_aug.config import FineTuneConfig, Precision
from seas_aug.data.datamodule import FewShotDataModule

MakeData = Callable[[int], FewShotDataModule]


def fit(
    module: lightning.LightningModule,
    make_data: MakeData,
    config: FineTuneConfig,
    stage: str,
    updates: int,
    accumulate: int,
    preview: lightning.Callback,
    ema_decay: float,
    gradient_clip: float,
) -> None:
    """Train a stage to its end, from its last checkpoint if there is one.

    Args:
        module: what to train; holds the trained (or averaged) weights afterwards.
        make_data: makes the data that follow after so many updates.
        config: hardware, intervals and output folder.
        stage: name of the checkpoint folder.
        updates: optimiser updates in all.
        accumulate: batches per update.
        preview: writes grids.
        ema_decay: moving average of the weights; 0 keeps the last ones.
        gradient_clip: largest gradient norm; 0 means none.
    """
    folder = Path(config.output) / "checkpoints" / stage
    checkpoint = folder / "last.ckpt"
    resume = checkpoint if checkpoint.is_file() else None
    start = 0 if resume is None else _updates_done(resume)
    callbacks: list[lightning.Callback] = [
        ModelCheckpoint(
            folder, filename="last", every_n_train_steps=config.checkpoint_every, enable_version_counter=False
        ),
        TQDMProgressBar(refresh_rate=5),
        preview,
    ]
    if ema_decay:
        callbacks.append(EMAWeightAveraging(decay=ema_decay))
    _quieten()
    trainer = lightning.Trainer(
        max_steps=updates,
        max_epochs=-1,
        accelerator=config.accelerator,
        devices=config.devices,
        precision=config.precision or best_precision(config.accelerator),
        accumulate_grad_batches=accumulate,
        gradient_clip_val=gradient_clip or None,
        logger=CSVLogger(config.output, name="log", version=stage),
        log_every_n_steps=10,
        callbacks=callbacks,
        enable_model_summary=False,
        use_distributed_sampler=True,
    )
    if start < updates:
        trainer.fit(module, datamodule=make_data(start), ckpt_path=resume, weights_only=True)
        trainer.save_checkpoint(checkpoint)
    else:
        module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    module.eval()


def best_precision(accelerator: str) -> Precision:
    """Return bf16-mixed where the hardware calculates in bfloat16 (2-3 times faster), else 32-true."""
    if accelerator in {"auto", "gpu", "cuda"} and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    if accelerator in {"auto", "cpu"} and "bf16" in " ".join(_cpu_features()):
        return "bf16-mixed"
    return "32-true"


def _cpu_features() -> list[str]:
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not tell
    return [name for name, there in capabilities.items() if there is True]


def _updates_done(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])


def _quieten() -> None:
    """Hide Lightning's remarks that do not concern the user of this package."""
    for text in ("does not have many workers", "The dataloader, train_dataloader", "You're resuming from a checkpoint"):
        warnings.filterwarnings("ignore", message=f".*{text}.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
