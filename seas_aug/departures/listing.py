# SPDX-License-Identifier: Apache-2.0
"""Where settings depart from the published method, and why: a list made of the settings themselves.

"Published" is what the paper says and, where it says nothing or its authors' code differs from it, what that code does,
since the published results are the code's. ``python -m seas_aug.departures`` prints ``docs/paper.md``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from seas_aug.config import FineTuneConfig
from seas_aug.departures.in_code import Departure, in_code
from seas_aug.departures.published import SET_BY_OFFICIAL, WHY_SET, published
from seas_aug.presets import Dataset, paper_preset

_EXPLAINED = "so it is set; `seas-aug finetune --help` has the reason of every default"


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return every setting of a dataclass by its dotted name, such as ``generator.unet_lr``."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = prefix + field.name
        found |= flat(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return found


def departures(config: FineTuneConfig, dataset: Dataset = "mvtec") -> list[Departure]:
    """Return what of some settings is not as published: settings first, then what no setting says.

    Args:
        config: the settings.
        dataset: the paper's settings differ by dataset in a few.
    """
    values = flat(config)
    skipped = SET_BY_OFFICIAL if config.official else frozenset()
    found = [
        Departure(name, _shown(expected), _shown(values[name]), WHY_SET.get(name, _EXPLAINED))
        for name, expected in published(dataset).items()
        if name not in skipped and values[name] != expected
    ]
    return found + list(in_code(config, dataset))


def as_table(found: list[Departure]) -> str:
    """Return departures as a Markdown table."""
    rows = [("what", "published", "here", "why"), ("---",) * 4]
    rows += [(f"`{one.what}`" if "." in one.what else one.what, one.paper, one.here, one.reason) for one in found]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def as_sentence(found: list[Departure]) -> str:
    """Return the names of departures as one sentence part."""
    return "; ".join(f"`{one.what}`" if "." in one.what else one.what for one in found)


def page() -> str:
    """Return ``docs/paper.md``: the departures of the ``paper`` presets, plain and ``official``."""
    paper = paper_preset()
    official = dataclasses.replace(paper, official=True)
    parts = [
        "# The published method",
        "",
        "Made by `python -m seas_aug.departures` from the settings; do not edit. `seas-aug departures` prints the list",
        'of any settings, such as `seas-aug departures --config run/config.yaml`. "Published" is what the paper says',
        "and, where it says nothing or its authors' code differs from it, what that code does, as published results",
        "are the code's. `--preset paper` gives the published settings; with `--official true` it also calculates as",
        "the authors' code does where that is not sound. `tests/parity` holds the latter against a slow transcription",
        "of each formula: losses and gradients of both stages, masks and images.",
        "",
        "## What `--preset paper` does not do as published",
        "",
        as_table(departures(paper)),
        "",
        "## What is left with `--preset paper --official true`",
        "",
        as_table(departures(official)),
        "",
        "## The other datasets of the paper",
    ]
    datasets: tuple[Dataset, ...] = ("visa", "mvtec_3d")
    for dataset in datasets:
        variant = paper_preset(dataset)
        usual, own = flat(paper), flat(variant)
        changed = [f"`{name}` {_shown(own[name])} (MVTec AD: {_shown(usual[name])})" for name in own]
        kept = [text for name, text in zip(own, changed, strict=True) if own[name] != usual[name]]
        more = [one for one in departures(variant, dataset) if one not in departures(paper)]
        parts += ["", f"`--preset paper_{dataset}`: {', '.join(kept)}."]
        if more:
            parts += ["It departs in this too:", "", as_table(more)]
    return "\n".join(parts) + "\n"


def _shown(value: Any) -> str:
    words = {None: "automatic", True: "on", False: "off"}
    if isinstance(value, (bool, type(None))):
        return words[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
