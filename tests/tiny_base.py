# SPDX-License-Identifier: Apache-2.0
"""Tiny bases as diffusers folders, and settings that fine-tune them in seconds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderDC, DDPMScheduler

from seas_aug.config import (
    AttentionConfig,
    DataConfig,
    FineTuneConfig,
    GeneratorConfig,
    MaskConfig,
    PromptConfig,
    SamplingConfig,
)
from tests.tiny_models import tiny_text_encoder, tiny_tokenizer, tiny_unet, tiny_vae

SIZE = 32  # native side of the tiny base in pixels: latents of 8 x 8, attention maps at 8 and 4


def tiny_dc_vae() -> AutoencoderDC:
    """Return an AutoencoderDC with 4 latent channels that shrinks by 4, built like that of the embedded base."""
    torch.manual_seed(3)
    return AutoencoderDC(
        latent_channels=4,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(4, 8, 16),
        decoder_block_out_channels=(4, 8, 16),
        encoder_layers_per_block=(0, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        scaling_factor=0.5,
    ).eval()


def with_holes(unet: Any, pooled: bool = False) -> Any:
    """Return a U-Net like another one, of random weights, in the layout of inpainting checkpoints."""
    torch.manual_seed(4)
    config = {name: value for name, value in unet.config.items() if not name.startswith("_")}
    config["in_channels"] = 2 * config["out_channels"] + 1
    if pooled:
        width = config["cross_attention_dim"]
        config |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": width}
    return type(unet)(**config).eval()


def write_base(folder: Path, unet: Any = None, vae: Any = None, **scheduler: Any) -> Path:
    """Save a base of random weights as a diffusers folder."""
    tokenizer = tiny_tokenizer()
    vae = tiny_vae() if vae is None else vae
    parts = {
        "unet": tiny_unet(sample_size=SIZE // 4) if unet is None else unet,
        "vae": vae,
        "text_encoder": tiny_text_encoder(tokenizer),
        "tokenizer": tokenizer,
        "scheduler": DDPMScheduler(
            **{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", **scheduler}
        ),
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    libraries = {name: "transformers" if name in {"text_encoder", "tokenizer"} else "diffusers" for name in parts}
    index: dict[str, Any] = {name: [libraries[name], type(part).__name__] for name, part in parts.items()}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **index}))
    return folder


def tiny_config(root: Path, output: Path, base: Path, **changes: Any) -> FineTuneConfig:
    """Return settings for a category and a base made here: 3 x types generator updates, 3 mask updates."""
    config = FineTuneConfig(
        output=output,
        base=str(base),
        precision="32-true",
        accelerator="cpu",
        preview_every=2,
        checkpoint_every=2,
        data=DataConfig(root=root, few_shot="1", rotate=True, windows="image"),
        prompt=PromptConfig(anomaly_tokens=2),
        attention=AttentionConfig(resolutions=(8, 4)),
        generator=GeneratorConfig(
            steps_per_type=3, min_steps=0, batch_size=2, accumulate=2, ema_decay=0.5, limit_timesteps=False
        ),
        masks=MaskConfig(max_steps=3, batch_size=2, attention_blocks=1, max_timestep=600),  # 500: its solver
        # An untrained predictor is sure that all is normal, and hardly any mask may be empty in the tests.
        sampling=SamplingConfig(
            num_inference_steps=4,
            mask_steps=2,
            strength=0.8,
            mask_threshold=0.005,
            copied_share=0.0,
            background="generated",
        ),
    )
    return dataclasses.replace(config, **changes)


def window_config(root: Path, output: Path, base: Path, **changes: Any) -> FineTuneConfig:
    """Return :func:`tiny_config` for windows of the images: only defects are drawn, each from a copied one."""
    config = tiny_config(root, output, base, **changes)
    data = dataclasses.replace(config.data, windows="auto", windows_per_defect=4, rotate=False)
    sampling = dataclasses.replace(
        config.sampling, copied_share=1.0, copied_strength=0.4, background="reference", mask_threshold=0.3
    )
    return dataclasses.replace(config, data=data, sampling=sampling)
