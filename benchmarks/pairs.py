# SPDX-License-Identifier: Apache-2.0
"""Check the pairs of a generated folder and draw them beside the real few-shot images.

Command::

    python -m benchmarks.pairs --generated DIR [--run RUN] [--output results.json] \
        [--contact_sheet sheet.png] [--generated_only]

Every mask on the disk is opened; the exit code is 1 if one of them is empty.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seas_aug.anomalib_plugin.pool import PoolEntry, read_manifest
from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.data.decode import read_mask
from seas_aug.data.few_shot import FewShotSplit
from seas_aug.data.split_file import load_split
from seas_aug.environment import describe_environment
from seas_aug.errors import SeasError
from seas_aug.report.contact_sheet import Cell, Row, save_contact_sheet
from seas_aug.report.pictures import mask_picture, picture_of, spread


def count_pairs(entries: Sequence[PoolEntry]) -> dict[str, dict[str, float]]:
    """Count pairs and empty masks.

    Args:
        entries: pairs of a generated folder.

    Returns:
        Per type: ``pairs``, ``empty_masks`` and ``mean_mask_share`` (mean share of the picture that is defect, 0 to 1).

    Raises:
        SeasError: a mask cannot be read.
    """
    shares: dict[str, list[float]] = {}
    for entry in entries:
        shares.setdefault(entry.anomaly_type, []).append(float((read_mask(entry.mask) > 0).mean()))
    return {
        name: {
            "pairs": len(values),
            "empty_masks": sum(value == 0 for value in values),
            "mean_mask_share": float(np.mean(values)),
        }
        for name, values in shares.items()
    }


def draw_pairs_sheet(
    path: Path,
    entries: Sequence[PoolEntry],
    split: FewShotSplit | None,
    columns: int = 6,
    tile: int = 96,
    references: bool = True,
) -> None:
    """Draw a row per type: real few-shot images with masks, and generated triples.

    Args:
        path: PNG to write.
        entries: generated pairs.
        split: of the run; None leaves out the real images.
        columns: pictures of each kind per type.
        tile: side of each picture in pixels.
        references: also draw the real normal images that the pairs started from.
    """
    rows = []
    for name in sorted({entry.anomaly_type for entry in entries}):
        triples = spread([entry for entry in entries if entry.anomaly_type == name], columns)
        # not mask_picture, which refuses an empty mask: here it has to be seen
        masks = tuple(_black_and_white(entry.mask, tile) for entry in triples)
        lines = [tuple(picture_of(entry.image, tile) for entry in triples), masks]
        if references:
            lines.append(tuple(picture_of(entry.reference, tile) for entry in triples))
        cells = [Cell(tuple(lines), ("image", "mask", "reference")[: len(lines)])]
        if split is not None:
            real = spread(split.few_shot.get(name, ()), columns)
            images = tuple(picture_of(sample.image, tile) for sample in real)
            real_masks = tuple(mask_picture(sample.mask, tile) for sample in real)
            cells.insert(0, Cell((images, real_masks), ("image", "mask")))
        rows.append(Row(name, tuple(cells)))
    titles = ["generated"]
    if split is not None:
        titles.insert(0, "real few-shot")
    save_contact_sheet(path, titles, rows, tile)


def _black_and_white(path: Path, tile: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return mask_picture(path, tile) if read_mask(path).any() else np.zeros((tile, tile, 3), np.uint8)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, 1 if a mask is empty, 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pairs", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--generated", type=Path, required=True, help="Folder of `seas-aug generate`.")
    parser.add_argument("--run", type=Path, help="Run folder whose split.json names the real few-shot images.")
    parser.add_argument("--output", type=Path, help="JSON to write.")
    parser.add_argument("--contact_sheet", type=Path, help="PNG to draw.")
    parser.add_argument("--generated_only", action="store_true", help="No real images on the sheet, to publish it.")
    parser.add_argument("--columns", type=int, default=6, help="Pictures of each kind per type on the sheet.")
    parser.add_argument("--tile", type=int, default=96, help="Side of each picture on the sheet, in pixels.")
    options = parser.parse_args(argv)
    try:
        entries = read_manifest(options.generated)
        counts = count_pairs(entries)
        empty = sum(int(count["empty_masks"]) for count in counts.values())
        if options.contact_sheet is not None:
            real = options.run is not None and not options.generated_only
            split = load_split(options.run / "split.json").split if real else None
            draw_pairs_sheet(
                options.contact_sheet, entries, split, options.columns, options.tile, not options.generated_only
            )
        if options.output is not None:
            content = {
                "types": counts,
                "pairs": len(entries),
                "empty_masks": empty,
                "settings": {"generated": options.generated.name},
                "environment": describe_environment(),
            }
            atomic_write_text(options.output, json.dumps(content, indent=1) + "\n")
    except SeasError as error:
        print(f"pairs: error: {error}", file=sys.stderr)
        return 2
    print(f"{'type':<20}{'pairs':>7}{'empty masks':>13}{'mean mask share':>17}")
    for name, count in counts.items():
        print(f"{name:<20}{count['pairs']:>7}{count['empty_masks']:>13}{count['mean_mask_share']:>17.4f}")
    print(f"{'all':<20}{len(entries):>7}{empty:>13}")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
