# SPDX-License-Identifier: Apache-2.0
"""Inputs whose answer is known: a measure that does not put them where it has to is mended first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.drawing.fills import blurred_holes, halves, noise_filled, relit_copies, shifted
from benchmarks.drawing.gate import Gate
from benchmarks.drawing.measure import measure_all
from benchmarks.drawing.measuring import Measuring
from benchmarks.drawing.products import applies
from seas_aug.evaluate.follows_prompt import followed_by_real, follows_prompt
from seas_aug.evaluate.mask_of_nothing import mask_of_nothing
from seas_aug.evaluate.measured import Measured, not_measured
from seas_aug.evaluate.novelty import novelty
from seas_aug.evaluate.null_cue import null_cue
from seas_aug.evaluate.prompt_copper import COPPER_ADDED, prompt_copper
from seas_aug.evaluate.recognised import recognised
from seas_aug.evaluate.restored import restored
from seas_aug.evaluate.severity import SEVERITIES, severity
from seas_aug.evaluate.visible import chance_level, visible
from seas_aug.evaluate.window_set import WindowSet

_SHIFT = 8  # pixels


def measure_controls(job: Measuring) -> dict[str, dict[str, Measured]]:
    """Return what the measures that apply to a product say of inputs whose answer is known.

    Args:
        job: what was drawn, and how it is looked at.
    """
    return {
        key: function(job)
        for key, function in _CONTROLS.items()
        if applies(key, job.product, len(job.material.unseen.anomaly_types))
    }


def _noise(job: Measuring, windows: WindowSet) -> WindowSet:
    return windows.with_images(job.material.codec(noise_filled(windows.images, windows.masks)))


def _halves(windows: WindowSet) -> tuple[WindowSet, WindowSet]:
    first, second = halves(windows)
    return windows.take(first), windows.take(second)


def _visible(job: Measuring) -> dict[str, Measured]:
    m = job.material
    level = chance_level(m.null[0], m.null[1], m.drawn.masks)
    null = visible(m.drawn.with_images(m.null[2]), m.null[1], level)
    shares = [null.by_type[name] * len(m.drawn.of_type(name)) for name in null.by_type]
    null = dataclasses.replace(null, extra={**null.extra, "pooled": sum(shares) / len(m.drawn)})
    return {
        "null": null,
        "noise": visible(_noise(job, m.references), m.null[1], level),
        "placed_paste": visible(m.placed, m.null[1], level),
    }


def _realism(job: Measuring) -> dict[str, Measured]:
    m = job.material
    paste = job.realism_of(m.placed)
    others = job.realism_of(*_halves(m.unseen))
    above = None if others.value is None or paste.value is None else others.value - paste.value
    noise = _noise(job, m.references)
    return {
        "noise": job.realism_of(WindowSet(noise.images, noise.masks, m.drawn.types, m.drawn.groups)),
        "null": job.realism_of(m.drawn.with_images(m.null[0])),
        "other_groups": dataclasses.replace(others, extra={**others.extra, "above_paste": above}),
        "placed_paste": paste,
        "few_shot": job.realism_of(m.few_shot),
    }


def _follows_prompt(job: Measuring) -> dict[str, Measured]:
    real, places = job.material.unseen, job.material.references
    features = job.features.of(real)
    same = {name: job.features.of(places) for name in real.anomaly_types}
    reached = followed_by_real(features, real.types, real.groups)
    return {
        "same_for_all": follows_prompt(features, real.types, same, places.groups),
        "real": Measured(reached, None, None, len(real)),
    }


def _recognised(job: Measuring) -> dict[str, Measured]:
    real = job.material.unseen
    features = job.features.of(real)
    one, other = _halves(real)
    some = features[[name == real.anomaly_types[0] for name in real.types]]
    kinds = real.anomaly_types
    repeated = np.concatenate([some] * len(kinds))
    labels = [name for name in kinds for _ in range(len(some))]
    groups = [str(row) for _ in kinds for row in range(len(some))]
    return {
        "same_for_all": recognised(features, real.types, real.groups, repeated, labels, groups),
        "other_groups": recognised(
            job.features.of(one), one.types, one.groups, job.features.of(other), other.types, other.groups
        ),
    }


def _prompt_copper(job: Measuring) -> dict[str, Measured]:
    places, bright = job.material.references, job.product.bright_copper
    kinds = [name for name in job.material.unseen.anomaly_types if name in COPPER_ADDED]
    rows = np.tile(np.arange(len(places)), len(kinds))
    windows = places.take(rows)
    types = np.repeat(kinds, len(places)).tolist()

    def told(filled: Callable[[str], float | None]) -> Measured:
        images = windows.images.copy()
        for row, name in enumerate(types):
            level = filled(name)
            if level is not None:
                images[row][windows.masks[row] > 0] = level
        return prompt_copper(images, windows.images, windows.masks, types, windows.groups, bright)

    metal, bare = (255, 0) if bright else (0, 255)
    return {
        "unchanged": told(lambda name: None),
        "same_for_all": told(lambda name: metal),
        "as_said": told(lambda name: metal if COPPER_ADDED[name] else bare),
    }


def _restored(job: Measuring) -> dict[str, Measured]:
    windows = job.material.references
    found = {
        "blurred": job.restored_of(blurred_holes(windows.images, windows.masks)),
        "noise": job.restored_of(_noise(job, windows).images),
    }
    if not job.product.copper:
        found["other_normals"] = _other_normals(job)
    return found


def _other_normals(job: Measuring) -> Measured:
    """Return what untouched windows of other images score.

    Compared are windows of the same type, each at its own place, where that type occurs: on a part with an outline a
    place of one image may lie beside the part in another one, and types lie at different places. Each image has one
    partner, and both are in the same fold: drawn on several times, it would else be known again by its texture.
    """
    one, other = _halves(job.material.references)
    rows: tuple[list[int], list[int]] = ([], [])
    groups: list[str] = []
    for pair in zip(dict.fromkeys(one.groups), dict.fromkeys(other.groups), strict=False):
        for name in one.anomaly_types:
            found = [_rows_of(half, group, name) for half, group in zip((one, other), pair, strict=True)]
            count = min(map(len, found))
            groups += ["+".join(pair)] * count
            for kept, there in zip(rows, found, strict=True):
                kept.extend(there[:count])
    if len(rows[0]) < 2:
        return not_measured("fewer than two windows in each half")
    one, other = dataclasses.replace(one.take(rows[0]), groups=groups), other.take(rows[1])
    return restored(one, other, job.features.of(one), job.features.of(other))


def _rows_of(windows: WindowSet, group: str, name: str) -> list[int]:
    places = enumerate(zip(windows.groups, windows.types, strict=True))
    return [row for row, place in places if place == (group, name)]


def _novelty(job: Measuring) -> dict[str, Measured]:
    m = job.material
    copies = relit_copies(m.few_shot)
    noise = _noise(job, m.references)
    return {
        "relit": novelty(copies.with_images(m.codec(copies.images)), m.few_shot, m.unseen),
        "noise": novelty(noise, m.few_shot, m.unseen),
        "placed_paste": novelty(m.placed, m.few_shot, m.unseen),
        "other_groups": _halves_novelty(m.unseen, m.few_shot),
    }


def _halves_novelty(unseen: WindowSet, few_shot: WindowSet) -> Measured:
    one, other = _halves(unseen)
    return novelty(one, few_shot, other)


def _mask_shapes(job: Measuring) -> dict[str, Measured]:
    drawn = job.material.drawn
    blob = np.repeat(drawn.masks[:1], len(drawn), axis=0)
    return {
        "one_blob": job.shapes_of(drawn.with_masks(blob)),
        "other_groups": job.shapes_of(*_halves(job.material.unseen)),
    }


def _mask_exact(job: Measuring) -> dict[str, Measured]:
    m = job.material
    noise = m.drawn.with_images(_noise(job, m.references).images)
    return {
        "noise": job.exact_of(noise),
        "shifted": job.exact_of(noise.with_masks(shifted(noise.masks, _SHIFT))),
        "placed_paste": job.exact_of(m.placed),
        "placed_paste_shifted": job.exact_of(m.placed.with_masks(shifted(m.placed.masks, _SHIFT))),
    }


def _mask_iou(job: Measuring) -> dict[str, Measured]:
    return {"whole_hole": job.iou_of(np.ones(job.material.unseen.masks.shape, np.float32))}


def _mask_of_nothing(job: Measuring) -> dict[str, Measured]:
    windows = job.material.references
    return {"hole": mask_of_nothing(windows.masks.astype(np.float32), 0.5, windows.types, windows.groups)}


def _null_cue(job: Measuring) -> dict[str, Measured]:
    m = job.material
    if m.cue_train is None or m.cue_test is None or m.cue_normals is None:
        return {}
    sides = [half.with_images(images) for half, images in zip((m.cue_train, m.cue_test), m.cue_normals, strict=True)]

    def told(train: WindowSet, test: WindowSet) -> Measured:
        pairs = [(half.images, untouched.images) for half, untouched in zip((train, test), sides, strict=True)]
        return null_cue(pairs[0], train.masks, pairs[1], test.masks, test.groups, updates=job.cue_updates)

    return {"untouched": told(*sides), "noise": told(*(_noise(job, side) for side in sides))}


def _severity(job: Measuring) -> dict[str, Measured]:
    m = job.material

    def told(images: list[Any]) -> Measured:
        return severity(images, m.null[1], m.drawn.masks, m.drawn.types, m.drawn.groups)

    # Black on light places and white on dark ones: further from any normal texture with every step.
    normal = m.null[0].astype(np.float32)
    inside = (m.drawn.masks > 0)[..., None]
    local = (normal * inside).sum((1, 2, 3)) / np.maximum(3 * inside.sum((1, 2, 3)), 1)
    opposite = np.where(inside, np.where(local > 127, 0, 255)[:, None, None, None], normal)
    blended = [np.round(normal + (opposite - normal) * share).astype(np.uint8) for share in SEVERITIES]
    return {"constant": told([m.drawn.images] * len(SEVERITIES)), "blended": told(blended)}


def _recombined(job: Measuring) -> dict[str, Measured]:
    real = job.material.unseen
    kinds = real.anomaly_types
    following = {name: kinds[(number + 1) % len(kinds)] for number, name in enumerate(kinds)}
    wanted = [tuple(sorted((name, following[name]))) for name in real.types]
    return {"one_of_two": job.recombined_of(real, wanted)}


def _gate(job: Measuring) -> dict[str, Measured]:
    def told(gate: Gate) -> Measured:
        return measure_all(dataclasses.replace(job, gate=gate), ["gate"])["gate"]

    return {"rejects_all": told(lambda record: ["rejected"]), "rejects_none": told(lambda record: [])}


_CONTROLS: dict[str, Callable[[Measuring], dict[str, Measured]]] = {
    "visible": _visible,
    "realism": _realism,
    "follows_prompt": _follows_prompt,
    "recognised": _recognised,
    "prompt_copper": _prompt_copper,
    "restored": _restored,
    "novelty": _novelty,
    "mask_shapes": _mask_shapes,
    "mask_exact": _mask_exact,
    "mask_iou": _mask_iou,
    "mask_of_nothing": _mask_of_nothing,
    "null_cue": _null_cue,
    "severity": _severity,
    "recombined": _recombined,
    "gate": _gate,
}
