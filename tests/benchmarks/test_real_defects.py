# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import cv2
import pytest
import torch

from benchmarks import real_defects
from benchmarks.real_defects import Predictions, main, mean_of_types, score
from tests.benchmarks.conftest import TYPES


def arguments(demo: Path, output: Path, split: Path | None = None) -> list[str]:
    root = demo / "board"
    return [
        f"--run={demo / 'run'}",
        f"--data.root={root}",
        f"--split={split or root / 'split.json'}",
        f"--output={output}",
    ]


def test_figures_of_known_maps() -> None:
    masks = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    masks[0, 0, 0, :2] = 1
    masks[1, 0, 1, :] = 1
    probabilities = masks.float()
    probabilities[0, 0, 0, 1] = 0  # image 0: half of its 2 pixels
    probabilities[1, 0, 2, :] = 1  # image 1: its 4 pixels and 4 wrong ones
    heat = masks.float() * 0.5 + 0.1
    heat[0, 0, 3, 3] = 0.9
    found = score(Predictions(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), masks, heat, probabilities), 0.5)
    assert found.images == 2
    assert found.mask_iou_per_image == pytest.approx((1 / 2 + 4 / 8) / 2)
    assert found.mask_iou_pooled == pytest.approx(5 / 10)
    assert found.attention_auroc == pytest.approx(25 / 26)
    assert mean_of_types({"a": found, "b": found})["mask_iou_pooled"] == pytest.approx(0.5)


def test_command(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "results.json"
    assert main(arguments(demo, output)) == 0
    content = json.loads(output.read_text())
    assert tuple(content["types"]) == TYPES
    assert all(values["images"] == 2 for values in content["types"].values())
    assert content["settings"]["seed"] == 0
    assert content["environment"]["torch"] == torch.__version__.partition("+")[0]
    printed = capsys.readouterr().out
    assert "mean over types" in printed
    assert f"{content['mean']['attention_auroc']:.4f}" in printed
    assert cv2.imread(str(tmp_path / "results.png")) is not None


def test_fine_tuned_images_are_refused(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"pit": {"test": ["000.png"]}}))
    assert main(arguments(demo, tmp_path / "r.json", split)) == 2
    assert "pit/000.png was fine-tuned on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "lists no test images"),
        ('{"pit": {}}', "lists no test images"),
        ('{"pit": {"test": ["900.png"]}}', "pit/900.png"),
        ('{"pit": {"test": []}}', "lists no test image"),
    ],
)
def test_wrong_split(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture, content: str, words: str) -> None:
    split = tmp_path / "split.json"
    split.write_text(content)
    assert main(arguments(demo, tmp_path / "r.json", split)) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


def test_unknown_type(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_defects, "choose_test_samples", lambda *_: {"dent": []})
    assert main(arguments(demo, tmp_path / "r.json")) == 2
    assert "does not know the type dent" in capsys.readouterr().err
