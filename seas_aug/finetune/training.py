# SPDX-License-Identifier: Apache-2.0
"""One stage of fine-tuning under Lightning's Trainer: checkpoints, resume, precision, progress, log."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint, TQDMProgressBar, WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from seas_aug.artifact.atomic import atomic_write
from seas_aug.attention.kernels import sound_kernels
from seas_aug.config import FineTuneConfig
from seas_aug.data.datamodule import FewShotDataModule
from seas_aug.finetune.finite import FiniteUpdates
from seas_aug.finetune.log import LossLog
from seas_aug.precision import best_precision

MakeData = Callable[[int], FewShotDataModule]


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, also where ``/tmp`` is on another disk than the run folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: what to save.
            path: local file.
            storage_options: ignored.

        Raises:
            SeasError: the disk is full.
        """
        with atomic_write(Path(path)) as file:
            torch.save(checkpoint, file)


class UpdateCheckpoint(Checkpoint):
    """Writes a checkpoint every so many updates, always behind a whole update.

    Lightning's ModelCheckpoint writes one after the first batch of a resumed run too, in the middle of an accumulation.

    Args:
        path: file, replaced each time.
        every: updates between checkpoints; 0 writes none.
        start: updates done before.
    """

    def __init__(self, path: Path, every: int, start: int) -> None:
        self._path, self._every, self._last = path, every, start

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Write when an update has just been done and it is time."""
        step = trainer.global_step
        if self._every > 0 and step != self._last and step % self._every == 0:
            trainer.save_checkpoint(self._path, weights_only=False)
        self._last = step


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
        make_data: makes the data that follow after so many updates, always as many batches as the whole stage has:
            Lightning counts the batches of before a stop too, and would begin a second pass too early.
        config: hardware, intervals and output folder.
        stage: name of the checkpoint folder.
        updates: optimiser updates in all.
        accumulate: batches per update.
        preview: writes grids.
        ema_decay: moving average of the weights; 0 keeps the last ones.
        gradient_clip: largest gradient norm; 0 means none.

    Raises:
        SeasError: the gradients of many updates in a row are not finite.
    """
    folder = Path(config.output) / "checkpoints" / stage
    checkpoint = folder / "last.ckpt"
    resume = checkpoint if checkpoint.is_file() else None
    start = 0 if resume is None else _updates_done(resume)
    callbacks: list[lightning.Callback] = [
        UpdateCheckpoint(checkpoint, config.checkpoint_every, start),
        TQDMProgressBar(refresh_rate=5),
        FiniteUpdates(),
        preview,
    ]
    if ema_decay:
        # All at once: one by one, as EMAWeightAveraging takes weights, is a quarter of an update's operations.
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(ema_decay)))
    _quieten()
    trainer = lightning.Trainer(
        max_steps=updates,
        max_epochs=-1,
        accelerator=config.accelerator,
        devices=config.devices,
        precision=config.precision or best_precision(config.accelerator),
        accumulate_grad_batches=accumulate,
        gradient_clip_val=gradient_clip or None,
        logger=LossLog(Path(config.output) / "log" / f"{stage}.csv", start),
        log_every_n_steps=10,
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        enable_model_summary=False,
    )
    if start < updates:
        module.train()
        with _ctrl_c_restored(), sound_kernels():
            trainer.fit(module, datamodule=make_data(start), ckpt_path=resume, weights_only=True)
        trainer.save_checkpoint(checkpoint, weights_only=False)
    else:
        module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    module.eval()


@contextmanager
def _ctrl_c_restored() -> Iterator[None]:
    """Let Ctrl+C work again afterwards: Lightning ignores it for good once it was pressed."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _updates_done(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])


def _quieten() -> None:
    """Hide Lightning's remarks that do not concern the user of this package."""
    for text in (
        "does not have many workers",
        "The dataloader, train_dataloader",
        "You're resuming from a checkpoint",
        "smaller than the logging interval",
        "exists and is not empty",
        "isinstance.treespec, LeafSpec",
    ):
        warnings.filterwarnings("ignore", message=f".*{text}.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
