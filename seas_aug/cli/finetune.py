# SPDX-License-Identifier: Apache-2.0
"""``seas-aug finetune``: a jsonargparse parser over :class:`seas_aug.config.FineTuneConfig`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from seas_aug.config import FineTuneConfig, as_plain
from seas_aug.presets import PRESETS, PresetName, preset_of


def build_parser(preset: str = "default") -> ArgumentParser:
    """Return the parser.

    Args:
        preset: name in ``seas_aug.presets.PRESETS``, whose values are the defaults.
    """
    parser = ArgumentParser(
        prog="seas-aug finetune",
        description="Fine-tune SeaS on one category. An unfinished run in --output is continued.",
    )
    parser.add_argument("--config", action="config", help="YAML file with these options.")
    parser.add_argument(
        "--preset",
        type=PresetName | None,
        default=None,
        help="Defaults: the embedded base's, or the published ones (for MVTec AD, VisA, MVTec 3D); left out, those "
        "that --base is made for.",
    )
    parser.add_argument(
        "--few_shot",
        type=str | float | None,
        default=None,
        help="Short for --data.few_shot: a leading fraction, or number above 1, of each type, or a split.json.",
    )
    parser.add_argument(
        "--max_steps",
        type=int | None,
        default=None,
        help="Short for --generator.max_steps and --masks.max_steps.",
    )
    parser.add_class_arguments(FineTuneConfig)
    parser.set_defaults(as_plain(PRESETS[preset]()))
    return parser


def parse(arguments: Sequence[str]) -> FineTuneConfig:
    """Turn arguments into settings: preset, then config file, then options, then the two short options.

    Without ``--preset`` the base decides: one that is not embedded gets the published settings.

    Args:
        arguments: without program and command name.

    Raises:
        SystemExit: help or configuration was printed, or an argument is refused.
        SeasError: a value out of its range.
    """
    return parse_preset(arguments)[0]


def parse_preset(arguments: Sequence[str]) -> tuple[FineTuneConfig, str]:
    """Return the settings of :func:`parse`, and the name of the preset they began with."""
    arguments = list(arguments)
    shown = _preset_of(arguments)
    namespace = build_parser(shown).parse_args(arguments)
    preset = namespace.preset or preset_of(namespace.base)  # named in the config file, or follows from the base
    parser = build_parser(preset)
    if preset != shown:
        namespace = parser.parse_args(arguments)
    return _apply_shortcuts(parser.instantiate_classes(namespace)), preset


def run(arguments: Sequence[str]) -> None:
    """Parse and fine-tune.

    Args:
        arguments: without program and command name.
    """
    config = parse(arguments)
    from seas_aug.finetune.run import finetune

    model = finetune(config)
    print(f"seas-aug: the model is in {model}.")


def _preset_of(arguments: list[str]) -> str:
    """Return the preset named on the command line, so that --help and --print_config show its values."""
    chosen = "default"
    for index, argument in enumerate(arguments):
        if argument.startswith("--preset="):
            chosen = argument.partition("=")[2]
        elif argument == "--preset" and index + 1 < len(arguments):
            chosen = arguments[index + 1]
    return chosen if chosen in PRESETS else "default"


def _apply_shortcuts(namespace: Namespace) -> FineTuneConfig:
    values: dict[str, Any] = {field.name: namespace[field.name] for field in dataclasses.fields(FineTuneConfig)}
    if namespace.few_shot is not None:
        values["data"] = dataclasses.replace(values["data"], few_shot=str(namespace.few_shot))
    if namespace.max_steps is not None:
        for stage in ("generator", "masks"):
            values[stage] = dataclasses.replace(values[stage], max_steps=namespace.max_steps)
    return FineTuneConfig(**values)
