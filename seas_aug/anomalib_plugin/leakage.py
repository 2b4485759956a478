# SPDX-License-Identifier: Apache-2.0
"""Keeps the images that SeaS was fine-tuned on out of validation and test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from seas_aug.data.decode import content_hash
from seas_aug.errors import SeasError

EVALUATION_SUBSETS = ("val_data", "test_data")


_ORIGINAL = "seas_aug_original_samples"  # an attribute of anomalib's dataset, so that it lives as long


def change_samples(dataset: Any, samples: pd.DataFrame) -> None:
    """Give an evaluation set another table, and keep anomalib's own with it.

    Args:
        dataset: an anomalib dataset.
        samples: the new table; it gets the attributes of the old one.
    """
    if not hasattr(dataset, _ORIGINAL):
        setattr(dataset, _ORIGINAL, dataset.samples)
    samples.attrs = dict(dataset.samples.attrs)
    dataset.samples = samples


def restore_evaluation(datamodule: Any) -> None:
    """Give validation and test sets back the tables that anomalib made.

    Args:
        datamodule: an anomalib datamodule after its ``setup``.
    """
    for name in EVALUATION_SUBSETS:
        dataset: Any = getattr(datamodule, name, None)
        if hasattr(dataset, _ORIGINAL):
            dataset.samples = getattr(dataset, _ORIGINAL)


class LeakFilter:
    """Removes given images from a datamodule's validation and test samples.

    Images are compared by the hash of their pixels, so a copy under another name or in another format is found too.

    Args:
        hashes: content hashes that must not be evaluated on.
    """

    def __init__(self, hashes: set[str]) -> None:
        self.hashes = frozenset(hashes)
        self._known: dict[tuple[str, int, int], str] = {}

    def remove_from(self, datamodule: Any) -> dict[str, int]:
        """Remove the images; what is left keeps anomalib's own order and attributes.

        Args:
            datamodule: an anomalib datamodule after its ``setup``; its subsets' ``samples`` change.

        Returns:
            How many samples each subset lost.

        Raises:
            SeasError: no normal or no defect image is left of a subset that had some.
        """
        removed = {}
        for name in EVALUATION_SUBSETS:
            dataset = getattr(datamodule, name, None)
            if dataset is None or len(dataset) == 0:
                continue
            samples = dataset.samples
            keep = [self._hash(Path(path)) not in self.hashes for path in samples["image_path"]]
            removed[name] = keep.count(False)
            for label, count in samples["label_index"].value_counts().items():
                if not (samples["label_index"][keep] == label).any():
                    message = (
                        f"All {count} {'defect' if label else 'normal'} images of {name} were used for fine-tuning, so "
                        "it cannot be evaluated on; give fewer few-shot images or another val_split_mode, or fine-tune "
                        "with data.datamodule and its seed, so that normal images of val and test stay out."
                    )
                    raise SeasError(message)
            if removed[name]:
                change_samples(dataset, samples[keep].copy())
        return removed

    def _hash(self, path: Path) -> str:
        state = path.stat()
        key = (str(path), state.st_size, state.st_mtime_ns)
        if key not in self._known:
            self._known[key] = content_hash(path)
        return self._known[key]
