# SPDX-License-Identifier: Apache-2.0
import json

import cv2
import pytest

from benchmarks.learning_curve import main
from seas_aug.benchmark import detectors
from tests.benchmark.conftest import folders  # noqa: F401


@pytest.fixture
def command(folders, tmp_path, monkeypatch):  # noqa: F811
    small = detectors.DetectorVariant(
        lambda size, textures: detectors.NarrowDraem(4, 1e-3, size, textures), size=64, steps=1, batch_size=2
    )
    monkeypatch.setitem(detectors.VARIANTS, "draem-compact", small)
    return [
        f"--data.root={folders.root}",
        f"--run={folders.run}",
        f"--generated={folders.generated}",
        f"--work={tmp_path / 'work'}",
        f"--output={tmp_path / 'curves.json'}",
    ]


def test_command(command, tmp_path, capsys):
    assert main([*command, "--steps", "1", "2"]) == 0
    assert capsys.readouterr().out.count("pixel AP") == 2
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").glob("*.json")}
    assert len(cells) == 2
    assert main([*command, "--source=seas", "--steps", "1", f"--plot={tmp_path / 'curves.png'}"]) == 0
    curves = json.loads((tmp_path / "curves.json").read_text())["curves"]
    assert [(one["source"], [point["steps"] for point in one["points"]]) for one in curves] == [
        ("perlin", [1, 2]),
        ("seas", [1]),
    ]
    assert all(0 <= point["pixel_ap"] <= 1 for one in curves for point in one["points"])
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 5
    assert main([*command, "--steps", "1", "2"]) == 0
    assert {path: path.stat().st_mtime_ns for path in cells} == cells  # nothing is trained twice


def test_a_curve_tells_where_it_was_trained(command, tmp_path):
    assert main([*command, "--steps", "1"]) == 0
    (path,) = (tmp_path / "work").glob("*.json")
    row = json.loads(path.read_text())
    path.write_text(json.dumps({**row, "environment": {**row["environment"], "accelerator": "another"}}))
    assert main([*command, "--steps", "1"]) == 0
    (curve,) = json.loads((tmp_path / "curves.json").read_text())["curves"]
    assert curve["environment"]["accelerator"] == "another"


def test_mistakes(command, tmp_path, capsys):
    (tmp_path / "curves.json").write_text('{"figures": 1}')
    assert main([*command, "--steps", "1"]) == 2
    assert "holds no curves" in capsys.readouterr().err
    assert main([*command[:-1], f"--output={tmp_path / 'new.json'}", "--steps", "1", "--network=resnet"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "'resnet' is no detector" in message
