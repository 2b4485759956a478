# SPDX-License-Identifier: Apache-2.0
"""How good the images of a source are by themselves: IS, KID, IC-LPIPS and IC-LPIPS(a), per anomaly type."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seas_aug.anomalib_plugin.cutpaste import CutPastePool
from seas_aug.anomalib_plugin.pool import PairPool
from seas_aug.anomalib_plugin.textures import make_textures
from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.sources import QUALITY_FEATURES, QUALITY_SOURCES
from seas_aug.benchmark.test_set import read_test_set
from seas_aug.data.category import DefectSample, read_mvtec_folder
from seas_aug.data.images import load_image, load_mask
from seas_aug.data.seeds import derive_seed
from seas_aug.data.split_file import load_split
from seas_aug.errors import SeasError
from seas_aug.evaluate.distribution import kernel_distance
from seas_aug.evaluate.intra_cluster import (
    ImageDistance,
    LpipsDistance,
    WaveletDistance,
    defects_alone,
    intra_cluster_distance,
)
from seas_aug.evaluate.recognisability import TypeClassifier, inception_score
from seas_aug.evaluate.wavelet_features import WaveletFeatures

_INCEPTION = 2048


def make_images(
    folders: CategoryFolders,
    source: str,
    anomaly_type: str,
    count: int,
    size: int,
    seed: int,
    textures: Path | None = None,
) -> tuple[Tensor, Tensor]:
    """Return images of a source.

    Args:
        folders: the category, its run and its pairs.
        source: ``perlin`` (which knows no types), ``cutpaste`` or ``seas``.
        anomaly_type: name of the type.
        count: how many; of ``seas`` as many as there are, if that is fewer.
        size: side in pixels.
        seed: seed of every draw.
        textures: pictures that fill Perlin anomalies; None renders some.

    Returns:
        uint8 ``[N, 3, size, size]`` and masks, float ``[N, 1, size, size]`` of 0 and 1.

    Raises:
        SeasError: an unknown source, or a folder that cannot be used.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, source, anomaly_type))
    if source == "seas":
        pool = PairPool(folders.generated, [anomaly_type], most=folders.pairs)
        images, masks, _ = pool.draw(generator, min(count, len(pool)), (size, size))
    elif source == "cutpaste":
        split, category = load_split(folders.run / "split.json").split, read_mvtec_folder(folders.root)
        pasted = CutPastePool({anomaly_type: split.few_shot[anomaly_type]}, category.normals)
        images, masks, _ = pasted.draw(generator, count, (size, size))
    elif source == "perlin":
        images, masks = _perlin(read_mvtec_folder(folders.root).normals, count, size, generator, textures)
    else:
        raise SeasError(f"{source!r} is no source of images; give one of {', '.join(QUALITY_SOURCES)}.")
    return (images.clamp(0, 1) * 255).round().to(torch.uint8), masks


def _perlin(
    normals: Sequence[Path], count: int, size: int, generator: torch.Generator, textures: Path | None
) -> tuple[Tensor, Tensor]:
    from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
    from lightning import seed_everything
    from lightning.pytorch.utilities.seed import isolate_rng

    chosen = torch.randint(len(normals), (count,), generator=generator).tolist()
    clean = torch.stack([load_image(normals[index], size, "squash") for index in chosen]).float() / 255
    with tempfile.TemporaryDirectory() as folder, isolate_rng():
        # anomalib draws from the global generators
        seed_everything(int(torch.randint(2**31, (), generator=generator)), verbose=False)
        textures = textures or make_textures(Path(folder) / "textures", size=size, seed=0)
        images, masks = PerlinAnomalyGenerator(str(textures), probability=1.0)(clean)
    return images.as_subclass(Tensor), masks.as_subclass(Tensor).reshape(count, 1, size, size).float()


