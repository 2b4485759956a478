# SPDX-License-Identifier: Apache-2.0
"""Features of the frozen generator, read by forward hooks (SeaS specification, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from seas_aug.errors import SeasError
from seas_aug.latents.codec import decode_latents
from seas_aug.latents.prediction import predict

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from seas_aug.latents.hole import Hole
    from seas_aug.prompt.embedding import PromptEmbeddings

    Autoencoder = AutoencoderKL | AutoencoderDC

_Self = TypeVar("_Self", bound="_BlockFeatures")


def _unet_blocks(unet: UNet2DConditionModel) -> list[nn.Module]:
    """Return the up blocks "low" (third from the end) and "mid" (second from the end)."""
    blocks = list(unet.up_blocks)
    if len(blocks) < 3:
        raise SeasError(f"The U-Net has {len(blocks)} up blocks; the mask branch needs a base with at least 3.")
    return blocks[-3:-1]


def _vae_blocks(vae: Autoencoder) -> list[nn.Module]:
    """Return the decoder's blocks that double the resolution, coarse to fine."""
    from diffusers.models.autoencoders.autoencoder_dc import DCUpBlock2d

    blocks = list(getattr(vae.decoder, "up_blocks", []))
    doubling = [block for block in blocks if getattr(block, "upsamplers", None)]
    if not doubling:  # AutoencoderDC keeps its blocks fine to coarse, each a sequence that begins with the upsampling
        doubling = [
            block for block in reversed(blocks) if isinstance(block, nn.Sequential) and _begins_with(block, DCUpBlock2d)
        ]
    if not doubling:
        raise SeasError(
            "The VAE's decoder has no up block that upsamples; give a base with an AutoencoderKL or AutoencoderDC."
        )
    return doubling


def _begins_with(block: nn.Sequential, kind: type[nn.Module]) -> bool:
    return len(block) > 1 and isinstance(block[0], kind)


def _out_channels(block: Any) -> int:
    if hasattr(block, "resnets"):
        return int(block.resnets[-1].out_channels)
    return int(block[-1].conv2.out_channels)


def unet_channels(unet: UNet2DConditionModel) -> tuple[int, int]:
    """Return the channels of the U-Net features "low" and "mid" (Stable Diffusion 1: 1280 and 640).

    Raises:
        SeasError: the U-Net has fewer than 3 levels.
    """
    low, mid = (_out_channels(block) for block in _unet_blocks(unet))
    return low, mid


def vae_channels(vae: Autoencoder) -> tuple[int, ...]:
    """Return the channels of the VAE decoder features, coarse to fine (Stable Diffusion 1: 512, 512, 256).

    Raises:
        SeasError: the decoder has no up block that upsamples.
    """
    return tuple(_out_channels(block) for block in _vae_blocks(vae))


class _BlockFeatures:
    """Keeps the outputs of some blocks of the last forward pass while it is entered; hooks are always taken off."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self._blocks = list(blocks)
        self._outputs: dict[int, torch.Tensor] = {}
        self._handles: list[Any] = []

    def __enter__(self: _Self) -> _Self:
        for index, block in enumerate(self._blocks):

            def keep(_module: nn.Module, _inputs: Any, output: torch.Tensor, index: int = index) -> None:
                self._outputs[index] = output

            self._handles.append(block.register_forward_hook(keep))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @property
    def features(self) -> list[torch.Tensor]:
        """Features of the last forward pass, coarse to fine; readable after the ``with`` block too.

        Raises:
            RuntimeError: no forward pass has run.
        """
        if len(self._outputs) < len(self._blocks):
            raise RuntimeError("No features yet: run the model inside the with block first.")
        return [self._outputs[index] for index in range(len(self._blocks))]

    def clear(self) -> None:
        """Forget the features, to give their memory back."""
        self._outputs.clear()


class UNetFeatures(_BlockFeatures):
    """Context manager that keeps the U-Net features "low" and "mid" of the last pass.

    ``features`` is then ``[low [B, C_low, s/2, s/2], mid [B, C_mid, s, s]]`` for latents of side s, in the U-Net's
    dtype (Stable Diffusion 1 at 512 px: 1280 x 32 x 32 and 640 x 64 x 64).

    Args:
        unet: a U-Net of at least 3 levels, whatever its depth: blocks count from the end.

    Raises:
        SeasError: it has fewer.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__(_unet_blocks(unet))


class VAEDecoderFeatures(_BlockFeatures):
    """Context manager that keeps the features of the VAE decoder's upsampling blocks of the last pass.

    ``features`` is then one ``[B, C_i, 2^(i+1) s, 2^(i+1) s]`` for each doubling, for latents of side s.

    Args:
        vae: an ``AutoencoderKL`` or ``AutoencoderDC``.

    Raises:
        SeasError: its decoder has no up block that upsamples, or it decodes in slices or tiles.
    """

    def __init__(self, vae: Autoencoder) -> None:
        if vae.use_slicing or vae.use_tiling:
            raise SeasError("The VAE decodes in slices or tiles, which splits its features; switch both off for masks.")
        super().__init__(_vae_blocks(vae))


def decoder_features(vae: Autoencoder, latents: torch.Tensor) -> list[torch.Tensor]:
    """Return the decoder's features (:class:`VAEDecoderFeatures`) of scaled latents ``[B, C, h, w]``."""
    with VAEDecoderFeatures(vae) as hook:
        decode_latents(vae, latents)
    return hook.features


@torch.no_grad()
def read_features(
    unet: UNet2DConditionModel,
    vae: Autoencoder,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    prompts: PromptEmbeddings,
    decoded: int,
    step: Callable[[torch.Tensor], torch.Tensor] | None = None,
    hole: Hole | None = None,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return U-Net features of all images, and decoder features of the first of them, at the same noise.

    Args:
        unet: frozen generator.
        vae: autoencoder.
        noisy: noisy scaled latents ``[B, C, h, w]``, those to be decoded first.
        timesteps: int64, one for all or ``[B]``.
        prompts: of B prompts.
        decoded: of how many images the decoder's features are read.
        step: makes the latents that are decoded in place of the noisy ones, from their predicted noise; None decodes
            the noisy ones.
        hole: the whole picture, for an inpainting model: what reads it must not be told where a defect was drawn.
    """
    with UNetFeatures(unet) as hook:
        predicted = predict(unet, noisy, timesteps, prompts, hole)
    latents = noisy[:decoded] if step is None else step(predicted[:decoded])
    return hook.features, decoder_features(vae, latents)
