# SPDX-License-Identifier: Apache-2.0
"""The published value of each setting."""

from __future__ import annotations

from typing import Any

from seas_aug.presets import Dataset

SAYS_NOTHING = frozenset(
    {
        "output",
        "seed",
        "official",
        "accelerator",
        "devices",
        "preview_every",
        "checkpoint_every",
        "data.root",
        "data.datamodule",
        "data.groups",
        "data.num_workers",
        "data.windows_per_defect",  # of windows only
        "generator.max_steps",
        "masks.max_steps",
        "masks.channels",  # None takes the published 192
        "sampling.copied_strength",  # of copies only
        "sampling.hole_shape",  # of holes only
        "sampling.hole_reference",
        "generator.holes.coarse",  # of inpainting bases only
        "generator.holes.whole",
        "generator.holes.seen",
        "generator.variation.smallest_zoom",  # of zoomed images only
        "masks.variation.smallest_zoom",
        "generator.variation.move",  # of pasted defects only
        "masks.variation.move",
    }
)
"""Settings that are no part of the method, or have no effect where the others are as published."""

SET_BY_OFFICIAL = frozenset(
    {
        "data.windows",
        "generator.limit_timesteps",
        "masks.from_base",
        "masks.max_timestep",
        "sampling.background",
        "sampling.copied_share",
        "sampling.fill",
        "sampling.max_retries",
        "sampling.reference_latent",
        "sampling.strength",
    }
)
"""Settings that ``official`` overrules with the published value."""

WHY_SET = {
    "masks.max_timestep": "masks are read in the last sampling steps only, at timesteps up to 120",
}
"""Reasons of settings in which the ``paper`` presets themselves depart."""


def published(dataset: Dataset) -> dict[str, Any]:
    """Return the published value of each setting that is part of the method, by its dotted name.

    Args:
        dataset: on which of the paper's datasets.
    """
    turned, scale = dataset != "visa", {"mvtec": 8.0, "visa": 2.0, "mvtec_3d": 5.0}[dataset]
    unvaried = {"paste_share": 0.0, "zoom_share": 0.0, "warp_share": 0.0, "light": False}
    stage = {
        "steps_per_type": 800,
        "min_steps": 0,
        "batch_size": 2,
        "accumulate": 2,
        "lr_schedule": "constant",
        "weight_decay": 0.01,
        "gradient_clip": 0.0,
        **{f"variation.{name}": value for name, value in unvaried.items()},
    }
    parts: dict[str, dict[str, Any]] = {
        "data": {
            "few_shot": "0.3333",
            "image_size": 512,
            "windows": "image",
            "resize": "crop",
            "rotate": turned,
            "flip": turned,
            "turn_together": True,
            "order": "images",
            "partly_marked": dataset != "mvtec",
            "num_normals": 60,
        },
        "prompt": {
            "normal_tokens": 1,
            "anomaly_tokens": 4,
            "normal_word": "object",
            "anomaly_word": "defect",
            "by_name": False,
        },
        "attention": {"resolutions": (32, 16), "include_up_blocks": False},
        "generator": {
            **stage,
            "unet_lr": 4e-6,
            "embedding_lr": 4e-5,
            "da_weight": 1.0,
            "na_weight": 1.0,
            "prompt_dropout": 0.0,
            "low_noise_share": 0.0,
            "defect_weight": 0.0,
            "limit_timesteps": False,
            "ema_decay": 0.0,
        },
        "masks": {
            **stage,
            "lr": 5e-4,
            "normal_batch_size": None,
            "feature_batch_size": None,
            "feature_every": 1,
            "max_timestep": 1000,
            "detail_width": 0,
            "attention_blocks": 4,
            "loss": "focal",
            "from_base": False,
        },
        "sampling": {
            "num_inference_steps": 25,
            "guidance_scale": scale,
            "guidance_from": "empty",
            "strength": 1.0,
            "reference_latent": "sample",
            "copied_share": 0.0,
            "fill": "reference",
            "mask_threshold": 0.2,
            "mask_steps": 3,
            "background": "generated",
            "max_retries": 0,
        },
    }
    named = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
    return {"base": "CompVis/stable-diffusion-v1-4", "precision": "32-true", **named}
