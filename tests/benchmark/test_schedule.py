# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from seas_aug.benchmark.config import BenchmarkConfig, CategoryEntry
from seas_aug.benchmark.grid import CategoryFolders, Cell, needs_pairs
from seas_aug.benchmark.schedule import Schedule
from seas_aug.benchmark.store import CellStore
from seas_aug.data.split_file import load_split
from seas_aug.errors import SeasError

TEXTURES = {"textures": "rendered"}


@pytest.fixture
def config(folders: CategoryFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchmarkConfig:
    """Two equal categories; to fine-tune is to copy the run that there is, and fails for the one named ``other``."""

    def finetune(settings: Any) -> None:
        if settings.data.root.name == "other":
            raise SeasError("no such luck.")
        shutil.copytree(folders.run, settings.output, dirs_exist_ok=True)

    def generate(run: Path, output: Path, count: int, **options: Any) -> None:
        shutil.copytree(folders.generated, output, dirs_exist_ok=True)

    for name, function in (("finetune", finetune), ("generate", generate)):
        module = ModuleType(f"seas_aug.{name}.run")
        setattr(module, name, function)
        monkeypatch.setitem(sys.modules, f"seas_aug.{name}.run", module)
    used = load_split(folders.run / "split.json").split.few_shot
    few_shot = tmp_path / "split.json"
    few_shot.write_text(json.dumps({name: {"few_shot": [s.image.name for s in one]} for name, one in used.items()}))
    for name in ("part", "other"):
        shutil.copytree(folders.root, tmp_path / "data" / name)
    entries = [CategoryEntry(tmp_path / "data" / name, str(few_shot)) for name in ("part", "other")]
    return BenchmarkConfig(entries, tmp_path / "out", seeds=[0, 1], devices=[0])


def _named(cells: list[Cell]) -> list[tuple[str, str, str, str, int]]:
    return sorted((cell.task, cell.category, cell.network, cell.source, cell.seed) for cell in cells)


def test_opponents_now_and_the_rest_when_seas_is_there_or_never(config: BenchmarkConfig, capsys: Any) -> None:
    store = CellStore(config.output / "cells")
    schedule = Schedule(config, TEXTURES, store)
    now, expected = schedule.now(), schedule.cells()
    assert [cell.seed for cell in now] == sorted(cell.seed for cell in now)
    assert now and not any(needs_pairs(cell) for cell in now)
    assert _named(now) == _named([cell for cell in expected if not needs_pairs(cell)])
    assert schedule.impossible == 0 and not store.folder.exists()
    part, other = schedule.preparations()
    measure = schedule.measurement()
    assert measure.folders["part"].generated == config.output / "seas" / "part" / "generated"
    assert (measure.alone["part"].run / "split.json").is_file() and not measure.folders["part"].run.exists()

    part.job()
    later = part.cells(0)
    assert later and all(needs_pairs(cell) and cell.category == "part" for cell in later)
    assert all(cell.settings["pairs"] and cell.settings["model"] for cell in later if cell.source == "seas")

    other.job()
    assert other.cells(0) == []
    lost = [cell for cell in schedule.cells() if cell.category == "other" and needs_pairs(cell)]
    assert schedule.impossible == len(lost) > 0 and {cell.source for cell in lost} == {"seas", "perlin", "cutpaste"}
    assert {(store.read(cell) or {})["error"] for cell in lost} == {"no such luck."}
    assert "other: SeaS failed, its opponents are measured: no such luck." in capsys.readouterr().err

    assert _named(schedule.cells()) == _named(expected) == _named([*now, *later, *lost])
    # The same cells as where SeaS is fine-tuned first.
    keys = {cell.key for cell in schedule.cells()}
    assert keys == {cell.key for cell in [*now, *later, *lost]}
    first = BenchmarkConfig(config.categories, config.output, seeds=[0, 1])
    before = Schedule(first, TEXTURES, store)
    assert {cell.key for cell in before.cells()} == keys and not before.preparations()
    assert {cell.key for cell in before.now()} == keys - {cell.key for cell in lost}


def test_a_killed_fine_tuning_is_said_so_and_opponents_stay(config: BenchmarkConfig, capsys: Any) -> None:
    alone, store = dataclasses.replace(config, categories=config.categories[:1]), CellStore(config.output / "cells")
    schedule = Schedule(alone, TEXTURES, store)
    now = schedule.now()
    assert schedule.preparations()[0].cells(-9) == [] and schedule.impossible > 0
    assert "part: SeaS failed, its opponents are measured: its process ended with code -9;" in capsys.readouterr().err
    assert {cell.key for cell in now} < {cell.key for cell in schedule.cells()}


def test_whatever_goes_wrong_in_a_process_is_known(config: BenchmarkConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(sys.modules["seas_aug.finetune.run"], "finetune", broken)
    store = CellStore(config.output / "cells")
    schedule = Schedule(config, TEXTURES, store)
    part = schedule.preparations()[0]
    part.job()
    part.cells(0)
    errors = {row["error"] for cell in schedule.cells() if (row := store.read(cell)) is not None}
    assert errors == {"ZeroDivisionError: by nothing"}


def test_opponents_have_the_split_of_a_run_that_is_there(config: BenchmarkConfig) -> None:
    first = Schedule(config, TEXTURES, CellStore(config.output / "cells"))
    first.preparations()[0].job()
    root = config.categories[0].root
    added = sorted((root / "test" / "good").glob("*.png"))[0]  # an image more, after the fine-tuning
    copy = root / "test" / "good" / f"zz{added.name}"
    copy.write_bytes(added.read_bytes())
    few_shot = config.categories[0].few_shot
    Path(few_shot).unlink()  # were the split made anew, it would be missed
    again = Schedule(
        dataclasses.replace(config, categories=config.categories[:1]), TEXTURES, CellStore(config.output / "cells")
    )
    now = again.now()
    later = again.preparations()[0].cells(0)
    assert {cell.key for cell in [*now, *later]} == {cell.key for cell in again.cells()}


def test_a_given_run_is_the_one_that_opponents_are_split_by(folders: CategoryFolders, tmp_path: Path) -> None:
    entry = CategoryEntry(folders.root, "0.9", run=folders.run)  # pairs are still to be made
    config = BenchmarkConfig([entry], tmp_path, seeds=[0], devices=[0])
    schedule = Schedule(config, TEXTURES, CellStore(tmp_path / "cells"))
    assert schedule.folders()["part"].run == folders.run and len(schedule.preparations()) == 1
