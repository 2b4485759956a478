# SPDX-License-Identifier: Apache-2.0
"""Everything that the measures look at, drawn once: defects, normal fills, pastes and what is found in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from benchmarks.drawing.cache import Cache
from benchmarks.drawing.drawer import Drawer, Pixels, Proposal, Reference, content_of
from benchmarks.drawing.fills import normal_twin
from benchmarks.drawing.windows import ProductWindows
from seas_aug.evaluate.severity import SEVERITIES
from seas_aug.evaluate.window_difference import grown
from seas_aug.evaluate.window_set import WindowSet

SEEDS = tuple(range(100))
"""Of every type; null fills take the same ones, for further fills the following are added."""
OTHER_SEED, THIRD_SEED = 10_000, 20_000
QUICK = 30
_GROWN = 4  # pixels around a real defect that are filled too
_CUE_TESTS = 60  # fills of unseen normals


@dataclass(frozen=True)
class Material:
    """Windows of one product, all through the autoencoder.

    Attributes:
        few_shot: real defects that were trained on.
        unseen: real defects that were not.
        drawn: drawn windows, with the masks that they were drawn into; the group is the file of the reference, so that
            no classifier knows a background again.
        placed: the same masks and places with few-shot texture, likewise.
        proposals: what ``drawn`` was drawn from, row by row.
        references: normal windows that were drawn on, uint8 ``[N, S, S, 3]``, with the masks and, as groups, their
            files.
        null: normal fills of the same holes, likewise, in three seeds.
        codec: what the autoencoder makes of windows.
        given_masks: masks as they are given out with the drawn windows, uint8 ``[N, S, S]``; some may be empty.
        null_seen: fills with the reference seen, of a drawer that can hide it.
        null_hidden: fills with the reference hidden, likewise.
        unseen_null: normal fills of the unseen defects' grown masks, uint8 ``[M, S, S, 3]``.
        prompted: per type, drawings of its prompt in masks of all types.
        prompted_on: their references, masks and groups.
        cue_train: normal fills of training images with their holes.
        cue_test: of unseen ones.
        cue_normals: both kinds of windows, untouched.
        severities: drawn windows per severity, on the masks of ``drawn``.
        recombined: drawn windows of two types, with united masks.
        recombined_types: both types of each.
        unseen_found: probabilities in the unseen windows, ``[M, S, S]``.
        null_found: in the normal fills, ``[N, S, S]``.
        mask_threshold: probability above which a pixel belongs to a defect.
    """

    few_shot: WindowSet
    unseen: WindowSet
    drawn: WindowSet
    placed: WindowSet
    references: WindowSet
    null: tuple[Pixels, Pixels, Pixels]
    codec: Callable[[Pixels], Pixels]
    proposals: Sequence[Proposal] = ()
    given_masks: Pixels | None = None
    null_seen: Pixels | None = None
    null_hidden: Pixels | None = None
    unseen_null: Pixels | None = None
    prompted: Mapping[str, Pixels] = field(default_factory=dict)
    prompted_on: WindowSet | None = None
    cue_train: WindowSet | None = None
    cue_test: WindowSet | None = None
    cue_normals: tuple[Pixels, Pixels] | None = None
    severities: Sequence[Pixels] = ()
    recombined: WindowSet | None = None
    recombined_types: Sequence[tuple[str, ...]] = ()
    unseen_found: NDArray[np.float32] | None = None
    null_found: NDArray[np.float32] | None = None
    mask_threshold: float = 0.5


def draw_material(drawer: Drawer, windows: ProductWindows, count: int, cache: Cache, cue: bool = True) -> Material:
    """Draw everything.

    Args:
        drawer: the model.
        windows: real ones of its size.
        count: seeds of each type, up to 100.
        cache: of what was drawn.
        cue: draw what ``null_cue`` needs as well.
    """
    studio = _Studio(drawer, cache)
    types = windows.unseen.anomaly_types
    seeds = SEEDS[:count]
    proposals = [one for name in types for one in drawer.propose(name, seeds)]
    prompts = [(one.anomaly_type,) for one in proposals]
    masks, labels = np.stack([one.mask for one in proposals]), [one.anomaly_type for one in proposals]
    files = [one.reference_name for one in proposals]
    drawn = WindowSet(studio.draw(proposals, prompts), masks, labels, files)
    references = WindowSet(studio.codec(np.stack([one.reference for one in proposals])), masks, labels, files)
    null = (studio.null(proposals), studio.null(proposals, OTHER_SEED), studio.null(proposals, THIRD_SEED))
    unseen = windows.unseen
    chosen = _of_all_types(proposals, len(seeds))
    tests = _on_others(proposals, windows.test_normals) if cue else []
    severe = drawer.has_severity and len(types) > 1
    both, both_types = studio.two_types(proposals, types, len(seeds)) if len(types) > 1 else (None, [])
    return Material(
        few_shot=windows.few_shot.with_images(studio.codec(windows.few_shot.images)),
        unseen=unseen.with_images(studio.codec(unseen.images)),
        drawn=drawn,
        placed=drawn.with_images(studio.codec(np.stack([one.start for one in proposals]))),
        references=references,
        null=null,
        codec=studio.codec,
        proposals=proposals,
        given_masks=studio.masks_of(proposals, drawn.images),
        null_seen=studio.null(proposals, reference="seen") if drawer.fills_holes else None,
        null_hidden=studio.null(proposals, reference="hidden") if drawer.fills_holes else None,
        unseen_null=studio.unseen_null(unseen, windows.train_normals.images),
        prompted={name: studio.draw([proposals[i] for i in chosen], [(name,)] * len(chosen)) for name in types}
        if len(types) > 1
        else {},
        prompted_on=references.take(chosen) if len(types) > 1 else None,
        cue_train=references.with_images(null[0]) if cue else None,
        cue_test=_as_set(tests, studio.null(tests)) if cue else None,
        cue_normals=(references.images, studio.codec(np.stack([one.reference for one in tests]))) if cue else None,
        severities=[studio.draw(proposals, prompts, severity=value) for value in SEVERITIES] if severe else (),
        recombined=both,
        recombined_types=both_types,
        unseen_found=studio.find(unseen.images, unseen.types),
        null_found=studio.find(null[0], labels),
        mask_threshold=drawer.mask_threshold,
    )


class _Studio:
    """A drawer whose every result is kept."""

    def __init__(self, drawer: Drawer, cache: Cache) -> None:
        self.drawer, self.cache = drawer, cache

    def draw(
        self,
        proposals: Sequence[Proposal],
        prompts: Sequence[tuple[str, ...]],
        shift: int = 0,
        reference: Reference = "own",
        severity: float = 1.0,
    ) -> Pixels:
        seeds = [one.seed + shift for one in proposals]
        made_by = {
            "drawer": self.drawer.name,
            "on": content_of(proposals),
            "prompts": [list(types) for types in prompts],
            "seeds": seeds,
            "reference": reference,
            "severity": severity,
        }
        return self.cache.get(made_by, lambda: self.drawer.draw(proposals, prompts, seeds, reference, severity))

    def null(self, proposals: Sequence[Proposal], shift: int = 0, reference: Reference = "own") -> Pixels:
        """Fill normal texture in. A drawer that redraws what is there has to start without the paste."""
        return self.draw(proposals, [()] * len(proposals), shift, reference if self.drawer.fills_holes else "seen")

    def unseen_null(self, unseen: WindowSet, normals: Pixels) -> Pixels:
        """Fill the grown masks of real defects; where no hole can be filled, of their twins without the defect."""
        holes = grown(unseen.masks, _GROWN)
        images = unseen.images
        if not self.drawer.fills_holes:
            made_by = {"twins": content_of([_at(image, hole) for image, hole in zip(images, holes, strict=True)])}
            images = self.cache.get(
                {**made_by, "of": self.drawer.name},
                lambda: np.stack([normal_twin(*pair, normals) for pair in zip(unseen.images, holes, strict=True)]),
            )
        proposals = [
            replace(_at(image, hole), anomaly_type=name, seed=seed)
            for seed, (image, hole, name) in enumerate(zip(images, holes, unseen.types, strict=True))
        ]
        return self.null(proposals, reference="hidden")

    def two_types(
        self, proposals: Sequence[Proposal], types: Sequence[str], count: int
    ) -> tuple[WindowSet, list[tuple[str, ...]]]:
        """Draw two types into two masks of one window."""
        of_type = {name: [one for one in proposals if one.anomaly_type == name] for name in types}
        pairs = list(combinations(types, 2))
        made: list[Proposal] = []
        names: list[tuple[str, ...]] = []
        for number in range(count):
            pair = pairs[number % len(pairs)]
            first, second = (of_type[name][(number // len(pairs) + number) % len(of_type[name])] for name in pair)
            apart = np.where((grown(first.mask[None], 3)[0] == 0) & (second.mask > 0), 1, 0).astype(np.uint8)
            if apart.sum() < 0.5 * second.mask.sum():
                continue
            start = np.where(apart[..., None] > 0, second.start, first.start)
            made.append(replace(first, mask=np.maximum(first.mask, apart), start=start))
            names.append(pair)
        return _as_set(made, self.draw(made, names) if made else None), names

    def codec(self, images: Pixels) -> Pixels:
        made_by = {"codec": self.drawer.name, "of": content_of([_at(image) for image in images])}
        return self.cache.get(made_by, lambda: self.drawer.through_codec(images))

    def masks_of(self, proposals: Sequence[Proposal], images: Pixels) -> Pixels:
        made_by = {
            "masks": self.drawer.name,
            "on": content_of(proposals),
            "of": content_of([_at(image) for image in images]),
        }
        return self.cache.get(made_by, lambda: self.drawer.masks_of(proposals, images))

    def find(self, images: Pixels, types: Sequence[str]) -> NDArray[np.float32]:
        made_by = {
            "find": self.drawer.name,
            "types": list(types),
            "of": content_of([_at(image) for image in images]),
        }
        return self.cache.get(made_by, lambda: self.drawer.find_masks(images, types))


def _at(image: Pixels, mask: Pixels | None = None) -> Proposal:
    return Proposal(image, image, np.zeros(image.shape[:2], np.uint8) if mask is None else mask, "", 0, "", "")


def _as_set(proposals: Sequence[Proposal], images: Pixels | None) -> WindowSet:
    size = proposals[0].mask.shape if proposals else (1, 1)
    pictures = np.zeros((0, *size, 3), np.uint8) if images is None else images
    masks = np.stack([one.mask for one in proposals]) if proposals else np.zeros((0, *size), np.uint8)
    names = [one.anomaly_type for one in proposals]
    return WindowSet(pictures, masks, names, [one.reference_name for one in proposals])


def _of_all_types(proposals: Sequence[Proposal], count: int) -> list[int]:
    """Return places taken at random from all types, the same ones every time."""
    order = np.random.default_rng(0).permutation(len(proposals))
    return sorted(int(row) for row in order[:count])


def _on_others(proposals: Sequence[Proposal], normals: WindowSet) -> list[Proposal]:
    """Return the holes of proposals in unseen normal windows."""
    rows = np.random.default_rng(1).permutation(len(proposals))[:_CUE_TESTS]
    return [
        replace(
            proposals[row],
            reference=normals.images[index % len(normals)],
            start=normals.images[index % len(normals)],
            reference_name=normals.groups[index % len(normals)],
        )
        for index, row in enumerate(rows)
    ]
