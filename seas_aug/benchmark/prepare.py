# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes SeaS and generates pairs for the categories of a benchmark that come without."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from seas_aug.benchmark.config import BenchmarkConfig, CategoryEntry
from seas_aug.benchmark.grid import CategoryFolders, needs_seas
from seas_aug.benchmark.test_set import read_test_set
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.datamodule import choose_normals
from seas_aug.data.decode import content_hash
from seas_aug.data.few_shot import select_few_shot
from seas_aug.data.split_file import load_split, save_split
from seas_aug.errors import SeasError
from seas_aug.generate.model_hash import find_model, model_hash
from seas_aug.generate.writer import SETTINGS, read_manifest


def folders_of(entry: CategoryEntry, output: Path) -> CategoryFolders:
    """Return where everything of a category lies, or will lie.

    Args:
        entry: the category.
        output: the benchmark's folder.
    """
    own = output / "seas" / entry.root.name
    return CategoryFolders(entry.root, entry.run or own / "run", entry.generated or own / "generated", entry.groups)


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
    folders = folders_of(entry, config.output)
    chosen = config.seas_settings()
    if not needs_seas(config.grids()):
        return folders if entry.run is not None else _without_seas(entry, config.output, chosen.data.num_normals)
    if entry.run is None:
        from seas_aug.finetune.run import finetune

        data = dataclasses.replace(chosen.data, root=entry.root, few_shot=entry.few_shot, groups=entry.groups)
        finetune(dataclasses.replace(chosen, output=folders.run, data=data))
    if entry.generated is None:
        from seas_aug.generate.run import generate

        generate(folders.run, folders.generated, config.pairs)
        if config.one_class:
            generate(folders.run, folders.generated, config.normals, anomaly_types=[], normal=True)
    elif config.one_class and not (folders.generated / "train" / "good").is_dir():
        message = (
            f"{folders.generated}: has no normal images, which one-class detectors are given; add them with "
            "`seas-aug generate --normal`, or set `one_class: []`."
        )
        raise SeasError(message)
    return folders


def _without_seas(entry: CategoryEntry, output: Path, num_normals: int | None) -> CategoryFolders:
    """Write the split, which says what is tested on, into a folder that fine-tuning does not know."""
    folders = dataclasses.replace(folders_of(entry, output), run=output / "split" / entry.root.name)
    category = read_mvtec_folder(entry.root)
    split = select_few_shot(category, str(entry.few_shot), entry.groups)
    folders.run.mkdir(parents=True, exist_ok=True)
    save_split(folders.run / "split.json", split, choose_normals(category.normals, num_normals))
    return folders


def data_of(folders: CategoryFolders) -> dict[str, str]:
    """Return what tells results on other images apart, whatever the source: few-shot and test images, their groups.

    Args:
        folders: where everything lies.

    Raises:
        SeasError: a folder cannot be read.
    """
    test, saved = read_test_set(folders), load_split(folders.run / "split.json")
    category = read_mvtec_folder(folders.root)
    masks = [None if mask is None else content_hash(mask) for mask in test.masks]
    parts = [test.names, [content_hash(path) for path in test.images], masks, test.groups]
    parts += [[content_hash(one.image) for one in saved.split.samples], [path.name for path in category.normals]]
    return {"data": _digest(parts)}


def pairs_of(folders: CategoryFolders) -> dict[str, str]:
    """Return what tells results with other generated images apart.

    Args:
        folders: where everything lies.

    Raises:
        SeasError: there are no pairs, or they were made with another model than that of the run.
    """
    model = model_hash(find_model(folders.run))
    entries = read_manifest(folders.generated)
    try:
        made_with = json.loads((folders.generated / SETTINGS).read_text(encoding="utf-8"))["settings"].get("model")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        message = f"{folders.generated / SETTINGS}: damaged ({error}); generate the pairs again."
        raise SeasError(message) from error
    if made_with != model:
        message = (
            f"{folders.generated}: was not made with the model in {folders.run}, so that it is not known which images "
            "it has seen; give the run that it was made with, or generate from this one."
        )
        raise SeasError(message)
    return {"model": model, "pairs": _digest(entries)}


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
