# SPDX-License-Identifier: Apache-2.0
"""The mask predictor: coarse branch, a cascade of refinements, and one head for both (specification, section 4.4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional

from seas_aug.config import MaskConfig
from seas_aug.errors import SeasError
from seas_aug.masks.coarse import CoarseBranch
from seas_aug.masks.detail import DetailBranch
from seas_aug.masks.features import unet_channels, vae_channels
from seas_aug.masks.layers import norm_layer
from seas_aug.masks.refinement import MaskRefinement

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from seas_aug.masks.features import Autoencoder

_PAPER_WIDTH = 192
_WIDTH_STEP = 24
_FEATURES_PRIOR = math.log(0.98 / 0.02)


class MaskLogits(NamedTuple):
    """Outputs of the mask predictor; channel 1 is the anomaly.

    Args:
        refined: [B, 2, H, W] at image resolution.
        coarse: [B, 2, s, s] at latent resolution.
    """

    refined: torch.Tensor
    coarse: torch.Tensor


def default_width(base_channels: int) -> int:
    """Return the width of the mask branch: the paper's 192, limited by the U-Net's first channel count.

    It is rounded down to a multiple of 24 (below that, of 8), so that the split 2/3 + 1/3, attention heads and norm
    groups all divide it: 320 gives 192, 64 gives 48. The branch also runs at full resolution, where a small base could
    not afford more.

    Args:
        base_channels: the U-Net's ``block_out_channels[0]``.
    """
    limit = min(_PAPER_WIDTH, base_channels)
    step = _WIDTH_STEP if limit >= _WIDTH_STEP else 8
    return max(8, limit // step * step)


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return the probability of an anomaly, float32 [B, 1, H, W] in [0, 1], for logits [B, 2, H, W]."""
    return logits.float().softmax(dim=1)[:, 1:2]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, (list, tuple)) else value  # JSON knows no tuples


