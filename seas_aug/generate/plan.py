# SPDX-License-Identifier: Apache-2.0
"""Which images are to be made, and with which seeds: decided by name and index alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seas_aug.artifact.paths import NORMAL_FOLDER
from seas_aug.data.seeds import derive_seed
from seas_aug.errors import SeasError


@dataclass(frozen=True)
class PlannedImage:
    """One image to make.

    Args:
        anomaly_types: sorted names of the types; empty for a normal image.
        index: number of the image in its folder, from 0.
        seed: its own seed, in [0, 2**48).
        reference: index of the reference normal that it starts from.
    """

    anomaly_types: tuple[str, ...]
    index: int
    seed: int
    reference: int

    @property
    def folder(self) -> str:
        """Folder name: the type, ``a+b`` for recombined types, ``good`` for a normal image."""
        return folder_name(self.anomaly_types)


def folder_name(anomaly_types: Sequence[str]) -> str:
    """Return the folder that images of these types lie in.

    Args:
        anomaly_types: names of the types; empty for normal images.

    Returns:
        The sorted names joined by ``+``, or ``good``.
    """
    return "+".join(sorted(anomaly_types)) or NORMAL_FOLDER


def resolve_types(requested: Sequence[Sequence[str]] | None, known: Sequence[str]) -> list[tuple[str, ...]]:
    """Check the wanted anomaly types against those of the model.

    Args:
        requested: one list of names per folder, several names are recombined; None takes each known type alone.
        known: the types that the model was fine-tuned on.

    Returns:
        Sorted tuples of names without repetition, in the order of the request. A name with ``+`` in it that was split
        on the way here is put together again if it is a known type.

    Raises:
        SeasError: a type is not known.
    """
    if requested is None:
        return [(name,) for name in known]
    resolved: dict[tuple[str, ...], None] = {}
    for names in requested:
        if "+".join(names) in known:
            resolved[("+".join(names),)] = None
            continue
        for name in names or ("",):
            if name not in known:
                choice = ", ".join(known)
                message = (
                    f"unknown anomaly type {name!r}; expected one of {choice}, or several joined by +, correct it."
                )
                raise SeasError(message)
        resolved[tuple(sorted(set(names)))] = None
    return list(resolved)


def seeds_in_block(num_images: int) -> int:
    """Return how many seeds of a folder are tried for so many accepted pairs.

    A fixed number, so that the pairs of a folder are the same wherever they are drawn; half as many more than are
    wanted, since the gate rejects some, and each has been drawn again several times by then.
    """
    return num_images + max(4, num_images // 2)


def plan_image(names: tuple[str, ...], index: int, seed: int, references: Sequence[int]) -> PlannedImage:
    """Return what is decided about one image.

    Seed and reference depend on the base seed and the index only: more images, more types, another batch size or a
    restart change nothing about an image. Defect images of the same index have them in common whatever their type, so
    that types can be compared at one place; normal images have others. All references are used in turn.

    Args:
        names: anomaly types; empty for a normal image.
        index: number of the image in its folder, from 0.
        seed: base seed.
        references: indices of the normal images that are drawn on, one or more.
    """
    kind = "defect" if names else "normal"
    return PlannedImage(
        anomaly_types=tuple(sorted(names)),
        index=index,
        seed=derive_seed(seed, "image", kind, index),
        reference=references[(derive_seed(seed, "reference", kind) + index) % len(references)],
    )
