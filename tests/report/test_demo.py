# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import time
from pathlib import Path

import cv2
import pytest

from seas_aug.cli.finetune import parse
from seas_aug.errors import SeasError
from seas_aug.report import demo as module
from seas_aug.report.demo import DemoSettings, commands, fine_tuning, run_demo
from seas_aug.report.demo_detector import METRICS
from seas_aug.report.demo_folders import DemoFolders, read_metrics
from tests.report import tiny_demo

TYPES = ("open", "pit", "scratch", "spur", "stain")


def test_page_shows_everything(demo: Path) -> None:
    page = (demo / "index.html").read_text(encoding="utf-8")
    for name in TYPES:
        for line in ("image", "mask", "mask outline", "attention", "reference"):
            assert f'alt="generated, {line}, {name}"' in page
        assert f'alt="real few-shot, image, {name}"' in page
        assert f'alt="generated, whole photo, {name}"' in page
        for line in ("image", "true mask", "attention", "DRAEM, SeaS", "DRAEM, Perlin (anomalib)"):
            assert f'alt="held-out test, {line}, {name}"' in page
    for words in ("seas-aug finetune --data.root=", "seas-aug generate --run=", "generator_steps", "detector.width"):
        assert words in page
    measured = read_metrics(DemoFolders(demo))
    assert set(measured) == {"seas", "perlin"}
    for values in measured.values():
        assert set(values) == set(METRICS)
        for value in values.values():
            assert f"{value:.4f}" in page
    assert cv2.imread(str(demo / "contact_sheet.png")).shape[2] == 3


def test_second_run_does_nothing(demo: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*") if path.is_file()}
    for stage in ("_render", "_fine_tune", "_generate", "_detect", "_draw"):
        monkeypatch.setattr(module, stage, lambda *_: pytest.fail("a finished stage ran again"))
    tiny_demo.make_demo(demo)
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*") if path.is_file()} == before
    printed = capsys.readouterr().out
    assert printed.count("done before") == 6
    assert "pixel AP (AUPR)" in printed


def test_both_detectors_were_tested_on_the_same_unseen_images(demo: Path) -> None:
    split = json.loads((demo / "run" / "split.json").read_text())
    names = {name: [Path(entry["image"]).name for entry in entries] for name, entries in split["few_shot"].items()}
    assert names == {name: ["000.png", "001.png"] for name in TYPES}
    shown = module.shown_tests(DemoFolders(demo))
    assert {name: [sample.image.name for sample in samples] for name, samples in shown.items()} == {
        name: ["002.png", "003.png"] for name in TYPES
    }


def test_other_settings_are_refused(demo: Path) -> None:
    with pytest.raises(SeasError, match="other settings"):
        run_demo(demo, seed=1, settings=tiny_demo.settings(demo.with_name("tiny_base")))


def test_commands_name_every_setting(tmp_path: Path) -> None:
    chosen = dataclasses.replace(DemoSettings(), generator_steps=7, inference_steps=9)
    made = commands(DemoFolders(tmp_path), chosen, seed=3)
    assert parse(made["finetune"]) == fine_tuning(DemoFolders(tmp_path), chosen, 3)
    assert {"--generator.max_steps=7", "--seed=3", "--base=embedded"} <= set(made["finetune"])
    assert {"--num_inference_steps=9", "--seed=3"} <= set(made["generate"])


@pytest.mark.slow
def test_whole_demo_in_twelve_minutes(tmp_path: Path) -> None:
    begin = time.perf_counter()
    page = run_demo(tmp_path / "demo")
    assert page.is_file()
    assert time.perf_counter() - begin < 12 * 60
    measured = read_metrics(DemoFolders(tmp_path / "demo"))
    assert all(values["pixel_AUROC"] > 0.6 for values in measured.values())
