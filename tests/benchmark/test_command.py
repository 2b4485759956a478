# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from seas_aug.artifact.lock import LOCK, only_writer
from seas_aug.artifact.record import write_record
from seas_aug.benchmark import schedule
from seas_aug.benchmark.command import format_table, plan, run_benchmark
from seas_aug.benchmark.config import COMPACT_NETWORKS, BenchmarkConfig, CategoryEntry
from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.prepare import data_of, folders_of, pairs_of, prepare, textures_of
from seas_aug.benchmark.schedule import Schedule
from seas_aug.benchmark.store import CellStore
from seas_aug.benchmark.test_set import read_test_set
from seas_aug.cli.benchmark import is_anomalibs
from seas_aug.cli.main import main
from seas_aug.data.split_file import load_split
from seas_aug.errors import SeasError
from seas_aug.generate.writer import made_from
from seas_aug.report.benchmark_page import write_report
from tests.anomalib_plugin import rendered
from tests.generate.fake import make_run

TINY = {"unet": {"architecture": "Unet", "encoder": "resnet18", "options": {"decoder_channels": [32, 16, 16, 8, 8]}}}


def _config(folders: CategoryFolders, output: Path, **options: Any) -> BenchmarkConfig:
    entry = CategoryEntry(folders.root, "0.25", run=folders.run, generated=folders.generated)
    return BenchmarkConfig([entry], output, **{"seeds": [0], **options})


def test_a_small_benchmark(folders: CategoryFolders, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options: dict[str, Any] = {
        "one_class": [],
        "masks": False,  # the run's model is a stand-in
        "pairs": 3,
        "detection_sources": ["perlin", "seas"],
        "segmentation_sources": ["few_shot", "seas"],
    }
    config = _config(folders, tmp_path, **options, segmentation=TINY, detector_steps=1, segmentation_steps=1, draws=20)
    found = run_benchmark(config, write_report)
    assert found["failed"] == 0 and found["cells"] == {"done": 7, "planned": 7}
    assert set(found["pixel_ap"]["part"]) == {"perlin", "seas"}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == {name: value for name, value in found.items() if name != "failed"}
    assert json.loads((tmp_path / "config.json").read_text())["seeds"] == [0]
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/png;base64,") >= 4 and "detection, pixel AP" in page
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert [line.count("|") for line in lines] == [8] * (2 + 2) + [0] + [15] * (2 + 4) + [0] + [10] * (2 + 3)
    assert "Quality of the images" in page
    printed = capsys.readouterr().out
    assert "draem-compact" in printed and "pixel_iou" in printed
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert run_benchmark(config, write_report) == found  # nothing is measured twice
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()} == times


def test_plan_does_nothing(folders: CategoryFolders, tmp_path: Path) -> None:
    entry = CategoryEntry(folders.root)
    config = BenchmarkConfig(
        [entry], tmp_path / "new", seeds=[0, 1], pairs=50, dry_run=True, detector_steps=10, tflops=0.1
    )
    found = run_benchmark(config, write_report)
    assert found == plan(config)
    hours = found.pop("hours")
    assert hours["total"] == pytest.approx(sum(hours.values()) - hours["total"], abs=0.05) and hours["fine_tune"] > 0
    slower = plan(dataclasses.replace(config, tflops=config.tflops / 10))["hours"]
    assert slower["total"] == pytest.approx(10 * hours["total"], abs=0.06)
    assert found["categories"]["part"] == {
        "anomaly_types": 2,
        "defects": 8,
        "normals": 6,
        "fine_tune": True,
        "pairs": 100,
    }
    assert found["cells"] == {
        "detection draem-compact": 8,
        "one_class patchcore-compact": 4,
        "one_class padim-compact": 4,
        **{f"segmentation {name}": 6 for name in COMPACT_NETWORKS},
        "quality wavelets": 6,
        "masks rmp": 2,
    }
    assert found["updates"] == 8 * 10 + 18 * 800
    assert not (tmp_path / "new").exists()


