# SPDX-License-Identifier: Apache-2.0
"""Whether a detector sees generated images as sharply as real ones.

A run whose images are squares of 128 px gives a detector at 256 px blurred images beside sharp ones: it then learns, or
is tested on, blur. The sharpness that counts is what is left of a picture's own pixels at the detector's size.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision.transforms.v2 import Resize

from seas_aug.anomalib_plugin.leakage import EVALUATION_SUBSETS
from seas_aug.data.decode import read_rgb
from seas_aug.errors import SeasError

logger = logging.getLogger(__name__)


def check_views(model: Any, datamodule: Any, pairs: Sequence[Path]) -> None:
    """Refuse to evaluate on pairs of another sharpness than the normal images beside them.

    Training on such pairs is only warned of; here thresholds and scores would be those of finding blur.

    Args:
        model: the detector.
        datamodule: an anomalib datamodule after its ``setup``; its synthetic sets are looked at.
        pairs: images that may be put into them.

    Raises:
        SeasError: the pairs are less sharp, or sharper.
    """
    from anomalib.data.utils.synthetic import SyntheticAnomalyDataset

    for name in EVALUATION_SUBSETS:
        dataset = getattr(datamodule, name, None)
        if isinstance(dataset, SyntheticAnomalyDataset) and (
            what := _other_view(model, dataset, [*_normals(dataset), *_normals(datamodule.train_data)], pairs)
        ):
            raise SeasError(f"{name} would have generated pairs {what}.")


def warn_of_other_views(model: Any, dataset: Any, normals: Sequence[Path]) -> None:
    """Warn where generated normal images are less sharp, or sharper, than the real ones they are added to.

    Args:
        model: the detector.
        dataset: its training images.
        normals: generated normal images.
    """
    if what := _other_view(model, dataset, _normals(dataset), normals):
        logger.warning("Training gets generated normal images %s.", what)


def warn_of_blurred_pairs(detector: Sequence[int], pairs: Sequence[int]) -> bool:
    """Warn where a detector's images are larger than the pairs that it is trained on.

    Args:
        detector: height and width of its images.
        pairs: height and width of the pairs; 0 where there are none.

    Returns:
        Whether it warned.
    """
    side, pair_side = max(detector), max(pairs)
    if not side > pair_side > 0:
        return False
    logger.warning(
        "The detector trains at %d px on pairs of %d px, so that defects are blurred and test images are not; a Resize "
        "to %d px in model.init_args.pre_processor makes them alike.",
        side,
        pair_side,
        pair_side,
    )
    return True


def _normals(dataset: Any) -> list[Path]:
    samples = dataset.samples
    return [Path(path) for path in samples["image_path"][samples["label_index"] == 0]]


def _other_view(model: Any, dataset: Any, normals: Sequence[Path], generated: Sequence[Path]) -> str:
    """Return what is wrong with generated images beside normal ones, which need not be of one size, or nothing."""
    real, made = sizes(normals), sizes(generated)
    if not real or not made:
        return ""
    resized = _resizes(model, dataset)
    least, most = min(sharpness(size, resized) for size in real), max(sharpness(size, resized) for size in real)
    other = next((size for size in sorted(made) if not least <= sharpness(size, resized) <= most), None)
    if other is None:
        return ""
    beside = max(real) if sharpness(other, resized) < least else min(real)
    seen = "less sharp" if sharpness(other, resized) < least else "sharper"
    at = f" at its {sharpness(max([*real, other]), resized)} px" if resized else ""
    smaller = min(sharpness(other, resized), least)
    return (
        f"of {other[1]}x{other[0]} px beside real images of {beside[1]}x{beside[0]} px, so that the detector sees{at} "
        f"generated images {seen} than real ones and may find that alone; expected the same size, generate in windows "
        f"(data.windows auto) on these images, or add a Resize to {smaller} px to model.init_args.pre_processor"
    )


def sizes(files: Iterable[Path]) -> list[tuple[int, int]]:
    """Return the different heights and widths of image files.

    Args:
        files: image files; their pixels are not decoded.

    Raises:
        SeasError: a file cannot be read.
    """
    return sorted({_size(path) for path in files})


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (OSError, ValueError, Image.DecompressionBombError):
        height, width = read_rgb(path).shape[:2]
        return int(height), int(width)


def sharpness(size: tuple[int, int], resized: Sequence[Sequence[int]]) -> int:
    """Return how many of a picture's own pixels are left along its side.

    Args:
        size: its height and width.
        resized: each a size that it is brought to: height and width, or that of the shorter side alone.

    Returns:
        The longer side in pixels, no more than it is brought to.
    """
    scale = 1.0
    for target in resized:
        scale = min(scale, target[0] / min(size) if len(target) == 1 else max(target) / max(size))
    return round(max(size) * scale)


def _resizes(model: Any, dataset: Any) -> list[list[int]]:
    from anomalib.data.transforms.utils import extract_transforms_by_type

    own = getattr(getattr(model, "pre_processor", None), "transform", None)
    found: list[Any] = [
        *extract_transforms_by_type(own, Resize),
        *extract_transforms_by_type(getattr(dataset, "augmentations", None), Resize),
    ]
    return [[int(side) for side in one.size] for one in found if one.size is not None]
