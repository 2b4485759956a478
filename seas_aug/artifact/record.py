# SPDX-License-Identifier: Apache-2.0
"""What a folder was made from, written beside it: whoever goes on with it, or takes it for done, compares first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.errors import SeasError

RECORD = "artifact.json"
_SHOWN = 200  # characters of a value in a message


@dataclass(frozen=True)
class Record:
    """What an artifact is made from; with equal records it is the same.

    Args:
        code: version of the code, see :func:`~seas_aug.artifact.code.code_version`; empty where it was not written
            down, by version 0.1.
        model: hash of the model or base.
        settings: everything that decides the content besides, plain JSON values.
        data: hashes of what is read, by its name, such as ``few-shot masks``.
    """

    code: str
    model: str
    settings: dict[str, Any]
    data: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # As it comes back from a file: tuples are lists, keys are strings.
        object.__setattr__(self, "settings", json.loads(json.dumps(self.settings)))

    def difference(self, wanted: Record) -> str | None:
        """Say in a few words what is not as it is wanted; None where nothing is.

        Args:
            wanted: the record of what is to be made now.
        """
        changed = [name for name in sorted(self.data.keys() | wanted.data.keys()) if self._other(wanted, name)]
        if changed:
            return f"other {' and '.join(changed)} than there are now"
        found = _differences(self.settings, wanted.settings)
        if self.model != wanted.model:
            found.insert(0, f"model {self.model} instead of {wanted.model}")
        if found:
            return f"other settings ({', '.join(found)})"
        if self.code != wanted.code:
            return f"another version of seas-aug ({self.code or '0.1'}, this is {wanted.code})"
        return None

    def _other(self, wanted: Record, name: str) -> bool:
        return self.data.get(name) != wanted.data.get(name)


def write_record(folder: Path, record: Record) -> None:
    """Write the record of a folder.

    Raises:
        SeasError: the folder may not be written, or the disk is full.
    """
    atomic_write_text(folder / RECORD, json.dumps(asdict(record), indent=1, sort_keys=True) + "\n")


def read_record(folder: Path) -> Record | None:
    """Return the record of a folder, or None where it has none.

    Raises:
        SeasError: the file is damaged.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Record(str(content["code"]), str(content["model"]), dict(content["settings"]), dict(content["data"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path}: damaged ({error}); expected what seas-aug wrote, delete the folder or choose another one."
        raise SeasError(message) from error


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Name the settings that differ, those inside of a group by ``group.name``."""
    different = []
    for key in sorted(found.keys() | wanted.keys()):
        old, new = found.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            different += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            different.append(f"{prefix}{key} {_short(old)} instead of {_short(new)}")
    return different


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
