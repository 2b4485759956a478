# SPDX-License-Identifier: Apache-2.0
"""Settings of drawing: those of a run, and what one call asks for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seas_aug.config.check import check

GuidanceFrom = Literal["normal", "empty"]
Background = Literal["reference", "generated"]
ReferenceLatent = Literal["mean", "sample"]
Fill = Literal["reference", "hole"]
HoleShape = Literal["exact", "coarse"]
HoleReference = Literal["seen", "hidden"]


@dataclass(frozen=True)
class SamplingConfig:
    """How images are drawn.

    Args:
        num_inference_steps: DPM-Solver++ steps (paper: 25; 15-20 are enough for this solver).
        guidance_scale: classifier-free guidance (paper: 8 for MVTec AD, 2 for VisA, 5 for MVTec 3D).
        guidance_from: what the guidance leads away from. ``normal``, the product's normal prompt: both sides know the
            product, so that their difference is the defect alone. ``empty``, the empty prompt (paper).
        strength: share of the noise that the reference normal starts with; 1 starts from almost pure noise as the
            paper does, lower values keep more of the reference outside the defect. Normal images, and defects that are
            not copied, start so; above 0.4 the embedded base draws blotches instead of a grain.
        reference_latent: which latent of a reference is noised: the ``mean`` of the autoencoder's posterior, which is
            the image itself as near as can be, or a ``sample`` of it (paper).
        copied_share: share of the defect images that start from the reference with a few-shot defect copied onto it,
            mirrored (and turned, with ``data.rotate``) and enlarged at random, in place of the reference alone (paper:
            0). A small base cannot invent a crack out of noise: it draws blotches there, while a copied defect it draws
            anew.
        fill: what the other defect images start from: the noised ``reference`` (paper), or nothing, in a ``hole`` of a
            proposed shape that is filled at full noise while the rest of the window stays what it is.
        hole_shape: with ``fill: hole``: an ``exact`` hole tells an inpainting base the shape, a ``coarse`` one leaves
            it to the model.
        hole_reference: with ``fill: hole``: whether an inpainting base sees the reference in the hole, so that the
            defect is drawn onto its texture, or it is hidden, as Stable Diffusion's checkpoints need it.
        copied_strength: strength of those images; more, and the embedded base loses the defect and the grain.
        mask_threshold: probability above which a pixel belongs to the defect (paper: 0.2, which makes up for masks that
            the authors' code shrinks by an integer cast, which the code here does not).
        mask_steps: the mask is the mean over this many last steps (paper: 3; at 20 steps the last two lie at the
            timesteps 100 and 50, where thin defects can be seen in small latents).
        background: ``reference`` puts the real normal image back around the mask, so that only the defect is generated;
            ``generated`` leaves the whole image as it was drawn (paper). The embedded base smooths a fine grain.
        max_retries: a pair that the gate rejects is drawn again with the next seed of its own sequence, so often; then
            its seed is given up. More than a few only cost time: what fails eight times fails for a reason. 0 draws
            every seed once (paper).
    """

    num_inference_steps: int = 20
    guidance_scale: float = 3.0
    guidance_from: GuidanceFrom = "normal"
    strength: float = 0.4
    reference_latent: ReferenceLatent = "mean"
    copied_share: float = 1.0
    fill: Fill = "reference"
    hole_shape: HoleShape = "exact"
    hole_reference: HoleReference = "seen"
    copied_strength: float = 0.15
    mask_threshold: float = 0.3
    mask_steps: int = 2
    background: Background = "reference"
    max_retries: int = 8

    def __post_init__(self) -> None:
        for name in ("strength", "copied_strength"):
            value = getattr(self, name)
            check(0 < value <= 1, f"sampling.{name} is {value}; give a number above 0 and up to 1.")
        check(0 <= self.copied_share <= 1, f"sampling.copied_share is {self.copied_share}; give a number from 0 to 1.")
        for name, known in (
            ("guidance_from", ("normal", "empty")),
            ("background", ("reference", "generated")),
            ("reference_latent", ("mean", "sample")),
            ("fill", ("reference", "hole")),
            ("hole_shape", ("exact", "coarse")),
            ("hole_reference", ("seen", "hidden")),
        ):
            value = getattr(self, name)
            check(value in known, f"sampling.{name} is {value!r}; give {known[0]!r} or {known[1]!r}.")
        check(
            self.num_inference_steps >= self.mask_steps >= 1,
            f"sampling.mask_steps is {self.mask_steps} of {self.num_inference_steps} steps; give 1 or more, and not "
            "more than num_inference_steps.",
        )


@dataclass(frozen=True)
class DrawConfig:
    """What one call asks for, beside types and seeds. None keeps the run's own setting.

    Args:
        strength: how much of every start is redrawn, whatever it starts from.
        guidance_scale: classifier-free guidance.
        num_inference_steps: solver steps.
        copied_share: share of the defect images that start from a copied defect.
        region: image file, or folder of such files named as the references are: defects lie only where it is not black.
        masks: folder (or one file) of masks of the references' own size: defects of these very shapes at these very
            places. Image i takes mask i, and starts again after the last.
        references: file names of the normal images that are drawn on, of those that the model holds.
        count: defects in an image: a number, or the least and the most.
        size: least and most extent of a defect in pixels of the image, which the gate holds masks to within a tenth (or
            2 pixels) of; None varies the few-shot defects' own.
        severity: how strongly a defect stands out against what a few-shot defect does, above 0 and up to 2.
        gate: reject pairs that look wrong, and draw them again.
    """

    strength: float | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    copied_share: float | None = None
    region: Path | None = None
    masks: Path | None = None
    references: tuple[str, ...] | None = None
    count: int | tuple[int, int] = 1
    size: tuple[float, float] | None = None
    severity: float = 1.0
    gate: bool = True

    def __post_init__(self) -> None:
        for name in ("region", "masks"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        if not isinstance(self.count, int):
            counts = tuple(self.count)
            check(len(counts) == 2, f"count is {self.count}; give a number, or the least and the most.")
            object.__setattr__(self, "count", counts[0] if counts[0] == counts[1] else counts)
        if self.references is not None:
            object.__setattr__(self, "references", tuple(self.references))
            check(len(self.references) > 0, "references is empty; name one or more, or leave it out.")
        low, high = self.counts
        check(1 <= low <= high, f"count is {self.count}; give 1 or more, or the least and the most.")
        if self.size is not None:
            object.__setattr__(self, "size", tuple(float(value) for value in self.size))
            fine = len(self.size) == 2 and 0 < self.size[0] <= self.size[1]
            check(fine, f"size is {self.size}; give the least and the most extent of a defect in pixels, above 0.")
        check(0 < self.severity <= 2, f"severity is {self.severity}; give a number above 0 and up to 2.")
        check(
            self.masks is None or (self.size is None and self.region is None and self.counts == (1, 1)),
            "masks says where, how large and how many defects are; leave out region, size and count.",
        )

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> DrawConfig:
        """Return the settings of plain values, as JSON has them: lists for tuples, text for paths."""
        known: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in values.items()}
        paths = {name: Path(known[name]) for name in ("region", "masks") if known.get(name) is not None}
        return cls(**{**known, **paths})

    @property
    def counts(self) -> tuple[int, int]:
        """Least and most defects of an image."""
        return (self.count, self.count) if isinstance(self.count, int) else (self.count[0], self.count[1])

    def over(self, sampling: SamplingConfig) -> SamplingConfig:
        """Return a run's settings with what this call asks for in their place.

        Args:
            sampling: the run's own.

        Raises:
            SeasError: a setting is out of range.
        """
        names = ("guidance_scale", "num_inference_steps", "copied_share")
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        given |= {"strength": self.strength, "copied_strength": self.strength}
        return dataclasses.replace(sampling, **{name: value for name, value in given.items() if value is not None})
