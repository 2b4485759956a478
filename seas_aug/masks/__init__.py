# SPDX-License-Identifier: Apache-2.0
"""Refined Mask Prediction (RMP): masks from the generator's own features (SeaS section 3.4)."""

from seas_aug.masks.features import UNetFeatures, VAEDecoderFeatures, unet_channels, vae_channels
from seas_aug.masks.predictor import MaskLogits, MaskPredictor, default_width, probabilities

__all__ = [
    "MaskLogits",
    "MaskPredictor",
    "UNetFeatures",
    "VAEDecoderFeatures",
    "default_width",
    "probabilities",
    "unet_channels",
    "vae_channels",
]
