# SPDX-License-Identifier: Apache-2.0
"""``seas-aug demo``: the main job on a category that the project renders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser


def build_parser() -> ArgumentParser:
    """Return the parser."""
    parser = ArgumentParser(
        prog="seas-aug demo",
        description="Render a category, fine-tune, generate, train DRAEM with and without SeaS, and write a page.",
    )
    parser.add_argument("--output", type=Path, required=True, help="Folder to write; a half-done demo is continued.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of everything random.")
    return parser


def run(arguments: Sequence[str]) -> None:
    """Parse and run the demo.

    Args:
        arguments: without program and command name.
    """
    options = build_parser().parse_args(list(arguments))
    from seas_aug.report.demo import run_demo

    run_demo(options.output, seed=options.seed)
