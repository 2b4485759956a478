# SPDX-License-Identifier: Apache-2.0
"""The detectors of a benchmark, and variants of them that two CPU cores can train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anomalib.models import Draem, Glass, Padim, Patchcore
from anomalib.models.components.base import AnomalibModule
from anomalib.pre_processing import PreProcessor
from torchvision.transforms import v2

from seas_aug.benchmark.narrow_draem import NarrowDraem
from seas_aug.config import Precision
from seas_aug.errors import SeasError
from seas_aug.precision import best_precision

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@dataclass(frozen=True)
class DetectorVariant:
    """A detector as it is benchmarked.

    Args:
        make: from the side of the images in pixels and a folder of textures to the detector.
        size: side of the images in pixels.
        steps: optimiser updates as Lightning counts them (GLASS steps two optimisers for a batch); 0 for one pass over
            the training images.
        batch_size: images per update.
        one_class: whether it learns from normal images alone.
        needs: what has to be downloaded, if anything.
        bfloat16: whether its layers train in that precision where the hardware has it; else all of it in float32.
        training_gflop: 10^9 floating-point operations to train on one image of that size, for the plan of a benchmark.
    """

    make: Callable[[int, str], AnomalibModule]
    size: int
    steps: int
    batch_size: int
    one_class: bool = False
    needs: str = ""
    bfloat16: bool = False
    training_gflop: float = 0.0

    def precision(self) -> Precision:
        """Return what it trains in on this hardware."""
        return "bf16-mixed" if self.bfloat16 and has_bfloat16() else "32-true"


def has_bfloat16() -> bool:
    """Return whether the hardware trains faster in bfloat16."""
    return best_precision() == "bf16-mixed"


def _common(size: int, normalised: bool = True) -> dict[str, Any]:
    transforms: list[Any] = [v2.Resize((size, size), antialias=True)]
    if normalised:
        transforms.append(v2.Normalize(**IMAGENET))
    # Raw scores: nothing is scaled by what was seen in validation.
    return {
        "pre_processor": PreProcessor(v2.Compose(transforms)),
        "post_processor": False,
        "evaluator": False,
        "visualizer": False,
    }


def _draem(size: int, textures: str) -> AnomalibModule:
    model = Draem(dtd_dir=textures, **_common(size, normalised=False))
    loss: Any = model.loss
    loss.focal_loss.alpha = None  # see NarrowDraem
    return model


VARIANTS: dict[str, DetectorVariant] = {
    "draem": DetectorVariant(_draem, size=256, steps=8000, batch_size=8, training_gflop=1188.0),
    "draem-compact": DetectorVariant(
        lambda size, textures: NarrowDraem(16, 1e-3, size, textures, has_bfloat16()),
        size=128,
        steps=900,  # on magnetic tiles, Perlin noise has long taught all it can, defects still teach; docs/benchmark.md
        batch_size=16,
        bfloat16=True,
        training_gflop=7.5,
    ),
    "glass": DetectorVariant(
        lambda size, textures: Glass(input_shape=(size, size), anomaly_source_path=textures, **_common(size)),
        size=256,
        steps=16000,
        batch_size=8,
        needs="ImageNet weights of Wide ResNet-50",
        training_gflop=60.0,  # the frozen backbone sees the normal image and the one with a local anomaly
    ),
    "patchcore": DetectorVariant(
        lambda size, _: Patchcore(**_common(size)),
        size=256,
        steps=0,
        batch_size=16,
        one_class=True,
        needs="ImageNet weights of Wide ResNet-50",
    ),
    "patchcore-compact": DetectorVariant(
        lambda size, _: Patchcore(backbone="resnet18", pre_trained=False, coreset_sampling_ratio=0.05, **_common(size)),
        size=128,
        steps=0,
        batch_size=16,
        one_class=True,
    ),
    "padim": DetectorVariant(
        lambda size, _: Padim(**_common(size)),
        size=256,
        steps=0,
        batch_size=16,
        one_class=True,
        needs="ImageNet weights of ResNet-18",
    ),
    "padim-compact": DetectorVariant(
        lambda size, _: Padim(backbone="resnet18", pre_trained=False, **_common(size)),
        size=128,
        steps=0,
        batch_size=16,
        one_class=True,
    ),
}


def get_variant(name: str) -> DetectorVariant:
    """Return a detector's variant.

    Raises:
        SeasError: there is none of that name.
    """
    if name not in VARIANTS:
        raise SeasError(f"{name!r} is no detector of the benchmark; give one of {', '.join(VARIANTS)}.")
    return VARIANTS[name]
