# SPDX-License-Identifier: Apache-2.0
"""``seas-aug benchmark``: what each source of anomalies is worth on a user's own categories."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from seas_aug.benchmark.config import BenchmarkConfig
from seas_aug.errors import SeasError


def build_parser() -> ArgumentParser:
    """Return the parser."""
    parser = ArgumentParser(
        prog="seas-aug benchmark",
        description="Compare sources of anomalies: a grid of categories, networks and seeds. An unfinished benchmark "
        "in --output is continued. A config file of anomalib's own benchmark (key `benchmark`) is handed to anomalib.",
    )
    parser.add_argument("--config", action="config", help="YAML file with these options.")
    parser.add_class_arguments(BenchmarkConfig)
    return parser


def run(arguments: Sequence[str]) -> None:
    """Parse and run.

    Args:
        arguments: without program and command name.

    Raises:
        SeasError: a user's mistake, or cells that failed.
    """
    arguments = list(arguments)
    if is_anomalibs(arguments):
        from seas_aug.cli.anomalib_cli import run as run_anomalib

        run_anomalib(["benchmark", *arguments])
        return
    config = read_config(arguments)
    from seas_aug.benchmark.command import run_benchmark
    from seas_aug.report.benchmark_page import write_report

    result = run_benchmark(config, write_report)
    print(json.dumps(result, indent=1, sort_keys=True))
    if result.get("failed"):
        message = f"{result['failed']} cell(s) failed; their errors are in {config.output}/cells, and above."
        raise SeasError(message)


def read_config(arguments: Sequence[str]) -> BenchmarkConfig:
    """Return the settings that arguments name, such as ``--config FILE``.

    Args:
        arguments: without program and command name.

    Raises:
        SeasError: values that do not go together.
        SystemExit: the parser refused an argument.
    """
    parser = build_parser()
    chosen = parser.instantiate_classes(parser.parse_args(_spelt(arguments)))
    return BenchmarkConfig(**{name: chosen[name] for name in BenchmarkConfig.__dataclass_fields__})


def _spelt(arguments: Sequence[str]) -> list[str]:
    """Return arguments with ``--dry-run``, as one expects it, spelt as the parser wants it."""
    return ["--dry_run=true" if one in {"--dry-run", "--dry_run"} else one for one in arguments]


def is_anomalibs(arguments: Sequence[str]) -> bool:
    """Tell whether a config file is one of anomalib's benchmark pipeline.

    Args:
        arguments: without program and command name.
    """
    files = [later for earlier, later in itertools.pairwise(arguments) if earlier == "--config"]
    files += [argument.partition("=")[2] for argument in arguments if argument.startswith("--config=")]
    return any("benchmark" in _keys(Path(file)) for file in files)


def _keys(path: Path) -> set[str]:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return set()  # the parser says what is wrong with it
    return set(content) if isinstance(content, dict) else set()