def measure_quality(
    folders: CategoryFolders,
    source: str,
    size: int,
    count: int,
    seed: int,
    features: str = "wavelets",
    textures: Path | None = None,
) -> dict[str, Any]:
    """Compare a source's images with the real test defects of each type.

    Args:
        folders: the category, its run and its pairs.
        source: see :func:`make_images`.
        size: side in pixels.
        count: images of each type (paper: 1000).
        seed: seed of every draw.
        features: ``wavelets`` needs no download; ``inception`` uses Inception and LPIPS-VGG as the paper does.
        textures: pictures that fill Perlin anomalies; None renders some.

    Returns:
        ``kid``, ``ic_lpips`` and ``ic_lpips_a`` (each the mean over types), ``is`` (over all types together with
        wavelets and a classifier of the category's types; with Inception the mean over types, as the authors) or None
        where a category has one type only, and ``types``.

    Raises:
        SeasError: an unknown source or kind of features, or weights that cannot be downloaded.
    """
    if features not in QUALITY_FEATURES:
        raise SeasError(f"features is {features!r}; give one of {', '.join(QUALITY_FEATURES)}.")
    few_shot = load_split(folders.run / "split.json").split.few_shot
    category, tested_on = read_mvtec_folder(folders.root), set(read_test_set(folders).images)
    types: dict[str, dict[str, float]] = {}
    shown, real_shown, names = [], [], []
    for name, samples in few_shot.items():
        tested = [one for one in category.defects.get(name, ()) if one.image in tested_on]
        if len(tested) < 2:
            continue
        (real, _), (shots, shot_masks) = _load(tested, size), _load(samples, size)
        # As many of every source as there are pairs: IC-LPIPS grows with the number of images.
        number = min(count, len(PairPool(folders.generated, [name], most=folders.pairs)))
        images, masks = make_images(folders, source, name, number, size, seed, textures)
        inside = defects_alone(shots, shot_masks), defects_alone(images, masks)
        distance = _distance(features, real)
        alone = _distance(features, defects_alone(*_load(tested, size)))
        types[name] = {
            "images": number,
            "kid": kernel_distance(
                _features(features, real), _features(features, images), seed, scaled=features == "wavelets"
            ),
            "ic_lpips": intra_cluster_distance(images, shots, distance)["all_clusters"],
            "ic_lpips_a": intra_cluster_distance(inside[1], inside[0], alone)["all_clusters"],
        }
        shown.append(images)
        real_shown.append(shots)
        names += [name] * len(shots)
    if not types:
        raise SeasError(f"{folders.root}: no type has two or more test defects beside the few-shot images; add some.")
    mean = {key: sum(one[key] for one in types.values()) / len(types) for key in ("kid", "ic_lpips", "ic_lpips_a")}
    if features == "inception":
        scores = [inception_score(_inception_logits(images)) for images in shown]
        score: float | None = sum(scores) / len(scores)
    elif len(types) > 1:
        score = inception_score(TypeClassifier(torch.cat(real_shown), names).logits(torch.cat(shown)))
    else:
        score = None
    return {**mean, "is": score, "types": types}


def _load(samples: Sequence[DefectSample], size: int) -> tuple[Tensor, Tensor]:
    images = torch.stack([load_image(one.image, size, "squash") for one in samples])
    return images, torch.stack([load_mask(one.mask, size, "squash") for one in samples])


def _distance(features: str, real: Tensor) -> ImageDistance:
    return WaveletDistance(real) if features == "wavelets" else LpipsDistance(_device())


def _features(features: str, images: Tensor) -> Tensor:
    if features == "wavelets":
        extractor = WaveletFeatures()
        return torch.cat([extractor(batch) for batch in images.split(32)])
    return _inception(images, str(_INCEPTION))


def _inception_logits(images: Tensor) -> Tensor:
    return _inception(images, "logits_unbiased")


def _inception(images: Tensor, layer: str) -> Tensor:
    from torchmetrics.image.fid import NoTrainInceptionV3

    try:
        network = NoTrainInceptionV3(name="inception-v3-compat", features_list=[layer]).to(_device())
    except (OSError, ModuleNotFoundError) as error:
        message = f"Inception needs torch-fidelity and its weights ({error}); install it, or use the wavelets."
        raise SeasError(message) from error
    return torch.cat([network(batch.to(_device())).cpu() for batch in images.split(32)])


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
