# SPDX-License-Identifier: Apache-2.0
"""Inception Score (IS): whether images are surely of one class each, and of all classes together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.image.inception import InceptionScore

from seas_aug.evaluate.distribution import FeaturesAsImages
from seas_aug.evaluate.wavelet_features import WaveletFeatures


class TypeClassifier:
    """Tells a category's anomaly types by wavelet features: stands in for Inception where nothing can be downloaded.

    Args:
        images: real images, uint8 ``[N, 3, H, W]``.
        types: the type of each, two or more different ones.

    Raises:
        ValueError: fewer than two types.
    """

    def __init__(self, images: Tensor, types: Sequence[str]) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if len(set(types)) < 2:
            raise ValueError(f"{len(set(types))} anomaly type; a classifier needs two or more")
        self._features = WaveletFeatures()
        self._classifier: Any = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        self._classifier.fit(self._of(images), list(types))

    def _of(self, images: Tensor) -> Any:
        return torch.cat([self._features(batch) for batch in images.split(32)]).numpy()

    def logits(self, images: Tensor) -> Tensor:
        """Return logarithms of the types' probabilities, ``[N, types]``, for uint8 ``[N, 3, H, W]``."""
        probabilities = np.clip(self._classifier.predict_proba(self._of(images)), 1e-6, 1)
        return torch.from_numpy(np.log(probabilities)).float()


def inception_score(logits: Tensor) -> float:
    """Return exp of the mean divergence of each image's classes from those of all images (Salimans et al. 2016).

    Args:
        logits: of a classifier, ``[N, classes]``.

    Returns:
        From 1 (all images alike, or unsure) to the number of classes; over one split, as there are few images.
    """
    metric = InceptionScore(FeaturesAsImages(logits.shape[1]), splits=1)
    metric.update(logits)
    with torch.random.fork_rng(devices=[]):
        return float(metric.compute()[0])
