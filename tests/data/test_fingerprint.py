# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from seas_aug.data.fingerprint import Fingerprint, alike, completed, fingerprint
from tests.anomalib_plugin.rendered import defect, normal, write


def _take(folder: Path, name: str, image: np.ndarray) -> Fingerprint:
    write(folder / name, image)
    return fingerprint(folder / name)


COPIES = {
    "half": lambda image: cv2.resize(image, (32, 32)),
    "every second pixel": lambda image: image[::2, ::2],
    "double": lambda image: cv2.resize(image, (128, 128)),
    "one grey level": lambda image: np.clip(image.astype(int) + 1, 0, 255).astype(np.uint8),
    "brighter": lambda image: np.clip(image.astype(int) + 25, 0, 255).astype(np.uint8),
    "jpeg": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 1),
}


@pytest.mark.parametrize("change", COPIES)
def test_copies_are_alike(tmp_path: Path, change: str) -> None:
    image, _ = defect(200, "hole")
    assert alike(_take(tmp_path, "a.png", image), _take(tmp_path, "b.png", COPIES[change](image)))


def test_other_photos_are_not(tmp_path: Path) -> None:
    one = _take(tmp_path, "a.png", defect(200, "hole")[0])
    assert not any(alike(one, _take(tmp_path, "b.png", defect(seed, "hole")[0])) for seed in range(201, 221))
    assert not alike(one, _take(tmp_path, "b.png", 255 - normal(200)))


def test_plain_form(tmp_path: Path) -> None:
    one = _take(tmp_path, "a.png", normal(1)[:40])
    assert one.size == (40, 64) and one.thumbnail is not None
    assert Fingerprint.from_plain(one.to_plain()) == one
    old = Fingerprint.from_plain({"sha256": "a", "image": "b"})
    assert old == Fingerprint("a") and alike(old, one)
    with pytest.raises(ValueError, match="3 bytes"):
        Fingerprint.from_plain({"sha256": "a", "size": [1, 2], "thumbnail": "YWJj"})


def test_looks_are_taken_from_the_picture_while_it_is_the_same(tmp_path: Path) -> None:
    one = _take(tmp_path, "a.png", normal(1))
    old = Fingerprint(one.sha256)
    assert completed(old, tmp_path / "a.png") == one
    assert completed(old, tmp_path / "gone.png") == old
    _take(tmp_path, "a.png", normal(2)[:30])
    assert completed(old, tmp_path / "a.png") == old