def test_plan_of_a_folder_that_is_not_there_yet_counts_what_is_expected_of_it(
    folders: CategoryFolders, tmp_path: Path
) -> None:
    expected = {"anomaly_types": 3, "defects": 63, "normals": 209}
    config = BenchmarkConfig([CategoryEntry(tmp_path / "bottle", expected=expected)], tmp_path, pairs=5, dry_run=True)
    assert plan(config)["categories"] == {"bottle": {**expected, "fine_tune": True, "pairs": 15}}
    there = dataclasses.replace(config, categories=[CategoryEntry(folders.root, expected=expected)])
    assert plan(there)["categories"]["part"]["defects"] == 8
    with pytest.raises(SeasError, match="bottle: no such folder"):
        run_benchmark(dataclasses.replace(config, dry_run=False))
    for wrong in ({"defects": 63}, {**expected, "normals": 0}, {**expected, "images": 1}):
        with pytest.raises(SeasError, match="give anomaly_types, defects, normals, each at least 1"):
            CategoryEntry(tmp_path / "bottle", expected=wrong)


def test_plan_of_mvtec_ad(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    grid = Path(__file__).parents[2] / "benchmarks" / "grids" / "mvtec_ad.yaml"
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", "--config", str(grid), "--dry-run"]) == 0
    found = json.loads(capsys.readouterr().out)
    categories = found["categories"].values()
    total = [sum(one[name] for one in categories) for name in ("anomaly_types", "defects", "normals", "pairs")]
    assert len(categories) == 15 and total == [73, 1258, 3629, 73_000]  # as published
    sizes = {
        "draem": 4,
        "glass": 4,
        "patchcore": 2,
        "padim": 2,
        "upernet": 3,
        "unet": 3,
        "fpn": 3,
        "inception": 3,
        "rmp": 1,
    }
    assert {name.split()[1]: number for name, number in found["cells"].items()} == {
        name: 15 * 3 * sources for name, sources in sizes.items()
    }
    assert found["hours"].keys() >= {"fine_tune", "generate", "draem", "total"} and min(found["hours"].values()) > 0
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_made(folders: CategoryFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    for name in ("finetune", "generate"):
        module = ModuleType(f"seas_aug.{name}.run")
        setattr(module, name, lambda *given, _name=name, **options: calls.append((_name, given, options)))
        monkeypatch.setitem(sys.modules, f"seas_aug.{name}.run", module)
    entry = CategoryEntry(folders.root, "0.5")
    config = BenchmarkConfig([entry], tmp_path, pairs=7, normals=5)
    found = prepare(entry, config)
    assert found.run == tmp_path / "seas" / "part" / "run"
    (_, (settings,), _), (_, first, _), (_, second, options) = calls
    assert (settings.output, settings.data.root, settings.data.few_shot) == (found.run, folders.root, "0.5")
    assert first == (found.run, found.generated, 7)
    assert second == (found.run, found.generated, 5) and options == {"anomaly_types": [], "normal": True}
    calls.clear()
    changed = {"sampling": {"guidance_scale": 2.0}, "data": {"rotate": False}}
    prepare(entry, BenchmarkConfig([entry], tmp_path, preset="paper", base="mine", finetune=changed, one_class=[]))
    (_, (settings,), _), _ = calls
    assert (settings.base, settings.data.num_normals, settings.generator.steps_per_type) == ("mine", 60, 800)
    assert (settings.sampling.guidance_scale, settings.sampling.mask_steps, settings.data.rotate) == (2.0, 3, False)
    calls.clear()
    given = CategoryEntry(folders.root, 0.4, run=folders.run, generated=folders.generated)
    assert given.few_shot == "0.4"  # YAML reads it as a number
    assert prepare(given, config) == folders and not calls
    pairs_only = tmp_path / "pairs_only"
    shutil.copytree(folders.generated, pairs_only, ignore=shutil.ignore_patterns("good"))
    with pytest.raises(SeasError, match="has no normal images"):
        prepare(dataclasses.replace(given, generated=pairs_only), config)
    prepare(dataclasses.replace(given, generated=pairs_only), dataclasses.replace(config, one_class=[]))


def test_opponents_are_measured_without_seas_and_found_again_when_it_is_there(
    folders: CategoryFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "seas_aug.finetune.run", ModuleType("not to be used"))
    few_shot = tmp_path / "split.json"
    used = load_split(folders.run / "split.json").split.few_shot
    few_shot.write_text(json.dumps({name: {"few_shot": [s.image.name for s in one]} for name, one in used.items()}))
    config = BenchmarkConfig(
        [CategoryEntry(folders.root, str(few_shot))],
        tmp_path / "out",
        seeds=[0],
        one_class=[],
        quality=[],
        detection_sources=["perlin", "cutpaste"],
        segmentation_sources=["few_shot"],
        segmentation=TINY,
        detector_steps=1,
        segmentation_steps=1,
        draws=20,
    )
    planned = plan(config)
    assert planned["categories"]["part"]["fine_tune"] is False and planned["categories"]["part"]["pairs"] == 0
    assert run_benchmark(config, write_report)["cells"] == {"done": 3, "planned": 3}
    cells = tmp_path / "out" / "cells"
    before = {path.name for path in cells.glob("*.json")}
    entry = CategoryEntry(folders.root, run=folders.run, generated=folders.generated)
    assert not any("masks" in name for name in planned["cells"])
    with_seas = dataclasses.replace(
        config,
        categories=[entry],
        detection_sources=["perlin", "seas"],
        segmentation_sources=["few_shot", "seas"],
        masks=False,  # the run's model is a stand-in
    )
    assert run_benchmark(with_seas, write_report)["cells"] == {"done": 4, "planned": 4}
    after = {path.name for path in cells.glob("*.json")}
    assert before < after and len(after) == 5  # perlin and few_shot were not measured again


def test_mistakes(folders: CategoryFolders, tmp_path: Path) -> None:
    for config, words in (
        ({"detectors": ["nonsense"]}, "no detector of the benchmark"),
        ({"segmentation": {"mine": {"nonsense": 1}}}, "segmentation.mine"),
        ({"seeds": [0, 0]}, "planned twice"),
        ({"detectors": ["patchcore-compact"]}, "learns from normal images alone"),
        ({"one_class": ["draem-compact"]}, "learns from anomalies"),
        ({"detection_sources": ["cut_paste"]}, "detection_sources has 'cut_paste'"),
        ({"segmentation_sources": ["perlin"]}, "segmentation_sources has 'perlin'"),
        ({"quality": ["vgg"]}, "quality has 'vgg'"),
        ({"finetune": {"sampling": {"guidance": 2}}}, "finetune has sampling"),
        ({"finetune": {"nonsense": {}}}, "finetune has nonsense"),
        ({"textures": tmp_path}, "no folder with pictures"),
        ({"textures": tmp_path / "dtd"}, "no folder with pictures"),
        ({"devices": [99]}, "this machine shows"),
    ):
        with pytest.raises(SeasError, match=words):
            run_benchmark(_config(folders, tmp_path, **config))
    with pytest.raises(SeasError, match="part twice"):
        BenchmarkConfig([CategoryEntry(folders.root)] * 2, tmp_path)
    with pytest.raises(SeasError, match="generated without run"):
        BenchmarkConfig([CategoryEntry(folders.root, generated=folders.generated)], tmp_path)
    with pytest.raises(SeasError, match="no category"):
        BenchmarkConfig([], tmp_path)
    with pytest.raises(SeasError, match="pairs is 0"):
        _config(folders, tmp_path, pairs=0)
    for wrong, words in (
        ({"seeds": []}, "seeds is empty"),
        ({"detector_steps": 0}, "detector_steps is 0"),
        ({"segmentation_steps": -1}, "segmentation_steps is -1"),
        ({"cells_per_device": 0}, "cells_per_device is 0"),
        ({"cells_per_device": 2}, "cells_per_device is 2 without devices"),
    ):
        with pytest.raises(SeasError, match=words):
            _config(folders, tmp_path, **wrong)
    assert _config(folders, tmp_path, devices=[0, 1], cells_per_device=2).places() == ["0", "1", "0", "1"]
    with pytest.raises(SeasError, match=r"tflops is 0"):
        _config(folders, tmp_path, tflops=0)
    assert not list(tmp_path.iterdir())


def test_pairs_of_another_model_are_refused(folders: CategoryFolders, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other")
    (other / "model" / "unet" / "weights.safetensors").write_bytes(b"678")
    (other / "split.json").write_bytes((folders.run / "split.json").read_bytes())
    with pytest.raises(SeasError, match="was not made with the model"):
        pairs_of(dataclasses.replace(folders, run=other))


def test_other_images_make_other_cells(folders: CategoryFolders, tmp_path: Path) -> None:
    copy = dataclasses.replace(folders, root=Path(shutil.copytree(folders.root, tmp_path / "part")))
    assert data_of(copy) == data_of(folders)
    shutil.copy(copy.root / "test/good/000.png", copy.root / "test/good/900.png")
    more = data_of(copy)
    assert more != data_of(folders)
    (tmp_path / "groups.csv").write_text("folder,file,group\ntest/hole,000.png,a\ntest/good,001.png,a\n")
    grouped = dataclasses.replace(copy, groups=tmp_path / "groups.csv")
    assert data_of(grouped) != more
    shutil.copy(copy.root / "train/good/000.png", copy.root / "train/good/900.png")
    assert data_of(copy) != more  # another normal image
    (copy.root / "train/good/900.png").unlink()
    assert data_of(copy) == more
    assert set(read_test_set(copy).names) - set(read_test_set(grouped).names) == {"test/good/001.png"}
    before = pairs_of(folders)
    pairs = Path(shutil.copytree(folders.generated, tmp_path / "pairs"))
    lines = (pairs / "manifest.jsonl").read_text().splitlines()
    (pairs / "manifest.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert pairs_of(dataclasses.replace(folders, generated=pairs)) != before


def test_textures_are_told_apart_by_what_is_in_them(tmp_path: Path) -> None:
    assert textures_of(None) == {"textures": "rendered"}
    for name in ("a", "b"):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "images" / "one.jpg").write_bytes(b"12")
    first, same = (textures_of(tmp_path / name) for name in ("a", "b"))
    assert first == same
    (tmp_path / "b" / "images" / "two.jpg").write_bytes(b"3")
    assert textures_of(tmp_path / "b") != first


def test_command_line(folders: CategoryFolders, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = tmp_path / "grid.yaml"
    config.write_text(f"categories:\n  - {{root: {folders.root}}}\noutput: {tmp_path / 'out'}\nseeds: [3]\n")
    assert main(["benchmark", "--config", str(config), "--dry_run=true"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"]["detection draem-compact"] == 4
    config.write_text(f"categories:\n  - {{root: {tmp_path / 'nowhere'}}}\noutput: {tmp_path / 'out'}\n")
    assert main(["benchmark", "--config", str(config)]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_anomalibs_own_benchmark_is_handed_on(tmp_path: Path) -> None:
    config = tmp_path / "theirs.yaml"
    config.write_text("accelerator: [cpu]\nbenchmark: {seed: 42}\n")
    assert is_anomalibs(["--config", str(config)]) and is_anomalibs([f"--config={config}"])
    config.write_text("categories: []\n")
    assert not is_anomalibs(["--config", str(config)])
    assert not is_anomalibs(["--config", str(tmp_path / "none.yaml")])


def test_table_of_nothing() -> None:
    assert format_table([]) == ""


def test_fewer_pairs_are_asked_for_than_are_there(folders: CategoryFolders, tmp_path: Path) -> None:
    """Lowering ``pairs`` trains on so many, and finds the cells again that were measured with so many."""
    copies = {}
    for count in (2, 3):
        generated = rendered.add_normals(rendered.make_generated(tmp_path / str(count), folders.root, count))
        write_record(generated, made_from(folders.generated))
        copies[count] = dataclasses.replace(folders, generated=generated)
    two, three = (pairs_of(copies[count]) for count in (2, 3))
    assert two != three
    assert pairs_of(dataclasses.replace(copies[3], pairs=2)) == two
    assert (
        pairs_of(dataclasses.replace(copies[3], pairs=3)) == pairs_of(dataclasses.replace(copies[3], pairs=9)) == three
    )
    assert pairs_of(dataclasses.replace(copies[3], normals=1)) != three
    entry = CategoryEntry(folders.root, run=folders.run)
    made = folders_of(entry, BenchmarkConfig([entry], tmp_path, pairs=7, normals=5))
    assert (made.pairs, made.normals) == (7, 5)
    given = folders_of(_config(folders, tmp_path).categories[0], _config(folders, tmp_path))
    assert (given.pairs, given.normals) == (None, None)  # what was given is used whole


def test_another_version_of_the_code_measures_anew(
    folders: CategoryFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(folders, tmp_path, one_class=[], quality=[], masks=False)
    before = {cell.key for cell in Schedule(config, {}, CellStore(tmp_path / "cells")).cells()}
    monkeypatch.setattr(schedule, "code_version", lambda parts: "9.9+abcd")
    after = {cell.key for cell in Schedule(config, {}, CellStore(tmp_path / "cells")).cells()}
    assert len(before) == len(after) > 3 and not before & after


def test_a_second_benchmark_in_a_folder_is_refused(folders: CategoryFolders, tmp_path: Path) -> None:
    config = _config(folders, tmp_path / "out", one_class=[], quality=[], masks=False)
    with only_writer(tmp_path / "out", "benchmarking"):
        with pytest.raises(SeasError, match="so that benchmarking has to wait; wait for its end"):
            run_benchmark(config)
        assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK]
