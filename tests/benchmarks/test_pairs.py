# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.pairs import main
from seas_aug.generate.writer import read_manifest


def accepted(generated: Path) -> list[dict[str, Any]]:
    return [entry for entry in read_manifest(generated) if entry["file"]]


def test_counts_and_sheet(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output, sheet = tmp_path / "pairs.json", tmp_path / "sheet.png"
    folders = [f"--generated={demo / 'generated'}", f"--run={demo / 'run'}"]
    assert main([*folders, f"--output={output}", f"--contact_sheet={sheet}", "--columns=2"]) == 0
    content = json.loads(output.read_text())
    made = Counter(entry["folder"] for entry in accepted(demo / "generated"))  # the gate may have refused some
    assert (content["pairs"], content["empty_masks"]) == (made.total(), 0)
    assert {name: values["pairs"] for name, values in content["types"].items()} == made
    assert "stain" in capsys.readouterr().out
    assert cv2.imread(str(sheet)) is not None


def test_an_empty_mask_is_counted(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    generated = tmp_path / "generated"
    shutil.copytree(demo / "generated", generated)
    entries = accepted(generated)
    name, mask = entries[0]["folder"], generated / entries[0]["mask"]
    cv2.imwrite(str(mask), np.zeros_like(cv2.imread(str(mask))))
    assert main([f"--generated={generated}", f"--contact_sheet={tmp_path / 's.png'}"]) == 1
    assert main([f"--generated={generated}", f"--contact_sheet={tmp_path / 'o.png'}", "--generated_only"]) == 1
    whole, own = (cv2.imread(str(tmp_path / name)) for name in ("s.png", "o.png"))
    assert own.shape[0] < whole.shape[0]  # the references' line is not there
    lines = {line.split()[0]: line.split()[1:3] for line in capsys.readouterr().out.splitlines()}
    assert lines[name] == [str(sum(entry["folder"] == name for entry in entries)), "1"]
    assert lines["all"] == [str(len(entries)), "1"]


def test_no_generated_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([f"--generated={tmp_path}"]) == 2
    assert "manifest.jsonl" in capsys.readouterr().err
