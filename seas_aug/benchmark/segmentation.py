# SPDX-License-Identifier: Apache-2.0
"""Supervised segmentation networks, trained on real few-shot defects with or without made ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from seas_aug.anomalib_plugin.cutpaste import CutPastePool
from seas_aug.anomalib_plugin.placed_paste import PlacedPastePool
from seas_aug.anomalib_plugin.pool import PairPool
from seas_aug.anomalib_plugin.sources import TripleSource
from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.predictions import Predictions
from seas_aug.benchmark.sources import SEGMENTATION_SOURCES
from seas_aug.benchmark.test_set import TruePictures, load_masks
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.images import load_image
from seas_aug.data.seeds import derive_seed
from seas_aug.data.split_file import load_split
from seas_aug.errors import SeasError
from seas_aug.losses.dice import cross_entropy_dice_loss
from seas_aug.precision import best_precision


@dataclass(frozen=True)
class SegmentationSettings:
    """Training of a segmentation network, the same for each source.

    Args:
        architecture: class of segmentation_models_pytorch, such as ``UPerNet``.
        encoder: encoder of that package.
        pretrained: start from its ImageNet weights (a download); without it from random ones.
        options: further arguments of the class.
        size: side of the images in pixels.
        steps: optimiser updates.
        batch_size: images per update.
        normal_share: share of normal images in it; the others are defects, half of them made where there is a source.
        lr: peak learning rate of AdamW, which falls to zero with a cosine.
        precision: of Lightning's ``Trainer``; None takes what is fastest on the hardware, see
            :func:`~seas_aug.precision.best_precision`.
    """

    architecture: str
    encoder: str
    pretrained: bool = False
    options: dict[str, Any] | None = None
    size: int = 128
    steps: int = 800
    batch_size: int = 8
    normal_share: float = 0.25
    lr: float = 1e-3
    precision: str | None = None


class TrainingBatches(Dataset):
    """A batch per update: normal images, real few-shot defects and, with a source, as many made ones.

    All of them are mirrored and turned by quarters at random.

    Args:
        folders: the category, its run and its pairs.
        source: ``few_shot`` for the real ones alone, ``cutpaste``, ``placed_paste`` or ``seas``.
        settings: size, batches and number of updates.
        seed: seed of every draw.

    Raises:
        SeasError: an unknown source, or a folder that cannot be used.
    """

    def __init__(self, folders: CategoryFolders, source: str, settings: SegmentationSettings, seed: int) -> None:
        if source not in SEGMENTATION_SOURCES:
            known = ", ".join(SEGMENTATION_SOURCES)
            raise SeasError(f"{source!r} is no source of defects for segmentation; give one of {known}.")
        category, saved = read_mvtec_folder(folders.root), load_split(folders.run / "split.json")
        split = saved.split
        size = settings.size
        samples = split.samples
        self.real = torch.stack([load_image(one.image, size, "squash") for one in samples])
        self.masks = torch.from_numpy(load_masks([one.mask for one in samples], size))[:, None]
        self.normals = torch.stack([load_image(path, size, "squash") for path in category.normals])
        self.pool: TripleSource | None = None
        if source == "cutpaste":
            self.pool = CutPastePool(dict(split.few_shot), category.normals)
        elif source == "placed_paste":
            self.pool = PlacedPastePool(split, saved.normals)
        elif source == "seas":
            self.pool = PairPool(folders.generated, most=folders.pairs)
        self.settings, self.seed = settings, seed
        self._order = torch.Generator().manual_seed(derive_seed(seed, "pool"))  # the pool hands out in turn

    def __len__(self) -> int:
        """Number of updates."""
        return self.settings.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return ``image`` float32 ``[B, 3, H, W]`` in [-1, 1] and ``mask`` float32 ``[B, 1, H, W]`` of 0 and 1."""
        settings = self.settings
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "batch", step))
        normals = round(settings.batch_size * settings.normal_share)
        made = (settings.batch_size - normals) // 2 if self.pool is not None else 0
        real = torch.randint(len(self.real), (settings.batch_size - normals - made,), generator=generator)
        plain = torch.randint(len(self.normals), (normals,), generator=generator)
        images = [self.real[real].float() / 255, self.normals[plain].float() / 255]
        masks = [self.masks[real].float(), torch.zeros(normals, 1, settings.size, settings.size)]
        if self.pool is not None:
            pictures, marked, _ = self.pool.draw(self._order, made, (settings.size, settings.size))
            images.append(pictures)
            masks.append(marked)
        both = torch.cat([torch.cat(images) * 2 - 1, torch.cat(masks)], dim=1)
        turned = torch.stack([_turned(one, generator) for one in both])
        return {"image": turned[:, :3].contiguous(), "mask": turned[:, 3:].contiguous()}


