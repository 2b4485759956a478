# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import streaming
from seas_aug.anomalib_plugin.producer import Producer
from seas_aug.generate.writer import read_manifest
from tests.anomalib_plugin.test_streamed import COMMAND
from tests.benchmarks.conftest import TYPES


def test_a_few_updates(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    fake = COMMAND[2].replace("FakePipeline()", f"type('P', (FakePipeline,), {{'anomaly_types': {TYPES}}})()")
    original = Producer.__init__
    monkeypatch.setattr(Producer, "__init__", lambda self, chosen: original(self, chosen, (sys.executable, "-c", fake)))
    category = next(path.parent.parent for path in demo.rglob("train/good") if "generated" not in path.parts)
    output = tmp_path / "streaming.json"
    folders = [f"--data.root={category}", f"--run={demo / 'run'}", f"--generated={demo / 'generated'}"]
    assert streaming.main([*folders, "--steps=6", "--uses=2", "--num_images=3", f"--output={output}"]) == 0
    content = json.loads(output.read_text())
    stream = content["stream"]
    assert 0 < stream["drawn"] <= 6 * 4
    assert stream["stated"] == stream["drawn"] // 2
    assert stream["producer_left"] is False and stream["broken_files"] == []
    assert content["fixed"]["updates_per_second"] > 0
    assert "pairs drawn" in capsys.readouterr().out


def test_what_is_left_behind_is_seen(demo: Path, tmp_path: Path) -> None:
    assert streaming.is_running(os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert not streaming.is_running(ended.pid)
    assert streaming.broken_files(demo / "generated") == []
    name = next(entry["mask"] for entry in read_manifest(demo / "generated") if entry["mask"])
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / "manifest.jsonl").write_bytes((demo / "generated" / "manifest.jsonl").read_bytes())
    (tmp_path / name).write_bytes(np.zeros(10, np.uint8).tobytes())
    broken = streaming.broken_files(tmp_path)
    assert name in broken
    lines = [entry for entry in read_manifest(tmp_path) if entry["file"]]
    assert len(broken) == len(lines) * 3  # of refused seeds there is no file


def test_mistake(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folders = [f"--data.root={tmp_path}", f"--run={tmp_path}", f"--generated={tmp_path}"]
    assert streaming.main([*folders, f"--output={tmp_path / 's.json'}"]) == 2
    assert "streaming: error:" in capsys.readouterr().err
