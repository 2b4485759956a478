# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: how far it is, what it is made from, and what a killed process left half written in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from seas_aug.artifact.atomic import LEFTOVER_SUFFIX, recover_folder, remove_leftovers
from seas_aug.artifact.code import TRAINING, code_version
from seas_aug.artifact.record import Record, read_record
from seas_aug.base.load import base_hash
from seas_aug.config import FineTuneConfig, as_plain
from seas_aug.data.decode import content_hash
from seas_aug.data.few_shot import FewShotSplit
from seas_aug.data.split_file import load_split
from seas_aug.errors import SeasError

logger = logging.getLogger(__name__)
# What may differ between a run and its continuation.
_FREE_SETTINGS = ("output", "base", "precision", "accelerator", "devices", "preview_every", "checkpoint_every")
_WHERE_DATA_LIES = ("root", "datamodule", "few_shot", "groups")
_INTERMEDIATE = ("generator", "checkpoints")


def is_model(folder: Path) -> bool:
    """Return whether a pipeline was saved there."""
    return (folder / "model_index.json").is_file()


def in_progress(output: Path) -> bool:
    """Return whether a run has got so far that it is continued and not begun again."""
    return any((output / "checkpoints").glob("*/last.ckpt")) or any(
        is_model(output / name) for name in ("generator", "model")
    )


def is_finished(output: Path) -> bool:
    """Return whether nothing is left to do, not even to tidy up."""
    return is_model(output / "model") and not any((output / name).exists() for name in _INTERMEDIATE)


def tidy(output: Path) -> None:
    """Mend or delete what a killed run left half written."""
    for name in ("generator", "model"):
        recover_folder(output / name)
    for leftover in output.glob(f".*{LEFTOVER_SUFFIX}"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    for name in ("previews", "log"):
        remove_leftovers(output / name)


def remove_intermediate(output: Path) -> None:
    """Delete what a finished run needs no more."""
    for name in _INTERMEDIATE:
        shutil.rmtree(output / name, ignore_errors=True)


def made_from(config: FineTuneConfig, split: FewShotSplit, normals: tuple[Path, ...]) -> Record:
    """Return what the run is made from: images and masks by their content, wherever they lie now."""
    settings = {key: value for key, value in as_plain(config).items() if key not in _FREE_SETTINGS}
    settings["data"] = {key: value for key, value in settings["data"].items() if key not in _WHERE_DATA_LIES}
    samples = split.samples
    data = {
        "few-shot images": _digest([[one.anomaly_type, content_hash(one.image)] for one in samples]),
        "few-shot masks": _digest([content_hash(one.mask) for one in samples]),
        "normal images": _digest([content_hash(path) for path in normals]),
    }
    return Record(code_version(TRAINING), base_hash(config.base), settings, data)


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def is_stale(path: Path, split: FewShotSplit) -> bool:
    """Tell whether other images share a group with few-shot ones than when a run's ``split.json`` was written.

    Weights do not depend on them, but what may be evaluated on does.
    """
    if not path.is_file():
        return False
    saved = load_split(path)
    return {saved.hashes[image] for image in saved.split.excluded} != {content_hash(image) for image in split.excluded}


def check_same(output: Path, record: Record) -> None:
    """Refuse to continue, or to take for done, what was made from something else.

    Raises:
        SeasError: other settings, images or masks, or an unfinished run of another version of the code.
    """
    if not in_progress(output):
        return
    saved = read_record(output)
    difference = "version 0.1 of seas-aug" if saved is None else saved.difference(record)
    if difference is None:
        return
    if saved is not None and is_finished(output) and dataclasses.replace(saved, code=record.code) == record:
        logger.warning("%s is a finished run of %s; delete it to fine-tune it anew.", output, difference)
        return
    message = f"{output} holds a run with {difference}; choose another --output, or delete that folder to start anew."
    raise SeasError(message)
