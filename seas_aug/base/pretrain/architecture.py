# SPDX-License-Identifier: Apache-2.0
"""The networks of the embedded base: Stable Diffusion's layout in diffusers and transformers classes, but narrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from transformers import CLIPTextModel, CLIPTokenizer

LATENT_CHANNELS = 8
TEXT_WIDTH = 128
NATIVE_SIZE = 128
MAX_TOKENS = 32


def build_autoencoder() -> AutoencoderDC:
    """Return an untrained autoencoder: 4x smaller latents of 8 channels, so that one-pixel cracks have room (1.2 M).

    Its down- and upsampling learn a residual over pixel-(un)shuffle shortcuts, and its norms see one pixel at a time,
    so it learns fast and behaves the same on crops, at 128 px and at 256 px.
    """
    from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC

    return AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(24, 48, 96),
        decoder_block_out_channels=(24, 48, 96),
        encoder_layers_per_block=(0, 2, 2),
        decoder_layers_per_block=(1, 2, 3),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        scaling_factor=1.0,
    )


def build_unet() -> UNet2DConditionModel:
    """Return an untrained U-Net: latents of 32 x 32 at 128 px, cross-attention at 32, 16 and 8 (7.3 M)."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=NATIVE_SIZE // 4,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(48, 96, 160),
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        # diffusers names the number of heads so
        attention_head_dim=2,
        # at 32 x 32 the convolutions see far enough, and self-attention would take a third of the time
        only_cross_attention=(True, False, False),
        norm_num_groups=8,
    )


def build_inpainting_unet() -> UNet2DConditionModel:
    """Return an untrained U-Net like :func:`build_unet` that reads a hole and a masked picture, too.

    The prompt acts on every layer: beside cross-attention, its pooled embedding is added to the time embedding.
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    plain = {name: value for name, value in build_unet().config.items() if not name.startswith("_")}
    inpainting: dict[str, Any] = {
        "in_channels": 2 * LATENT_CHANNELS + 1,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": TEXT_WIDTH,
    }
    return UNet2DConditionModel(**{**plain, **inpainting})


def build_text_encoder(vocabulary: int) -> CLIPTextModel:
    """Return an untrained two-layer CLIP text encoder of width 128."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            projection_dim=TEXT_WIDTH,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def build_tokenizer(folder: Path, words: list[str]) -> CLIPTokenizer:
    """Write a byte-level CLIP vocabulary in which every one of ``words`` is one token, and load it.

    Any other text still works: it falls apart into its bytes.

    Args:
        folder: where ``vocab.json`` and ``merges.txt`` are written.
        words: lower-case words of the prompts.
    """
    from transformers import CLIPTokenizer

    bytes_ = _byte_symbols()
    symbols = bytes_ + [symbol + "</w>" for symbol in bytes_]
    merges: list[tuple[str, str]] = []
    for word in words:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pair = (pieces[-2], pieces[-1])
            if pair not in merges:
                merges.append(pair)
            pieces[-2:] = ["".join(pair)]
            if pieces[-1] not in symbols:
                symbols.append(pieces[-1])
    symbols += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_TOKENS)


def build_scheduler(prediction_type: str = "epsilon") -> DDPMScheduler:
    """Return Stable Diffusion's training noise schedule (scaled linear).

    Args:
        prediction_type: of the U-Net: ``epsilon`` or ``v_prediction``.
    """
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        clip_sample=False,
        prediction_type=prediction_type,
    )


def _byte_symbols() -> list[str]:
    """Return the 256 printable stand-ins of GPT-2's byte-level alphabet."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
