# SPDX-License-Identifier: Apache-2.0
"""Stages of a long job that are skipped when they are done, and the seconds that each took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.errors import SeasError

_FILE = "stages.json"


class Stages:
    """Remembers in ``stages.json`` which stages are done and how long each took.

    Args:
        folder: where the file lies; made if it is missing.
        settings: plain values that decide all results; a folder made with others is refused.
        count: number of stages, for the progress lines.

    Raises:
        SeasError: the folder was made with other settings, or holds something else.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], count: int) -> None:
        self.folder, self.count, self._shown = Path(folder), count, 0
        self._path = self.folder / _FILE
        settings = json.loads(json.dumps(settings))
        self._content: dict[str, Any] = {"settings": settings, "seconds": {}, "done": []}
        if self._path.is_file():
            self._content = self._read(settings)
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            message = f"{self.folder} holds other files; choose a new or empty folder."
            raise SeasError(message)
        else:
            self._save()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage so far, interrupted tries included."""
        return dict(self._content["seconds"])

    def run(self, name: str, work: Callable[[], object]) -> None:
        """Do a stage unless it is done.

        Args:
            name: what the stage is called in the file and on the screen.
            work: does it, and goes on where it was interrupted.
        """
        self._shown += 1
        prefix = f"seas-aug: [{self._shown}/{self.count}] {name}"
        if name in self._content["done"]:
            print(f"{prefix}: done before.", flush=True)
            return
        print(f"{prefix} ...", flush=True)
        begin = time.perf_counter()
        try:
            work()
            self._content["done"].append(name)
        finally:
            before = self._content["seconds"].get(name, 0.0)
            self._content["seconds"][name] = round(before + time.perf_counter() - begin, 1)
            self._save()
        print(f"{prefix}: {self._content['seconds'][name]:.0f} s.", flush=True)

    def _read(self, settings: dict[str, Any]) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            same = content["settings"] == settings
            complete = isinstance(content["seconds"], dict) and isinstance(content["done"], list)
        except (ValueError, KeyError, TypeError) as error:
            message = f"{self._path} is damaged ({error}); delete {self.folder} or choose another folder."
            raise SeasError(message) from error
        if not (same and complete):
            message = f"{self.folder} was made with other settings; choose another folder or delete this one."
            raise SeasError(message)
        return dict(content)

    def _save(self) -> None:
        atomic_write_text(self._path, json.dumps(self._content, indent=1) + "\n")
