# SPDX-License-Identifier: Apache-2.0
"""How various the generated images of a type are: mean distance within clusters around the few-shot images.

Source: U. Ojha et al., "Few-shot image generation via cross-domain correspondence", CVPR 2021 (intra-cluster LPIPS,
IC-LPIPS); SeaS, specification section 8, whose IC-LPIPS(a) looks at the defects alone. The authors' code compares
references in 0..255 with images in -1..1, so that its clusters are unreliable; here all are treated alike.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from seas_aug.errors import SeasError
from seas_aug.evaluate.distribution import standardise
from seas_aug.evaluate.wavelet_features import WaveletFeatures

LARGEST_CLUSTER = 140  # of the authors' code; images beyond it are left out
_BATCH = 16
_EPSILON = 1e-8  # torchmetrics'


class ImageDistance(Protocol):
    """A distance between images, in two parts: the costly one is done for each image, and not for each pair."""

    def embed(self, images: Tensor) -> Tensor:
        """Return what is compared, ``[N, D]``, for uint8 ``[N, 3, H, W]``."""

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distances ``[N, K]`` between N and K embedded images."""


class WaveletDistance:
    """Root mean square difference of wavelet features: the stand-in where no weights can be downloaded.

    Args:
        real: real images of the type, uint8 ``[N, 3, H, W]``, whose spread is the unit of each feature.
    """

    name = "wavelet moduli"

    def __init__(self, real: Tensor) -> None:
        self._features = WaveletFeatures()
        self._real = self._features(real)

    def embed(self, images: Tensor) -> Tensor:
        """Return standardised features ``[N, D]``."""
        return standardise(torch.cat([self._features(batch) for batch in images.split(_BATCH)]), self._real)

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the root mean square differences ``[N, K]``."""
        away = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
        return away / first.shape[1] ** 0.5


class LpipsDistance:
    """Learned Perceptual Image Patch Similarity (LPIPS) on VGG, at 256 px as the authors; downloads VGG's weights.

    LPIPS is a sum over layers of the mean over places of weighted squared differences of normalised features. Scaled by
    the roots of weights and numbers of places, features become vectors whose squared distance it is: about 8 million
    numbers an image, 32 MiB, for as many images as a cluster has at most.

    Args:
        device: where the network runs and vectors are compared.
        network: torchmetrics' LPIPS network to use in place of VGG's.

    Raises:
        SeasError: the weights can neither be found nor downloaded.
    """

    name = "LPIPS-VGG"

    def __init__(self, device: str = "cpu", network: Any = None) -> None:
        if network is None:
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

            try:
                network = LearnedPerceptualImagePatchSimilarity(net_type="vgg").net
            except OSError as error:
                message = f"LPIPS needs the weights of VGG, which cannot be downloaded ({error}); use the wavelets."
                raise SeasError(message) from error
        self._network, self._device = network.to(device), device

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Return the vectors, float32 ``[N, D]`` on the device."""
        return torch.cat([self._embed(batch) for batch in images.split(_BATCH)])

    def _embed(self, images: Tensor) -> Tensor:
        scaled = transforms.resize(images, [256, 256], antialias=True).to(self._device).float() / 127.5 - 1
        parts = []
        for features, layer in zip(
            self._network.net(self._network.scaling_layer(scaled)), self._network.lins, strict=True
        ):
            weights = layer.model[-1].weight[0]  # [C, 1, 1], none below 0
            unit = features * (features.square().sum(1, keepdim=True) + _EPSILON).rsqrt()
            parts.append((unit * (weights / unit[0, 0].numel()).sqrt()).flatten(1))
        return torch.cat(parts, dim=1)

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """Return LPIPS ``[N, K]``."""
        return torch.stack([(second - one).square().sum(1) for one in first]).cpu()


def intra_cluster_distance(
    images: Tensor, few_shot: Tensor, distance: ImageDistance, largest: int = LARGEST_CLUSTER
) -> dict[str, float]:
    """Return IC-LPIPS, with whatever distance.

    Each image goes to its nearest few-shot image; the mean distance of a cluster's pairs is averaged over clusters.

    Args:
        images: uint8 ``[N, 3, H, W]``.
        few_shot: uint8 ``[K, 3, H, W]``.
        distance: what is LPIPS in the paper.
        largest: images of a cluster beyond these are left out.

    Returns:
        ``all_clusters``, in which a cluster with fewer than two images counts 0 (the authors' code), and
        ``without_empty``, in which it does not count (their "rz" variant).

    Raises:
        ValueError: no image of a kind.
    """
    if not len(images) or not len(few_shot):
        raise ValueError(f"{len(images)} image(s) and {len(few_shot)} few-shot image(s); expected one or more of each")
    centres = distance.embed(few_shot)
    batches = images.split(_BATCH)
    nearest = torch.cat([distance.between(distance.embed(batch), centres).argmin(dim=1) for batch in batches])
    means = []
    for index in range(len(centres)):
        members = images[nearest == index][:largest]
        if len(members) < 2:
            means.append(0.0)
            continue
        embedded = distance.embed(members)
        first, second = torch.triu_indices(len(members), len(members), offset=1)
        means.append(float(distance.between(embedded, embedded)[first, second].mean()))
    filled = [value for value, count in zip(means, nearest.bincount(minlength=len(centres)), strict=True) if count > 1]
    return {
        "all_clusters": sum(means) / len(means),
        "without_empty": sum(filled) / len(filled) if filled else 0.0,
    }


def defects_alone(images: Tensor, masks: Tensor) -> Tensor:
    """Return images that are black outside the defect, as IC-LPIPS(a) looks at them.

    Args:
        images: uint8 ``[N, 3, H, W]``.
        masks: ``[N, 1, H, W]`` of 0 and 1.
    """
    return images * (masks > 0).to(images.dtype)
