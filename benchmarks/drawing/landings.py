# SPDX-License-Identifier: Apache-2.0
"""Where each measure has to put inputs whose answer is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seas_aug.evaluate.measured import Measured


@dataclass(frozen=True)
class Landing:
    """Where a measure has to put a control.

    Attributes:
        key: of the measure.
        control: what it is given.
        figure: which of its figures, such as ``value`` or ``energy.value``.
        least: the least that lands.
        most: the most.
        unmeasured: a control that cannot be measured lands too, as that is no pass either.
        lenient: real defects of other groups need not pass for sure: the interval has to reach the zone.
        copper: on boards in place of other products; None for both.
    """

    key: str
    control: str
    figure: str = "value"
    least: float = -math.inf
    most: float = math.inf
    unmeasured: bool = False
    lenient: bool = False
    copper: bool | None = None


LANDINGS: tuple[Landing, ...] = (
    Landing("visible", "null", "pooled", most=0.15),
    Landing("realism", "noise", least=0.95),
    Landing("realism", "null", least=0.95),
    Landing("realism", "other_groups", "above_paste", most=0.10, lenient=True),
    Landing("follows_prompt", "same_for_all", least=0.5, most=0.5),
    Landing("follows_prompt", "real", least=0.85),
    Landing("recognised", "same_for_all", most=0.2, unmeasured=True),
    Landing("recognised", "other_groups", least=0.8, unmeasured=True, lenient=True),
    Landing("prompt_copper", "same_for_all", most=0.1),
    Landing("prompt_copper", "unchanged", most=0.1),
    Landing("prompt_copper", "as_said", least=0.9),
    Landing("restored", "blurred", "energy.value", most=0.8, copper=False),
    # It has to fail the measure. More cannot be asked: in a crack's thin mask, asphalt is nearly as rough.
    Landing("restored", "noise", least=0.70, copper=False),
    Landing("restored", "noise", "energy.value", least=1.25, copper=False),
    Landing("restored", "noise", least=0.1, copper=True),  # twice the bar
    Landing("restored", "other_normals", most=0.70, lenient=True, copper=False),
    Landing("restored", "other_normals", "energy.value", least=0.8, most=1.25, lenient=True, copper=False),
    Landing("novelty", "relit", most=0.5),
    Landing("novelty", "relit", "below_p5.value", least=0.5),
    Landing("novelty", "other_groups", least=0.8, lenient=True),
    Landing("novelty", "other_groups", "below_p5.value", most=0.10, lenient=True),
    Landing("mask_shapes", "one_blob", most=0.7),
    Landing("mask_shapes", "other_groups", least=0.7, most=1.4, unmeasured=True, lenient=True),
    Landing("mask_exact", "noise", most=0.35),
    Landing("mask_exact", "shifted", least=0.7, unmeasured=True),
    Landing("mask_iou", "whole_hole", most=0.3),
    Landing("mask_of_nothing", "hole", most=0.05),
    Landing("null_cue", "untouched", most=0.60),
    Landing("null_cue", "noise", least=0.9),
    Landing("severity", "constant", most=0.1),
    Landing("severity", "blended", least=0.9),
    Landing("recombined", "one_of_two", most=0.6, unmeasured=True),
    Landing("gate", "rejects_all", "drawn_accepted", most=0.1),
    Landing("gate", "rejects_none", most=0.1),
)


def judge(controls: Mapping[str, Mapping[str, Measured]], copper: bool = False) -> dict[str, dict[str, Any]]:
    """Return the controls ready for JSON, each with ``lands``: whether it is where it has to be.

    Args:
        controls: of :func:`measure_controls`.
        copper: of a board.
    """
    told: dict[str, dict[str, Any]] = {
        key: {name: {**one.to_dict(), "lands": True, "must": []} for name, one in named.items()}
        for key, named in controls.items()
    }
    for landing in LANDINGS:
        measured = controls.get(landing.key, {}).get(landing.control)
        if measured is None or landing.copper not in (None, copper):
            continue
        entry = told[landing.key][landing.control]
        entry["must"].append(_words(landing))
        entry["lands"] = entry["lands"] and lands(landing, measured)
    return told


def failing(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the controls that are not where they have to be, as ``key/control``."""
    return [f"{key}/{name}" for key, named in told.items() for name, entry in named.items() if not entry["lands"]]


def lands(landing: Landing, measured: Measured) -> bool:
    """Return whether a control is where it has to be."""
    figures: Any = {**dataclasses.asdict(measured), **measured.extra}
    *path, last = landing.figure.split(".")
    for part in path:
        figures = figures.get(part) or {}
    value = figures.get(last)
    if value is None or not math.isfinite(value):
        return landing.unmeasured
    low = high = value
    if landing.lenient:
        shift = value - measured.value if last != "value" and measured.value is not None else 0.0
        ends = [figures.get("low"), figures.get("high")]
        low, high = (value if end is None or not math.isfinite(end) else end + shift for end in ends)
        low, high = min(low, value), max(high, value)
    return bool(high >= landing.least and low <= landing.most)


def _words(landing: Landing) -> str:
    ends = [f">= {landing.least}"] if landing.least > -math.inf else []
    ends += [f"<= {landing.most}"] if landing.most < math.inf else []
    return f"{landing.figure} {' and '.join(ends)}"
