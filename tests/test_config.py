# SPDX-License-Identifier: Apache-2.0
"""The paper preset against the specification; the defaults may differ, each for a reason that config.py gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from seas_aug.config import DrawConfig, FineTuneConfig, SamplingConfig
from seas_aug.errors import SeasError
from seas_aug.presets import PRESETS, paper_preset


def test_paper_preset_is_the_published_method():
    """SeaS specification: sections 1 (rates, batch, fp32, no clipping or averaging), 3 (losses), 4.5, 5 and 6."""
    config = paper_preset()
    generator = dataclasses.asdict(config.generator)
    assert generator == {
        "steps_per_type": 800,
        "min_steps": 0,
        "max_steps": None,
        "batch_size": 2,
        "accumulate": 2,
        "unet_lr": 4e-6,
        "embedding_lr": 4e-5,
        "lr_schedule": "constant",
        "da_weight": 1.0,
        "na_weight": 1.0,
        "prompt_dropout": 0.0,
        "low_noise_share": 0.0,
        "defect_weight": 0.0,
        "limit_timesteps": False,
        "weight_decay": 0.01,
        "ema_decay": 0.0,
        "gradient_clip": 0.0,
        "holes": {"coarse": 0.4, "whole": 0.15, "seen": 0.5},  # of inpainting bases, which the paper has none of
        "variation": {
            "paste_share": 0.0,
            "zoom_share": 0.0,
            "smallest_zoom": 0.7,
            "warp_share": 0.0,
            "move": False,
            "light": False,
        },
    }
    assert not config.generator.variation.varies
    masks = config.masks
    assert (masks.steps_per_type, masks.min_steps, masks.max_steps) == (800, 0, None)
    assert (masks.batch_size, masks.accumulate, masks.lr) == (2, 2, 5e-4)
    assert (masks.lr_schedule, masks.from_base, masks.gradient_clip, masks.attention_blocks) == (
        "constant",
        False,
        0,
        4,
    )
    assert (masks.channels, masks.detail_width, masks.loss) == (None, 0, "focal")
    assert (masks.normal_batch_size, masks.feature_batch_size, masks.feature_every) == (None, None, 1)
    assert not masks.variation.varies
    assert masks.max_timestep == 200  # the specification's recommendation; the authors train on all 1000
    sampling = config.sampling
    assert (sampling.num_inference_steps, sampling.guidance_scale, sampling.guidance_from) == (25, 8.0, "empty")
    assert (sampling.copied_share, sampling.background) == (0, "generated")
    assert masks.weight_decay == 0.01
    assert (sampling.strength, sampling.mask_threshold, sampling.mask_steps) == (1.0, 0.2, 3)
    assert (config.prompt.normal_tokens, config.prompt.anomaly_tokens) == (1, 4)
    assert (config.attention.resolutions, config.attention.include_up_blocks) == ((32, 16), False)
    assert (config.data.image_size, config.data.resize, config.data.num_normals) == (512, "crop", 60)
    assert (config.data.rotate, config.data.flip, config.official) == (True, True, False)
    assert (config.data.turn_together, config.data.order, config.data.partly_marked) == (True, "images", False)
    assert (config.precision, sampling.reference_latent, sampling.max_retries) == ("32-true", "sample", 0)


def test_paper_presets_of_the_other_datasets():
    """SeaS specification, sections 2.2, 5 and 6; nothing else differs."""
    paper, visa, solid = (paper_preset(name) for name in ("mvtec", "visa", "mvtec_3d"))
    assert (visa.sampling.guidance_scale, visa.data.rotate, visa.data.flip) == (2, False, False)
    assert (solid.sampling.guidance_scale, solid.data.rotate, solid.data.flip) == (5, True, True)
    assert visa.data.partly_marked and solid.data.partly_marked
    for other in (visa, solid):
        data = dataclasses.replace(other.data, rotate=True, flip=True, partly_marked=False)
        sampling = dataclasses.replace(other.sampling, guidance_scale=8.0)
        assert dataclasses.replace(other, data=data, sampling=sampling) == paper
    assert (PRESETS["paper_visa"](), PRESETS["paper_mvtec_3d"]()) == (visa, solid)


@pytest.mark.parametrize(
    "values",
    [
        {"strength": 0},
        {"strength": 1.1},
        {"copied_share": 1.1},
        {"copied_strength": 0},
        {"background": "white"},
        {"mask_steps": 0},
        {"guidance_from": "nothing"},
        {"reference_latent": "median"},
    ],
)
def test_sampling_out_of_range(values):
    with pytest.raises(SeasError, match="sampling"):
        SamplingConfig(**values)


def test_settings_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FineTuneConfig().seed = 3


def test_what_a_call_asks_for_is_checked_and_brought_to_one_form():
    plain = DrawConfig(region="metal.png", count=[2, 2], references=["a.png"])
    assert plain == DrawConfig(region=Path("metal.png"), count=2, references=("a.png",))
    assert DrawConfig(count=(1, 3)).counts == (1, 3) and DrawConfig(size=[4, 9]).size == (4.0, 9.0)
    for wrong in ({"count": (2,)}, {"count": (1, 2, 9)}, {"count": 0}, {"count": (3, 1)}, {"references": ()}):
        with pytest.raises(SeasError, match=next(iter(wrong))):
            DrawConfig(**wrong)
    with pytest.raises(SeasError, match="leave out region, size and count"):
        DrawConfig(masks="m", count=2)
