# SPDX-License-Identifier: Apache-2.0
"""Read a category from any anomalib image datamodule."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from seas_aug.data.category import Category, DefectSample, check_category
from seas_aug.data.groups import Groups, check_rows, groups_by_folder, read_groups
from seas_aug.data.natural import natural_sorted
from seas_aug.errors import SeasError

_EXAMPLE = 'expected {"class_path": "MVTecAD", "init_args": {"root": ..., "category": ...}}, correct data.datamodule'
_NORMAL_FOLDERS = ("train", "good")
# Labels that say "some defect" and not which; the folder of the image then names the type.
_GENERIC_LABELS = {"abnormal", "anomaly", "anomalous", "anomalies", "bad", "defect", "defective", "ng"}


def read_anomalib_datamodule(spec: dict[str, Any]) -> Category:
    """Set up an anomalib datamodule and read its normal training images and its defect images with masks.

    The anomaly type is the sample's label, or the image's folder where the label only says "abnormal"; Real-IAD's comes
    from its JSON file. Kolektor's and Real-IAD's folder of each item makes a group. Defects that the datamodule puts
    into val and into test are both read; nothing synthetic is, nor a defect with several masks (MVTec LOCO). Normal
    images that it moves from train to val or test stay out of fine-tuning (give the datamodule a seed to move the same
    ones every time). Nothing is downloaded: the data must be in place.

    Args:
        spec: ``{"class_path": ..., "init_args": {...}}`` as in an anomalib config; a short name such as ``MVTecAD`` or
            ``Folder`` is looked up in ``anomalib.data``. Its augmentations are ignored.

    Returns:
        The category; for ``MVTecAD`` and a folder in MVTec layout the same as ``read_mvtec_folder``.

    Raises:
        SeasError: the spec is wrong, the datamodule cannot be set up, or it has too few normals or no defects with
            masks.
    """
    return category_from_datamodule(_set_up(spec), where=f"data.datamodule {spec['class_path']}")


def category_from_datamodule(datamodule: Any, where: str) -> Category:
    """Read the category that a datamodule holds after its ``setup``.

    Args:
        datamodule: anomalib datamodule; rendered (synthetic) validation and test sets in it are left out.
        where: what to call it in a message.

    Returns:
        The category, as :func:`read_anomalib_datamodule` describes.

    Raises:
        SeasError: too few normals or no defects with masks.
    """
    from anomalib.data.utils.synthetic import SyntheticAnomalyDataset

    evaluated = [getattr(datamodule, name, None) for name in ("test_data", "val_data")]
    train = _rows([datamodule.train_data])
    test = _rows(dataset for dataset in evaluated if not isinstance(dataset, SyntheticAnomalyDataset))
    if not test and any(isinstance(dataset, SyntheticAnomalyDataset) for dataset in evaluated):
        message = (
            f"{where}: with test_split_mode synthetic it has no real defect to learn from; give a folder in MVTec "
            "layout with a few (augmentation.root), a fine-tuned run (augmentation.run), or another test_split_mode."
        )
        raise SeasError(message)
    normals = natural_sorted({_path(row["image_path"]) for row in train if row["label_index"] == 0})
    defects = _read_defects(test)
    learnt_from = {*normals, *(sample.image for samples in defects.values() for sample in samples)}
    held_back = {_path(row["image_path"]) for row in test} - learnt_from
    root = _mvtec_root(normals)
    name = str(getattr(datamodule, "category", "") or datamodule.name)
    category = Category(
        name=root.name if root else name,
        normals=tuple(normals),
        defects=defects,
        test_others=tuple(natural_sorted(held_back)),
        root=root,
        groups=_groups_by_item((*train, *test)),
    )
    check_category(category, where=where)
    return category


def groups_of_datamodule(datamodule: Any) -> Groups:
    """Return which of a datamodule's images show the same part, as :func:`category_from_datamodule` would have it.

    They are told by the ``groups.csv`` beside the folder ``train`` that its normal images lie in, else by the data set
    itself. Nothing is asked of the datamodule's defects.

    Args:
        datamodule: anomalib datamodule after its ``setup``.

    Raises:
        SeasError: the ``groups.csv`` cannot be read, or names none of the images.
    """
    sets = [getattr(datamodule, name, None) for name in ("train_data", "val_data", "test_data")]
    rows = _rows(sets)
    images = natural_sorted({_path(row["image_path"]) for row in rows})
    root = _mvtec_root([path for path in images if path.parts[-3:-1] == _NORMAL_FOLDERS])
    if root is None or not (root / "groups.csv").is_file():
        # anomalib's synthetic sets lose the column of the item, but not its folder
        return groups_by_folder(images) if any(row["by_item"] for row in rows) else Groups()
    groups = read_groups(root / "groups.csv")
    check_rows(groups, images, root / "groups.csv")
    return groups


def _mvtec_root(normals: Sequence[Path]) -> Path | None:
    return normals[0].parents[2] if normals and normals[0].parts[-3:-1] == _NORMAL_FOLDERS else None


def _groups_by_item(rows: Iterable[dict[str, Any]]) -> Groups:
    items = [_path(row["image_path"]) for row in rows if row["by_item"]]
    return groups_by_folder(items) if items else Groups()


def _set_up(spec: dict[str, Any]) -> Any:
    # The class is looked up by hand and not with jsonargparse, because only a few plain arguments matter here.
    from anomalib.data.errors import MisMatchError

    datamodule_class = _find_class(spec)
    arguments = {key: value for key, value in (spec.get("init_args") or {}).items() if "augmentations" not in key}
    # Rendered Perlin defects are no defects to learn from: keep the same real images apart without rendering any.
    for key, instead in (("val_split_mode", "from_train"), ("test_split_mode", "from_dir")):
        if str(getattr(arguments.get(key), "value", arguments.get(key))).lower() == "synthetic":
            arguments[key] = instead
    try:
        datamodule = datamodule_class(**arguments)
        datamodule.setup("fit")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, IndexError, MisMatchError) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
        message = f"data.datamodule {spec['class_path']}: anomalib cannot read it ({reason}); {_EXAMPLE}."
        raise SeasError(message) from error
    return datamodule


def _find_class(spec: dict[str, Any]) -> Any:
    from anomalib.data import AnomalibDataModule

    class_path = spec.get("class_path") if isinstance(spec, dict) else None
    if not isinstance(class_path, str) or not isinstance(spec.get("init_args") or {}, dict):
        raise SeasError(f"data.datamodule is {spec!r}; {_EXAMPLE}.")
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module or "anomalib.data"), name)
    except (ImportError, AttributeError) as error:
        raise SeasError(f"data.datamodule names the unknown class {class_path}; {_EXAMPLE}.") from error
    if not (isinstance(found, type) and issubclass(found, AnomalibDataModule)):
        raise SeasError(f"data.datamodule names {class_path}, which is no anomalib datamodule; {_EXAMPLE}.")
    return found


def _rows(datasets: Iterable[Any]) -> list[dict[str, Any]]:
    columns = ["image_path", "label_index", "mask_path", "label"]
    rows: dict[str, dict[str, Any]] = {}
    for dataset in datasets:
        if dataset is None:
            continue
        table = dataset.samples
        types = _listed_types(dataset)
        by_item = bool(types) or "item" in table  # Real-IAD and Kolektor: a folder holds the views of one item
        for record in table[[column for column in columns if column in table]].to_dict("records"):
            if types:
                record["label"] = types.get(_path(record["image_path"]))
            rows.setdefault(str(record["image_path"]), {**record, "by_item": by_item})
    return list(rows.values())


def _listed_types(dataset: Any) -> dict[Path, str]:
    """Return the types in Real-IAD's JSON file, which anomalib reads and leaves out of its table."""
    metadata = getattr(dataset, "metadata", None)
    if not isinstance(metadata, dict):
        return {}
    entries = [entry for split in ("train", "test") for entry in metadata.get(split) or ()]
    return {_path(dataset.root_category / entry["image_path"]): entry["anomaly_class"] for entry in entries}


def _read_defects(rows: list[dict[str, Any]]) -> dict[str, tuple[DefectSample, ...]]:
    defects: dict[str, dict[Path, DefectSample]] = {}
    for row in rows:
        mask = row.get("mask_path")
        if isinstance(mask, list) and len(mask) == 1:  # MVTec LOCO: a list for each image
            mask = mask[0]
        if row["label_index"] != 1 or not isinstance(mask, (str, Path)) or not str(mask):
            continue
        image = _path(row["image_path"])
        label = str(getattr(row.get("label"), "value", row.get("label") or "abnormal"))
        by_folder = label.lower() in _GENERIC_LABELS and not row["by_item"]
        anomaly_type = image.parent.name if by_folder else label.replace("/", "_")
        defects.setdefault(anomaly_type, {})[image] = DefectSample(image, _path(mask), anomaly_type)
    return {name: tuple(defects[name][image] for image in natural_sorted(defects[name])) for name in sorted(defects)}


def _path(value: Any) -> Path:
    return Path(value).absolute()
