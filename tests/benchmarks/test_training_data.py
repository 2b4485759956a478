# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.training_data import files_read_by_rendering, recorded_reads


def test_rendering_reads_nothing() -> None:
    assert files_read_by_rendering(scenes=4, size=32) == {"scenes": 4, "files": []}


def test_reads_are_seen_and_only_meanwhile(tmp_path: Path) -> None:
    picture, text = tmp_path / "a.png", tmp_path / "a.txt"
    cv2.imwrite(str(picture), np.zeros((4, 4, 3), np.uint8))
    text.write_text("x")
    with recorded_reads() as found:
        cv2.imread(str(picture))
        text.read_bytes()
    assert found == ["cv2.imread", str(text)]
    text.read_bytes()
    assert len(found) == 2
    assert cv2.imread(str(picture)).shape == (4, 4, 3)


def test_a_renderer_that_reads_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph = tmp_path / "photograph.npy"
    np.save(photograph, np.zeros((32, 32, 3), np.uint8))
    from seas_aug.base.pretrain import scenes

    real = scenes.render_scene

    def cheat(seed: int, size: int) -> object:
        np.load(photograph)
        return real(seed, size)

    monkeypatch.setattr(scenes, "render_scene", cheat)
    assert files_read_by_rendering(scenes=2, size=32)["files"] == [str(photograph)]
