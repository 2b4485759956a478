# SPDX-License-Identifier: Apache-2.0
"""Draw defects beside what a base's autoencoder makes of them: what it cannot draw, no fine-tuning brings back.

Command::

    python -m benchmarks.reconstructions --output sheet.png [--data.root DIR] [--anomaly_type T [T ...]]

Without ``--data.root`` the defects are rendered ones that the base was not trained on, so that the sheet may be
published. Each picture stands at the base's own size, enlarged without smoothing: lines are the original, encoded and
decoded, and for comparison the original reduced four times and enlarged again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.autoencoder import bicubic4
from seas_aug.base.load import load_base
from seas_aug.base.renderer.defects import DEFECTS
from seas_aug.base.renderer.scene import render_scene
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.images import load_image, to_model_range
from seas_aug.errors import SeasError
from seas_aug.latents.codec import decode_latents, encode_latents
from seas_aug.report.contact_sheet import Cell, Row, save_contact_sheet
from seas_aug.report.pictures import image_picture, spread

_FIRST_SEED = 50_000_000  # neither trained nor validated on
_LINES = ("original", "decoded", "4x bicubic")


def rendered_defects(size: int, columns: int) -> dict[str, Tensor]:
    """Return rendered pictures of each kind of defect, float ``[columns, 3, size, size]`` in [-1, 1]."""
    found: dict[str, list[Tensor]] = {name: [] for name in DEFECTS}
    seed = _FIRST_SEED
    while any(len(pictures) < columns for pictures in found.values()):
        scene = render_scene(seed, size, defect_share=1)
        pictures = found.get(scene.prompt.partition(" with ")[2])
        if pictures is not None and len(pictures) < columns:
            pictures.append(to_model_range(torch.from_numpy(scene.image).permute(2, 0, 1)))
        seed += 1
    return {name: torch.stack(pictures) for name, pictures in found.items()}


def real_defects(root: Path, size: int, columns: int) -> dict[str, Tensor]:
    """Return real defects of each type, evenly spread, float ``[columns or fewer, 3, size, size]`` in [-1, 1].

    Args:
        root: category in MVTec layout.
        size: side in pixels.
        columns: pictures of each type.
    """
    chosen = {name: spread(samples, columns) for name, samples in read_mvtec_folder(root).defects.items()}
    return {
        name: to_model_range(torch.stack([load_image(sample.image, size, "squash") for sample in samples]))
        for name, samples in chosen.items()
    }


def only(pictures: dict[str, Tensor], types: Sequence[str] | None) -> dict[str, Tensor]:
    """Return the pictures of some types; None takes all.

    Raises:
        SeasError: there is no such type.
    """
    for name in types or ():
        if name not in pictures:
            raise SeasError(f"there is no type '{name}'; give some of: {', '.join(pictures)}.")
    return pictures if types is None else {name: pictures[name] for name in types}


@torch.no_grad()
def draw_sheet(path: Path, vae: Any, pictures: dict[str, Tensor], enlarge: int = 1) -> None:
    """Draw a row per type with the lines original, decoded and 4x bicubic.

    Args:
        path: PNG to write.
        vae: autoencoder of the base.
        pictures: per type, float ``[N, 3, size, size]`` in [-1, 1].
        enlarge: whole factor by which the pictures are enlarged.
    """
    tile, rows = 0, []
    for name, originals in pictures.items():
        decoded = decode_latents(vae, encode_latents(vae, originals))
        small = torch.stack([bicubic4(picture) for picture in originals])
        tile = enlarge * originals.shape[-1]
        lines = tuple(
            tuple(image_picture(_enlarged(picture, enlarge) / 2 + 0.5, tile) for picture in line)
            for line in (originals, decoded, small)
        )
        rows.append(Row(name, (Cell(lines, _LINES),)))
    save_contact_sheet(path, [""], rows, tile)


def _enlarged(picture: Tensor, factor: int) -> Tensor:
    return picture.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reconstructions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--output", type=Path, required=True, help="PNG to write.")
    parser.add_argument("--data.root", dest="root", type=Path, help="Category in MVTec layout.")
    parser.add_argument("--anomaly_type", nargs="+", metavar="T", help="Only these types, such as crack.")
    parser.add_argument("--base", default="embedded", help="Base as in `seas-aug finetune`.")
    parser.add_argument("--columns", type=int, default=6, help="Pictures of each type.")
    parser.add_argument("--enlarge", type=int, default=1, help="Whole factor by which pictures are enlarged.")
    options = parser.parse_args(argv)
    try:
        for name in ("columns", "enlarge"):
            if getattr(options, name) < 1:
                raise SeasError(f"--{name} is {getattr(options, name)}; give at least 1.")
        base = load_base(options.base)
        pictures = (
            rendered_defects(base.image_size, options.columns)
            if options.root is None
            else real_defects(options.root, base.image_size, options.columns)
        )
        draw_sheet(options.output, base.vae, only(pictures, options.anomaly_type), options.enlarge)
    except SeasError as error:
        print(f"reconstructions: error: {error}", file=sys.stderr)
        return 2
    print(f"reconstructions: wrote {options.output}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
