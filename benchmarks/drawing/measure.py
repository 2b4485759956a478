# SPDX-License-Identifier: Apache-2.0
"""All measures of one product, from what was drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

import numpy as np
import torch

from benchmarks.drawing.fills import feathered
from benchmarks.drawing.gate import GateRecord, measure_gate
from benchmarks.drawing.measuring import Measuring
from benchmarks.drawing.parts import part_windows
from benchmarks.drawing.products import applies
from seas_aug.evaluate.distribution import cluster_diversity, kernel_distance
from seas_aug.evaluate.follows_prompt import follows_prompt
from seas_aug.evaluate.mask_of_nothing import mask_of_nothing
from seas_aug.evaluate.measured import Measured, not_measured
from seas_aug.evaluate.novelty import novelty
from seas_aug.evaluate.null_cue import null_cue
from seas_aug.evaluate.prompt_copper import COPPER_ADDED, prompt_copper
from seas_aug.evaluate.recognised import recognised
from seas_aug.evaluate.severity import SEVERITIES, severity
from seas_aug.evaluate.visible import chance_level, visible
from seas_aug.evaluate.window_difference import grown
from seas_aug.evaluate.window_set import WindowSet, pick

_RIM = 1  # pixels around a real defect that its twin has no trace of; a soft rim comes to that


def measure_all(job: Measuring, keys: Collection[str] | None = None) -> dict[str, Measured]:
    """Return the figures of all measures that apply to the product.

    Args:
        job: what was drawn, and how it is looked at.
        keys: only these; None takes all.
    """
    found = {}
    for key, function in _MEASURES.items():
        if (keys is None or key in keys) and applies(key, job.product, len(job.material.unseen.anomaly_types)):
            found[key] = function(job)
    return found


def _visible(job: Measuring) -> Measured:
    m = job.material
    level = chance_level(m.null[0], m.null[1], m.drawn.masks)
    found = visible(m.drawn, m.null[1], level)
    if m.unseen_null is None:
        return found
    real = visible(m.unseen, m.unseen_null, level)
    return _with(found, real=real.value, real_by_type=real.by_type)


def _realism(job: Measuring) -> Measured:
    m = job.material
    paste, few = job.realism_of(m.placed), job.realism_of(m.few_shot)
    return _with(job.realism_of(m.drawn), placed_paste=paste.value, few_shot=few.value)


def _follows_prompt(job: Measuring) -> Measured:
    m = job.material
    if m.prompted_on is None:
        return not_measured("nothing was drawn with other prompts")
    drawn = {name: job.features.of(m.prompted_on.with_images(images)) for name, images in m.prompted.items()}
    return follows_prompt(job.features.of(m.unseen), m.unseen.types, drawn, m.prompted_on.groups)


def _recognised(job: Measuring) -> Measured:
    real, drawn = job.material.unseen, job.material.drawn
    first, second = job.features.of(real), job.features.of(drawn)
    return recognised(first, real.types, real.groups, second, drawn.types, drawn.groups)


def _prompt_copper(job: Measuring) -> Measured:
    m = job.material
    places = m.prompted_on
    prompts = [name for name in m.prompted if name in COPPER_ADDED]
    if places is None or not prompts:
        return not_measured("nothing was drawn with a type that adds or takes copper")
    rows = np.tile(np.arange(len(places)), len(prompts))
    images = np.concatenate([m.prompted[name] for name in prompts])
    types = np.repeat(prompts, len(places)).tolist()
    return prompt_copper(
        images,
        places.images[rows],
        places.masks[rows],
        types,
        pick(places.groups, rows),
        job.product.bright_copper,
    )


def _restored(job: Measuring) -> Measured:
    m = job.material
    if m.null_seen is None or m.null_hidden is None:  # a drawer that redraws what is there always sees it
        return job.restored_of(m.null[0])
    return _with(job.restored_of(m.null_hidden), reference_seen=job.restored_of(m.null_seen))


def _novelty(job: Measuring) -> Measured:
    return novelty(job.material.drawn, job.material.few_shot, job.material.unseen)


def _given(job: Measuring) -> WindowSet:
    m = job.material
    return m.drawn if m.given_masks is None else m.drawn.with_masks(m.given_masks)


def _mask_shapes(job: Measuring) -> Measured:
    given = _given(job)
    return _with(job.shapes_of(given), empty_masks=float((~given.masks.any((1, 2))).mean()))


def _mask_exact(job: Measuring) -> Measured:
    return job.exact_of(_given(job))


def _mask_iou(job: Measuring) -> Measured:
    found = job.material.unseen_found
    return not_measured("no masks were predicted") if found is None else job.iou_of(found)


def _mask_of_nothing(job: Measuring) -> Measured:
    m = job.material
    if m.null_found is None:
        return not_measured("no masks were predicted")
    return mask_of_nothing(m.null_found, m.mask_threshold, m.references.types, m.references.groups)


def _null_cue(job: Measuring) -> Measured:
    m = job.material
    train, test = m.cue_train, m.cue_test
    if train is None or test is None or m.cue_normals is None:
        return not_measured("no fills of unseen normals were drawn")
    sides = [(half.images, normals) for half, normals in zip((train, test), m.cue_normals, strict=True)]
    return null_cue(sides[0], train.masks, sides[1], test.masks, test.groups, updates=job.cue_updates)


def _gate(job: Measuring) -> Measured:
    m = job.material
    if job.gate is None:
        return not_measured("there is no gate")
    if m.unseen_null is None:
        return not_measured("no normal fills of real defects were drawn")

    # Pairs as they are given out: with the predicted mask, and the reference outside of it. What was drawn beyond is
    # cut off before, so that no seam is seen here, and real defects change nothing outside of their masks.
    masks = m.drawn.masks if m.given_masks is None else m.given_masks
    parts = part_windows(job.product, m.proposals) or [None] * len(m.drawn)
    rows = zip(m.drawn.images, m.references.images, masks, m.drawn.types, parts, strict=True)
    drawn = [GateRecord(feathered(old, new, mask), old, mask, name, part) for new, old, mask, name, part in rows]
    holes = grown(m.unseen.masks, _RIM)
    twins = zip(m.unseen.images, m.unseen_null, m.unseen.masks, m.unseen.types, holes, strict=True)
    real = [GateRecord(new, feathered(new, old, hole), mask, name) for new, old, mask, name, hole in twins]
    return measure_gate(job.gate, drawn, real, m.few_shot, m.drawn.groups, m.unseen.groups)


def _severity(job: Measuring) -> Measured:
    m = job.material
    if not m.severities:
        return not_measured("the model knows no severity")
    found = severity(m.severities, m.null[1], m.drawn.masks, m.drawn.types, m.drawn.groups)
    half, full = (job.realism_of(m.drawn.with_images(m.severities[SEVERITIES.index(value)])) for value in (0.5, 1.0))
    above = None if half.value is None or full.value is None else half.value - full.value
    return _with(found, realism_half_above_full=above)


def _recombined(job: Measuring) -> Measured:
    m = job.material
    if m.recombined is None or not len(m.recombined):
        return not_measured("no two types were drawn together")
    return job.recombined_of(m.recombined, list(m.recombined_types))


def _over_types(job: Measuring, figure: Callable[[WindowSet, WindowSet], float], other: WindowSet) -> Measured:
    m = job.material
    by_type = {}
    for name in m.drawn.anomaly_types:
        pair = m.drawn.of_type(name), other.of_type(name)
        if min(len(part) for part in pair) > 1:
            by_type[name] = figure(*pair)
    if not by_type:
        return not_measured("fewer than two windows of each type")
    value = float(np.mean(list(by_type.values())))
    return Measured(value, None, None, len(m.drawn), by_type, {"features": "efficientnet-lite0"})


def _kid(job: Measuring) -> Measured:
    def distance(drawn: WindowSet, real: WindowSet) -> float:
        first, second = (torch.from_numpy(job.features.of(part)) for part in (real, drawn))
        return kernel_distance(first, second, scaled=False)

    return _over_types(job, distance, job.material.unseen)


def _ic_lpips_a(job: Measuring) -> Measured:
    def diversity(drawn: WindowSet, few: WindowSet) -> float:
        first, second = (torch.from_numpy(job.features.of(part)) for part in (drawn, few))
        return cluster_diversity(first, second)

    return _over_types(job, diversity, job.material.few_shot)


def _with(found: Measured, **extra: object) -> Measured:
    return dataclasses.replace(found, extra={**found.extra, **extra})


_MEASURES: dict[str, Callable[[Measuring], Measured]] = {
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
    "gate": _gate,
    "severity": _severity,
    "recombined": _recombined,
    "kid": _kid,
    "ic_lpips_a": _ic_lpips_a,
}
