# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes SeaS and generates pairs for the categories of a benchmark that come without."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from seas_aug.benchmark.config import BenchmarkConfig, CategoryEntry
from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.generate.model_hash import find_model, model_hash
from seas_aug.presets import PRESETS


def folders_of(entry: CategoryEntry, output: Path) -> CategoryFolders:
    """Return where everything of a category lies, or will lie.

    Args:
        entry: the category.
        output: the benchmark's folder.
    """
    own = output / "seas" / entry.root.name
    return CategoryFolders(entry.root, entry.run or own / "run", entry.generated or own / "generated")


def prepare(entry: CategoryEntry, config: BenchmarkConfig) -> CategoryFolders:
    """Fine-tune and generate, unless it is done or was given; an interrupted step is gone on with.

    Args:
        entry: the category.
        config: numbers of pairs and normal images.

    Returns:
        Where everything lies.

    Raises:
        SeasError: fine-tuning or generating is not possible.
    """
    folders = folders_of(entry, config.output)
    if entry.run is None:
        from seas_aug.finetune.run import finetune

        chosen = PRESETS[config.preset]()
        data = dataclasses.replace(chosen.data, root=entry.root, few_shot=entry.few_shot, groups=entry.groups)
        finetune(dataclasses.replace(chosen, output=folders.run, base=config.base or chosen.base, data=data))
    if entry.generated is None:
        from seas_aug.generate.run import generate

        generate(folders.run, folders.generated, config.pairs)
        if config.one_class:
            generate(folders.run, folders.generated, config.normals, anomaly_types=[], normal=True)
    return folders


def settings_of(folders: CategoryFolders) -> dict[str, str]:
    """Return what tells the results of another model or other few-shot images apart.

    Args:
        folders: where everything lies.

    Raises:
        SeasError: the run has no finished model.
    """
    return {"model": model_hash(find_model(folders.run))}
