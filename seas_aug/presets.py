# SPDX-License-Identifier: Apache-2.0
"""Named sets of settings: the defaults, and the published ones for each dataset of the paper."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from seas_aug.config import (
    AttentionConfig,
    DataConfig,
    FineTuneConfig,
    GeneratorConfig,
    MaskConfig,
    SamplingConfig,
    VariationConfig,
)

Dataset = Literal["mvtec", "visa", "mvtec_3d"]
PresetName = Literal["default", "paper", "paper_visa", "paper_mvtec_3d"]
_STABLE_DIFFUSION_WIDTH = 1280  # channels of its U-Net's last blocks


def paper_preset(dataset: Dataset = "mvtec") -> FineTuneConfig:
    """Return the published settings for Stable Diffusion v1-4 at 512 px (SeaS section 4.1 and the authors' code).

    :func:`seas_aug.departures.departures` lists what departs from them, and why.

    Args:
        dataset: the authors guide with 8 on MVTec AD, 2 on VisA and 5 on MVTec 3D; they do not turn VisA's images; and
            on these two datasets a cell that a mask covers in part is defect too (``data.partly_marked``).
    """
    paper = _mvtec()
    if dataset == "mvtec":
        return paper
    turned = dataset != "visa"
    return dataclasses.replace(
        paper,
        data=dataclasses.replace(paper.data, rotate=turned, flip=turned, partly_marked=True),
        sampling=dataclasses.replace(paper.sampling, guidance_scale=2.0 if dataset == "visa" else 5.0),
    )


def _mvtec() -> FineTuneConfig:
    only_turned = VariationConfig(paste_share=0.0, zoom_share=0.0, move=False, light=False)
    return FineTuneConfig(
        base="CompVis/stable-diffusion-v1-4",
        precision="32-true",
        data=DataConfig(
            image_size=512,
            windows="image",
            resize="crop",
            num_normals=60,
            rotate=True,
            turn_together=True,
            order="images",
        ),
        generator=GeneratorConfig(
            steps_per_type=800,
            min_steps=0,
            batch_size=2,
            accumulate=2,
            unet_lr=4e-6,
            embedding_lr=4e-5,
            lr_schedule="constant",
            prompt_dropout=0.0,
            low_noise_share=0.0,
            defect_weight=0.0,
            limit_timesteps=False,
            ema_decay=0.0,
            gradient_clip=0.0,
            variation=only_turned,
        ),
        masks=MaskConfig(
            steps_per_type=800,
            min_steps=0,
            batch_size=2,
            accumulate=2,
            lr=5e-4,
            lr_schedule="constant",
            normal_batch_size=None,
            max_timestep=200,
            channels=None,
            feature_batch_size=None,
            feature_every=1,
            detail_width=0,
            attention_blocks=4,
            loss="focal",
            from_base=False,
            weight_decay=0.01,
            gradient_clip=0.0,
            variation=only_turned,
        ),
        attention=AttentionConfig(include_up_blocks=False),
        sampling=SamplingConfig(
            num_inference_steps=25,
            guidance_scale=8.0,
            guidance_from="empty",
            strength=1.0,
            reference_latent="sample",
            copied_share=0.0,
            mask_threshold=0.2,
            mask_steps=3,
            background="generated",
            max_retries=0,
        ),
    )


PRESETS: dict[str, Callable[[], FineTuneConfig]] = {
    "default": FineTuneConfig,
    "paper": paper_preset,
    "paper_visa": partial(paper_preset, "visa"),
    "paper_mvtec_3d": partial(paper_preset, "mvtec_3d"),
}

DATASETS: dict[str, Dataset] = {"paper_visa": "visa", "paper_mvtec_3d": "mvtec_3d"}
"""The dataset of each preset; MVTec AD where none is named."""


def preset_of(base: str) -> str:
    """Return the name of the preset whose settings a base is made for.

    Args:
        base: as for :func:`~seas_aug.base.load.load_base`. A hub id counts as Stable Diffusion, whose settings are the
            published ones; a local folder does so if its U-Net is as wide.
    """
    if base.partition("-")[0] == "embedded":
        return "default"
    try:
        widths = json.loads((Path(base) / "unet" / "config.json").read_text(encoding="utf-8"))["block_out_channels"]
        return "paper" if max(widths) >= _STABLE_DIFFUSION_WIDTH else "default"
    except (OSError, ValueError, KeyError, TypeError):
        return "paper"


def settings_for(base: str) -> FineTuneConfig:
    """Return the settings that follow from a base.

    Args:
        base: as for :func:`~seas_aug.base.load.load_base`.
    """
    return dataclasses.replace(PRESETS[preset_of(base)](), base=base)
