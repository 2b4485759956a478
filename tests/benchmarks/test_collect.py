# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from benchmarks.collect import main
from tests.benchmark.made_cells import write_cell


def write(folder, category, source, skill, steps=5, status="done", seed=0):
    return write_cell(folder, category, source, skill, status=status, seed=seed, settings={"steps": steps})[1]


def arguments(tmp_path, *folders):
    output = [f"--output={tmp_path / 'summary.json'}", f"--table={tmp_path / 'table.md'}", "--draws=50"]
    return [f"--store={tmp_path / 'all'}", *output, *(["--cells", *map(str, folders)] if folders else [])]


def test_cells_of_two_evenings_make_one_headline(tmp_path, capsys):
    found = {}
    for folder, category in (("monday", "tile"), ("tuesday", "screw")):
        for source, skill in (("perlin", 0.1), ("seas", 0.5)):
            found[category, source] = write(tmp_path / folder, category, source, skill)
    write(tmp_path / "tuesday", "screw", "cutpaste", 0.1, status="failed")
    assert main(arguments(tmp_path, tmp_path / "monday", tmp_path / "tuesday")) == 0
    assert "tile" in capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["cells"] == {"done": 4, "planned": 4}
    assert summary["pixel_ap"]["tile"]["seas"] == pytest.approx(100 * found["tile", "seas"]["pixel_ap"], abs=0.01)
    gains = [found[name, "seas"]["pixel_ap"] - found[name, "perlin"]["pixel_ap"] for name in ("tile", "screw")]
    assert summary["draem_gain_vs_perlin"]["mean"] == pytest.approx(100 * np.mean(gains), abs=0.006)
    assert (tmp_path / "table.md").read_text().count("| draem-compact |") == 4 + 3
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "categories: [{root: tile}, {root: screw}]\noutput: out\none_class: []\nquality: []\nsegmentation: {}\n"
    )
    assert main([*arguments(tmp_path), f"--grid={grid}"]) == 0
    planned = 2 * 3 * (4 + 1)  # categories, seeds, sources and the masks
    assert json.loads((tmp_path / "summary.json").read_text())["cells"] == {"done": 4, "planned": planned}
    assert main(arguments(tmp_path)) == 0
    before = (tmp_path / "summary.json").read_text()
    assert main(arguments(tmp_path)) == 0  # the store alone has it all
    assert (tmp_path / "summary.json").read_text() == before


def test_mistakes(tmp_path, capsys):
    write(tmp_path / "a", "tile", "seas", 0.5)
    write(tmp_path / "b", "tile", "seas", 0.5, steps=6)
    write(tmp_path / "c", "tile", "perlin", 0.5, steps=6, seed=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "a.json").write_text("{}")
    for folders, message in (
        ([], "give --cells"),
        ([tmp_path / "none"], "no such folder"),
        ([tmp_path / "empty"], "no cell in it is done"),
        ([tmp_path / "foreign"], "no row of a benchmark"),
        ([tmp_path / "a", tmp_path / "c"], "cannot be compared"),
        ([tmp_path / "b"], "different settings"),
    ):
        assert main(arguments(tmp_path, *folders)) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not (tmp_path / "summary.json").exists()
