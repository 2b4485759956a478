# SPDX-License-Identifier: Apache-2.0
"""Generated pairs on disk in MVTec layout; the manifest says which are done."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seas_aug.artifact.atomic import append_line, atomic_write, remove_leftovers
from seas_aug.artifact.lock import LOCK
from seas_aug.artifact.paths import NORMAL_FOLDER, check_relative
from seas_aug.artifact.record import Record, read_record, write_record
from seas_aug.data.decode import write_native
from seas_aug.errors import SeasError

MANIFEST = "manifest.jsonl"
SETTINGS_0_1 = "generate.json"
"""Where version 0.1 wrote down its settings."""
_FILE_KEYS = ("file", "mask", "reference")
_DIGITS = 3  # at least; later ones have more


class PairWriter:
    """Writes images, masks, references and manifest lines so that a kill at any point loses at most one image.

    An image is done if and only if the manifest has its line and all its files are there. Opening a folder deletes
    temporary files and drops lines that are torn or whose files are gone; those images are made again. The caller
    holds the folder's lock (:func:`~seas_aug.artifact.lock.only_writer`).

    Args:
        output: folder to write into; made if it is missing.
        record: everything that decides the pixels; a folder with another one is refused. Where the code's version
            alone is another one, what is there can be used, but nothing added.

    Raises:
        SeasError: the folder holds other files, or was made with other settings.
    """

    def __init__(self, output: Path, record: Record) -> None:
        self.output = Path(output)
        self._manifest = self.output / MANIFEST
        self._outdated = ""
        self._open(record)
        remove_leftovers(self.output)
        self._entries = self._read_manifest()
        self._references: dict[str, Path] = {}

    @property
    def entries(self) -> list[dict[str, Any]]:
        """All manifest lines, of refused seeds too, sorted by folder and index."""
        return [self._entries[key] for key in sorted(self._entries)]

    def done(self, folder: str) -> set[int]:
        """Return the indices that need not be made again.

        Args:
            folder: type name, or ``good`` for normal images.

        Returns:
            Indices with a manifest line and all files.
        """
        return {index for (name, index), entry in self._entries.items() if name == folder and entry["file"]}

    def write(
        self,
        folder: str,
        index: int,
        image: NDArray[Any],
        mask: NDArray[np.uint8] | None,
        reference: NDArray[Any],
        record: dict[str, Any],
    ) -> None:
        """Write one image with all its files and then its manifest line.

        Args:
            folder: type name, or ``good`` for a normal image.
            index: number in the folder.
            image: uint8 or uint16, [H, W] or [H, W, C] in RGB order.
            mask: uint8 [H, W] of 0 and 1, not empty; None for a normal image.
            reference: the real normal that the image was drawn on, like it.
            record: further plain values for the manifest line.

        Raises:
            SeasError: the disk is full.
            ValueError: a defect image without a mask or with an empty one, or a normal one with a mask.
        """
        self.check_current()
        if (mask is None) != (folder == NORMAL_FOLDER) or (mask is not None and not bool(mask.any())):
            raise ValueError(f"{folder} {index}: a defect image needs a mask that is not empty, a normal one none")
        files = self._files(folder, index)
        _write_png(self.output / files["file"], image)
        if mask is not None:
            _write_png(self.output / files["mask"], mask * np.uint8(255))
        self._write_reference(self.output / files["reference"], reference, record.get("reference_source"))
        if mask is None:
            files = {**files, "mask": None}
        entry = {**files, "folder": folder, "index": index, **record}
        append_line(self._manifest, json.dumps(entry, sort_keys=True))
        self._entries[folder, index] = entry

    def refuse(self, folder: str, index: int, record: dict[str, Any]) -> None:
        """Write down that a seed gave no pair, so that it is not tried again.

        Args:
            folder: type name.
            index: number in the folder.
            record: plain values for the manifest line, with ``rejected``, the reasons.

        Raises:
            SeasError: the disk is full.
        """
        entry = {**dict.fromkeys(_FILE_KEYS), "folder": folder, "index": index, **record}
        append_line(self._manifest, json.dumps(entry, sort_keys=True))
        self._entries[folder, index] = entry

    def refused(self, folder: str) -> set[int]:
        """Return the indices of a folder that gave no pair."""
        return {index for (name, index), entry in self._entries.items() if name == folder and not entry["file"]}

    def refused_reasons(self, folder: str) -> dict[str, int]:
        """Return why, and how often, draws of a folder's refused seeds were rejected."""
        found = (self._entries[folder, index] for index in self.refused(folder))
        return dict(sorted(Counter(reason for entry in found for reason in entry.get("rejected", [])).items()))

    def _write_reference(self, path: Path, pixels: NDArray[Any], source: str | None) -> None:
        """Write a reference; one that is there already under another name is linked, as large ones come again often."""
        before = self._references.get(source) if source else None
        if before is not None and before.is_file():
            with suppress(OSError):  # another disk, or a file system without hard links
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.hardlink_to(before)
                return
        _write_png(path, pixels)
        if source:
            self._references[source] = path

    def retire(self, folder: str, index: int) -> list[Path]:
        """Take an image out of the manifest; its files stay, for whoever is reading them just now.

        Args:
            folder: type name, or ``good``.
            index: number in the folder.

        Returns:
            Its files, to be deleted later.

        Raises:
            SeasError: the disk is full; the manifest stays as it is.
        """
        entry = self._entries[folder, index]
        self._write_manifest([other for key, other in sorted(self._entries.items()) if key != (folder, index)])
        del self._entries[folder, index]
        return [self.output / entry[key] for key in _FILE_KEYS if entry[key]]

    def remove_unlisted(self) -> int:
        """Delete pictures that no manifest line names; return how many."""
        listed = {self.output / entry[key] for entry in self._entries.values() for key in _FILE_KEYS if entry[key]}
        unlisted = [path for path in self.output.rglob("*.png") if path not in listed]
        for path in unlisted:
            path.unlink(missing_ok=True)
        return len(unlisted)

    def finish(self) -> None:
        """Sort the manifest, so that the result does not tell how often the run was interrupted.

        Raises:
            SeasError: the disk is full; the unsorted manifest stays.
        """
        self._write_manifest(self.entries)

    def _files(self, folder: str, index: int) -> dict[str, Any]:
        number = f"{index:0{_DIGITS}d}"
        place = "train" if folder == NORMAL_FOLDER else "test"
        # anomalib's MVTecAD takes every image three levels down for a sample of <split>/<label>; under the label
        # "good" the references are normal samples of a split that it never asks for.
        return {
            "file": f"{place}/{folder}/{number}.png",
            "mask": f"ground_truth/{folder}/{number}_mask.png",
            "reference": f"reference/{folder}/good/{number}.png",
        }

    def _open(self, record: Record) -> None:
        saved = made_from(self.output)
        if saved is None:
            self._check_empty()
            write_record(self.output, record)
            return
        difference = saved.difference(record)
        if difference is None:
            return
        message = f"{self.output}: was made with {difference}, and would be mixed with other pixels; choose another "
        message += "output folder (this one can still be trained on) or delete it."
        if dataclasses.replace(saved, code=record.code).difference(record) is not None:
            raise SeasError(message)
        self._outdated = message

    @property
    def is_current(self) -> bool:
        """Whether this version of the code made it."""
        return not self._outdated

    def check_current(self) -> None:
        """Raise where nothing may be added.

        Raises:
            SeasError: the folder was made by another version of the code, whose pairs draw other pixels.
        """
        if self._outdated:
            raise SeasError(self._outdated)

    def _check_empty(self) -> None:
        """A folder without settings must not hold anything: it could be somebody's real data."""
        remove_leftovers(self.output)
        if self.output.is_dir():
            found = next(iter(sorted(path for path in self.output.iterdir() if path.name != LOCK)), None)
            if found is None:
                return
            message = (
                f"{self.output}: holds {found.name}, which seas-aug generate did not make; expected an empty or new "
            )
            raise SeasError(message + "folder, choose another one.")

    def _read_manifest(self) -> dict[tuple[str, int], dict[str, Any]]:
        if not self._manifest.is_file():
            return {}
        data = self._manifest.read_bytes()
        entries: dict[tuple[str, int], dict[str, Any]] = {}
        for line in data.decode("utf-8", errors="replace").splitlines():
            entry = _parse_line(line, self._manifest)
            if entry is not None and all((self.output / entry[k]).is_file() for k in _FILE_KEYS if entry[k]):
                entries[entry["folder"], entry["index"]] = entry
        if _as_lines(list(entries.values())) != data:
            self._write_manifest(list(entries.values()))
        return entries

    def _write_manifest(self, entries: Sequence[dict[str, Any]]) -> None:
        with atomic_write(self._manifest) as file:
            file.write(_as_lines(entries))


