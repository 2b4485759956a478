# SPDX-License-Identifier: Apache-2.0
"""The power board as a category in MVTec layout."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.artifact.atomic import atomic_folder, recover_folder
from seas_aug.base.renderer.board.defects import BOARD_DEFECTS
from seas_aug.base.renderer.board.photo import BoardSettings, Photo, render_photo
from seas_aug.errors import SeasError

_RECORD = "board.json"


def render_board(
    root: Path,
    seed: int = 0,
    settings: BoardSettings | None = None,
    normals: int = 40,
    test_normals: int = 20,
    per_type: int = 20,
    few_shot: int = 8,
) -> Path:
    """Write the rendered board in MVTec layout, with a ``split.json`` beside it.

    Where the part is, 255, and where it is not, 0, stands in ``support/<split>_<folder>/good/NNN.png``, such as
    ``support/test_pit/good/000.png``; readers of the layout, anomalib's among them, pass these files over.

    Args:
        root: category folder; appears whole or not at all. One made with the same settings is left as it is.
        seed: the same seed gives the same files.
        settings: size of the pictures and of what they show; None takes the defaults.
        normals: normal pictures for training, at least 2.
        test_normals: normal pictures for testing, at least 1.
        per_type: defect pictures of each type of ``BOARD_DEFECTS``, at least 1.
        few_shot: how many of them, the first by name, ``split.json`` lists as few-shot; the others are for testing.

    Returns:
        ``root``.

    Raises:
        SeasError: a number out of range, or ``root`` holds something else.
    """
    root, chosen = Path(root), settings or BoardSettings()
    counts = {"normals": normals, "test_normals": test_normals, "per_type": per_type, "few_shot": few_shot}
    _check(counts)
    record = {"product": "power board", "seed": seed, **dataclasses.asdict(chosen), **counts}
    recover_folder(root)
    if root.exists() and any(root.iterdir()):
        if _is_made(root, record):
            return root
        message = f"{root} holds other files than this rendered board; choose another folder or delete this one."
        raise SeasError(message)
    with atomic_folder(root) as folder:
        wanted = {"train/good": normals, "test/good": test_normals}
        wanted |= {f"test/{name}": per_type for name in BOARD_DEFECTS}
        for name, count in wanted.items():
            for index in range(count):
                _write_photo(folder, name, index, render_numbered(name, index, seed, chosen))
        names = [f"{index:03d}.png" for index in range(per_type)]
        split = {name: {"few_shot": names[:few_shot], "test": names[few_shot:]} for name in BOARD_DEFECTS}
        (folder / "split.json").write_text(json.dumps(split, indent=1) + "\n", encoding="utf-8")
        (folder / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return root


def render_numbered(folder: str, index: int, seed: int = 0, settings: BoardSettings | None = None) -> Photo:
    """Render a photo of :func:`render_board` again, with all that its folder does not hold, such as its twin.

    Args:
        folder: ``train/good``, ``test/good`` or ``test/<type>``.
        index: number in its name.
        seed: seed of the folder.
        settings: settings of the folder.

    Raises:
        SeasError: there is no such folder.
    """
    folders = ["train/good", "test/good", *(f"test/{name}" for name in BOARD_DEFECTS)]
    if folder not in folders:
        message = f"{folder} is no folder of the rendered board; choose one of {', '.join(folders)}."
        raise SeasError(message)
    rng = np.random.default_rng([seed, folders.index(folder), index])
    name = folder.split("/")[1]
    return render_photo(rng, settings or BoardSettings(), None if name == "good" else name)


def _write_photo(root: Path, folder: str, index: int, photo: Photo) -> None:
    _write(root / folder / f"{index:03d}.png", photo.image)
    if photo.anomaly_type is not None:
        _write(root / "ground_truth" / photo.anomaly_type / f"{index:03d}_mask.png", photo.mask * 255)
    # Anomalib goes by the last two folders of every PNG below the root: only `good` under an unknown one is left alone.
    _write(root / "support" / folder.replace("/", "_") / "good" / f"{index:03d}.png", photo.support * 255)


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    _, data = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())


def _check(counts: dict[str, int]) -> None:
    least = {"normals": 2, "test_normals": 1, "per_type": 1, "few_shot": 1}
    for name, smallest in least.items():
        if counts[name] < smallest:
            message = f"{name} of the rendered board is {counts[name]}; give at least {smallest}."
            raise SeasError(message)
    if counts["few_shot"] > counts["per_type"]:
        message = f"few_shot of the rendered board is {counts['few_shot']}; give 1 up to per_type."
        raise SeasError(message)


def _is_made(root: Path, record: dict[str, object]) -> bool:
    path = root / _RECORD
    if not path.is_file():
        return False
    try:
        return json.loads(path.read_text(encoding="utf-8")) == record
    except ValueError:
        return False
