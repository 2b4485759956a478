# SPDX-License-Identifier: Apache-2.0
"""What departs from the published method and is said by no setting but ``official``."""

from __future__ import annotations

from dataclasses import dataclass

from seas_aug.config import FineTuneConfig
from seas_aug.presets import Dataset


@dataclass(frozen=True)
class Departure:
    """One thing that is not done as published.

    Attributes:
        what: the thing: a dotted setting, or a part of the method.
        paper: what the paper or its authors' code does.
        here: what is done instead.
        reason: why.
    """

    what: str
    paper: str
    here: str
    reason: str


def in_code(config: FineTuneConfig, dataset: Dataset) -> tuple[Departure, ...]:
    """Return those that there are with some settings on a dataset of the paper."""
    return (() if config.official else UNLESS_OFFICIAL) + ALWAYS + (ON_VISA if dataset == "visa" else ())


UNLESS_OFFICIAL = (
    Departure(
        "scale of attention maps in the DA loss",
        "one minimum and maximum for the batch",
        "each image has its own, and an image without a defect counts as 0",
        "the loss of an image does not depend on its batch mates",
    ),
    Departure(
        "masks in the DA loss",
        "bilinear through 64 x 64, so that edges are fractional and thin defects vanish",
        "a cell is set where any of its pixels is",
        "a crack narrower than a cell is supervised too",
    ),
    Departure(
        "normalisation in the mask branch",
        "batch statistics over anomaly and normal images jointly, when drawing too",
        "group normalisation",
        "a mask does not depend on the images that are drawn with it",
    ),
    Departure(
        "first bias of the mask branch's head",
        "by chance, near 0",
        "odds of 49 to 1 that a pixel is normal",
        "focal loss learns this slowly (Lin et al. 2017, section 4.1)",
    ),
    Departure(
        "latents that stage 2 decodes",
        "z of one random DDPM step further",
        "z at the timestep of the U-Net's features",
        "so are they where masks are read while drawing",
    ),
    Departure(
        "targets in stage 2",
        "an integer cast: any value below 1 is background",
        "above one half; a coarse cell is set where any of its pixels is",
        "the cast shrinks masks and deletes tiny ones",
    ),
    Departure(
        "start of sampling",
        "the unscaled latent, noised by a schedule of 1500 steps",
        "the scaled latent, noised to the first timestep's level",
        "the model is told the noise that there is",
    ),
    Departure(
        "end of sampling",
        "at timestep 0's noise",
        "at no noise",
        "what noise is left would be decoded into the image",
    ),
    Departure(
        "grey products",
        "come out in colour",
        "come out grey",
        "the autoencoder's tint would tell generated images from real ones",
    ),
)
ALWAYS = (
    Departure(
        "trained embeddings",
        "every row of the token table, with weight decay",
        "the new rows",
        "the other words have no part in the method and would drift",
    ),
    Departure(
        "optimiser",
        "AdamW with 8-bit states",
        "AdamW with float32 states",
        "8 bits save memory only, and need bitsandbytes and a GPU",
    ),
    Departure(
        "numbers that are not finite",
        "reach the weights; a batch without a wholly marked cell gives NaN",
        "such an update is left out; such a batch counts as 0",
        "one NaN would end the training",
    ),
    Departure(
        "scaling of images and masks",
        "bilinear",
        "images by area (bicubic when enlarged), masks by covered area to 0 and 1",
        "nothing is aliased, and no thin defect is lost",
    ),
    Departure(
        "choice of normal images",
        "the first that the file system lists, at most one per anomaly image and always beside it; of anomaly images "
        "that do not divide 60 the first come more often",
        "evenly spread over the sorted list, drawn independently of the anomalies",
        "the published number is used, the same on every disk",
    ),
    Departure(
        "precision of drawing",
        "float16",
        "float32",
        "float16 overflows in the mask branch, a likely cause of black masks",
    ),
    Departure(
        "references of generated images",
        "the same first 10 normal images",
        "all normal images of the run in turn",
        "more backgrounds",
    ),
    Departure(
        "pairs with an empty mask",
        "are kept",
        "are refused, and the next seed is drawn",
        "a detector would learn that this defect is normal",
    ),
)
ON_VISA = (
    Departure(
        "tokens of VisA's types",
        "learnt in alphabetical order, drawn in that of another list",
        "one table, stored with the model",
        "else prompts name the wrong type",
    ),
)
