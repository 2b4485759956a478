# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from seas_aug.benchmark.grid import Cell, TaskGrid, plan_cells
from seas_aug.benchmark.runner import Preparation, run_cells
from seas_aug.benchmark.store import CellStore
from seas_aug.errors import SeasError

CELLS = plan_cells([TaskGrid("detection", {"net": {}}, ("none", "perlin", "seas"))], ["screw", "tile"], [0, 1], {})


def figure(cell: Cell) -> dict[str, Any]:
    return {"metrics": {"ap": len(cell.key)}, "device": os.environ.get("CUDA_VISIBLE_DEVICES")}


def killed_on_perlin(cell: Cell) -> dict[str, Any]:
    if cell.source == "perlin":
        os.kill(os.getpid(), signal.SIGKILL)
    return figure(cell)


def table(store: CellStore) -> dict[str, Any]:
    rows = [store.read(cell) for cell in CELLS]
    return {cell.key: row and (row["status"], row["metrics"]) for cell, row in zip(CELLS, rows, strict=True)}


def test_rows_say_all(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    assert run_cells(CELLS, figure, store) == 0
    row = store.read(CELLS[0])
    assert row is not None
    assert row["cell"] == {
        "task": "detection",
        "category": "screw",
        "network": "net",
        "source": "none",
        "seed": 0,
        "settings": {},
    }
    assert row["seconds"] >= 0 and row["peak_memory_mib"]["host"] > 10 and "torch" in row["environment"]
    assert len(list(tmp_path.iterdir())) == len(CELLS)


@pytest.mark.parametrize("stop", range(0, len(CELLS), 5))
def test_interrupted_anywhere_ends_with_the_same_table(tmp_path: Path, stop: int) -> None:
    whole = CellStore(tmp_path / "whole")
    run_cells(CELLS, figure, whole)
    store, calls = CellStore(tmp_path / "parts"), []

    def interrupted(cell: Cell) -> dict[str, Any]:
        calls.append(cell.key)
        if len(calls) == stop + 1:
            raise KeyboardInterrupt
        return figure(cell)

    with pytest.raises(KeyboardInterrupt):
        run_cells(CELLS, interrupted, store)
    (tmp_path / "parts").mkdir(exist_ok=True)
    (tmp_path / "parts" / ".half.json.seas-tmp").write_text("{")
    store.tidy()
    assert run_cells(CELLS, interrupted, store) == 0
    assert table(store) == table(whole)
    assert len(calls) == len(CELLS) + 1  # nothing was measured twice but the one that was interrupted
    assert len(list((tmp_path / "parts").iterdir())) == len(CELLS)


def test_a_failing_cell_is_recorded_and_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store, broken = CellStore(tmp_path), [True]

    def sometimes(cell: Cell) -> dict[str, Any]:
        if broken[0] and cell.source == "perlin":
            if cell.seed:
                raise RuntimeError("CUDA out of memory\nand more")
            raise SeasError("no textures here; give some.")
        return figure(cell)

    assert run_cells(CELLS, sometimes, store) == 4
    rows = {cell.key: store.read(cell) for cell in CELLS}
    assert sum(row["status"] == "done" for row in rows.values() if row) == len(CELLS) - 4
    errors = {row["error"] for row in rows.values() if row and row["status"] == "failed"}
    assert errors == {"no textures here; give some.", "RuntimeError: CUDA out of memory"}
    assert any("Traceback" in row.get("traceback", "") for row in rows.values() if row)
    assert "failed: screw, net, perlin, seed 0" in capsys.readouterr().err
    broken[0] = False
    assert run_cells(CELLS, sometimes, store) == 0
    assert all(store.is_done(cell) for cell in CELLS)


def test_every_device_takes_cells(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    assert run_cells(CELLS[:4], figure, store, devices=["0", "1"]) == 0
    rows = [store.read(cell) for cell in CELLS[:4]]
    assert {row["device"] for row in rows if row} == {"0", "1"}
    alone = CellStore(tmp_path / "alone")
    run_cells(CELLS[:4], figure, alone)
    assert table(store) == table(alone)


def prepare_seas(path: Path) -> None:
    path.write_text(os.environ["CUDA_VISIBLE_DEVICES"])


def test_cells_that_wait_for_a_preparation_come_after_it_seed_by_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    store, told = CellStore(tmp_path / "cells"), []
    now, later = ([cell for cell in CELLS if (cell.source == "seas") == seas] for seas in (False, True))
    run_cells(now[:1], figure, store)  # measured before

    def known(code: int) -> list[Cell]:
        told.append((code, (tmp_path / "made").read_text()))
        return later

    assert run_cells(now, figure, store, ["5"], [Preparation(partial(prepare_seas, tmp_path / "made"), known)]) == 0
    assert told == [(0, "5")]
    written = sorted(CELLS[1:], key=lambda cell: store.path(cell).stat().st_mtime_ns)
    assert [cell.seed for cell in written] == sorted(cell.seed for cell in written)
    assert f"{len(CELLS)}/{len(CELLS)}" in capsys.readouterr().err
    alone = CellStore(tmp_path / "alone")
    run_cells(CELLS, figure, alone)
    assert table(store) == table(alone)


def test_a_killed_process_is_recorded_and_the_next_cell_measured(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    assert run_cells(CELLS[:3], killed_on_perlin, store, devices=["0"]) == 1
    rows = [store.read(cell) for cell in CELLS[:3]]
    assert [row and row["status"] for row in rows] == ["done", "failed", "done"]
    assert rows[1] is not None and "code -9" in rows[1]["error"] and "run it again" in rows[1]["error"]
    assert run_cells(CELLS[:3], figure, store) == 0


def test_damaged_row(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    for text in ("{", "[]", json.dumps({"status": "done"})):
        store.path(CELLS[0]).write_text(text)
        with pytest.raises(SeasError, match="measured again"):
            store.read(CELLS[0])
