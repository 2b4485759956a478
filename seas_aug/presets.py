# SPDX-License-Identifier: Apache-2.0
"""Named sets of settings: the defaults, and the published ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from seas_aug.config import (
    AttentionConfig,
    DataConfig,
    FineTuneConfig,
    GeneratorConfig,
    MaskConfig,
    SamplingConfig,
    VariationConfig,
)

_STABLE_DIFFUSION_WIDTH = 1280  # channels of its U-Net's last blocks


def paper_preset() -> FineTuneConfig:
    """Return the published settings for Stable Diffusion v1-4 at 512 px (SeaS section 4.1 and the authors' README).

    One departs from them, as the specification recommends: masks are trained on timesteps below 200, not on all 1000,
    because they are read at the end of sampling only.
    """
    only_turned = VariationConfig(paste_share=0.0, zoom_share=0.0, move=False, light=False)
    return FineTuneConfig(
        base="CompVis/stable-diffusion-v1-4",
        data=DataConfig(image_size=512, windows="image", resize="crop", num_normals=60, rotate=True),
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
            copied_share=0.0,
            mask_threshold=0.2,
            mask_steps=3,
            background="generated",
        ),
    )


PRESETS = {"default": FineTuneConfig, "paper": paper_preset}


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
