# SPDX-License-Identifier: Apache-2.0
"""Twins: the same picture with and without a defect, so that a model can learn to draw one onto the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seas_aug.base.renderer.defects import DEFECTS
from seas_aug.base.renderer.noise import Field
from seas_aug.base.renderer.parts import PARTS, render_part
from seas_aug.base.renderer.scene import add_defect, camera
from seas_aug.base.renderer.surfaces import SURFACES, lighting

if TYPE_CHECKING:
    from seas_aug.base.renderer.photographs import Photographs

FAINT, STRONG = "faint", "strong"  # words for how much a defect changes
_FAINT_BELOW, _STRONG_FROM = 0.08, 0.2  # mean change inside the mask, of the full range
_LEAST_CHANGE = 0.03  # less is hardly seen beneath the camera's noise
_RETRIES = 4


@dataclass(frozen=True)
class Twin:
    """One scene, photographed before and after its defect appeared, with the same focus, exposure and noise.

    Attributes:
        reference: uint8 ``[size, size, 3]``, RGB, without a defect.
        image: the same with it.
        mask: bool ``[size, size]``, where the defect is; not empty.
        noun: what is shown, in plain words.
        defects: one or two keys of ``DEFECTS``.
        change: mean absolute difference inside the mask before the camera, in [0, 1].
    """

    reference: NDArray[np.uint8]
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    noun: str
    defects: tuple[str, ...]
    change: float


def render_twin(
    seed: int,
    size: int,
    photographs: Photographs | None = None,
    photograph_share: float = 0.55,
    both_share: float = 0.1,
) -> Twin:
    """Render one twin.

    Args:
        seed: the same seed gives the same pictures.
        size: side in pixels.
        photographs: real surfaces, on some of which defects are rendered; None renders surfaces only.
        photograph_share: of the scenes on a photograph, where there are some.
        both_share: of the scenes with two kinds of defect.
    """
    rng = np.random.default_rng(seed)
    while True:
        image, support, noun = _backdrop(rng, size, photographs, photograph_share)
        if not (support > 0.5).any():
            continue
        wanted = 2 if rng.random() < both_share else 1
        changed, mask, names = _with_defects(rng, image, support, wanted)
        if names:
            break
    change = float(np.abs(changed - image).mean(axis=-1)[mask].mean())
    shot = int(rng.integers(2**63))
    reference, picture = (camera(np.random.default_rng(shot), version) for version in (image, changed))
    return Twin(reference, picture, mask, noun, names, change)


def twin_prompts(twin: Twin, rng: np.random.Generator) -> tuple[str, str]:
    """Return one wording for the defect and one for the normal picture.

    Args:
        twin: what they describe.
        rng: now and then ``object`` stands for what is shown, ``defect`` for its kind, and one defect gets a word for
            how much it changes.
    """
    noun = "object" if rng.random() < 0.3 else twin.noun
    names = [str(name) for name in twin.defects]
    if len(names) == 1 and rng.random() < 0.1:
        names = ["defect"]
    words = " and ".join(names)
    if len(names) == 1 and rng.random() < 0.6:
        words = " ".join(filter(None, (strength_word(twin.change), words)))
    return f"a {noun} with {words}", f"a {noun}"


def strength_word(change: float) -> str:
    """Return ``faint``, ``strong`` or nothing for a mean change in [0, 1]."""
    return FAINT if change < _FAINT_BELOW else STRONG if change >= _STRONG_FROM else ""


def twin_words(materials: Sequence[str] = ()) -> list[str]:
    """Return every word that a prompt can hold, sorted: the vocabulary of the tokenizer.

    Args:
        materials: names of the photographed surfaces.
    """
    nouns = " ".join([*SURFACES, *PARTS, *DEFECTS, *materials])
    return sorted({"a", "with", "and", "object", "defect", "good", "photo", "of", FAINT, STRONG, *nouns.split()})


def _backdrop(
    rng: np.random.Generator, size: int, photographs: Photographs | None, photograph_share: float
) -> tuple[Field, Field, str]:
    """Return a normal picture ``[size, size, 3]``, where its product is ``[size, size]``, and its noun."""
    if photographs is not None and rng.random() < photograph_share:
        image, noun = photographs.cut(rng, size)
        support = np.ones((size, size), np.float32)
        light = lighting(rng, size, rng.uniform(0, 0.2))
    elif rng.random() < 0.5:
        noun = str(rng.choice(list(PARTS)))
        image, support = render_part(rng, size, noun)
        light = lighting(rng, size, rng.uniform(0, 0.5))
    else:
        noun = str(rng.choice(list(SURFACES)))
        image, support = SURFACES[noun](rng, size), np.ones((size, size), np.float32)
        light = lighting(rng, size, rng.uniform(0, 0.5))
    return np.clip(image * light, 0, 1).astype(np.float32), support, noun


def _with_defects(
    rng: np.random.Generator, image: Field, support: Field, wanted: int
) -> tuple[Field, NDArray[np.bool_], tuple[str, ...]]:
    """Return the picture with up to ``wanted`` kinds of defect that can be seen, their mask and their names."""
    changed, mask = image, np.zeros(image.shape[:2], bool)
    names: list[str] = []
    for name in map(str, rng.permutation(list(DEFECTS))):  # the next kind where one cannot be seen
        for _ in range(_RETRIES):
            attempt, cover = add_defect(rng, changed.copy(), support, name)
            attempt, new = np.clip(attempt, 0, 1).astype(np.float32), cover > 0.5
            if new.any() and np.abs(attempt - changed).mean(axis=-1)[new].mean() >= _LEAST_CHANGE:
                changed, mask = attempt, mask | new
                names.append(name)
                break
        if len(names) == wanted:
            break
    return changed, mask, tuple(names)
