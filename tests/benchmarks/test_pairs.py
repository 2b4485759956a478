# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.pairs import main


def test_counts_and_sheet(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output, sheet = tmp_path / "pairs.json", tmp_path / "sheet.png"
    folders = [f"--generated={demo / 'generated'}", f"--run={demo / 'run'}"]
    assert main([*folders, f"--output={output}", f"--contact_sheet={sheet}", "--columns=2"]) == 0
    content = json.loads(output.read_text())
    assert (content["pairs"], content["empty_masks"]) == (6, 0)
    assert {name: values["pairs"] for name, values in content["types"].items()} == {"hole": 2, "scratch": 2, "stain": 2}
    assert "stain" in capsys.readouterr().out
    assert cv2.imread(str(sheet)) is not None


def test_an_empty_mask_is_counted(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    generated = tmp_path / "generated"
    shutil.copytree(demo / "generated", generated)
    cv2.imwrite(str(generated / "ground_truth" / "hole" / "001_mask.png"), np.zeros((128, 128), np.uint8))
    assert main([f"--generated={generated}", f"--contact_sheet={tmp_path / 's.png'}"]) == 1
    assert main([f"--generated={generated}", f"--contact_sheet={tmp_path / 'o.png'}", "--generated_only"]) == 1
    whole, own = (cv2.imread(str(tmp_path / name)) for name in ("s.png", "o.png"))
    assert own.shape[0] < whole.shape[0]  # the references' line is not there
    lines = {line.split()[0]: line.split()[1:3] for line in capsys.readouterr().out.splitlines()}
    assert lines["hole"] == ["2", "1"]
    assert lines["all"] == ["6", "1"]


def test_no_generated_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([f"--generated={tmp_path}"]) == 2
    assert "manifest.jsonl" in capsys.readouterr().err
