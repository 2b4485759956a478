# SPDX-License-Identifier: Apache-2.0
"""One small case for all tests of parity: Stable Diffusion's topology with random weights, at 64 pixels."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from seas_aug.config import FineTuneConfig
from seas_aug.presets import paper_preset
from tests.parity.formulas import Models
from tests.tiny_base import write_base
from tests.tiny_models import TEXT_WIDTH

SIZE, LATENT, WIDTH = 64, 16, 24
TYPES = ("crack", "hole")
BLOCKS = 2
STEPS = 15  # published: 25; with fewer than 15 the solver would take its last step another way
HEADS, GROUPS = 1, 8  # of the mask branch at this width: heads of 24 channels, the largest power of 2 that divides


def write_parity_base(folder: Path) -> Path:
    """Four levels, two layers a block, a decoder that doubles twice; weights are larger than torch's usual ones."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=LATENT,
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=True,
    )
    return write_base(folder, unet, vae, clip_sample=False)


def official_config(root: Path, output: Path, base: Path, partly: bool = False, **sampling: Any) -> FineTuneConfig:
    """Return ``--preset paper --official true`` at this size, and nothing else changed."""
    paper = paper_preset("mvtec_3d" if partly else "mvtec")
    return dataclasses.replace(
        paper,
        output=output,
        base=str(base),
        official=True,
        accelerator="cpu",
        preview_every=0,
        data=dataclasses.replace(paper.data, root=root, few_shot="1", image_size=SIZE),
        attention=dataclasses.replace(paper.attention, resolutions=(LATENT // 2, LATENT // 4)),
        generator=dataclasses.replace(paper.generator, max_steps=2, unet_lr=1e-3, embedding_lr=1e-2),
        masks=dataclasses.replace(paper.masks, max_steps=2, channels=WIDTH, attention_blocks=BLOCKS),
        sampling=dataclasses.replace(paper.sampling, **sampling),
    )


def make_batch(faint: bool = False) -> dict[str, Any]:
    """Return two anomaly images with masks at odd places, so that small masks have fractional edges, and two normals.

    Args:
        faint: no coarse cell is wholly marked.
    """
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(2, 1, SIZE, SIZE)
    mask[0, 0, 5 : 8 if faint else 31, 11 : 14 if faint else 40] = 1
    if not faint:
        mask[0, 0, 5:31, 40:42] = 0.75  # as the authors' scaling of masks leaves it at edges
        mask[1, 0, 41:58, 3:19] = 1
    return {
        "anomaly_image": torch.rand(2, 3, SIZE, SIZE, generator=generator) * 2 - 1,
        "normal_image": torch.rand(2, 3, SIZE, SIZE, generator=generator) * 2 - 1,
        "mask": mask,
        "anomaly_type": ["crack", "hole"],
        **{
            f"{kind}_{what}": torch.tensor([0, 1])
            for kind in ("anomaly", "normal")
            for what in ("index", "augmentation")
        },
    }


def prompts() -> list[str]:
    """Return the UA prompts of the batch's types, and the normal ones (1)."""
    words = [[f"<sks{number}>" for number in range(4 * k + 1, 4 * k + 5)] for k in range(len(TYPES))]
    return [*(f"a <ob1> with {' '.join(own)}" for own in words), "a <ob1>", "a <ob1>"]


def double_models(parts: Any) -> Models:
    """Return copies in float64 of the networks of a base or a pipeline."""
    networks = (copy.deepcopy(getattr(parts, name)).double() for name in ("unet", "vae", "text_encoder"))
    return Models(*networks, parts.tokenizer)


def double_weights(predictor: Any) -> dict[str, torch.Tensor]:
    """Return copies in float64 of the weights of a mask predictor, to be differentiated by."""
    return {name: weight.detach().double().requires_grad_() for name, weight in predictor.named_parameters()}


def assert_to_rounding(found: torch.Tensor, expected: torch.Tensor, what: str, tolerance: float = 1e-4) -> None:
    """Compare by the norm of the difference, relative to that of what is expected."""
    wrong = float((found.double() - expected.double()).norm())
    assert wrong <= tolerance * float(expected.double().norm()) + 1e-12, (what, wrong, float(expected.norm()))