class MaskPredictor(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predict the mask of a generated defect from the generator's own features and, in a detail branch, the image.

    It calculates in its own dtype, float32 unless it is cast, whatever the features' dtype and also under float16
    autocast (half precision is a likely cause of the black masks that users of the authors' code report); bfloat16
    autocast is let through.
    An image's mask does not depend on its batch mates (unless ``official``; those of the detail branch while it is
    trained).

    Args:
        low_channels: channels of the U-Net feature "low".
        mid_channels: channels of the U-Net feature "mid".
        vae_channels: channels of the VAE decoder features; one refinement for each.
        width: channels of the branch, a multiple of 8 (paper: 192).
        attention_blocks: self-attention blocks of the coarse branch (paper: 4).
        official: batch normalisation with batch statistics, as in the authors' code.
        detail_width: width of the detail branch; 0 leaves it out (paper).
        prompt_channels: width of the prompt embedding that tells the detail branch the anomaly type.
        mirrored: mirror images were trained on too; final masks are then the mean over the image and its mirror images.
        detail_channels: only models with an earlier detail branch, made with base v3, have it; they are refused.

    Raises:
        SeasError: ``width``, ``attention_blocks`` or ``detail_width`` is out of range, or the model is refused.
    """

    @register_to_config
    def __init__(
        self,
        low_channels: int,
        mid_channels: int,
        vae_channels: Sequence[int],
        width: int = _PAPER_WIDTH,
        attention_blocks: int = 4,
        official: bool = False,
        detail_width: int = 0,
        prompt_channels: int = 0,
        detail_channels: int = 0,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        if detail_channels:
            message = "this model's masks come from another kind of detail branch, which is gone; fine-tune it again."
            raise SeasError(message)
        if width < 8 or width % 8:
            raise SeasError(f"masks.channels is {width}; give a multiple of 8, or leave it out.")
        if attention_blocks < 1:
            raise SeasError(f"masks.attention_blocks is {attention_blocks}; give at least 1.")
        if detail_width < 0 or detail_width % 8:
            raise SeasError(f"masks.detail_width is {detail_width}; give a multiple of 8, or 0 for none.")
        self.coarse_branch = CoarseBranch(low_channels, mid_channels, width, attention_blocks)
        self.refinements = nn.ModuleList(MaskRefinement(width, channels, official) for channels in vae_channels)
        self.detail = DetailBranch(prompt_channels, detail_width, official) if detail_width else None
        classify = nn.Conv2d(width, 2, 3, padding=1)
        if not official:
            # Focal loss learns slowly that almost everything is normal; start there (Lin et al. 2017, section 4.1).
            classify.bias = nn.Parameter(torch.tensor([_FEATURES_PRIOR / 2, -_FEATURES_PRIOR / 2]))
        self.head = nn.Sequential(norm_layer(width, official), nn.ReLU(), classify)

    @classmethod
    def for_models(
        cls, unet: UNet2DConditionModel, vae: Autoencoder, config: MaskConfig, official: bool = False
    ) -> MaskPredictor:
        """Return an untrained predictor that fits a generator.

        Args:
            unet: the generator's U-Net.
            vae: the generator's VAE.
            config: ``channels``, ``attention_blocks`` and ``detail_width`` are used.
            official: see the class.

        Raises:
            SeasError: the models' structure is not supported, or the settings are out of range.
        """
        low, mid = unet_channels(unet)
        width = default_width(unet.config["block_out_channels"][0]) if config.channels is None else config.channels
        prompt = int(unet.config["cross_attention_dim"]) if config.detail_width else 0
        return cls(low, mid, vae_channels(vae), width, config.attention_blocks, official, config.detail_width, prompt)

    def structure(self) -> dict[str, Any]:
        """Return the arguments that make an untrained predictor of the same structure, as plain values."""
        names = ("low_channels", "mid_channels", "vae_channels", "width", "attention_blocks", "official")
        return {name: _plain(self.config[name]) for name in (*names, "detail_width", "prompt_channels")}

    def take_over(self, other: MaskPredictor) -> set[str]:
        """Copy the weights of those parts of another predictor that have the same structure.

        Args:
            other: such as the one that a base brings along.

        Returns:
            Which parts: ``features`` (coarse branch, refinements and head) and ``detail`` (the detail branch).
        """
        mine, theirs = self.structure(), other.structure()
        of_detail = {"detail_width", "prompt_channels"}
        fits = {
            "features": all(mine[name] == theirs[name] for name in mine.keys() - of_detail),
            "detail": self.detail is not None and all(mine[name] == theirs[name] for name in {*of_detail, "official"}),
        }
        taken = {
            name: weight
            for name, weight in other.state_dict().items()
            if fits["detail" if name.startswith("detail.") else "features"]
        }
        self.load_state_dict(taken, strict=False)
        return {part for part, fit in fits.items() if fit}

    def forward(
        self, unet_features: Sequence[torch.Tensor], vae_features: Sequence[torch.Tensor] | None = None
    ) -> MaskLogits:
        """Return mask logits at image and at latent resolution.

        All images go through the head together: the batch statistics of ``official`` are those of anomaly and normal
        images jointly, as in the authors' code.

        Args:
            unet_features: ``UNetFeatures.features``: low [B, C_low, s/2, s/2] and mid [B, C_mid, s, s], float.
            vae_features: ``VAEDecoderFeatures.features`` of the first A of the B images, one per refinement. The other
                images (all of them, with None) are normal: their coarse features are enlarged to image resolution
                without refinement and go straight to the head, so that normals teach coarse branch and head only
                (Normal Information Alignment, NIA; specification, section 4.4).

        Returns:
            Logits in the predictor's own dtype, float32 unless it was cast.

        Raises:
            ValueError: the number of features is wrong, or A is more than B.
        """
        if len(unet_features) != 2 or (vae_features is not None and len(vae_features) != len(self.refinements)):
            raise ValueError(
                f"Expected 2 U-Net and {len(self.refinements)} VAE features, got {len(unet_features)} and "
                f"{'none' if vae_features is None else len(vae_features)}."
            )
        with _safe_autocast(unet_features[0].device.type):
            low, mid = (feature.to(self.dtype) for feature in unet_features)
            coarse = self.coarse_branch(low, mid)
            count = len(vae_features[0]) if vae_features else 0
            if count > len(coarse):
                raise ValueError(f"VAE features of {count} images with U-Net features of {len(coarse)}.")
            parts: list[torch.Tensor] = []
            if vae_features and count:
                refined = coarse[:count]
                for refinement, fine in zip(self.refinements, vae_features, strict=True):
                    refined = refinement(refined, fine.to(self.dtype))
                parts.append(refined)
            if count < len(coarse):
                parts.append(self._enlarged(coarse[count:]))
            refined = self.head(torch.cat(parts) if len(parts) > 1 else parts[0])
            return MaskLogits(refined=refined.to(self.dtype), coarse=self.head(coarse).to(self.dtype))

    def _enlarged(self, coarse: torch.Tensor) -> torch.Tensor:
        """Enlarge coarse features of normal images to image resolution; corners are not aligned, unlike in the MRM."""
        factor = 2 ** len(self.refinements)
        size = (factor * coarse.shape[-2], factor * coarse.shape[-1])
        return functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)

    def detail_logits(self, known: torch.Tensor, image: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Return the logits of the detail branch, ``[B, 2, H, W]`` in the predictor's dtype.

        Args:
            known: probabilities of the features' masks, float ``[B, 1, H, W]`` in [0, 1].
            image: float ``[B, 3, H, W]`` in [-1, 1].
            prompt: prompt embeddings, float ``[B, D]``.

        Raises:
            ValueError: there is no detail branch.
        """
        if self.detail is None:
            raise ValueError("This mask predictor has no detail branch.")
        with _safe_autocast(image.device.type):
            logits = self.detail(*(part.to(self.dtype) for part in (image, known, prompt)))
        return logits.to(self.dtype)

    @torch.no_grad()
    def finish(self, known: torch.Tensor, image: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Return the final probabilities of an anomaly, float32 ``[B, 1, H, W]`` in [0, 1].

        If mirror images were trained on, they are the mean over the image mirrored in neither, either and both
        directions (test-time augmentation).

        Args:
            known: mean of the refined masks over some steps, float ``[B, 1, H, W]`` in [0, 1]; without a detail branch
                they are final.
            image: the finished image, float ``[B, 3, H, W]`` in [-1, 1].
            prompt: its prompt embedding, float ``[B, D]``.
        """
        if self.detail is None:
            return known.float()
        views: list[tuple[int, ...]] = [(), (-1,), (-2,), (-1, -2)] if self.config["mirrored"] else [()]
        found = [self.detail_logits(known.flip(sides), image.flip(sides), prompt) for sides in views]
        return torch.stack(
            [probabilities(logits).flip(sides) for logits, sides in zip(found, views, strict=True)]
        ).mean(0)


def _safe_autocast(device: str) -> AbstractContextManager[Any]:
    """Let bfloat16 autocast through, which has the range of float32; float16 overflows in the products."""
    if not torch.amp.is_autocast_available(device):  # as on the meta device, where work is only counted
        return nullcontext()
    safe = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    return torch.autocast(device, torch.bfloat16, enabled=safe)
