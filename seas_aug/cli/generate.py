# SPDX-License-Identifier: Apache-2.0
"""``seas-aug generate``: the parser of :func:`seas_aug.generate.run.generate`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from seas_aug.config import DrawConfig

_TYPES = "--anomaly_type"


def build_parser() -> ArgumentParser:
    """Return the parser."""
    parser = ArgumentParser(
        prog="seas-aug generate",
        description="Write generated images in MVTec layout with a manifest. A half-done folder is completed.",
    )
    parser.add_argument("--config", action="config", help="YAML file with these options.")
    parser.add_argument("--run", type=Path, required=True, help="Run folder of `seas-aug finetune`.")
    parser.add_argument("--output", type=Path, required=True, help="Folder to write.")
    parser.add_argument("--num_images", type=int, required=True, help="Images of each type.")
    parser.add_argument(
        _TYPES,
        type=list[str] | None,
        default=None,
        metavar="T",
        help="Types, as `--anomaly_type crack scratch` or with the option repeated; `crack+scratch` puts two types "
        "into one image. All types if left out.",
    )
    parser.add_argument("--normal", action="store_true", help="Write normal images too, into train/good.")
    parser.add_argument("--seed", type=int, default=0, help="Same seed, same pixels, whatever the batch size.")
    parser.add_argument("--batch_size", type=int, default=8, help="Images drawn at a time.")
    parser.add_class_arguments(DrawConfig, None, sub_configs=False)
    parser.add_argument("--accelerator", type=str, default="auto", help="auto, cpu, gpu, ...")
    return parser


def parse(arguments: Sequence[str]) -> Namespace:
    """Turn arguments into options.

    Args:
        arguments: without program and command name.

    Returns:
        The options; ``anomaly_type`` is None or a list of lists, one per type with the types it recombines.

    Raises:
        SystemExit: help or configuration was printed, or an argument is refused.
    """
    namespace = build_parser().parse_args(_join_types(list(arguments)))
    if namespace.anomaly_type is not None:
        namespace.anomaly_type = [word.split("+") for word in namespace.anomaly_type]
    return namespace


def run(arguments: Sequence[str]) -> None:
    """Parse and generate.

    Args:
        arguments: without program and command name.
    """
    options = parse(arguments)
    from seas_aug.generate.run import generate

    result = generate(
        run=options.run,
        output=options.output,
        num_images=options.num_images,
        anomaly_types=options.anomaly_type,
        normal=options.normal,
        seed=options.seed,
        settings=DrawConfig(**{field.name: options[field.name] for field in dataclasses.fields(DrawConfig)}),
        batch_size=options.batch_size,
        accelerator=options.accelerator,
    )
    counts = ", ".join(f"{count} {name}" for name, count in result.counts.items())
    print(f"seas-aug: {options.output} has {counts} ({result.made} made now in {result.seconds:.0f} s).")
    for name, reasons in result.refused.items():
        why = ", ".join(f"{reason} {times}x" for reason, times in reasons.items())
        print(f"seas-aug: {name}: the gate refused seeds: {why}.")


def _join_types(arguments: list[str]) -> list[str]:
    """Gather every word after each ``--anomaly_type`` into one JSON list, the form that jsonargparse reads."""
    rest: list[str] = []
    words: list[str] = []
    gathering = False
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == _TYPES:
            gathering = True
            words += [value] if value else []
        elif gathering and not argument.startswith("-"):
            words.append(argument)
        else:
            gathering = False
            rest.append(argument)
    if not words:
        return arguments
    return [*rest, f"{_TYPES}={json.dumps(words)}"]
