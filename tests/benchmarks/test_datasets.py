# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from benchmarks import datasets
from benchmarks.datasets import lay_out_mvtec_3d, lay_out_visa, link, type_name
from seas_aug.data.category import read_mvtec_folder
from seas_aug.errors import SeasError
from tests.anomalib_plugin.layouts import DEFECTS, NORMALS, TEST_NORMALS, mvtec_3d, visa
from tests.anomalib_plugin.rendered import TYPES


def _visa(root: Path) -> Path:
    """VisA as anomalib leaves it: its split, and the original's table of types."""
    visa(root)
    images = sorted((root / "visa_pytorch/candle/test/bad").iterdir())
    labels = ["chunk of wax missing"] * 4 + ["Weird candle-wick"] * 3 + ["chunk of wax missing,weird candle wick"]
    table = root / "candle" / "image_anno.csv"
    table.parent.mkdir()
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label", "mask"])
        for image, label in zip(images, labels, strict=True):
            rows.writerow([f"candle/Data/Images/Anomaly/{image.name}", label, ""])
            rows.writerow([f"candle/Data/Images/Normal/{image.name}", "normal", ""])
    return root


def test_visa_has_its_own_types(tmp_path: Path) -> None:
    lay_out_visa(_visa(tmp_path / "visa"), tmp_path / "out", "candle")
    found = read_mvtec_folder(tmp_path / "out" / "candle")
    counts = {name: len(samples) for name, samples in found.defects.items()}
    assert counts == {"chunk_of_wax_missing": 4, "combined": 1, "weird_candle_wick": 3}
    assert (len(found.normals), len(found.test_others)) == (NORMALS, TEST_NORMALS)
    one = found.defects["combined"][0]
    original = tmp_path / "visa/visa_pytorch/candle/ground_truth/bad" / f"{one.image.stem}.png"
    assert one.mask.read_bytes() == original.read_bytes()


def test_colour_images_of_mvtec_3d(tmp_path: Path) -> None:
    mvtec_3d(tmp_path / "3d")
    lay_out_mvtec_3d(tmp_path / "3d", tmp_path / "out", "bagel")
    found = read_mvtec_folder(tmp_path / "out" / "bagel")
    assert {name: len(samples) for name, samples in found.defects.items()} == dict.fromkeys(sorted(TYPES), DEFECTS)
    assert (len(found.normals), len(found.test_others)) == (NORMALS, TEST_NORMALS)
    assert not list((tmp_path / "out").rglob("*.tiff"))


@pytest.mark.parametrize(
    ("label", "name"),
    [("bent", "bent"), (" Extra wax in candle", "extra_wax_in_candle"), ("burnt,scratch", "combined")],
)
def test_type_names(label: str, name: str) -> None:
    assert type_name(label) == name


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    root = _visa(tmp_path / "visa")
    with pytest.raises(SeasError, match=r"image_anno\.csv: is missing"):
        lay_out_visa(root, tmp_path / "out", "cashew")
    table = root / "candle/image_anno.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *lines[3:]]))
    with pytest.raises(SeasError, match="has no line in"):
        lay_out_visa(root, tmp_path / "out", "candle")
    shutil.rmtree(root / "visa_pytorch/candle/train")
    with pytest.raises(SeasError, match="has no files"):
        lay_out_visa(root, tmp_path / "out", "candle")
    with pytest.raises(SeasError, match=r"nothing\.png: is missing"):
        link(tmp_path / "nothing.png", tmp_path / "other.png")


def test_a_copy_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"12")

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(datasets.os, "link", refuse)
    link(tmp_path / "a", tmp_path / "new" / "b")
    link(tmp_path / "a", tmp_path / "new" / "b")  # a second time changes nothing
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["b"]
    assert (tmp_path / "new" / "b").read_bytes() == b"12"


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("anomalib.data.datasets.image.visa.CATEGORIES", ("candle",))
    root = _visa(tmp_path / "visa")
    assert datasets.main(["visa", "--root", str(root), "--output", str(tmp_path / "out")]) == 0
    assert len(read_mvtec_folder(tmp_path / "out" / "candle").anomaly_types) == 3
    (root / "candle/image_anno.csv").unlink()
    assert datasets.main(["visa", "--root", str(root), "--output", str(tmp_path / "out")]) == 2
    assert "image_anno.csv: is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        datasets.main(["mvtec_3d", "--root", str(root)])
    assert "needs --output" in capsys.readouterr().err
