# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes SeaS and generates pairs for the categories of a benchmark that come without."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.artifact.model_hash import find_model, model_hash
from seas_aug.benchmark.config import BenchmarkConfig, CategoryEntry
from seas_aug.benchmark.grid import CategoryFolders, needs_seas
from seas_aug.benchmark.test_set import read_test_set
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.decode import content_hash
from seas_aug.data.selection import select
from seas_aug.data.split_file import load_split, save_split
from seas_aug.errors import SeasError
from seas_aug.generate.writer import first_of_each, made_from, read_manifest

logger = logging.getLogger(__name__)


def folders_of(entry: CategoryEntry, config: BenchmarkConfig) -> CategoryFolders:
    """Return where everything of a category lies, or will lie.

    Args:
        entry: the category.
        config: of the benchmark; its numbers of images hold for what it generates itself, and a folder that was given
            is used whole.
    """
    own = config.output / "seas" / entry.root.name
    generated, run = entry.generated or own / "generated", entry.run or own / "run"
    most = (None, None) if entry.generated else (config.pairs, config.normals)
    return CategoryFolders(entry.root, run, generated, entry.groups, *most)


@dataclass(frozen=True)
class Prepared:
    """A category that is ready to be measured.

    Args:
        folders: where everything lies.
        pairs: what tells its run and pairs apart; empty where there are none.
        error: why SeaS could not be fine-tuned or generated with; the opponents are measured all the same.
        unfinished: SeaS is still to be fine-tuned or generated with, see :func:`finish_beside`.
    """

    folders: CategoryFolders
    pairs: dict[str, str]
    error: str = ""
    unfinished: bool = False


def prepare_all(config: BenchmarkConfig) -> list[Prepared]:
    """Prepare every category; one where SeaS fails does not stop the others.

    Args:
        config: of the benchmark. Where it names devices, SeaS is not fine-tuned or generated with here: that is a job
            for one of them, :func:`finish_beside`.

    Raises:
        SeasError: a category itself cannot be used, or it is the only one and SeaS fails.
    """
    if not (config.devices and needs_seas(config.grids())):
        return [_prepared(entry, config) for entry in config.categories]
    return [
        _prepared(entry, config)
        if entry.run is not None and entry.generated is not None
        else Prepared(_begun(entry, config), {}, unfinished=True)
        for entry in config.categories
    ]


def finish_beside(entry: CategoryEntry, config: BenchmarkConfig) -> None:
    """Prepare in a process of its own; what goes wrong is left in a file for :func:`finished`.

    Args:
        entry: the category.
        config: of the benchmark.
    """
    note = _note_of(entry, config)
    note.unlink(missing_ok=True)
    try:
        prepare(entry, config)
    except Exception as error:  # whatever it is, the one who reads the file has to know of it
        logger.debug("category %s", entry.root.name, exc_info=True)
        note.parent.mkdir(parents=True, exist_ok=True)
        known = isinstance(error, (SeasError, RuntimeError))
        atomic_write_text(note, _first_line(error) if known else f"{type(error).__name__}: {_first_line(error)}")


def finished(entry: CategoryEntry, config: BenchmarkConfig, code: int) -> Prepared:
    """Return what :func:`finish_beside` made.

    Args:
        entry: the category.
        config: of the benchmark.
        code: exit code of its process.

    Returns:
        The category; with an error where SeaS failed, on the only one too: its opponents are being measured.
    """
    note, folders = _note_of(entry, config), folders_of(entry, config)
    try:
        if note.is_file():
            raise SeasError(note.read_text(encoding="utf-8"))
        if code:
            raise SeasError(f"its process ended with code {code}; below 0 is killed, perhaps for want of memory.")
        return Prepared(folders, pairs_of(folders))
    except SeasError as error:
        return _failed(entry, _begun(entry, config), error)


def _prepared(entry: CategoryEntry, config: BenchmarkConfig) -> Prepared:
    try:
        folders = prepare(entry, config)
        return Prepared(folders, pairs_of(folders) if needs_seas(config.grids()) else {})
    except (SeasError, RuntimeError) as error:  # RuntimeError: CUDA is out of memory, a loss is not finite
        if len(config.categories) == 1:
            raise
        return _failed(entry, _alone(entry, config), error)


def _failed(entry: CategoryEntry, folders: CategoryFolders, error: Exception) -> Prepared:
    print(f"{entry.root.name}: SeaS failed, its opponents are measured: {_first_line(error)}", file=sys.stderr)
    return Prepared(folders, {}, _first_line(error))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _alone(entry: CategoryEntry, config: BenchmarkConfig) -> CategoryFolders:
    return without_seas(entry, config)


def _begun(entry: CategoryEntry, config: BenchmarkConfig) -> CategoryFolders:
    """Return where the split lies: that of a run, given or made here, as it may be of older images; or a new one."""
    folders = folders_of(entry, config)
    there = entry.run is not None or (folders.run / "split.json").is_file()
    return folders if there else _alone(entry, config)


def _note_of(entry: CategoryEntry, config: BenchmarkConfig) -> Path:
    return config.output / "seas" / f"{entry.root.name}.error"


