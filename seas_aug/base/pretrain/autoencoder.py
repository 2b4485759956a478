# SPDX-License-Identifier: Apache-2.0
"""Pretraining of the autoencoder: sharp enough that a one-pixel crack survives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch.nn import functional

from seas_aug.base.pretrain.architecture import build_autoencoder
from seas_aug.base.pretrain.schedule import adamw_with_cosine

if TYPE_CHECKING:
    from torch import Tensor


def reconstruction_loss(reconstruction: Tensor, image: Tensor, gradient_weight: float = 1.0) -> Tensor:
    """Return mean absolute error plus that of the horizontal and vertical differences (edges, thin lines).

    Args:
        reconstruction: ``[B, 3, H, W]``.
        image: ``[B, 3, H, W]`` in [-1, 1].
        gradient_weight: weight of the difference term.
    """
    error = reconstruction - image
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + 2.0 * error.square().mean() + gradient_weight * 0.5 * edges


def psnr(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB of images ``[B, 3, H, W]`` in [-1, 1]."""
    error = functional.mse_loss(reconstruction.clamp(-1, 1), image)
    return 10 * torch.log10(4.0 / error.clamp_min(1e-10))


class AutoencoderModule(lightning.LightningModule):
    """Trains :func:`build_autoencoder` on crops with a warm-up and a cosine fall.

    Args:
        total_steps: optimiser updates, for the learning rate.
        lr: peak learning rate.
        latent_noise: standard deviation of the noise added to the latents before decoding, so that nothing is hidden in
            digits that a diffusion sampler cannot reproduce.
        latent_penalty: weight of the mean squared latent, which keeps their scale bounded.
        decoder_only: keep the encoder, and so the meaning of the latents, fixed.
    """

    def __init__(
        self,
        total_steps: int,
        lr: float = 2e-3,
        latent_noise: float = 0.03,
        latent_penalty: float = 1e-3,
        decoder_only: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        vae: Any = build_autoencoder()
        self.vae = vae.to(memory_format=torch.channels_last)
        self.vae.encoder.requires_grad_(not decoder_only)

    def training_step(self, image: Tensor, batch_index: int) -> Tensor:
        """Return the loss of crops ``[B, 3, H, W]`` in [-1, 1]."""
        latent = self.vae.encode(image.contiguous(memory_format=torch.channels_last)).latent
        noisy = latent + self.hparams["latent_noise"] * torch.randn_like(latent)
        reconstruction = self.vae.decode(noisy).sample.float()
        loss = reconstruction_loss(reconstruction, image)
        self.log("psnr", psnr(reconstruction.detach(), image), prog_bar=True)
        self.log("loss", loss, prog_bar=True)
        return loss + self.hparams["latent_penalty"] * latent.float().square().mean()

    def validation_step(self, image: Tensor, batch_index: int) -> None:
        """Log the PSNR of whole scenes that are not trained on, and that of reducing them 4x and enlarging again."""
        reconstruction = self.vae.decode(self.vae.encode(image).latent).sample.float()
        height, width = image.shape[-2:]
        small = functional.interpolate(image, (height // 4, width // 4), mode="bicubic", antialias=True)
        bicubic = functional.interpolate(small, (height, width), mode="bicubic", antialias=True)
        self.log("val_psnr", psnr(reconstruction, image), prog_bar=True)
        self.log("val_psnr_bicubic", psnr(bicubic, image), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Return AdamW with a short warm-up and a cosine fall."""
        weights = [weight for weight in self.vae.parameters() if weight.requires_grad]
        return adamw_with_cosine(weights, self.hparams["lr"], self.hparams["total_steps"], weight_decay=1e-4)
