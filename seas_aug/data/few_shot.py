# SPDX-License-Identifier: Apache-2.0
"""Which defect images are fine-tuned on, and which stay unseen for validation and test."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from seas_aug.data.category import Category, DefectSample
from seas_aug.data.decode import content_hash
from seas_aug.data.groups import Groups, check_rows, read_groups
from seas_aug.errors import SeasError

__all__ = ["FewShotSplit", "content_hash", "select_few_shot"]


@dataclass(frozen=True)
class FewShotSplit:
    """The defect images of a category, divided.

    Args:
        few_shot: fine-tuned on, per type; only types with at least one image, in alphabetical order.
        held_out: never seen, per type of the category; a type may have none left.
        excluded: images (defect or normal) that share a group with one that is fine-tuned on without being one; they
            are neither trained on nor may they appear in validation or test.
    """

    few_shot: dict[str, tuple[DefectSample, ...]]
    held_out: dict[str, tuple[DefectSample, ...]]
    excluded: tuple[Path, ...] = field(default=())

    @property
    def anomaly_types(self) -> tuple[str, ...]:
        """The types that are fine-tuned on, in alphabetical order."""
        return tuple(self.few_shot)

    @property
    def samples(self) -> tuple[DefectSample, ...]:
        """All few-shot samples, type after type."""
        return tuple(sample for samples in self.few_shot.values() for sample in samples)


def select_few_shot(category: Category, few_shot: str, groups: Path | Groups | None = None) -> FewShotSplit:
    """Divide the defect images of a category into few-shot, held out and excluded ones.

    A fraction f takes the first ``max(1, floor(n * f))`` of each type's n images by name (0.3333 counts as 1/3), a
    whole number above 1 so many of them; with groups it walks the groups in the order of their first image and takes
    whole ones until that number is reached. A file lists the few-shot images per type; types that it leaves out are
    not fine-tuned on and stay held out.

    Args:
        category: what to divide.
        few_shot: a share in (0, 1], a whole number of images of each type above 1, or the path of a JSON file
            ``{type: {"few_shot": [file names], ...}}``.
        groups: CSV with the columns ``folder,file,group``; None takes ``groups.csv`` in the category's folder if it
            is there, else the groups that the data set itself tells. No group has an image in ``few_shot`` and one in
            ``held_out``. Or what :func:`find_groups` returned.

    Returns:
        The split; every defect image of the category is in exactly one of the three parts.

    Raises:
        SeasError: the number or file is wrong, names an unknown type or image, selects nothing, or divides a group.
    """
    membership = groups if isinstance(groups, Groups) else find_groups(category, groups)
    number = _parse_number(few_shot)
    if number is None:
        chosen = _from_list(category, Path(few_shot))
        _check_undivided(category, chosen, membership, Path(few_shot))
    else:
        chosen = {t: _leading(samples, number, membership) for t, samples in category.defects.items()}
    images = {sample.image for samples in chosen.values() for sample in samples}
    taken = {membership.of(image) for image in images}
    held_out = {
        anomaly_type: tuple(s for s in samples if s.image not in images and membership.of(s.image) not in taken)
        for anomaly_type, samples in category.defects.items()
    }
    kept = images | {sample.image for samples in held_out.values() for sample in samples}
    others = [sample.image for samples in category.defects.values() for sample in samples if sample.image not in kept]
    others += [path for path in category.test_others if membership.of(path) in taken]
    return FewShotSplit(few_shot=chosen, held_out=held_out, excluded=tuple(others))


def find_groups(category: Category, path: Path | None, others: Sequence[Path] = ()) -> Groups:
    """Return which images show the same part; rows of a file that name no image are told.

    Args:
        category: its own groups, or the ``groups.csv`` in its folder, are taken where ``path`` is None.
        path: CSV with the columns ``folder,file,group``.
        others: images beside those of the category that rows may name.

    Raises:
        SeasError: the file cannot be read, or lists none of the images, or ``path`` none of the defect images.
    """
    automatic = category.root / "groups.csv" if category.root else None
    source = path or (automatic if automatic and automatic.is_file() else None)
    if source is None:
        return category.groups
    groups = read_groups(source)
    defects = [sample.image for samples in category.defects.values() for sample in samples]
    images = (*defects, *category.normals, *category.test_others, *others)
    if path is not None and not any(groups.lists(image) for image in defects):
        message = (
            f"{path}: lists none of the defect images of {category.name}; expected rows such as "
            f"test/{defects[0].parent.name},{defects[0].name},A, correct it."
        )
        raise SeasError(message)
    check_rows(groups, images, source)
    return groups


def _parse_number(text: str) -> Fraction | int | None:
    """Return the share to take, the number of images of each type, or None if ``text`` is no number and so a file."""
    try:
        value = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        return None
    if value > 1 and value.denominator == 1:
        return int(value)
    if not 0 < value <= 1:
        message = (
            f"few_shot is {text}; expected a share above 0 and up to 1, a whole number of images of each type above 1, "
            "or the path of a split.json file."
        )
        raise SeasError(message)
    simple = value.limit_denominator(12)  # 0.3333 of 300 images is meant to be 100, not 99
    return simple if abs(simple - value) < Fraction(1, 2000) else value


def _leading(samples: tuple[DefectSample, ...], number: Fraction | int, groups: Groups) -> tuple[DefectSample, ...]:
    share = isinstance(number, Fraction)
    wanted = max(1, math.floor(len(samples) * number)) if share else min(len(samples), int(number))
    members: dict[str, list[DefectSample]] = {}
    for sample in samples:
        members.setdefault(groups.of(sample.image), []).append(sample)
    chosen: set[DefectSample] = set()
    for group in members.values():
        if len(chosen) >= wanted:
            break
        chosen.update(group)
    return tuple(sample for sample in samples if sample in chosen)


def _from_list(category: Category, path: Path) -> dict[str, tuple[DefectSample, ...]]:
    listed = _read_list(path)
    chosen: dict[str, tuple[DefectSample, ...]] = {}
    for anomaly_type, names in listed.items():
        if anomaly_type not in category.defects:
            known = ", ".join(category.anomaly_types)
            message = f"{path}: unknown anomaly type {anomaly_type}; expected one of {known}, correct the file."
            raise SeasError(message)
        samples = category.defects[anomaly_type]
        unknown = sorted(names - {sample.image.name for sample in samples})
        if unknown:
            message = (
                f"{path}: {anomaly_type} has no image {unknown[0]}; expected names of its {len(samples)} images "
                f"such as {samples[0].image.name}, correct the file."
            )
            raise SeasError(message)
        chosen[anomaly_type] = tuple(sample for sample in samples if sample.image.name in names)
    result = {anomaly_type: chosen[anomaly_type] for anomaly_type in category.defects if chosen.get(anomaly_type)}
    if not result:
        raise SeasError(f"{path}: selects no image; expected at least 1 file name under few_shot of a type, add it.")
    return result


def _read_list(path: Path) -> dict[str, set[str]]:
    expected = 'expected JSON such as {"crack": {"few_shot": ["000.png"]}}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = (
            f"{path}: data.few_shot is neither a number nor a file that can be read ({error.strerror}); {expected}"
        )
        raise SeasError(message + ", or give a number such as 0.3333.") from error
    except ValueError as error:
        raise SeasError(f"{path}: no valid JSON ({error}); {expected}, correct the file.") from error
    if not isinstance(content, dict):
        raise SeasError(f"{path}: holds a {type(content).__name__}; {expected}, correct the file.")
    listed = {}
    for anomaly_type, entry in content.items():
        names = entry.get("few_shot") if isinstance(entry, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise SeasError(f"{path}: {anomaly_type} has no list of file names; {expected}, correct the file.")
        listed[anomaly_type] = set(names)
    return listed


def _check_undivided(
    category: Category, chosen: dict[str, tuple[DefectSample, ...]], groups: Groups, path: Path
) -> None:
    for anomaly_type, samples in chosen.items():
        selected = {sample.image for sample in samples}
        taken = {groups.of(image): image for image in selected}
        for sample in category.defects[anomaly_type]:
            group = groups.of(sample.image)
            if group in taken and sample.image not in selected:
                message = (
                    f"{path}: divides {group} of {anomaly_type}: {taken[group].name} is few-shot and "
                    f"{sample.image.name} is not; expected whole groups, list all of it or none."
                )
                raise SeasError(message)
