# SPDX-License-Identifier: Apache-2.0
"""Stable Diffusion 1.x's topology at 512 px, at reduced width and with random weights, from folder to folder."""

from __future__ import annotations

import dataclasses

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from seas_aug.base.load import load_base
from seas_aug.config import AttentionConfig
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.finetune.run import finetune
from tests.data.helpers import make_category
from tests.draw.helpers import assert_same
from tests.finetune.recording import recorded
from tests.tiny_base import tiny_config, write_base
from tests.tiny_models import TEXT_WIDTH


def write_stable_diffusion(folder):
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=1,  # the number of heads, 8 in Stable Diffusion
        norm_num_groups=32,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=True,
    )
    return write_base(folder, unet, vae, steps_offset=1, clip_sample=False)


def test_fine_tune_two_steps_generate_save_and_load(tmp_path):
    base = write_stable_diffusion(tmp_path / "base")
    models = load_base(str(base))
    assert models.image_size == 512
    sides = []
    for name, module in models.unet.named_modules():
        if name.endswith("attn2"):
            module.register_forward_pre_hook(lambda _, inputs: sides.append(round(inputs[0].shape[1] ** 0.5)))
    with torch.no_grad():
        models.unet(torch.zeros(1, 4, 64, 64), 0, torch.zeros(1, 77, TEXT_WIDTH))
    assert set(sides) == {64, 32, 16, 8}

    config = tiny_config(
        make_category(tmp_path / "part", {"crack": 1}, normals=2),
        tmp_path / "run",
        base,
        attention=AttentionConfig(),  # the published resolutions, 32 and 16
        preview_every=0,
        checkpoint_every=0,
    )
    config = dataclasses.replace(
        config,
        generator=dataclasses.replace(config.generator, max_steps=2, batch_size=1, accumulate=1, ema_decay=0.0),
        masks=dataclasses.replace(config.masks, max_steps=2, batch_size=1),
        sampling=dataclasses.replace(
            config.sampling, num_inference_steps=2, mask_steps=1, strength=0.5, mask_threshold=0.01
        ),
    )
    with recorded() as recording:
        finetune(config)
    assert recording.updates("generator") == recording.updates("masks") == [0, 1]
    assert all(0 < batch[-1] < 100 for stage in recording.batches.values() for batch in stage)

    pipe = SeaSPipeline.from_pretrained(tmp_path / "run")
    assert len(pipe.mask_predictor.refinements) == 3  # 64 -> 128 -> 256 -> 512
    pair = pipe("crack", seed=3)
    assert pair.images[0].shape == pair.references[0].shape == (512, 512, 3)
    assert pair.masks[0].shape == (512, 512)
    pipe.save_pretrained(tmp_path / "copy")
    again = SeaSPipeline.from_pretrained(tmp_path / "copy")("crack", seed=3)
    assert_same(pair, again)
