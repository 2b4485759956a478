# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import regression
from benchmarks.regression import (
    LOWER_IS_BETTER,
    RegressionSettings,
    code_hash,
    compare,
    find_drops,
    make_reference,
    measure_pairs,
)
from tests.anomalib_plugin import rendered

REFERENCE = {"iou": {"mean": 0.6, "noise": 0.02}, "kid": {"mean": 0.3, "noise": 0.001}}


def test_only_what_is_worse_than_noise_is_a_drop() -> None:
    assert find_drops({"iou": 0.55, "kid": 0.32}, REFERENCE) == []
    assert find_drops({"iou": 0.9, "kid": 0.0}, REFERENCE) == []  # better is no drop
    assert [text.split()[0] for text in find_drops({"iou": 0.53, "kid": 0.34}, REFERENCE)] == ["iou", "kid"]
    assert "kid" in LOWER_IS_BETTER


def test_reference_of_seeds() -> None:
    new = make_reference([{"iou": 0.5}, {"iou": 0.6}, {"iou": 0.7}])
    assert new == {"iou": {"mean": 0.6, "noise": 0.1}}
    assert compare(new, REFERENCE).splitlines()[1].split()[-1] == "0.300"  # three times the noise
    assert "0.600 ± 0.020" in compare(new, REFERENCE) and "0.100" in compare(new, REFERENCE)
    assert "-" in compare(new, {})


def test_renewal_prints_old_and_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(regression, "make_pairs", lambda folder, settings, seed: None)
    monkeypatch.setattr(regression, "measure", lambda entry, output, settings, seed: {"iou": 0.5 + seed / 10})
    output = tmp_path / "reference.json"
    output.write_text(json.dumps({"figures": REFERENCE}))
    assert regression.main(["--seeds", "0", "1", f"--output={output}"]) == 0
    assert json.loads(output.read_text())["figures"]["iou"]["mean"] == 0.55
    assert json.loads(output.read_text())["settings"] == dataclasses.asdict(RegressionSettings())
    printed = capsys.readouterr().out
    assert "0.600" in printed and "0.550" in printed
    with pytest.raises(SystemExit):
        regression.main(["--seeds", "0"])


def test_the_work_folder_is_the_codes_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "seas_aug").mkdir()
    (tmp_path / "benchmarks").mkdir()
    for name in ("seas_aug/one.py", "benchmarks/regression.py"):
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(regression, "__file__", str(tmp_path / "benchmarks/regression.py"))
    before = code_hash()
    assert code_hash() == before
    (tmp_path / "seas_aug/one.py").write_text("2")
    assert code_hash() != before


def test_change_in_mask_by_hand(tmp_path: Path) -> None:
    pairs = rendered.make_generated(tmp_path / "pairs", rendered.make_category(tmp_path / "part"))
    shares = []
    for mask in sorted((pairs / "ground_truth").rglob("*.png")):
        name, file = mask.parent.name, mask.name.replace("_mask", "")
        paths = (pairs / "test" / name / file, pairs / "reference" / name / "good" / file)
        image, reference = (cv2.imread(str(path)).astype(float) for path in paths)
        inside = whole = 0.0
        for place, marked in np.ndenumerate(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)):
            change = sum(abs(image[place] - reference[place]))
            inside, whole = inside + change * bool(marked), whole + change
        shares.append(inside / whole)
    assert measure_pairs(pairs)["change_in_mask"] == pytest.approx(np.mean(shares))
    assert 0 < np.mean(shares) < 1
