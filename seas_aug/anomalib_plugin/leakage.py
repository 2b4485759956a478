# SPDX-License-Identifier: Apache-2.0
"""Keeps the images that SeaS was shown, and others of their groups, out of validation and test."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from seas_aug.anomalib_plugin.shown import Match, ShownImages, find_shown
from seas_aug.data.decode import content_hash
from seas_aug.data.groups import Groups
from seas_aug.errors import SeasError

logger = logging.getLogger(__name__)
EVALUATION_SUBSETS = ("val_data", "test_data")
_ORIGINAL = "seas_aug_original_samples"  # an attribute of anomalib's dataset, so that it lives as long
_MOVED_AWAY = "if the few-shot images were moved out of the data set on purpose, set augmentation.few_shot_elsewhere"


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


def evaluation_images(datamodule: Any) -> list[Path]:
    """Return the images of validation and test, each once.

    Args:
        datamodule: an anomalib datamodule after its ``setup``.
    """
    sets = [getattr(datamodule, name, None) for name in EVALUATION_SUBSETS]
    paths = [path for one in sets if one is not None for path in one.samples["image_path"]]
    return [Path(path).absolute() for path in dict.fromkeys(paths)]


def group_mates(images: Sequence[Path], shown: Sequence[Path], tables: Sequence[Groups]) -> set[Path]:
    """Return the images that show the same part as one of those that SeaS was shown.

    Args:
        images: where to look.
        shown: what SeaS was shown.
        tables: each says which images show the same part.
    """
    mates = set[Path]()
    for groups in tables:
        taken = {groups.of(path) for path in shown if groups.lists(path)}
        mates |= {path for path in images if groups.lists(path) and groups.of(path) in taken}
    return mates


@dataclass(frozen=True)
class GroupTables:
    """Which images show the same part.

    Args:
        given: files of the user, whose rows name the images of SeaS and those of the datamodule.
        own: the datamodule's own groups; an image from elsewhere that has the name of one of its images is another.
    """

    given: tuple[Groups, ...] = ()
    own: Groups = field(default_factory=Groups)


class LeakFilter:
    """Removes what SeaS was shown from a datamodule's validation and test samples, whole groups at a time.

    Images are told by their pixels, so that a copy under another name or in another format is found too, and by their
    path, so that a resized copy of the data set is, see :func:`~seas_aug.anomalib_plugin.shown.find_shown`.

    Args:
        shown: what may not be evaluated on.
        tables: which images show the same part.
        elsewhere: the few-shot images are not expected in the datamodule.
    """

    def __init__(self, shown: ShownImages, tables: GroupTables | None = None, elsewhere: bool = False) -> None:
        self.shown = shown
        self.tables = tables or GroupTables()
        self.elsewhere = elsewhere

    def forbidden(self, images: Sequence[Path]) -> set[Path]:
        """Return the images that may not be evaluated on.

        Args:
            images: absolute paths.

        Raises:
            SeasError: an image was changed since it was fine-tuned on.
        """
        matches = find_shown(images, self.shown.images, self.shown.root)
        self._check_unchanged(matches)
        return set(matches) | self._mates(images, matches)

    def remove_from(self, datamodule: Any) -> dict[str, int]:
        """Remove the images; what is left keeps anomalib's own order and attributes.

        Args:
            datamodule: an anomalib datamodule after its ``setup``; its subsets' ``samples`` change.

        Returns:
            How many samples each subset lost.

        Raises:
            SeasError: an image was changed since it was fine-tuned on, none of the few-shot images is found, or no
                normal or no defect image is left of a subset that had some.
        """
        images = evaluation_images(datamodule)
        matches = find_shown(images, self.shown.images, self.shown.root)
        self._check_unchanged(matches)
        self._check_found(datamodule, matches)
        forbidden = set(matches) | self._mates(images, matches)
        removed = {}
        for name in EVALUATION_SUBSETS:
            dataset = getattr(datamodule, name, None)
            if dataset is None or len(dataset) == 0:
                continue
            samples = dataset.samples
            keep = [Path(path).absolute() not in forbidden for path in samples["image_path"]]
            removed[name] = keep.count(False)
            for label, count in samples["label_index"].value_counts().items():
                if not (samples["label_index"][keep] == label).any():
                    message = (
                        f"All {count} {'defect' if label else 'normal'} images of {name} were used for fine-tuning, or "
                        "show the same parts, so it cannot be evaluated on; give fewer few-shot images or another "
                        "val_split_mode, or fine-tune with data.datamodule and its seed, so that normal images of val "
                        "and test stay out."
                    )
                    raise SeasError(message)
            if removed[name]:
                change_samples(dataset, samples[keep].copy())
        return removed

    def _mates(self, images: Sequence[Path], matches: Mapping[Path, Match]) -> set[Path]:
        # Not those of mates: a group ends where it is said to end.
        shown = [*self.shown.few_shot, *self.shown.normals]
        here = [image for image, match in matches.items() if match.shown not in self.shown.mates]
        mates = group_mates(images, [*shown, *here], self.tables.given)
        return mates | group_mates(images, here if self.elsewhere else [*shown, *here], [self.tables.own])

    def _check_unchanged(self, matches: Mapping[Path, Match]) -> None:
        for image, match in matches.items():
            # Where few-shot images lie elsewhere, one that is alike and has their name is only taken out.
            if match.how == "changed" or (match.how == "edited" and not self.elsewhere):
                message = (
                    f"{image} is not the picture any more that SeaS was shown as {match.shown}, of the same path and "
                    "size and much alike; expected the same pixels, put the original back or fine-tune again"
                )
                raise SeasError(f"{message}{'' if match.how == 'changed' else f' ({_MOVED_AWAY})'}.")

    def _check_found(self, datamodule: Any, matches: Mapping[Path, Match]) -> None:
        few_shot = self.shown.few_shot
        if self.elsewhere or not few_shot or not _real_defects(datamodule):
            return
        found = {match.shown for match in matches.values()} | self._same_as(datamodule, few_shot, matches)
        missing = [path for path in few_shot if path not in found]
        if len(missing) == len(few_shot):
            if not self._has_normals(datamodule):
                message = (
                    f"none of the {len(few_shot)} few-shot images of SeaS, such as {missing[0]}, is "
                    "in the datamodule, nor is any of its normal images, as if this were a resized copy of the data "
                    "set; expected the images themselves, fine-tune on this copy"
                )
                raise SeasError(f"{message} ({_MOVED_AWAY}).")
            logger.warning(
                "None of the %d few-shot images, such as %s, is in the datamodule; its normal images are, so that they "
                "are taken to have been moved away.",
                len(few_shot),
                missing[0],
            )
        elif missing:
            logger.warning(
                "%d of the %d few-shot images are not in the datamodule, such as %s; see that no copy of them is "
                "evaluated on.",
                len(missing),
                len(few_shot),
                missing[0],
            )

    def _same_as(self, datamodule: Any, few_shot: Mapping[Path, Any], matches: Mapping[Path, Match]) -> set[Path]:
        """Return the few-shot images of which only a copy under another name was matched, or that are trained on."""
        there = {few_shot[match.shown].sha256 for match in matches.values() if match.shown in few_shot}
        if any(known.sha256 not in there for known in few_shot.values()):
            samples = datamodule.train_data.samples
            there |= {content_hash(Path(path)) for path in samples["image_path"][samples["label_index"] == 1]}
        return {path for path, known in few_shot.items() if known.sha256 in there}

    def _has_normals(self, datamodule: Any) -> bool:
        """Tell whether a normal image that SeaS was shown is in the datamodule, pixel by pixel."""
        known = {one.sha256 for one in self.shown.normals.values()}
        trained = (Path(path) for path in datamodule.train_data.samples["image_path"])
        return any(content_hash(path) in known for path in (*trained, *evaluation_images(datamodule)))


def _real_defects(datamodule: Any) -> int:
    from anomalib.data.utils.synthetic import SyntheticAnomalyDataset

    sets = (getattr(datamodule, name, None) for name in EVALUATION_SUBSETS)
    real = (one for one in sets if one is not None and not isinstance(one, SyntheticAnomalyDataset))
    return sum(int((one.samples["label_index"] == 1).sum()) for one in real)
