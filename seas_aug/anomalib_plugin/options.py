# SPDX-License-Identifier: Apache-2.0
"""Checks the options of ``SeasAugmentation``, once a training starts.

Not in its constructor: jsonargparse would bury the sentence in an account of everything else that it tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from seas_aug.anomalib_plugin.sources import Origin
from seas_aug.config import DrawConfig
from seas_aug.errors import SeasError


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that are out of range or do not go together.

    Args:
        options: arguments of ``SeasAugmentation`` by name, and ``synthetic``: pairs are evaluated on, whatever the
            source.

    Raises:
        SeasError: the first that is wrong.
    """
    for name in ("probability", "perlin_ratio"):
        share = options[name]
        if share is not None and not 0 <= share <= 1:
            raise SeasError(f"augmentation.{name} is {share}; give a share between 0 and 1.")
    if options["source"] not in get_args(Origin):
        message = f"augmentation.source is {options['source']!r}; give one of {', '.join(get_args(Origin))}."
        raise SeasError(message)
    no_folder = options["generated"] is None
    made_now = no_folder and options["source"] == "seas"
    if options["stream"] and not made_now:
        message = (
            "augmentation.stream renews pairs of a fine-tuned model; give `run`, or neither `run` nor `generated`."
        )
        raise SeasError(message)
    drawn_now = made_now or options["source"] == "placed_paste" or (no_folder and options["synthetic"])
    _check_drawing(options["drawing"], drawn_now)
    most, least = options["stream_max_uses"], options["stream_uses"]
    if most is not None and 1 <= most < least:
        message = (
            f"augmentation.stream_max_uses is {most}, but a new pair is made for {least} that are drawn (stream_uses), "
            f"so that the training would wait for ever; give at least {least}."
        )
        raise SeasError(message)
    for name, what in (("stream_uses", ""), ("stream_max_uses", ""), ("num_images", " pair per type")):
        number = options[name]
        if number is not None and number < 1:
            raise SeasError(f"augmentation.{name} is {number}; give at least 1{what}.")


def _check_drawing(drawing: DrawConfig, drawn_now: bool) -> None:
    if drawing != DrawConfig() and not drawn_now:
        message = "augmentation.drawing says how pairs are made; leave it out with `generated` or other sources."
        raise SeasError(message)
    for name in ("region", "masks"):  # before a model is fine-tuned, which takes long
        path = getattr(drawing, name)
        if path is not None and not path.exists():
            message = f"augmentation.drawing.{name} is {path}, which does not exist; give an image file or a folder of "
            raise SeasError(message + "them.")
