# SPDX-License-Identifier: Apache-2.0
"""Which images SeaS was shown, and which of a datamodule's images are among them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seas_aug.data.decode import content_hash
from seas_aug.data.few_shot import FewShotSplit
from seas_aug.data.fingerprint import Fingerprint, alike, completed, fingerprint
from seas_aug.data.split_file import SavedSplit
from seas_aug.generate.writer import read_manifest


@dataclass(frozen=True)
class ShownImages:
    """The images that SeaS was shown, and those of the same parts.

    Args:
        few_shot: defect images that were fine-tuned on.
        normals: normal images that were fine-tuned on, which images are drawn on, too.
        mates: images of the same groups, which were not.
        root: the folder that all of the product's images lay in, by which a copy of it is compared; None where it is
            not known.
    """

    few_shot: Mapping[Path, Fingerprint] = field(default_factory=dict)
    normals: Mapping[Path, Fingerprint] = field(default_factory=dict)
    mates: Mapping[Path, Fingerprint] = field(default_factory=dict)
    root: Path | None = None

    @property
    def images(self) -> dict[Path, Fingerprint]:
        """All of them."""
        return {**self.mates, **self.normals, **self.few_shot}

    @property
    def hashes(self) -> frozenset[str]:
        """Content hashes of all of them."""
        return frozenset(one.sha256 for one in self.images.values())

    @classmethod
    def from_saved(cls, saved: SavedSplit) -> ShownImages:
        """Return what a run was shown.

        Args:
            saved: its ``split.json``.
        """
        return _shown(saved.split, saved.normals, saved.fingerprints)

    @classmethod
    def from_files(cls, split: FewShotSplit, normals: Sequence[Path]) -> ShownImages:
        """Return what is to be fine-tuned on.

        Args:
            split: few-shot, held-out and excluded images.
            normals: normal images.

        Raises:
            SeasError: an image cannot be read.
        """
        images = (*(sample.image for sample in split.samples), *split.excluded, *normals)
        return _shown(split, normals, known_by_content(images))

    @classmethod
    def from_references(cls, folder: Path) -> ShownImages:
        """Return the normal images that a generated folder was drawn on, where nothing else is known.

        Args:
            folder: what ``seas-aug generate`` wrote.

        Raises:
            SeasError: there is no manifest, or a reference cannot be read.
        """
        files = [folder / record["reference"] for record in read_manifest(folder) if record.get("reference")]
        return cls(normals=known_by_content(files))


def known_by_content(images: Iterable[Path]) -> dict[Path, Fingerprint]:
    """Return fingerprints of files that are there, so that their looks can be taken when they are needed.

    Args:
        images: image files.

    Raises:
        SeasError: one of them cannot be read.
    """
    return {path: Fingerprint(content_hash(path)) for path in images}


def _shown(split: FewShotSplit, normals: Sequence[Path], known: Mapping[Path, Fingerprint]) -> ShownImages:
    held_out = (sample.image for samples in split.held_out.values() for sample in samples)
    few_shot = [sample.image for sample in split.samples]
    return ShownImages(
        few_shot={path: known[path] for path in few_shot},
        normals={path: known[path] for path in normals},
        mates={path: known[path] for path in split.excluded},
        root=common_folder([*few_shot, *held_out, *split.excluded, *normals]),
    )


def common_folder(images: Sequence[Path]) -> Path | None:
    """Return the folder that all images lie in or below; None for no image, or images on several drives.

    Args:
        images: absolute paths.
    """
    try:
        return Path(os.path.commonpath([image.parent for image in images]))
    except ValueError:
        return None


@dataclass(frozen=True)
class Match:
    """What an image has to do with one that SeaS was shown.

    Args:
        shown: path of that one.
        how: ``same`` pixels; a ``copy`` of the same name that looks alike and has another size, or one of which
            nothing but the name is known; ``edited``: another picture of the same size at the same place in the folder
            that looks alike; ``changed``: the very file, with other pixels now.
    """

    shown: Path
    how: Literal["same", "copy", "edited", "changed"]


def find_shown(images: Iterable[Path], shown: Mapping[Path, Fingerprint], root: Path | None) -> dict[Path, Match]:
    """Return which images SeaS was shown, be it in a resized or edited copy of the data set.

    First the pixels decide. Of an image that is nowhere with its own pixels, a file of the same path below the
    product's folder, whatever its ending, is a copy if the two look :func:`~seas_aug.data.fingerprint.alike`: another
    product, too, may have a ``hole/000.png``.

    Args:
        images: files to look at.
        shown: what SeaS was shown.
        root: the product's folder that ``shown`` lay in; None compares pixels and whole paths only.

    Raises:
        SeasError: an image cannot be read.
    """
    images = list(images)
    by_content = {known.sha256: path for path, known in shown.items()}
    hashes = {image: content_hash(image) for image in images}
    matches = {image: Match(by_content[one], "same") for image, one in hashes.items() if one in by_content}
    found = {hashes[image] for image in matches}
    missing = {path: known for path, known in shown.items() if known.sha256 not in found}
    by_path = {path.resolve(): path for path in shown}
    by_name = {_below(path, root): path for path in missing}
    depths = {len(parts) for parts in by_name if parts}
    for image in images:
        if image in matches:
            continue
        namesake = by_path.get(image.resolve())
        if namesake is not None:
            matches[image] = Match(namesake, "changed")
            continue
        names = (by_name.get(_name(image.parts[-depth:])) for depth in depths)
        namesake = next((path for path in names if path is not None), None)
        if namesake is not None and (match := _compare(image, namesake, missing[namesake])) is not None:
            matches[image] = match
    return matches


def _compare(image: Path, shown: Path, known: Fingerprint) -> Match | None:
    then, now = completed(known, shown), fingerprint(image)
    if not alike(then, now):
        return None
    return Match(shown, "edited" if then.size == now.size else "copy")


def _below(path: Path, root: Path | None) -> tuple[str, ...]:
    """Return the path below the product's folder without its ending, or nothing where it lies elsewhere.

    A file's own folder counts in any case: where all lie in one, their numbers alone would say little.
    """
    if root is None or not path.is_relative_to(root):
        return ()
    depth = max(2, len(path.relative_to(root).parts))
    return _name(path.parts[-depth:])


def _name(parts: Sequence[str]) -> tuple[str, ...]:
    return (*parts[:-1], Path(parts[-1]).stem)
