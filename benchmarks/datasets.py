# SPDX-License-Identifier: Apache-2.0
"""Gets a public data set by anomalib's own download and lays it out as MVTec AD is, with its own anomaly types.

::

    python -m benchmarks.datasets mvtec_ad --root datasets/MVTecAD                          # is laid out so already
    python -m benchmarks.datasets visa --root datasets/visa --output datasets/visa_types
    python -m benchmarks.datasets mvtec_3d --root datasets/MVTec3D --output datasets/MVTec3D_colour
    python -m benchmarks.datasets dtd --root datasets              # textures, into datasets/dtd/dtd/images

What is there is not downloaded again. Files are linked where the system can, else copied. Mind the licences: MVTec AD
and MVTec 3D AD are for research alone (CC BY-NC-SA 4.0); VisA is CC BY 4.0.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from seas_aug.errors import SeasError


def lay_out_visa(root: Path, output: Path, category: str) -> None:
    """Lay out a category of VisA, whose types stand in its ``image_anno.csv``.

    Args:
        root: what anomalib's ``Visa`` has prepared: ``visa_pytorch/<category>`` and the original ``<category>``.
        output: folder for the category's folder.
        category: such as ``candle``.

    Raises:
        SeasError: a file is missing, or an image has no type.
    """
    prepared, table = root / "visa_pytorch" / category, root / category / "image_anno.csv"
    if not table.is_file():
        raise SeasError(f"{table}: is missing; give the folder into which anomalib's Visa downloads.")
    types = {}
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            types[Path(row["image"]).parent.name, Path(row["image"]).name] = row["label"]
    for split in ("train", "test"):
        for image in _files(prepared / split / "good"):
            link(image, output / category / split / "good" / image.name)
    for image in _files(prepared / "test" / "bad"):
        label = types.get(("Anomaly", image.name))
        if label is None:
            raise SeasError(f"{image}: has no line in {table}; download the data set again.")
        name = type_name(label)
        mask = prepared / "ground_truth" / "bad" / f"{image.stem}.png"
        link(image, output / category / "test" / name / image.name)
        link(mask, output / category / "ground_truth" / name / f"{image.stem}_mask.png")


def type_name(label: str) -> str:
    """Return VisA's words for a defect as a folder name; several at once are ``combined``, as in MVTec AD."""
    return "combined" if "," in label else re.sub(r"[^a-z0-9]+", "_", label.strip().lower()).strip("_")


def lay_out_mvtec_3d(root: Path, output: Path, category: str) -> None:
    """Lay out the colour images of a category of MVTec 3D AD; its validation images are left out.

    Args:
        root: folder of the data set.
        output: folder for the category's folder.
        category: such as ``bagel``.

    Raises:
        SeasError: a file is missing.
    """
    source = root / category
    for image in _files(source / "train" / "good" / "rgb"):
        link(image, output / category / "train" / "good" / image.name)
    for folder in sorted(path for path in (source / "test").iterdir() if path.is_dir()):
        for image in _files(folder / "rgb"):
            link(image, output / category / "test" / folder.name / image.name)
            if folder.name != "good":
                mask = folder / "gt" / f"{image.stem}.png"
                link(mask, output / category / "ground_truth" / folder.name / f"{image.stem}_mask.png")


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if not found:
        raise SeasError(f"{folder}: has no files; delete the category's folder and download the data set again.")
    return found


def link(source: Path, target: Path) -> None:
    """Make a second name for a file; a copy where the system has no such links.

    Raises:
        SeasError: there is no such file.
    """
    if not source.is_file():
        raise SeasError(f"{source}: is missing; download the data set again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        partial = target.with_name(f".{target.name}.part")
        shutil.copyfile(source, partial)
        partial.replace(target)


def main(argv: Sequence[str] | None = None) -> int:
    """Download and lay out.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datasets", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("dataset", choices=["mvtec_ad", "visa", "mvtec_3d", "dtd"])
    parser.add_argument("--root", type=Path, required=True, help="Where anomalib keeps it, or downloads it to.")
    parser.add_argument("--output", type=Path, help="Folder of the new layout; mvtec_ad and dtd need none.")
    options = parser.parse_args(argv)
    if options.output is None and options.dataset in {"visa", "mvtec_3d"}:
        parser.error(f"{options.dataset} needs --output, a folder for the new layout.")
    from anomalib.data import MVTec3D, MVTecAD, Visa
    from anomalib.data.datasets.depth.mvtec_3d import CATEGORIES as MVTEC_3D
    from anomalib.data.datasets.image.visa import CATEGORIES as VISA
    from torchvision.datasets import DTD
    from tqdm import tqdm

    try:
        if options.dataset == "mvtec_ad":
            MVTecAD(root=options.root).prepare_data()
        elif options.dataset == "dtd":
            DTD(str(options.root), download=True)
        elif options.dataset == "visa":
            Visa(root=options.root, category=VISA[0]).prepare_data()
            for category in tqdm(VISA, unit="category"):
                lay_out_visa(options.root, options.output, category)
        else:
            MVTec3D(root=options.root).prepare_data()
            for category in tqdm(MVTEC_3D, unit="category"):
                lay_out_mvtec_3d(options.root, options.output, category)
    except (SeasError, OSError) as error:
        print(f"datasets: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
