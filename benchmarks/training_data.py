# SPDX-License-Identifier: Apache-2.0
"""Shows that the embedded base's training data is drawn, not read: which files rendering opens."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2

_CODE = {".py", ".pyc", ".so", ".json"}  # Python's own imports
_CV2_READERS = ("imread", "imdecode", "imreadmulti", "VideoCapture")


@contextmanager
def recorded_reads() -> Iterator[list[str]]:
    """Collect the data files that are opened meanwhile, by Python or by OpenCV (whose C++ code Python cannot see).

    Yields:
        List that grows: paths, or the name of an OpenCV reader.
    """
    found: list[str] = []
    active = True

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if active and event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path = os.fsdecode(arguments[0])
            if Path(path).suffix not in _CODE:
                found.append(path)

    sys.addaudithook(audit)  # cannot be taken away again, hence `active`
    with ExitStack() as stack:
        for name in _CV2_READERS:
            record = mock.Mock(side_effect=lambda *_, _name=name, **__: found.append(f"cv2.{_name}"))
            stack.enter_context(mock.patch.object(cv2, name, record))
        try:
            yield found
        finally:
            active = False


def files_read_by_rendering(scenes: int, size: int = 128) -> dict[str, Any]:
    """Draw training scenes of the base and record which files that reads.

    Args:
        scenes: how many scenes.
        size: side in pixels.

    Returns:
        ``scenes`` and ``files``, a list that should be empty.
    """
    from seas_aug.base.pretrain.scenes import CropDataset, ScenePool

    with recorded_reads() as found:
        dataset = CropDataset(ScenePool(scenes, size), size // 2, scenes)
        for index in range(scenes):
            dataset[index]
    return {"scenes": scenes, "files": sorted(set(found))}
