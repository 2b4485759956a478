# SPDX-License-Identifier: Apache-2.0
"""The split as a file in the run folder, with content hashes, so that a detector's val and test sets can avoid it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.data.category import DefectSample
from seas_aug.data.few_shot import FewShotSplit, content_hash
from seas_aug.data.fingerprint import Fingerprint, fingerprint
from seas_aug.errors import SeasError

_FORMAT = "seas-aug split 1"


@dataclass(frozen=True)
class SavedSplit:
    """What :func:`load_split` returns.

    Args:
        split: the division of the defect images.
        normals: the normal images that were fine-tuned on.
        fingerprints: of every image (not mask) of ``split`` and ``normals``; of those held out the hash alone.
    """

    split: FewShotSplit
    normals: tuple[Path, ...]
    fingerprints: dict[Path, Fingerprint]

    @property
    def hashes(self) -> dict[Path, str]:
        """Content hash of every image."""
        return {path: one.sha256 for path, one in self.fingerprints.items()}

    @property
    def fine_tuning_hashes(self) -> frozenset[str]:
        """Hashes of all images that were fine-tuned on: few-shot defects and normals."""
        images = (*(sample.image for sample in self.split.samples), *self.normals)
        return frozenset(self.fingerprints[path].sha256 for path in images)

    @property
    def forbidden_hashes(self) -> frozenset[str]:
        """Hashes of all images that may not appear in validation or test: fine-tuned on, or of the same group."""
        return self.fine_tuning_hashes | {self.fingerprints[path].sha256 for path in self.split.excluded}


def save_split(path: Path, split: FewShotSplit, normals: Sequence[Path]) -> None:
    """Write a split with absolute paths and content hashes, whole or not at all.

    Args:
        path: JSON file to write.
        split: the division of the defect images.
        normals: the normal images that are fine-tuned on.

    Raises:
        SeasError: an image is missing or corrupt, or the disk is full.
    """
    content = {
        "format": _FORMAT,
        "few_shot": _describe_types(split.few_shot, _describe),
        "held_out": _describe_types(split.held_out, _describe_briefly),
        "excluded": [_describe(image) for image in split.excluded],
        "normals": [_describe(image) for image in normals],
    }
    atomic_write_text(path, json.dumps(content, indent=1) + "\n")


def load_split(path: Path) -> SavedSplit:
    """Read a file written by :func:`save_split`; the images themselves need not exist any more.

    Args:
        path: JSON file.

    Returns:
        The split, the normals and the fingerprint of each image.

    Raises:
        SeasError: the file is missing or was not written by :func:`save_split`.
    """
    fingerprints: dict[Path, Fingerprint] = {}

    def image(entry: dict[str, Any]) -> Path:
        fingerprints[Path(entry["image"])] = Fingerprint.from_plain(entry)
        return Path(entry["image"])

    def types(content: dict[str, list[dict[str, Any]]]) -> dict[str, tuple[DefectSample, ...]]:
        return {
            name: tuple(DefectSample(image(entry), Path(entry["mask"]), name) for entry in entries)
            for name, entries in content.items()
        }

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        split = FewShotSplit(
            few_shot=types(content["few_shot"]),
            held_out=types(content["held_out"]),
            excluded=tuple(image(entry) for entry in content["excluded"]),
        )
        normals = tuple(image(entry) for entry in content["normals"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = (
            f"{path}: no split of a run ({error}); expected the split.json that seas-aug finetune writes, fine-tune "
        )
        raise SeasError(message + "again or give another run.") from error
    return SavedSplit(split=split, normals=normals, fingerprints=fingerprints)


def _describe_types(
    types: dict[str, tuple[DefectSample, ...]], describe: Callable[[Path], dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{**describe(sample.image), "mask": str(sample.mask.absolute())} for sample in samples]
        for name, samples in types.items()
    }


def _describe(image: Path) -> dict[str, Any]:
    return {"image": str(image.absolute()), **fingerprint(image).to_plain()}


def _describe_briefly(image: Path) -> dict[str, Any]:
    """Held-out images need not be known again but by content."""
    return {"image": str(image.absolute()), "sha256": content_hash(image)}
