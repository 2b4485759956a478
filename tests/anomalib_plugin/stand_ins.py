# SPDX-License-Identifier: Apache-2.0
"""What the callback sees of a trainer and of a detector, without the detector's weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from anomalib.data import MVTecAD
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
from lightning.pytorch import LightningModule


class Draem(LightningModule):
    """Looks like anomalib's to the registry, without its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.augmenter = PerlinAnomalyGenerator()


class Padim(LightningModule):
    pass


def make_trainer(category: Path, **options: Any) -> SimpleNamespace:
    datamodule = MVTecAD(root=category.parent, category=category.name, num_workers=0, **options)
    datamodule.setup("fit")
    return SimpleNamespace(datamodule=datamodule, global_rank=0, global_step=0, is_global_zero=True, world_size=1)


def paths(trainer: SimpleNamespace, subset: str) -> list[str]:
    return [
        str(Path(path).relative_to(trainer.datamodule.root / trainer.datamodule.category))
        for path in getattr(trainer.datamodule, subset).samples["image_path"]
    ]


FEW_SHOT = ["test/hole/000.png", "test/scratch/000.png"]
