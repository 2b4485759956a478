# SPDX-License-Identifier: Apache-2.0
"""How various the generated images of a type are: mean distance within clusters around the few-shot images.

Source: U. Ojha et al., "Few-shot image generation via cross-domain correspondence", CVPR 2021 (intra-cluster LPIPS,
IC-LPIPS); SeaS, specification section 8, whose IC-LPIPS(a) looks at the defects alone. The authors' code compares
references in 0..255 with images in -1..1, so that its clusters are unreliable; here all are treated alike.
"""

from __future__ import annotations

import itertools
from typing import Any, Protocol

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from seas_aug.errors import SeasError
from seas_aug.evaluate.distribution import standardise
from seas_aug.evaluate.wavelet_features import WaveletFeatures

LARGEST_CLUSTER = 140  # of the authors' code; images beyond it are left out


class ImageDistance(Protocol):
    """A distance between images, in two parts, so that the first is done once for each image."""

    def embed(self, images: Tensor) -> Tensor:
        """Return whatever is compared, ``[N, ...]``, for uint8 ``[N, 3, H, W]``."""

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distances ``[P]`` of P pairs of embedded images."""


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
        """Return standardised features ``[N, F]``."""
        return standardise(torch.cat([self._features(batch) for batch in images.split(32)]), self._real)

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the root mean square differences ``[P]``."""
        return (first - second).square().mean(dim=1).sqrt()


class LpipsDistance:
    """Learned Perceptual Image Patch Similarity (LPIPS) on VGG, at 256 px as the authors; downloads VGG's weights.

    Args:
        device: where the network runs.
        network: a network to use in its place: from two batches in [-1, 1] to distances.

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

    def embed(self, images: Tensor) -> Tensor:
        """Return images at 256 px, float32 ``[N, 3, 256, 256]`` in [-1, 1]."""
        return transforms.resize(images, [256, 256], antialias=True).float() / 127.5 - 1

    @torch.no_grad()
    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Return LPIPS ``[P]``, 16 pairs at a time."""
        pairs = zip(first.split(16), second.split(16), strict=True)
        found = [self._network(a.to(self._device), b.to(self._device)).flatten().cpu() for a, b in pairs]
        return torch.cat(found)


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
    embedded, centres = distance.embed(images), distance.embed(few_shot)
    away = torch.stack([distance.compare(embedded, centre[None].expand_as(embedded)) for centre in centres], dim=1)
    nearest = away.argmin(dim=1)
    means = []
    for index in range(len(centres)):
        members = (nearest == index).nonzero().flatten()[:largest]
        pairs = torch.tensor(list(itertools.combinations(members.tolist(), 2)), dtype=torch.int64).reshape(-1, 2)
        means.append(float(distance.compare(embedded[pairs[:, 0]], embedded[pairs[:, 1]]).mean()) if len(pairs) else 0)
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
