# SPDX-License-Identifier: Apache-2.0
"""What SeaS is fine-tuned on beside a datamodule: nothing that it evaluates on, nor another image of such a group."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from seas_aug.anomalib_plugin.automatic import AutomaticSettings
from seas_aug.anomalib_plugin.leakage import GroupTables, LeakFilter, evaluation_images, group_mates
from seas_aug.anomalib_plugin.shown import ShownImages, common_folder, find_shown, known_by_content
from seas_aug.data.anomalib_source import category_from_datamodule, groups_of_datamodule
from seas_aug.data.category import Category, read_mvtec_folder
from seas_aug.data.decode import content_hash
from seas_aug.data.groups import check_rows, read_groups
from seas_aug.data.selection import Selection, check_enough_normals, select
from seas_aug.data.split_file import load_split
from seas_aug.errors import SeasError


def select_from_datamodule(datamodule: Any, settings: AutomaticSettings) -> Selection:
    """Choose the few-shot images of a datamodule, or of ``settings.root``, and normal images to fine-tune on.

    Few-shot images and their groups leave validation and test. What is left there is not fine-tuned on: a normal image
    that is evaluated on, or shows the part of an image that is, is left out, also where it lies in ``settings.root``.

    Args:
        datamodule: anomalib datamodule after ``setup``, with nothing removed yet.
        settings: ``root``, ``few_shot`` and ``groups`` are read.

    Returns:
        The choice; the same for the same files. Images of the datamodule that share a group with few-shot images of
        ``root`` are among the excluded ones.

    Raises:
        SeasError: too few normal or defect images, a mask is missing, or a wrong ``few_shot`` or ``groups``.
    """
    evaluated = evaluation_images(datamodule)
    if settings.root is None:
        category = category_from_datamodule(datamodule, where=f"the datamodule {datamodule.name}")
    else:
        category = read_mvtec_folder(settings.root)
    others = [*evaluated, *_trained(datamodule)]
    selection = select(category, settings.few_shot, settings.groups, others=others)
    tables, root = group_tables(datamodule, settings), _folder_of(category)
    defects = dataclasses.replace(ShownImages.from_files(selection.split, ()), root=root)
    taken_out = LeakFilter(defects, tables, elsewhere=settings.root is not None).forbidden(evaluated)
    left = [image for image in evaluated if image not in taken_out]
    normals = _apart(selection.normals, root, left, tables, datamodule if settings.root else None)
    check_enough_normals(category.normals, normals, "are not evaluated on and share no group with an image that is")
    split = selection.split
    if settings.root is not None:
        mates = group_mates(evaluated, list(defects.few_shot), tables.given)
        split = dataclasses.replace(split, excluded=(*split.excluded, *sorted(mates)))
    return Selection(normals, split)


def group_tables(datamodule: Any, settings: AutomaticSettings) -> GroupTables:
    """Return which images show the same part: as the user says, else as ``settings.root`` and the data set itself do.

    Args:
        datamodule: anomalib datamodule after ``setup``.
        settings: ``root`` and ``groups`` are read.

    Raises:
        SeasError: a ``groups.csv`` cannot be read, or that of the data set names none of its images.
    """
    if settings.groups is not None:
        return GroupTables((read_groups(settings.groups),))
    beside = settings.root / "groups.csv" if settings.root else None
    given = (read_groups(beside),) if beside is not None and beside.is_file() else ()
    return GroupTables(given, groups_of_datamodule(datamodule))


def check_groups(datamodule: Any, groups: Path, shown: Iterable[Path]) -> None:
    """Tell which rows of a groups file name no image, where a model is given and nothing is chosen.

    Args:
        datamodule: anomalib datamodule after ``setup``.
        groups: the file.
        shown: images that the model was shown.

    Raises:
        SeasError: the file cannot be read, or none of its rows names an image.
    """
    check_rows(read_groups(groups), [*_trained(datamodule), *evaluation_images(datamodule), *shown], groups)


def _trained(datamodule: Any) -> list[Path]:
    return [Path(path).absolute() for path in datamodule.train_data.samples["image_path"]]


def _folder_of(category: Category) -> Path | None:
    defects = [sample.image for samples in category.defects.values() for sample in samples]
    return category.root or common_folder([*category.normals, *defects, *category.test_others])


def _apart(
    normals: Sequence[Path], root: Path | None, evaluated: Sequence[Path], tables: GroupTables, elsewhere: Any | None
) -> tuple[Path, ...]:
    """Return the normal images that are not evaluated on and show no part that is.

    Args:
        normals: candidates.
        root: the folder that the product's images lie in.
        evaluated: what is left of validation and test.
        tables: which images show the same part.
        elsewhere: the datamodule, where the candidates are not its own training images.
    """
    known = known_by_content(normals)
    same = {known[match.shown].sha256 for match in find_shown(evaluated, known, root).values()}
    taken = {path for path in normals if known[path].sha256 in same}
    for groups in tables.given if elsewhere else (*tables.given, tables.own):
        taken |= group_mates(normals, evaluated, [groups])
    if elsewhere:
        taken |= _by_copies(normals, evaluated, tables, _trained(elsewhere))
    return tuple(path for path in normals if path not in taken)


def _by_copies(
    normals: Sequence[Path], evaluated: Sequence[Path], tables: GroupTables, trained: Sequence[Path]
) -> set[Path]:
    """Return the normal images whose copies among the datamodule's own training images show a part evaluated on."""
    copied = group_mates(trained, evaluated, (*tables.given, tables.own))
    hashes = {content_hash(path) for path in copied}
    return {path for path in normals if content_hash(path) in hashes}


def check_same_split(run: Path | None, generated: Path | None) -> None:
    """Refuse pairs of another run than the one that is given: its few-shot images would be evaluated on.

    Args:
        run: run folder, if one was given.
        generated: folder of pairs, if one was given; one without ``split.json`` is not compared.

    Raises:
        SeasError: they were fine-tuned on different images.
    """
    if run is None or generated is None or not (generated / "split.json").is_file():
        return
    shown = [load_split(folder / "split.json").fine_tuning_hashes for folder in (run, generated)]
    if shown[0] != shown[1]:
        message = (
            f"{generated} was made by a run that was fine-tuned on other images than {run}, and these would be tested "
            "on; give the run that made it (augmentation.run), or leave that out."
        )
        raise SeasError(message)
