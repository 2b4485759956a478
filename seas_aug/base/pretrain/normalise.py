# SPDX-License-Identifier: Apache-2.0
"""Latents of mean 0 and deviation 1 per channel, as a property of the autoencoder's weights.

Channels of little deviation drown in noise that others outlive, so that fine detail would be drawn in the last steps
only. Newer diffusers autoencoders keep such statistics in their configuration (``latents_mean``, ``latents_std``);
``AutoencoderDC`` has no place for them, and needs none: its first and last latent layers are linear.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from seas_aug.artifact.atomic import atomic_folder
from seas_aug.base.load import load_base
from seas_aug.base.pretrain.architecture import NATIVE_SIZE
from seas_aug.base.pretrain.diffusion import load_autoencoder
from seas_aug.base.pretrain.scenes import to_range
from seas_aug.base.renderer.photographs import Photographs
from seas_aug.base.renderer.twin import render_twin
from seas_aug.latents.codec import encode_latents

if TYPE_CHECKING:
    from torch import Tensor

_FIRST_SEED = 50_000_000


@torch.no_grad()
def normalise_latents(vae: Any, mean: Tensor, deviation: Tensor) -> None:
    """Make an autoencoder's latents ``(z - mean) / deviation``, in place; pictures come out as before.

    Args:
        vae: ``AutoencoderDC``; its ``scaling_factor`` becomes 1.
        mean: of its scaled latents, float ``[C]``.
        deviation: of its scaled latents, float ``[C]``, above 0.
    """
    factor = float(vae.config.scaling_factor)
    mean, deviation = mean / factor, deviation / factor
    encoder, decoder = vae.encoder, vae.decoder
    group = encoder.out_shortcut_average_group_size
    encoder.conv_out.weight.div_(deviation[:, None, None, None])
    encoder.conv_out.bias.sub_(mean).div_(deviation)
    for channel, scale in enumerate(deviation.tolist()):
        taps = encoder.conv_out.weight[channel, channel * group : (channel + 1) * group, 1, 1]
        taps += (1 / scale - 1) / group  # the averaging shortcut beside the convolution
    weight = decoder.conv_in.weight
    # What the constant part adds; next to the border, where zeros are padded, it is a little off.
    decoder.conv_in.bias.add_((weight * mean[None, :, None, None]).sum(dim=(1, 2, 3)))
    weight.mul_(deviation[None, :, None, None])
    repeats = decoder.in_shortcut_repeats
    for channel in range(weight.shape[0]):
        source = channel // repeats
        weight[channel, source, 1, 1] += deviation[source] - 1  # the repeating shortcut
    decoder.conv_in.bias.add_(mean.repeat_interleave(repeats))
    vae.register_to_config(scaling_factor=1.0)


def normalise(
    start_from: str = "embedded",
    autoencoder: str | None = None,
    output: Path = Path("runs/base/normalised"),
    photographs: Path | None = None,
    twins: int = 512,
) -> None:
    """Write a base whose latents have mean 0 and deviation 1 per channel over twins; the rest of it is kept.

    The U-Net's first convolution is scaled along, as a start: it has to be trained on.

    Args:
        start_from: base with an ``AutoencoderDC``.
        autoencoder: checkpoint of stage 1 whose autoencoder takes the place of the base's.
        output: folder of the new base.
        photographs: packed file of ``pack_photographs``.
        twins: over how many the statistics are taken.
    """
    base = load_base(start_from)
    if autoencoder is not None:
        factor = float(base.vae.config.scaling_factor)  # the U-Net knows latents of this scale
        base.vae = load_autoencoder(autoencoder).cpu()
        base.vae.register_to_config(scaling_factor=factor)
    surfaces = None if photographs is None else Photographs(photographs)
    sums, count = torch.zeros(2, base.vae.config.latent_channels, dtype=torch.float64), 0
    base.vae.eval()
    for first in tqdm(range(0, twins, 16), desc="measuring latents"):
        made = [render_twin(_FIRST_SEED + index, NATIVE_SIZE, surfaces) for index in range(first, first + 16)]
        pictures = np.stack([picture for twin in made for picture in (twin.reference, twin.image)])
        with torch.inference_mode():
            latents = encode_latents(base.vae, torch.stack([to_range(picture) for picture in pictures])).double()
        sums += torch.stack([latents.sum(dim=(0, 2, 3)), latents.square().sum(dim=(0, 2, 3))])
        count += latents.numel() // latents.shape[1]
    mean = sums[0] / count
    deviation = (sums[1] / count - mean.square()).sqrt()
    normalise_latents(base.vae, mean.float(), deviation.float())
    with torch.no_grad():
        base.unet.conv_in.weight.mul_(deviation.float()[None, :, None, None])
    parts: dict[str, Any] = {name: getattr(base, name) for name in ("unet", "vae", "text_encoder", "tokenizer")}
    with atomic_folder(Path(output)) as folder:
        for name, part in {**parts, "scheduler": base.scheduler}.items():
            part.save_pretrained(folder / name)
        index = '{"_class_name": "StableDiffusionPipeline", "vae": ["diffusers", "AutoencoderDC"]}\n'
        (folder / "model_index.json").write_text(index, encoding="utf-8")
