# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import pytest

from seas_aug.anomalib_plugin import textures
from seas_aug.anomalib_plugin.cache import cache_folder
from seas_aug.base.renderer.surfaces import SURFACES
from seas_aug.errors import SeasError


def test_textures_are_made_once_and_are_the_same_again(tmp_path: Path) -> None:
    first = textures.make_textures(tmp_path / "a" / "dtd", per_kind=1, size=32)
    files = sorted(first.rglob("*.png"))
    assert len(files) == len(SURFACES)
    assert all(cv2.imread(str(file)).shape == (32, 32, 3) for file in files)
    second = textures.make_textures(tmp_path / "b", per_kind=1, size=32)
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in sorted(second.rglob("*.png"))]
    files[0].write_bytes(b"kept")
    textures.make_textures(first)
    assert files[0].read_bytes() == b"kept"


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(SeasError, match="per_kind is 0"):
        textures.make_textures(tmp_path / "x", per_kind=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(SeasError, match="file"):
        textures.make_textures(tmp_path / "file" / "x", per_kind=1, size=16)


def test_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textures, "DTD_URL", "http://127.0.0.1:9/dtd.tar.gz")
    assert textures.dtd_reachable() is False


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.setenv("SEAS_AUG_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("SEAS_AUG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "seas_aug"