def prepare(entry: CategoryEntry, config: BenchmarkConfig) -> CategoryFolders:
    """Fine-tune and generate, unless it is done or was given; an interrupted step is gone on with.

    Where nothing is measured with ``seas``, only ``split.json`` is written, the same as fine-tuning would write: the
    opponents can be measured first.

    Args:
        entry: the category.
        config: numbers of pairs and normal images.

    Returns:
        Where everything lies.

    Raises:
        SeasError: fine-tuning or generating is not possible.
    """
    folders = folders_of(entry, config)
    chosen = config.seas_settings()
    if not needs_seas(config.grids()):
        return _begun(entry, config)
    started = time.perf_counter()
    if entry.run is None:
        from seas_aug.finetune.run import finetune

        data = dataclasses.replace(chosen.data, root=entry.root, few_shot=entry.few_shot, groups=entry.groups)
        finetune(dataclasses.replace(chosen, output=folders.run, data=data))
    if entry.generated is None:
        from seas_aug.generate.run import generate

        generate(folders.run, folders.generated, config.pairs)
        if config.one_class:
            generate(folders.run, folders.generated, config.normals, anomaly_types=[], normal=True)
        used = seconds_of(entry.root.name, config.output) + time.perf_counter() - started
        atomic_write_text(_seconds_file(entry.root.name, config.output), f"{used:.1f}\n")
    elif config.one_class and not (folders.generated / "train" / "good").is_dir():
        message = (
            f"{folders.generated}: has no normal images, which one-class detectors are given; add them with "
            "`seas-aug generate --normal`, or set `one_class: []`."
        )
        raise SeasError(message)
    return folders


def seconds_of(category: str, output: Path) -> float:
    """Return the seconds that SeaS was fine-tuned and generated with in this benchmark; 0 where it was given.

    Args:
        category: its name.
        output: the benchmark's folder.
    """
    path = _seconds_file(category, output)
    return float(path.read_text(encoding="utf-8")) if path.is_file() else 0.0


def _seconds_file(category: str, output: Path) -> Path:
    return output / "seas" / f"{category}.seconds"


def without_seas(entry: CategoryEntry, config: BenchmarkConfig) -> CategoryFolders:
    """Write the split, which says what is tested on, into a folder that fine-tuning does not know.

    Args:
        entry: the category.
        config: of the benchmark.

    Raises:
        SeasError: the category cannot be used.
    """
    folders = dataclasses.replace(folders_of(entry, config), run=config.output / "split" / entry.root.name)
    num_normals = config.seas_settings().data.num_normals
    category = read_mvtec_folder(entry.root)
    selection = select(category, str(entry.few_shot), entry.groups, num_normals)
    folders.run.mkdir(parents=True, exist_ok=True)
    save_split(folders.run / "split.json", selection.split, selection.normals)
    return folders


def data_of(folders: CategoryFolders) -> dict[str, str]:
    """Return what tells results on other images apart, whatever the source.

    Few-shot and test images count with their masks and groups by content, normal training images, of which there may be
    thousands, by name and size of the file.

    Args:
        folders: where everything lies.

    Raises:
        SeasError: a folder cannot be read.
    """
    test, saved = read_test_set(folders), load_split(folders.run / "split.json")
    category = read_mvtec_folder(folders.root)
    masks = [None if mask is None else content_hash(mask) for mask in test.masks]
    parts: list[Any] = [test.names, [content_hash(path) for path in test.images], masks, test.groups]
    parts += [[content_hash(path) for one in saved.split.samples for path in (one.image, one.mask)]]
    parts += [[[path.name, path.stat().st_size] for path in category.normals]]
    return {"data": _digest(parts)}


def textures_of(folder: Path | None) -> dict[str, str]:
    """Return what tells Perlin anomalies with other textures apart: names and sizes of the files.

    Args:
        folder: pictures; None for the rendered ones.

    Raises:
        SeasError: it is no folder, or has no picture that anomalib reads.
    """
    if folder is None:
        return {"textures": "rendered"}
    from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator

    found = PerlinAnomalyGenerator(str(folder)).anomaly_source_paths if folder.is_dir() else []
    if not found:  # anomalib would fill anomalies with noise
        raise SeasError(
            f"textures is {folder}, which is no folder with pictures; give one such as DTD's `images`, or leave it out."
        )
    return {"textures": _digest(sorted([path.relative_to(folder).as_posix(), path.stat().st_size] for path in found))}


def pairs_of(folders: CategoryFolders) -> dict[str, str]:
    """Return what tells results with other generated images apart.

    Args:
        folders: where everything lies.

    Raises:
        SeasError: there are no pairs, or they were made with another model than that of the run.
    """
    model = model_hash(find_model(folders.run))
    entries, record = read_manifest(folders.generated), made_from(folders.generated)
    if record is None or record.model != model:
        message = (
            f"{folders.generated}: was not made with the model in {folders.run}, so that it is not known which images "
            "it has seen; give the run that it was made with, or generate from this one."
        )
        raise SeasError(message)
    used = [
        *(entry for entry in first_of_each(entries, folders.pairs) if entry["mask"]),
        *(entry for entry in first_of_each(entries, folders.normals) if not entry["mask"]),
    ]
    return {"model": model, "pairs": _digest(used)}


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
