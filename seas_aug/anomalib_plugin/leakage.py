# SPDX-License-Identifier: Apache-2.0
"""Keeps the images that SeaS was fine-tuned on out of validation and test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seas_aug.data.decode import content_hash
from seas_aug.errors import SeasError

EVALUATION_SUBSETS = ("val_data", "test_data")


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
                kept = samples[keep].copy()
                kept.attrs = dict(samples.attrs)
                dataset.samples = kept
        return removed

    def _hash(self, path: Path) -> str:
        state = path.stat()
        key = (str(path), state.st_size, state.st_mtime_ns)
        if key not in self._known:
            self._known[key] = content_hash(path)
        return self._known[key]
