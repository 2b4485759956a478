# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import streaming_faults
from seas_aug.anomalib_plugin.callback import SeasAugmentation
from seas_aug.cli.anomalib_cli import SeasCLI
from tests.anomalib_plugin.fixtures import category

__all__ = ["category"]


@pytest.mark.skipif(not Path("/proc/self/cmdline").is_file(), reason="processes are looked up in /proc, as on Linux")
def test_processes_are_found_by_their_command_line(tmp_path):
    assert streaming_faults.processes_with(str(tmp_path)) == []
    command = [sys.executable, "-c", "import time; time.sleep(60)", str(tmp_path)]
    with subprocess.Popen(command) as process:
        assert streaming_faults.wait_until(lambda: streaming_faults.processes_with(str(tmp_path)), 10)
        assert streaming_faults.processes_with(str(tmp_path)) == [process.pid]
        process.kill()
    assert streaming_faults.processes_with(str(tmp_path)) == []
    assert not streaming_faults.wait_until(lambda: False, 0.2)


def test_the_config_is_one_of_a_streamed_training(category, tmp_path):
    config = streaming_faults.make_config(category, tmp_path / "run", tmp_path, tmp_path / "cache", 7)
    cli = SeasCLI(["fit", "--config", str(config)], run=False)
    callback = next(one for one in cli.engine._cache.args["callbacks"] if isinstance(one, SeasAugmentation))
    assert callback.stream and callback.run == tmp_path / "run"
    assert cli.engine._cache.args["max_steps"] == 7


@pytest.mark.parametrize(
    ("fault", "changed", "clean"),
    [
        ("training killed", {"said": [], "exit_code": -9}, True),
        ("producer killed", {}, True),
        ("producer killed", {"said": []}, False),
        ("disk full", {"exit_code": 1}, False),
        ("disk full", {"processes_left": 1}, False),
        ("training killed", {"broken_files": ["test/a.png"]}, False),
        ("training killed", {"listed": 0}, False),
    ],
)
def test_what_counts_as_clean(fault, changed, clean):
    found = {"exit_code": 0, "said": ["not renewed"], "processes_left": 0, "listed": 9, "broken_files": []}
    assert streaming_faults.is_clean(fault, {**found, **changed}) == clean


def test_training_that_does_not_start_is_explained(category, tmp_path, capsys):
    folders = [f"--data.root={category}", f"--run={tmp_path / 'none'}", f"--output={tmp_path / 'faults.json'}"]
    assert streaming_faults.main([*folders, "--fault", "producer killed"]) == 2
    assert "the training did not start" in capsys.readouterr().err
    assert not (tmp_path / "faults.json").exists()


@pytest.mark.slow
def test_killed_processes(demo, tmp_path):
    root = next(path.parent.parent for path in demo.rglob("train/good") if "generated" not in path.parts)
    folders = [f"--data.root={root}", f"--run={demo / 'run'}", f"--output={tmp_path / 'faults.json'}"]
    assert streaming_faults.main([*folders, "--fault", "training killed", "producer killed"]) == 0
    faults = json.loads((tmp_path / "faults.json").read_text())["faults"]
    assert faults["training killed"]["exit_code"] == -9
    assert "killed by signal 9" in faults["producer killed"]["said"][0]
