# SPDX-License-Identifier: Apache-2.0
"""``val_split_mode: synthetic`` and ``test_split_mode: synthetic`` with generated defects instead of Perlin noise.

Thresholds are then calibrated on defects like those that are to be found. Pairs that are evaluated on are not trained
on. Every source is evaluated on the same pairs and normal images, as sources could not be compared otherwise: anomalib
draws both at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from seas_aug.anomalib_plugin.leakage import EVALUATION_SUBSETS, change_samples
from seas_aug.anomalib_plugin.pool import PoolEntry
from seas_aug.errors import SeasError

_LARGEST_SHARE = 4  # each synthetic set takes at most a quarter of the pairs


def synthetic_subsets(datamodule: Any) -> dict[str, int]:
    """Return the evaluation sets that anomalib filled with Perlin anomalies, and how many each has.

    Args:
        datamodule: an anomalib datamodule after its ``setup``.
    """
    from anomalib.data.utils.synthetic import SyntheticAnomalyDataset

    found = {name: getattr(datamodule, name, None) for name in EVALUATION_SUBSETS}
    return {
        name: int((dataset.samples["label_index"] == 1).sum())
        for name, dataset in found.items()
        if isinstance(dataset, SyntheticAnomalyDataset)
    }


def settle_normals(datamodule: Any, seed: int) -> None:
    """Choose the normal images of synthetic sets by a seed; anomalib draws which half of them becomes defects.

    Args:
        datamodule: an anomalib datamodule after its ``setup``.
        seed: the same seed chooses the same images of the same normal ones.
    """
    for name in synthetic_subsets(datamodule):
        dataset = getattr(datamodule, name)
        samples, source = dataset.samples, dataset.source_samples.sort_values("image_path")
        count = int((samples["label_index"] == 0).sum())
        order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
        columns = [column for column in samples.columns if column in source.columns]
        normals = source.iloc[sorted(order[:count].tolist())][columns]
        settled = pd.concat([normals, samples[samples["label_index"] == 1]], ignore_index=True)
        change_samples(dataset, settled.astype(samples.dtypes.to_dict()))


def fill_with_pairs(datamodule: Any, pairs: Sequence[PoolEntry], seed: int) -> list[PoolEntry]:
    """Put pairs into the synthetic sets of a datamodule.

    Args:
        datamodule: an anomalib datamodule after its ``setup``.
        pairs: what to choose from.
        seed: the same seed chooses the same pairs.

    Returns:
        Pairs that are not to be trained on: those that were put in, and others of the same photo and place.

    Raises:
        SeasError: there are too few pairs.
    """
    chosen = reserve(pairs, synthetic_subsets(datamodule), seed)
    for name, entries in chosen.items():
        replace_defects(getattr(datamodule, name), entries)
        print(f"seas-aug: {name} has {len(entries)} generated pairs instead of Perlin anomalies.", flush=True)
    return with_same_number(pairs, [entry for entries in chosen.values() for entry in entries])


def reserve(entries: Sequence[PoolEntry], wanted: dict[str, int], seed: int) -> dict[str, list[PoolEntry]]:
    """Choose the pairs to evaluate on.

    Pairs of the same number share photo and place whatever their type (:func:`~seas_aug.generate.plan.plan_image`), so
    that they go to one set together.

    Args:
        entries: pairs of a generated folder.
        wanted: how many each set would have; it gets at most a quarter of all pairs, at least one.
        seed: the same seed chooses the same pairs.

    Returns:
        Pairs of each set; none is in two of them.

    Raises:
        SeasError: there are too few pairs for each set to have one, and the training.
    """
    numbers: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        numbers.setdefault(entry.image.stem, []).append(index)
    names = list(numbers)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen: dict[str, list[PoolEntry]] = {}
    for name, count in wanted.items():
        most, taken = min(count, max(1, len(entries) // _LARGEST_SHARE)), list[int]()
        while order and len(taken) < most:
            taken += numbers[names[order.pop()]]
        if not taken or not order:  # what is left is for the training
            message = f"{len(entries)} pairs are too few for {', '.join(wanted)} and the training; generate more."
            raise SeasError(message)
        chosen[name] = [entries[index] for index in sorted(taken[:most])]
    return chosen


def with_same_number(entries: Sequence[PoolEntry], reserved: Sequence[PoolEntry]) -> list[PoolEntry]:
    """Return the reserved pairs and those of the same photo and place, which are not to be trained on either.

    Args:
        entries: pairs of a generated folder.
        reserved: some of them.
    """
    taken = {entry.image.stem for entry in reserved}
    return [entry for entry in entries if entry.image.stem in taken]


def replace_defects(dataset: Any, entries: Sequence[PoolEntry]) -> None:
    """Put pairs in the place of a set's defect images.

    Args:
        dataset: an anomalib dataset with at least as many defect images; those that are left over go.
        entries: pairs.
    """
    samples = dataset.samples
    defects = samples.index[samples["label_index"] == 1]
    changed = samples.drop(defects[len(entries) :]).copy()
    kept = defects[: len(entries)]
    changed.loc[kept, "image_path"] = [str(entry.image) for entry in entries]
    changed.loc[kept, "mask_path"] = [str(entry.mask) for entry in entries]
    change_samples(dataset, changed)
