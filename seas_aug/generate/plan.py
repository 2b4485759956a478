# SPDX-License-Identifier: Apache-2.0
"""Which images are to be made, and with which seeds: decided by name and index alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from seas_aug.data.seeds import derive_seed
from seas_aug.errors import SeasError

NORMAL_FOLDER = "good"


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


def plan_images(
    types: Sequence[tuple[str, ...]], num_images: int, normal: bool, seed: int, num_references: int
) -> list[PlannedImage]:
    """List all images of a run, folder after folder.

    Seed and reference depend on the base seed, the folder and the index only: more images, more types, another batch
    size or a restart change nothing about an image. Within a folder all references are used in turn; each folder
    starts at another one.

    Args:
        types: from :func:`resolve_types`.
        num_images: images per folder.
        normal: whether normal images are made too, as many.
        seed: base seed.
        num_references: how many reference normals the model holds.

    Returns:
        ``num_images`` entries per folder.

    Raises:
        SeasError: ``num_images`` is less than 1.
    """
    if num_images < 1:
        raise SeasError(f"num_images is {num_images}; expected 1 or more per type, correct it.")
    return [
        plan_image(names, index, seed, num_references)
        for names in [*types, *([()] if normal else [])]
        for index in range(num_images)
    ]


def plan_image(names: tuple[str, ...], index: int, seed: int, num_references: int) -> PlannedImage:
    """Return what is decided about one image.

    Args:
        names: anomaly types; empty for a normal image.
        index: number of the image in its folder, from 0.
        seed: base seed.
        num_references: how many reference normals the model holds.
    """
    folder = folder_name(names)
    return PlannedImage(
        anomaly_types=tuple(sorted(names)),
        index=index,
        seed=derive_seed(seed, "image", folder, index),
        reference=(derive_seed(seed, "reference", folder) + index) % num_references,
    )


def batches(planned: Sequence[PlannedImage], batch_size: int) -> Iterator[list[PlannedImage]]:
    """Cut a plan into batches that each lie in one folder.

    Args:
        planned: in folder order.
        batch_size: most images per batch.

    Yields:
        Non-empty lists.

    Raises:
        SeasError: ``batch_size`` is less than 1.
    """
    if batch_size < 1:
        raise SeasError(f"batch_size is {batch_size}; expected 1 or more, correct it.")
    batch: list[PlannedImage] = []
    for image in planned:
        if batch and (len(batch) == batch_size or batch[0].folder != image.folder):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch
