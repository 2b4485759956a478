# SPDX-License-Identifier: Apache-2.0
"""How near generated images are to real ones as a distribution, and how various they are.

All functions take features ``[N, F]``, for example of :class:`~seas_aug.evaluate.wavelet_features.WaveletFeatures`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

_SUBSETS = 100
_LEAST_SPREAD = 0.25  # of logarithms: real images that agree to a quarter are no scale for others


def standardise(features: Tensor, real: Tensor) -> Tensor:
    """Return features in units of the real images' spread, so that no feature outweighs the others by its scale.

    Args:
        features: ``[N, F]``, logarithms.
        real: ``[M, F]`` of the real images; its mean becomes 0 and its standard deviation 1 (or less, where it is below
            0.25 already).

    Returns:
        ``[N, F]``.
    """
    spread = real.std(dim=0, unbiased=False).clamp_min(_LEAST_SPREAD)
    return (features - real.mean(dim=0)) / spread


class FeaturesAsImages(nn.Module):
    """Stands in for the network that torchmetrics wants, where its features are ready.

    Args:
        num_features: width of the features.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        """Return what is given."""
        return features


def kernel_distance(real: Tensor, generated: Tensor, seed: int = 0, scaled: bool = True) -> float:
    """Return the Kernel Inception Distance (KID: squared maximum mean discrepancy, cubic kernel) of features.

    Source: M. Binkowski et al., "Demystifying MMD GANs", ICLR 2018, with other features than Inception's. It is
    unbiased, so that equal distributions give values around 0, also negative ones.

    Args:
        real: ``[N, F]``.
        generated: ``[M, F]``.
        seed: seed of the subsets that are averaged.
        scaled: standardise each feature by the real images' spread; not for Inception's, which KID takes as they are.

    Raises:
        ValueError: fewer than two images of a kind.
    """
    smaller = min(len(real), len(generated))
    if smaller < 2:
        message = f"a distance of {len(real)} real and {len(generated)} generated images; give two or more of each."
        raise ValueError(message)
    metric = KernelInceptionDistance(FeaturesAsImages(real.shape[1]), subsets=_SUBSETS, subset_size=min(smaller, 50))
    metric.update(standardise(real, real) if scaled else real, real=True)
    metric.update(standardise(generated, real) if scaled else generated, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return float(metric.compute()[0])


def cluster_diversity(features: Tensor, centres: Tensor) -> float:
    """Return how much images differ that are nearest to the same few-shot image, as IC-LPIPS does.

    Source: U. Ojha et al., "Few-shot image generation via cross-domain correspondence", CVPR 2021: images are assigned
    to their nearest few-shot image, and the mean distance of the pairs of a cluster is averaged over the clusters. Here
    the distance is the root mean square difference of features, in place of LPIPS, which needs a download.

    Args:
        features: ``[N, F]`` of the images.
        centres: ``[K, F]`` of the few-shot images.

    Returns:
        Mean over the clusters that have two or more images; 0 if none has.
    """
    scale = features.shape[1] ** 0.5
    nearest = torch.cdist(features, centres).argmin(dim=1)
    means = [torch.pdist(features[nearest == k]).mean() / scale for k in nearest.unique() if (nearest == k).sum() > 1]
    return float(torch.stack(means).mean()) if means else 0.0
