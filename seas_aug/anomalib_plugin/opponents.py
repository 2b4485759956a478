# SPDX-License-Identifier: Apache-2.0
"""What SeaS is compared with: the same few-shot defects without diffusion, or no defects at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seas_aug.anomalib_plugin.automatic import AutomaticSettings
from seas_aug.anomalib_plugin.cutpaste import CutPastePool
from seas_aug.anomalib_plugin.placed_paste import PlacedPastePool
from seas_aug.anomalib_plugin.sources import NoDefects, TripleSource
from seas_aug.data.few_shot import FewShotSplit


def opponent_pool(
    source: str,
    datamodule: Any,
    saved: Callable[[], tuple[FewShotSplit, Sequence[Path]]],
    settings: AutomaticSettings,
) -> TripleSource:
    """Return what a detector is trained on in place of pairs.

    Args:
        source: ``none``, ``cutpaste`` or ``placed_paste``.
        datamodule: its normal training images are what ``cutpaste`` pastes on.
        saved: returns few-shot defects, and the normal images that SeaS draws on.
        settings: types, number of pairs, seed and control.

    Raises:
        SeasError: there is no few-shot defect or normal image, or a type is unknown.
    """
    if source == "none":
        return NoDefects()
    split, surfaces = saved()
    if source == "placed_paste":
        return PlacedPastePool(
            split, surfaces, settings.anomaly_types, settings.num_images, settings.seed, settings.drawing
        )
    samples = datamodule.train_data.samples
    normals = [Path(path) for path in samples["image_path"][samples["label_index"] == 0]]
    return CutPastePool(dict(split.few_shot), normals, settings.anomaly_types)