def made_from(output: Path) -> Record | None:
    """Return what a generated folder was made from; None where nobody wrote it down.

    Raises:
        SeasError: the file is damaged.
    """
    saved, older = read_record(output), output / SETTINGS_0_1
    if saved is not None or not older.is_file():
        return saved
    try:
        settings = dict(json.loads(older.read_text(encoding="utf-8"))["settings"])
        return Record(code="", model=str(settings.pop("model", "")), settings=settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{older}: damaged ({error}); expected what seas-aug generate wrote, delete the folder or choose "
        raise SeasError(message + "another one.") from error


def read_manifest(output: Path) -> list[dict[str, Any]]:
    """Read the manifest of a generated folder.

    Args:
        output: folder that ``seas-aug generate`` wrote.

    Returns:
        One dict per image in the order of the lines; a torn last line is left out.

    Raises:
        SeasError: there is no manifest, or a line of it names a file outside of the folder.
    """
    path = Path(output) / MANIFEST
    if not path.is_file():
        message = f"{output}: no {MANIFEST} in it; expected a folder made by seas-aug generate, generate it first."
        raise SeasError(message)
    lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    return [entry for line in lines if (entry := _parse_line(line, path)) is not None]


def first_of_each(entries: Sequence[dict[str, Any]], most: int | None) -> list[dict[str, Any]]:
    """Return the first accepted images of every folder, as if no more had been asked for.

    Args:
        entries: of a manifest.
        most: images of each folder; None for all.
    """
    kept: Counter[str] = Counter()
    chosen = []
    for entry in sorted(entries, key=lambda entry: (entry["folder"], entry["index"])):
        kept[entry["folder"]] += bool(entry["file"])
        if entry["file"] and (most is None or kept[entry["folder"]] <= most):
            chosen.append(entry)
    return chosen


def pairs_made(output: Path) -> dict[str, int]:
    """Return how many images of each folder have ever been made, those that were retired among them.

    They count up from 0, so that the newest tells; the numbers of refused seeds before it are none.

    Args:
        output: folder that ``seas-aug generate`` or a stream wrote.

    Raises:
        SeasError: there is no manifest.
    """
    lines = [(entry["folder"], int(entry["index"]), bool(entry["file"])) for entry in read_manifest(output)]
    made: dict[str, int] = {}
    for folder, index, accepted in lines:
        if accepted:
            made[folder] = max(index + 1, made.get(folder, 0))
    newest = dict(made)
    for folder, index, accepted in lines:
        if not accepted and index < newest.get(folder, 0):
            made[folder] -= 1
    return made


def _parse_line(line: str, manifest: Path) -> dict[str, Any] | None:
    """Return the entry of a manifest line, or None for a torn one.

    Raises:
        SeasError: it names a file outside of the folder.
    """
    try:
        entry = json.loads(line)
        if not {*_FILE_KEYS, "folder", "index"} <= entry.keys():
            return None
    except (ValueError, AttributeError):
        return None
    for key in _FILE_KEYS:
        if entry[key] is not None:
            check_relative(entry[key], str(manifest))
    return dict(entry)


def _as_lines(entries: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in entries).encode("utf-8")


def _write_png(path: Path, pixels: NDArray[Any]) -> None:
    with atomic_write(path) as file:
        file.write(write_native(pixels))
