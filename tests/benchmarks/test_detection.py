# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import cv2
import pytest

from benchmarks import detection


def _main(demo: Path, output: Path, *options: str) -> int:
    category = next(path.parent.parent for path in demo.rglob("train/good") if "generated" not in path.parts)
    folders = [str(category), str(demo / "run"), str(demo / "generated")]
    return detection.main(["--category", *folders, f"--output={output}", "--steps=1", *options])


def test_rows_plot_and_going_on(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    output, plot = tmp_path / "detection.json", tmp_path / "plot.png"
    assert _main(demo, output, "--sources", "none", "cutpaste") == 0
    calls: list[str] = []
    measure = detection.measure
    monkeypatch.setattr(detection, "measure", lambda cell, *rest: calls.append(cell["source"]) or measure(cell, *rest))
    assert _main(demo, output, f"--plot={plot}") == 0
    assert calls == ["perlin", "seas"]  # the other two were there
    content = json.loads(output.read_text())
    assert [row["cell"]["source"] for row in content["rows"]] == ["none", "cutpaste", "perlin", "seas"]
    for row in content["rows"]:
        assert row["cell"]["steps"] == 1 and row["seconds"] > 0
        assert set(row["metrics"]) == set(detection.METRICS)
        assert all(0 <= value <= 1 for value in row["metrics"].values())
    assert "torch" in content["environment"]
    printed = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[1] for line in printed[-4:]) == ["cutpaste", "none", "perlin", "seas"]
    assert cv2.imread(str(plot)) is not None
    assert _main(demo, output, "--sources", "none", "--seed", "1") == 0
    assert calls == ["perlin", "seas", "none"]  # another seed is another row


def test_means_over_seeds() -> None:
    def row(source: str, seed: int, value: float) -> dict[str, object]:
        cell = {"category": "tile", "source": source, "seed": seed}
        return {"cell": cell, "metrics": dict.fromkeys(detection.METRICS, value)}

    text = detection.format_rows([row("none", 0, 0.2), row("none", 1, 0.4), row("seas", 0, 0.8)])
    lines = [line.split() for line in text.splitlines()[1:]]
    assert lines == [["tile", "none", "2", *["0.300"] * 4], ["tile", "seas", "1", *["0.800"] * 4]]


def test_mistakes(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "other.json").write_text("[]")
    assert _main(demo, tmp_path / "other.json") == 2
    assert "no results file" in capsys.readouterr().err
    nowhere = str(tmp_path / "nowhere")
    assert detection.main(["--category", nowhere, nowhere, nowhere, f"--output={tmp_path / 'new.json'}"]) == 2
    assert nowhere in capsys.readouterr().err
