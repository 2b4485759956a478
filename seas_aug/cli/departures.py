# SPDX-License-Identifier: Apache-2.0
"""``seas-aug departures``: what some settings do not do as published, and why."""

from __future__ import annotations

from collections.abc import Sequence

from seas_aug.cli import finetune
from seas_aug.departures import as_table, departures
from seas_aug.presets import DATASETS


def run(arguments: Sequence[str]) -> None:
    """Print the list for the arguments of ``seas-aug finetune``, as a Markdown table.

    Args:
        arguments: without program and command name, such as ``--preset paper --official true``.

    Raises:
        SystemExit: an argument is refused.
        SeasError: a value out of its range.
    """
    config, preset = finetune.parse_preset(arguments)
    print(as_table(departures(config, DATASETS.get(preset, "mvtec"))))
