# SPDX-License-Identifier: Apache-2.0
"""A good start for the autoencoder: the best linear code of 4 x 4 patches, written into its weights.

A random autoencoder spends most of a CPU budget on reaching the quality of plain downscaling. This start is exact
principal component analysis (PCA) of image patches; training then only learns what a linear code cannot do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

_RESIDUAL_GAIN = 0.01
_ANCHOR = 4.0


def patch_basis(images: np.ndarray, components: int, patches: int = 200_000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the leading principal components of 4 x 4 patches, and how far patches reach along each.

    Args:
        images: uint8 ``[N, H, W, 3]``.
        components: how many.
        patches: random patches that they are estimated from.
        seed: seed of the choice.

    Returns:
        Orthonormal float32 ``[components, 3, 4, 4]``, and root mean squares float32 ``[components]``. No mean is
        subtracted: the middle grey of the model's range is the origin.
    """
    rng = np.random.default_rng(seed)
    index = rng.integers(0, len(images), patches)
    rows, columns = rng.integers(0, images.shape[1] - 4, patches), rng.integers(0, images.shape[2] - 4, patches)
    cut = np.stack([images[i, r : r + 4, c : c + 4] for i, r, c in zip(index, rows, columns, strict=True)])
    flat = cut.transpose(0, 3, 1, 2).reshape(patches, -1).astype(np.float64) / 127.5 - 1
    power, vectors = np.linalg.eigh(flat.T @ flat / patches)
    leading = np.ascontiguousarray(vectors[:, ::-1][:, :components].T).reshape(components, 3, 4, 4)
    return torch.from_numpy(leading).float(), torch.from_numpy(power[::-1][:components].copy()).sqrt().float()


@torch.no_grad()
def write_linear_code(vae: Any, basis: Tensor, reach: Tensor) -> None:
    """Make an untrained ``AutoencoderDC`` of two halvings compute ``latent = basis . patch / scale`` and its inverse.

    The scale is the square root of each component's reach, so that fine detail is neither drowned by nor as loud as the
    brightness when a diffusion model adds noise.

    Args:
        vae: as built by :func:`~seas_aug.base.pretrain.architecture.build_autoencoder`.
        basis: ``[latent channels, 3, 4, 4]``, orthonormal.
        reach: ``[latent channels]``, root mean square along each.
    """
    from diffusers.models.autoencoders.autoencoder_dc import ResBlock

    blocks: list[Any] = [block for block in vae.modules() if isinstance(block, ResBlock)]
    for block in blocks:
        block.norm.weight.fill_(_RESIDUAL_GAIN)
    scale = reach.sqrt()[:, None, None, None]
    _write_encoder(vae.encoder, basis / scale)
    _write_decoder(vae.decoder, basis * scale)


def _tap(convolution: Any) -> Tensor:
    """Keep a little of the random start, and return the middle tap ``[out, in]`` to write to, emptied."""
    convolution.weight.mul_(_RESIDUAL_GAIN)
    convolution.bias.zero_()
    middle = convolution.weight[:, :, 1, 1]
    middle.zero_()
    return middle


def _write_encoder(encoder: Any, analysis: Tensor) -> None:
    """Pixels go to known channels by two pixel-unshuffles; the last convolution projects them."""
    pixels = _tap(encoder.conv_in.conv)
    pixels[:3] = torch.eye(3)
    encoder.conv_in.conv.weight[3:] = 0  # the other channels start empty
    down = encoder.down_blocks[1][-1]
    carry = _tap(down.conv)
    carry[6:18, :12] = torch.eye(12)  # channels 24..71 now hold the patch; the shortcut fills 0..23 only
    down.conv.weight[:6] = 0
    down.conv.weight[18:] = 0
    project = _tap(encoder.conv_out)
    group = encoder.out_shortcut_average_group_size
    for latent in range(project.shape[0]):
        project[latent, latent * group : (latent + 1) * group] -= 1 / group  # cancels the averaging shortcut
    project[:, 24:72] += _patch_order(analysis)


def _write_decoder(decoder: Any, synthesis: Tensor) -> None:
    """Latents go straight to half-size pixels, then to full size beside constant anchors that steady the last norm."""
    _tap(decoder.conv_in)
    repeats = decoder.in_shortcut_repeats
    first = decoder.up_blocks[1][0]
    shuffle = _tap(first.conv)
    _cancel_shortcut(shuffle, first.repeats)
    columns = _patch_order(synthesis).T  # [48, latents]: row 4 c + o is pixel offset o of half-size channel c
    shuffle[:48] += columns.repeat_interleave(repeats, dim=1) / repeats
    second = decoder.up_blocks[0][0]
    unfold = _tap(second.conv)
    _cancel_shortcut(unfold, second.repeats)
    unfold[:12, :12] += torch.eye(12)
    unfold[12:24, :12] -= torch.eye(12)
    second.conv.bias[24:] = _ANCHOR
    channels = decoder.norm_out.weight.numel()
    steady = float(np.sqrt((channels - 6) / channels)) * _ANCHOR
    paint = _tap(decoder.conv_out)
    paint[:, :3] = torch.eye(3) * steady
    paint[:, 3:6] = -torch.eye(3) * steady


def _patch_order(basis: Tensor) -> Tensor:
    """Reorder ``[L, 3, 4, 4]`` to ``[L, 48]`` as two pixel-unshuffles lay a patch out."""
    patch = basis.reshape(-1, 3, 4, 4)
    half = torch.nn.functional.pixel_unshuffle(patch, 2)  # [L, 12, 2, 2]
    return torch.nn.functional.pixel_unshuffle(half, 2).reshape(len(basis), 48)


def _cancel_shortcut(weight: Tensor, repeats: int) -> None:
    """Subtract the repeating shortcut of an upsampling block from its convolution's middle tap ``[out, in]``."""
    for channel in range(weight.shape[0]):
        weight[channel, channel // repeats] -= 1
