# SPDX-License-Identifier: Apache-2.0
"""Detectors that learn from normal images alone: generated normal images are added to their training set.

A defect among their training images would be learnt as normal without a word, so they never get one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from seas_aug.artifact.paths import NORMAL_FOLDER
from seas_aug.errors import SeasError
from seas_aug.generate.writer import MANIFEST, first_of_each, read_manifest


def normal_images(folder: Path, most: int | None = None) -> list[Path]:
    """Return the generated normal images of a folder, by number.

    Args:
        folder: what ``seas-aug generate --normal`` wrote.
        most: how many, the first ones; None for all.

    Raises:
        SeasError: no manifest, no normal image in it, or one is missing.
    """
    records = [record for record in first_of_each(read_manifest(folder), most) if record["folder"] == NORMAL_FOLDER]
    files = [folder / record["file"] for record in records]
    if not files:
        message = f"{folder / MANIFEST} lists no normal image; run `seas-aug generate` with --normal."
        raise SeasError(message)
    for file in files:
        if not file.is_file():
            message = f"{file} is named in {folder / MANIFEST} but does not exist; generate the folder again."
            raise SeasError(message)
    return files


class AddedNormals:
    """Rows of generated normal images in a datamodule's training set, until :meth:`remove`.

    Args:
        datamodule: an anomalib datamodule after its ``setup``, so that no row is moved on to validation or test.
        files: generated normal images.
    """

    def __init__(self, datamodule: Any, files: Sequence[Path]) -> None:
        self._dataset = datamodule.train_data
        self._before = self._dataset.samples
        self._dataset.samples = with_normals(self._before, files)

    def remove(self) -> None:
        """Put the training set back as it was."""
        self._dataset.samples = self._before


def with_normals(samples: pd.DataFrame, files: Sequence[Path]) -> pd.DataFrame:
    """Return a table of training images with more normal ones.

    Args:
        samples: anomalib's table, with at least one normal image; the new rows are like it but for ``image_path``.
        files: normal images.

    Returns:
        A new table with the same columns, types and attributes.

    Raises:
        SeasError: there is no normal image.
    """
    normals = samples[samples["label_index"] == 0]
    if normals.empty:
        message = "the training set has no normal image; expected at least one, check the datamodule."
        raise SeasError(message)
    rows = pd.concat([normals.iloc[[0]]] * len(files), ignore_index=True)
    rows["image_path"] = [str(file) for file in files]
    joined = pd.concat([samples, rows], ignore_index=True).astype(samples.dtypes.to_dict())
    joined.attrs = dict(samples.attrs)
    return joined
