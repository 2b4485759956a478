# SPDX-License-Identifier: Apache-2.0
"""How good the embedded base is on a real category: its autoencoder, its masks and what it draws.

Command, once per category; the figures of other categories in the file are kept::

    python -m benchmarks.embedded_base --data.root DIR --split split.json --run RUN --generated DIR \
        [--first_run RUN --first_generated DIR] --output benchmarks/results/embedded_base.json

- ``psnr``, ``psnr_in_mask``: of encoding and decoding the test defects, in dB, beside 4x bicubic.
- ``mask_iou``: of the predicted masks of the test defects, mean over the types (pixels of a type pooled; per image).
- ``kid``: kernel distance of generated to real test defects, with wavelet features (no download), mean over the types.
- ``diversity``: how much generated images of a type differ, with the same features, and the same of the test defects.
- ``copies``: generated images that are no farther from a few-shot image than JPEG noise.
- ``background``: mean absolute difference to the reference outside the mask, and between two real normals, 0 to 255.

``--first_generated`` is a folder made with an earlier version; its ``kid`` stands beside.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import autoencoder, real_defects
from benchmarks.training_data import files_read_by_rendering
from seas_aug.anomalib_plugin.pool import PoolEntry, read_manifest
from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.data.category import Category, DefectSample, read_mvtec_folder
from seas_aug.data.images import load_image, load_mask
from seas_aug.data.split_file import load_split
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.environment import describe_environment
from seas_aug.errors import SeasError
from seas_aug.evaluate.distribution import cluster_diversity, kernel_distance, standardise
from seas_aug.evaluate.pixel_distance import jpeg_difference, mean_difference, nearest_difference
from seas_aug.evaluate.wavelet_features import WaveletFeatures

_NORMAL_PAIRS = 200


def load_all(paths: Sequence[Path], size: int) -> Tensor:
    """Return pictures as uint8 ``[N, 3, size, size]``."""
    return torch.stack([load_image(path, size, "squash") for path in paths])


def features_of(images: Tensor, batch_size: int = 32) -> Tensor:
    """Return wavelet features ``[N, F]`` of uint8 ``[N, 3, H, W]``."""
    extractor = WaveletFeatures()
    return torch.cat([extractor(batch) for batch in images.split(batch_size)])


def by_type(entries: Sequence[PoolEntry], types: Sequence[str], folder: Path) -> dict[str, list[PoolEntry]]:
    """Sort generated pairs by type.

    Raises:
        SeasError: a type has fewer than two pairs.
    """
    found = {name: [entry for entry in entries if entry.anomaly_type == name] for name in types}
    for name, chosen in found.items():
        if len(chosen) < 2:
            message = f"{folder} has {len(chosen)} pair(s) of {name}; generate two or more of each type (better 100)."
            raise SeasError(message)
    return found


def measure_type(real: Tensor, few_shot: Tensor, generated: Tensor, seed: int = 0) -> dict[str, float]:
    """Compare the generated images of a type with real ones.

    Args:
        real: test defects that the model never saw, uint8 ``[N, 3, H, W]``.
        few_shot: those it was fine-tuned on, ``[K, 3, H, W]``.
        generated: ``[M, 3, H, W]``.
        seed: seed of the subsets of the kernel distance.

    Returns:
        ``kid``; ``diversity`` and ``diversity_real``; ``copies``, a share from 0 to 1; ``nearest_difference``, a
        mean in grey levels.
    """
    real_features, made = features_of(real), features_of(generated)
    centres = standardise(features_of(few_shot), real_features)
    distance, index = nearest_difference(generated, few_shot)
    noise = torch.tensor([jpeg_difference(image) for image in few_shot])
    return {
        "kid": kernel_distance(real_features, made, seed),
        "diversity": cluster_diversity(standardise(made, real_features), centres),
        "diversity_real": cluster_diversity(standardise(real_features, real_features), centres),
        "copies": float((distance <= noise[index]).float().mean()),
        "nearest_difference": float(distance.mean()),
    }


def measure_background(
    entries: Sequence[PoolEntry], normals: Sequence[Path], size: int, seed: int = 0
) -> dict[str, float]:
    """Compare generated images with their references outside the mask, and real normals with each other.

    Args:
        entries: generated pairs.
        normals: real normal images, two or more.
        size: side in pixels.
        seed: which normals are compared.

    Returns:
        ``model`` and ``normals``: mean absolute differences in grey levels, 0 to 255.
    """
    images, references = (
        load_all([getattr(entry, kind) for entry in entries], size) for kind in ("image", "reference")
    )
    masks = torch.stack([load_mask(entry.mask, size, "squash") for entry in entries])
    drift = mean_difference(images, references, masks)
    real = load_all(normals, size)
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(real), (_NORMAL_PAIRS,), generator=generator)
    second = (first + torch.randint(1, len(real), (_NORMAL_PAIRS,), generator=generator)) % len(real)
    return {"model": float(drift.nanmean()), "normals": float(mean_difference(real[first], real[second]).mean())}


def mean(types: dict[str, dict[str, float]], figure: str) -> float:
    """Return the unweighted mean of a figure over the types."""
    return sum(values[figure] for values in types.values()) / len(types)


def measure_generated(
    generated: Path, run: Path, category: Category, samples: dict[str, list[DefectSample]], size: int
) -> dict[str, Any]:
    """Measure a generated folder.

    Args:
        generated: folder of ``seas-aug generate``.
        run: run folder it was generated with; its ``split.json`` names the few-shot images.
        category: the real images.
        samples: test defects of each type.
        size: side in pixels at which pictures are compared.
    """
    few_shot = load_split(run / "split.json").split.few_shot
    entries = read_manifest(generated)
    types: dict[str, dict[str, float]] = {}
    for name, chosen in by_type(entries, list(samples), generated).items():
        real, shots = (load_all([sample.image for sample in group], size) for group in (samples[name], few_shot[name]))
        types[name] = measure_type(real, shots, load_all([entry.image for entry in chosen], size))
        types[name]["pairs"] = len(chosen)
    return {
        "kid": mean(types, "kid"),
        "diversity": {"model": mean(types, "diversity"), "real": mean(types, "diversity_real")},
        "copies": mean(types, "copies"),
        "background": measure_background(entries, category.normals, size),
        "types": types,
    }


def measure_category(
    run: Path, generated: Path, root: Path, split: Path, first: tuple[Path, Path] | None = None
) -> dict[str, Any]:
    """Return all figures of a category.

    Args:
        run: run folder of ``seas-aug finetune``.
        generated: what ``seas-aug generate`` made with it.
        root: category in MVTec layout.
        split: JSON with the test images of each type.
        first: run and generated folder of an earlier version, compared at the same size.

    Raises:
        SeasError: a folder cannot be used, or a test image was fine-tuned on.
    """
    pipe = SeaSPipeline.from_pretrained(run)
    size = int(pipe.config.image_size)
    category = read_mvtec_folder(root)
    samples = real_defects.choose_test_samples(category, split, run)
    everything = [sample for group in samples.values() for sample in group]
    masks = real_defects.evaluate(run, root, split)
    made = measure_generated(generated, run, category, samples, size)
    result: dict[str, Any] = {
        "base": pipe.config.base,
        "image_size": size,
        "test_defects": len(everything),
        **autoencoder.measure(pipe, everything, size),
        "mask_iou": masks["mean"]["mask_iou_pooled"],
        "mask_iou_per_image": masks["mean"]["mask_iou_per_image"],
        **made,
    }
    for name, figures in result["types"].items():
        figures["mask_iou"] = masks["types"][name]["mask_iou_pooled"]
    if first is not None:
        earlier = measure_generated(first[1], first[0], category, samples, size)
        # Only its notes: models of earlier versions need not load any more.
        result |= {"kid_first": earlier["kid"], "base_first": SeaSPipeline.load_config(first[0] / "model")["base"]}
    return result


def update_file(path: Path, name: str, result: dict[str, Any], training: dict[str, Any]) -> None:
    """Put the figures of a category into the file, beside those of the others.

    Raises:
        SeasError: the file is there, but is none of this command's.
    """
    content: dict[str, Any] = {"categories": {}}
    if path.exists():
        try:
            content["categories"] = dict(json.loads(path.read_text(encoding="utf-8"))["categories"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{path} is no results file of this command ({error}); give another --output or remove it."
            raise SeasError(message) from error
    content["categories"][name] = result
    content |= {"features": "wavelet moduli", "training_data": training, "environment": describe_environment()}
    atomic_write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def format_figures(name: str, result: dict[str, Any]) -> str:
    """Return the figures of a category as lines of text."""
    psnr, inside, spread, ground = (result[key] for key in ("psnr", "psnr_in_mask", "diversity", "background"))
    first = f" ({result['base_first']}: {result['kid_first']:.3f})" if "kid_first" in result else ""
    return "\n".join(
        [
            f"{name}, {result['base']} at {result['image_size']} px, {result['test_defects']} test defects",
            f"  autoencoder      {psnr['model']:.2f} dB (4x bicubic {psnr['bicubic4']:.2f}), "
            f"in the masks {inside['model']:.2f} ({inside['bicubic4']:.2f})",
            f"  mask IoU         {result['mask_iou']:.3f} pooled, {result['mask_iou_per_image']:.3f} per image",
            f"  kernel distance  {result['kid']:.3f}{first}",
            f"  diversity        {spread['model']:.3f} (real test defects {spread['real']:.3f})",
            f"  copies           {100 * result['copies']:.1f} %",
            f"  background       {ground['model']:.2f} grey levels (two normals {ground['normals']:.2f})",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, 1 if rendering the training data read a file, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedded_base", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data.root", dest="root", type=Path, required=True, help="Category in MVTec layout.")
    parser.add_argument("--split", type=Path, required=True, help="JSON with the test images of each type.")
    parser.add_argument("--run", type=Path, required=True, help="Run folder of `seas-aug finetune`.")
    parser.add_argument("--generated", type=Path, required=True, help="Folder of `seas-aug generate`, 100 a type.")
    parser.add_argument("--first_run", type=Path, help="Run folder of an earlier version.")
    parser.add_argument("--first_generated", type=Path, help="What that version generated.")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write or to add to.")
    options = parser.parse_args(argv)
    if (options.first_run is None) != (options.first_generated is None):
        parser.error("--first_run and --first_generated belong together; give both or none.")
    first = None if options.first_run is None else (options.first_run, options.first_generated)
    training = files_read_by_rendering(scenes=40)
    try:
        result = measure_category(options.run, options.generated, options.root, options.split, first)
        update_file(options.output, options.root.name, result, training)
    except SeasError as error:
        print(f"embedded_base: error: {error}", file=sys.stderr)
        return 2
    print(format_figures(options.root.name, result))
    print(f"  training data    {training['scenes']} rendered scenes read {len(training['files'])} files")
    return 1 if training["files"] else 0


if __name__ == "__main__":
    sys.exit(main())
