# SPDX-License-Identifier: Apache-2.0
"""Where everything of a demo lies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SOURCES: tuple[Literal["seas", "perlin"], ...] = ("seas", "perlin")


@dataclass(frozen=True)
class DemoFolders:
    """Where everything lies below the demo's folder."""

    output: Path

    @property
    def category(self) -> Path:
        """The rendered category."""
        return self.output / "board"

    @property
    def split(self) -> Path:
        """Which defects are few-shot and which are the test."""
        return self.category / "split.json"

    @property
    def run(self) -> Path:
        """The fine-tuned run."""
        return self.output / "run"

    @property
    def generated(self) -> Path:
        """The generated pairs."""
        return self.output / "generated"

    @property
    def page(self) -> Path:
        """The page to look at."""
        return self.output / "index.html"

    @property
    def sheet(self) -> Path:
        """The same pictures as one PNG."""
        return self.output / "contact_sheet.png"

    def detector(self, source: str) -> Path:
        """Metrics and anomaly maps of the detector trained on ``source``."""
        return self.output / "detectors" / source


def read_metrics(folders: DemoFolders, sources: Sequence[str] = SOURCES) -> dict[str, dict[str, float]]:
    """Return what was measured, per source of anomalies."""
    return {
        source: json.loads((folders.detector(source) / "metrics.json").read_text(encoding="utf-8"))
        for source in sources
    }