def _turned(image: Tensor, generator: torch.Generator) -> Tensor:
    quarters = int(torch.randint(0, 4, (), generator=generator))
    mirrored = bool(torch.rand((), generator=generator) < 0.5)
    return torch.rot90(image.flip(-1) if mirrored else image, quarters, (-2, -1))


class SegmentationModule(lightning.LightningModule):
    """Trains a network with cross-entropy and Dice.

    Args:
        settings: the network and its training.

    Raises:
        SeasError: the network's package is missing, or does not have it.
    """

    def __init__(self, settings: SegmentationSettings) -> None:
        super().__init__()
        self.settings = settings
        self.network = make_network(settings)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the loss."""
        loss = cross_entropy_dice_loss(self.network(batch["image"]).float(), batch["mask"])
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(batch["image"]))
        return loss

    def configure_optimizers(self) -> Any:
        """Return AdamW with a cosine decay to zero."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.settings.lr, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.settings.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_network(settings: SegmentationSettings) -> nn.Module:
    """Return an untrained network for two classes, the second of which is the defect.

    Raises:
        SeasError: segmentation_models_pytorch is missing, or does not have it.
    """
    try:
        import segmentation_models_pytorch as models
    except ImportError as error:
        message = (
            "segmentation needs the package segmentation-models-pytorch; in the project folder: pip install "
            "'.[benchmark]', or leave the task out with `segmentation: {}`."
        )
        raise SeasError(message) from error
    try:
        network: nn.Module = getattr(models, settings.architecture)(
            encoder_name=settings.encoder,
            encoder_weights="imagenet" if settings.pretrained else None,
            classes=2,
            **(settings.options or {}),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"segmentation_models_pytorch has no {settings.architecture} with {settings.encoder} ({error})."
        raise SeasError(message) from error
    return network


def train_network(
    folders: CategoryFolders, source: str, settings: SegmentationSettings, seed: int
) -> SegmentationModule:
    """Train a network.

    Args:
        folders: the category, its run and its pairs.
        source: see :class:`TrainingBatches`.
        settings: the network and its training.
        seed: seed of weights and draws.

    Raises:
        SeasError: see :class:`TrainingBatches` and :class:`SegmentationModule`.
    """
    batches = TrainingBatches(folders, source, settings, seed)
    lightning.seed_everything(seed)
    module = SegmentationModule(settings)
    precision: Any = settings.precision or best_precision()  # Lightning checks it
    trainer = lightning.Trainer(
        max_steps=settings.steps,
        precision=precision,
        accelerator="auto",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(batches, batch_size=None, num_workers=0))  # the pool counts on its order
    return module.to(trainer.strategy.root_device)  # Lightning leaves it on the CPU


@torch.no_grad()
def predict(module: SegmentationModule, pictures: TruePictures, batch_size: int = 16) -> Predictions:
    """Return a network's probabilities; an image's score is the highest of its pixels (paper).

    Args:
        module: trained.
        pictures: what to look at.
        batch_size: images at a time.
    """
    module.eval()
    images, masks = pictures.load(module.settings.size)
    device = next(module.parameters()).device
    maps = [
        module.network(batch.to(device).float() / 127.5 - 1).float().softmax(1)[:, 1].cpu().numpy()
        for batch in images.split(batch_size)
    ]
    found = np.concatenate(maps).astype(np.float32)
    return Predictions(found, masks, found.max(axis=(1, 2)), pictures.names, pictures.groups)
