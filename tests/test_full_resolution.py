# SPDX-License-Identifier: Apache-2.0
"""A product of large photos with small defects, from fine-tuning to a trained detector, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import json, resource, sys
from pathlib import Path
from seas_aug.base.renderer.board import BoardSettings, render_board
from seas_aug.config import DataConfig, FineTuneConfig, GeneratorConfig, MaskConfig
from seas_aug.anomalib_plugin.textures import make_textures
from seas_aug.finetune.run import finetune
from seas_aug.generate.run import generate
from seas_aug.generate.writer import read_manifest
from seas_aug.report.demo_detector import DetectorSettings, train_and_test

folder = Path(sys.argv[1])
root = render_board(folder / "board", 0, BoardSettings(3000, 2000), 6, 2, 3, 2)
few = GeneratorConfig(max_steps=3), MaskConfig(max_steps=3)
data = DataConfig(root=root, few_shot=str(root / "split.json"))
finetune(FineTuneConfig(folder / "run", preview_every=0, accelerator="cpu", data=data, generator=few[0], masks=few[1]))
generate(folder / "run", folder / "pairs", 4, anomaly_types=[["pit"]], batch_size=4, accelerator="cpu")
textures = make_textures(folder / "textures", size=256)
detector = DetectorSettings(steps=2, batch_size=2, width=8)
train_and_test(root, folder / "run", folder / "pairs", "seas", textures, folder / "anomalib", detector, 0, 256, [])
lines = [line for line in read_manifest(folder / "pairs") if line["file"]]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"peak_gib": peak, "pairs": len(lines), "windows": lines[0]["windows"]}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="getrusage tells the peak memory on Unix only")
def test_large_photos_stay_within_8_gib(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["pairs"] == 4
    assert found["windows"][0][2] <= 256  # a window of the defect's scale, not the photo
    assert found["peak_gib"] < 8
