# SPDX-License-Identifier: Apache-2.0
"""How well a fine-tuned model finds real defects that it never saw.

Command::

    python -m benchmarks.real_defects --run RUN --data.root DIR --split split.json --output results.json

For each type, over its test images together: pixel AUROC of the anomaly tokens' attention map, and of Refined Mask
Prediction (RMP) the intersection over union (IoU), pooled over the pixels of all images and as the mean over images.
Both are read at low noise from the encoded real image as the model sees it: a window around the defect, off its centre,
or the whole image for a run with ``data.windows: image``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torchmetrics.classification import BinaryAUROC

from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.config import AttentionConfig
from seas_aug.data.category import Category, DefectSample, read_mvtec_folder
from seas_aug.data.decode import content_hash
from seas_aug.data.images import to_model_range
from seas_aug.data.pictures import seen_defects
from seas_aug.data.split_file import load_split
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.reading import LOW_NOISE_TIMESTEPS, attention_heatmaps, mask_probabilities
from seas_aug.environment import describe_environment
from seas_aug.errors import SeasError
from seas_aug.evaluate.mask_overlap import mask_overlap
from seas_aug.report.contact_sheet import Cell, Row, save_contact_sheet
from seas_aug.report.pictures import flat_picture, heat_picture, image_picture, spread


@dataclass(frozen=True)
class TypeResult:
    """Figures of one anomaly type.

    Attributes:
        images: how many test images.
        attention_auroc: pixel AUROC of the attention map, pooled over images.
        mask_iou_pooled: IoU of the RMP mask over the pixels of all images.
        mask_iou_per_image: mean over images of the IoU of each.
    """

    images: int
    attention_auroc: float
    mask_iou_pooled: float
    mask_iou_per_image: float


@dataclass(frozen=True)
class Predictions:
    """What the model says about the images of one type, all on the CPU.

    Attributes:
        images: uint8 ``[N, 3, H, W]``.
        masks: true masks, uint8 ``[N, 1, H, W]`` of 0 and 1.
        heat: attention maps ``[N, 1, H, W]`` in [0, 1].
        probabilities: of RMP, ``[N, 1, H, W]`` in [0, 1].
    """

    images: torch.Tensor
    masks: torch.Tensor
    heat: torch.Tensor
    probabilities: torch.Tensor


def choose_test_samples(category: Category, split: Path, run: Path) -> dict[str, list[DefectSample]]:
    """Return the test defects of a split, per type.

    Args:
        category: the real images.
        split: JSON ``{type: {"few_shot": [names], "test": [names]}}``.
        run: its ``split.json`` says which pictures were fine-tuned on.

    Raises:
        SeasError: the file cannot be used, names an unknown image, or one that was fine-tuned on.
    """
    try:
        listed = {name: list(entry["test"]) for name, entry in json.loads(split.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{split} lists no test images ({error}); expected " + '{"crack": {"test": ["000.png"]}}.'
        raise SeasError(message) from error
    seen = load_split(run / "split.json").forbidden_hashes
    chosen: dict[str, list[DefectSample]] = {}
    for name, files in listed.items():
        samples = {sample.image.name: sample for sample in category.defects.get(name, ())}
        missing = [file for file in files if file not in samples]
        if missing:
            message = f"{split} names {name}/{missing[0]}, which {category.root} does not have; correct the file."
            raise SeasError(message)
        leaked = [file for file in files if content_hash(samples[file].image) in seen]
        if leaked:
            message = f"{name}/{leaked[0]} was fine-tuned on, so it cannot be tested on; give the split of that run."
            raise SeasError(message)
        if files:
            chosen[name] = [samples[file] for file in files]
    if not chosen:
        message = f"{split} lists no test image; give at least one."
        raise SeasError(message)
    return chosen


def read_attention(run: Path) -> AttentionConfig:
    """Return which attention maps a run was fine-tuned with.

    Args:
        run: run folder; one without ``config.yaml`` has the defaults.
    """
    path = run / "config.yaml"
    if not path.is_file():
        return AttentionConfig()
    found = yaml.safe_load(path.read_text(encoding="utf-8"))["attention"]
    return AttentionConfig(tuple(found["resolutions"]), bool(found["include_up_blocks"]))


def predict(
    pipe: SeaSPipeline, samples: Sequence[DefectSample], attention: AttentionConfig, batch_size: int, seed: int
) -> Predictions:
    """Run attention and RMP over the images of one type.

    Args:
        pipe: fine-tuned model.
        samples: images with masks, of one type that the model knows.
        attention: which attention maps are read.
        batch_size: images at a time.
        seed: seed of the low noise.
    """
    size = int(pipe.config.image_size)
    images, masks = seen_defects(samples, size, pipe.sides, "squash")
    heat, probabilities = [], []
    for start in range(0, len(samples), batch_size):
        batch = to_model_range(images[start : start + batch_size])
        names = [sample.anomaly_type for sample in samples[start : start + batch_size]]
        heat.append(attention_heatmaps(pipe, batch, names, attention=attention, seed=seed))
        probabilities.append(mask_probabilities(pipe, batch, names, seed=seed))
    return Predictions(images, masks, torch.cat(heat), torch.cat(probabilities))


def score(found: Predictions, threshold: float) -> TypeResult:
    """Compare predictions of one type with the true masks.

    Args:
        found: predictions and truth.
        threshold: probability above which a pixel belongs to the defect.
    """
    truth = found.masks.int()
    auroc = BinaryAUROC()(found.heat.flatten(), truth.flatten())
    overlap = mask_overlap(found.probabilities, truth, threshold)
    return TypeResult(len(truth), float(auroc), overlap.pooled, overlap.per_image)


def mean_of_types(results: dict[str, TypeResult]) -> dict[str, float]:
    """Return the unweighted mean over the types of each figure."""
    names = ("attention_auroc", "mask_iou_pooled", "mask_iou_per_image")
    return {name: sum(getattr(result, name) for result in results.values()) / len(results) for name in names}


def sheet_row(name: str, found: Predictions, threshold: float, columns: int, tile: int) -> Row:
    """Return a row: images, true masks, attention maps and RMP masks of some images of a type."""
    chosen = spread(range(len(found.images)), columns)
    predicted = (found.probabilities > threshold).float()
    lines = (
        tuple(image_picture(found.images[index] / 255, tile) for index in chosen),
        tuple(flat_picture(found.masks[index].float(), tile) for index in chosen),
        tuple(heat_picture(found.heat[index], tile) for index in chosen),
        tuple(flat_picture(predicted[index], tile) for index in chosen),
    )
    return Row(name, (Cell(lines, ("test image", "true mask", "attention", "RMP mask")),))


def evaluate(
    run: Path, root: Path, split: Path, seed: int = 0, batch_size: int = 16, sheet: Path | None = None, columns: int = 8
) -> dict[str, Any]:
    """Measure a run on the test defects of a category.

    Args:
        run: run folder of ``seas-aug finetune``.
        root: category in MVTec layout.
        split: JSON with the test images of each type.
        seed: seed of the low noise.
        batch_size: images at a time.
        sheet: PNG to draw, if given.
        columns: pictures per type on it.

    Returns:
        ``types``, ``mean``, ``settings`` and ``environment``, ready for JSON.

    Raises:
        SeasError: a run without a model, or images that do not fit it.
    """
    begin = time.perf_counter()
    pipe = SeaSPipeline.from_pretrained(run)
    pipe.to("cuda" if torch.cuda.is_available() else "cpu")
    threshold, attention = pipe.sampling.mask_threshold, read_attention(run)
    samples = choose_test_samples(read_mvtec_folder(root), split, run)
    unknown = sorted(set(samples) - set(pipe.anomaly_types))
    if unknown:
        message = f"the model does not know the type {unknown[0]}; it knows {', '.join(pipe.anomaly_types)}."
        raise SeasError(message)
    results: dict[str, TypeResult] = {}
    rows = []
    for name, chosen in samples.items():
        found = predict(pipe, chosen, attention, batch_size, seed)
        results[name] = score(found, threshold)
        rows.append(sheet_row(name, found, threshold, columns, tile=96))
    if sheet is not None:
        save_contact_sheet(sheet, ["real defects that were never trained on"], rows, tile=96)
    return {
        "types": {name: asdict(result) for name, result in results.items()},
        "mean": mean_of_types(results),
        "settings": {
            "run": run.name,  # names only: where they lie is of no use to others
            "data.root": root.name,
            "split": split.name,
            "seed": seed,
            "image_size": int(pipe.config.image_size),
            "windows": list(pipe.sides),
            "mask_threshold": threshold,
            "timesteps": list(LOW_NOISE_TIMESTEPS),
            "attention": {"resolutions": list(attention.resolutions), "include_up_blocks": attention.include_up_blocks},
            "base": pipe.config.base,
            "official": bool(pipe.config.official),
            "seconds": round(time.perf_counter() - begin, 1),
        },
        "environment": describe_environment(),
    }


def format_table(result: dict[str, Any]) -> str:
    """Return the figures as lines of text."""
    lines = [f"{'type':<20}{'images':>7}{'attention AUROC':>17}{'RMP IoU pooled':>16}{'RMP IoU per image':>19}"]
    rows = {**result["types"], "mean over types": {"images": "", **result["mean"]}}
    for name, row in rows.items():
        figures = f"{row['attention_auroc']:>17.4f}{row['mask_iou_pooled']:>16.4f}{row['mask_iou_per_image']:>19.4f}"
        lines.append(f"{name:<20}{row['images']:>7}{figures}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_defects", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--run", type=Path, required=True, help="Run folder of `seas-aug finetune`.")
    parser.add_argument("--data.root", dest="root", type=Path, required=True, help="Category in MVTec layout.")
    parser.add_argument("--split", type=Path, required=True, help="JSON with the test images of each type.")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write; a PNG of the same name beside it.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the low noise.")
    parser.add_argument("--batch_size", type=int, default=16, help="Images at a time.")
    parser.add_argument("--columns", type=int, default=8, help="Images per type on the contact sheet.")
    options = parser.parse_args(argv)
    sheet = options.output.with_suffix(".png")
    try:
        result = evaluate(
            options.run, options.root, options.split, options.seed, options.batch_size, sheet, options.columns
        )
        atomic_write_text(options.output, json.dumps(result, indent=1) + "\n")
    except SeasError as error:
        print(f"real_defects: error: {error}", file=sys.stderr)
        return 2
    print(format_table(result))
    print(f"{result['settings']['seconds']} s; written: {options.output}, {sheet}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
