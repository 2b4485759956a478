# SPDX-License-Identifier: Apache-2.0
"""The file of all figures: ``{key: {product: figures}}``, those of other versions and bases beside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.errors import SeasError

EARLIER, BASES, SETTINGS = "earlier", "bases", "settings"
Figures = Mapping[str, Mapping[str, Any]]


def read_results(path: Path) -> dict[str, Any]:
    """Return what is there; nothing for a missing file.

    Raises:
        SeasError: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SeasError(f"{path}: no valid JSON ({error}); correct it or move it away.") from error
    if not isinstance(found, dict):
        raise SeasError(f"{path}: holds a {type(found).__name__}; expected figures by measure, move it away.")
    return found


def merge_results(
    path: Path, product: str, figures: Figures, settings: Mapping[str, Any], section: Sequence[str] = ()
) -> None:
    """Put the figures of a product into the file, in place of its former ones; all else stays.

    Args:
        path: the file; whole at any time.
        product: whose.
        figures: by measure.
        settings: how they were measured.
        section: where in the file, such as ``("earlier", "0.1")``; () is the top.

    Raises:
        SeasError: the file is damaged or cannot be written.
    """
    everything = read_results(path)
    part = everything
    for name in section:
        part = part.setdefault(name, {})
    for key, entry in figures.items():
        part.setdefault(key, {})[product] = entry
    part.setdefault(SETTINGS, {})[product] = dict(settings)
    atomic_write_text(path, json.dumps(everything, indent=1, sort_keys=True) + "\n")


def keep_as_earlier(path: Path, version: str) -> None:
    """Move all figures of the present version under ``earlier.<version>``, before another one is measured.

    Args:
        path: the file.
        version: what the present figures are of.

    Raises:
        SeasError: there are figures of that version already.
    """
    everything = read_results(path)
    kept = {name: everything.pop(name) for name in (EARLIER,) if name in everything}
    earlier = kept.get(EARLIER, {})
    if version in earlier:
        raise SeasError(f"{path}: has figures of version {version} already; give another name or delete them.")
    atomic_write_text(path, json.dumps({EARLIER: {**earlier, version: everything}}, indent=1, sort_keys=True) + "\n")


def format_table(product: str, figures: Figures) -> str:
    """Return the figures of a product as lines of text."""
    lines = [f"{product:<18}{'value':>8}{'low':>8}{'high':>8}{'n':>7}  passes  controls that do not land"]
    for key, entry in figures.items():
        numbers = "".join(f"{_text(entry.get(name)):>8}" for name in ("value", "low", "high"))
        astray = [name for name, one in entry.get("controls", {}).items() if not one["lands"]]
        passes = {True: "yes", False: "no", None: "-"}[entry.get("passes")]
        beside = [*astray, *([f"({entry['reason']})"] if entry.get("reason") else [])]
        lines.append(f"{key:<18}{numbers}{entry['n']:>7}  {passes:<6}  {', '.join(beside)}".rstrip())
    return "\n".join(lines)


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
