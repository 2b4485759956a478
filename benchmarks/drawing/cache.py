# SPDX-License-Identifier: Apache-2.0
"""Drawn windows on the disk, under a hash of what made them, so that measures share them and a rerun draws nothing."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seas_aug.artifact.atomic import atomic_write


class Cache:
    """A folder of arrays.

    Args:
        folder: None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, made_by: Mapping[str, Any], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return an array, made only if it is not there.

        Args:
            made_by: everything it depends on, plain values.
            make: called if it is missing or damaged.
        """
        if self._folder is None:
            return make()
        text = json.dumps(made_by, sort_keys=True)
        path = self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        if path.is_file():
            try:
                with np.load(path) as file:
                    return np.asarray(file["array"])
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                print(f"{path}: is damaged ({error}) and is made again")
        made = make()
        packed = io.BytesIO()
        np.savez_compressed(packed, array=made, made_by=np.asarray(text))
        with atomic_write(path) as target:
            target.write(packed.getvalue())
        return made
