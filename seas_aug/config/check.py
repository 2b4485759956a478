# SPDX-License-Identifier: Apache-2.0
"""One sentence for a setting that is out of range, and settings as plain values."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from seas_aug.errors import SeasError


def check(condition: bool, message: str) -> None:
    """Raise ``SeasError`` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise SeasError(message)


def as_plain(config: Any) -> dict[str, Any]:
    """Return a dataclass as nested dicts of plain values (paths become text), ready for YAML or JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return plain(dataclasses.asdict(config))
