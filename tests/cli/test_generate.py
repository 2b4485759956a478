# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from seas_aug.cli import demo, generate

BASE = ["--run", "r", "--output", "o", "--num_images", "4"]


@pytest.mark.parametrize(
    "arguments",
    [
        [*BASE, "--anomaly_type", "crack", "scratch"],
        [*BASE, "--anomaly_type", "crack", "--anomaly_type", "scratch"],
        ["--anomaly_type=crack", "--anomaly_type", "scratch", *BASE],
        ["--anomaly_type", "crack", *BASE[:4], "--anomaly_type", "scratch", *BASE[4:]],
    ],
)
def test_types_in_every_spelling(arguments: list[str]) -> None:
    options = generate.parse(arguments)
    assert options.anomaly_type == [["crack"], ["scratch"]]
    assert (options.run, options.output, options.num_images) == (Path("r"), Path("o"), 4)


def test_recombined_types_and_odd_names() -> None:
    options = generate.parse([*BASE, "--anomaly_type", "crack+hole", "007", "null", "dark spot"])
    assert options.anomaly_type == [["crack", "hole"], ["007"], ["null"], ["dark spot"]]


def test_defaults() -> None:
    options = generate.parse(BASE)
    assert options.anomaly_type is None
    assert options.normal is False
    assert (options.seed, options.strength, options.accelerator) == (0, None, "auto")


def test_config_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("run: r\noutput: o\nnum_images: 2\nanomaly_type: [a, b+c]\nnormal: true\n")
    options = generate.parse(["--config", str(tmp_path / "c.yaml"), "--num_images", "3"])
    assert options.anomaly_type == [["a"], ["b", "c"]]
    assert (options.num_images, options.normal) == (3, True)


@pytest.mark.parametrize("arguments", [[], BASE[:4], [*BASE, "--seed", "x"], [*BASE, "--nonsense"]])
def test_refused_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        generate.parse(arguments)
    assert exit_info.value.code == 2


def test_run_passes_all_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    seen: dict[str, Any] = {}

    def fake(**options: Any) -> SimpleNamespace:
        seen.update(options)
        return SimpleNamespace(counts={"crack": 4, "good": 4}, made=3, kept=5, seconds=2.0)

    module = ModuleType("seas_aug.generate.run")
    module.generate = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seas_aug.generate.run", module)
    output = tmp_path / "out"
    options = ["--normal", "--strength", "0.5", "--guidance_scale", "2", "--num_inference_steps", "9"]
    options += ["--copied_share", "0.25"]
    generate.run(
        [
            "--run",
            str(tmp_path / "run"),
            "--output",
            str(output),
            "--num_images",
            "4",
            "--seed",
            "1",
            *options,
        ]
    )
    assert seen == {
        "run": tmp_path / "run",
        "output": output,
        "num_images": 4,
        "anomaly_types": None,
        "normal": True,
        "seed": 1,
        "batch_size": 8,
        "strength": 0.5,
        "guidance_scale": 2.0,
        "num_inference_steps": 9,
        "copied_share": 0.25,
        "accelerator": "auto",
    }
    assert "4 crack, 4 good (3 made now in 2 s)" in capsys.readouterr().out


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Path, int]] = []
    module = ModuleType("seas_aug.report.demo")
    module.run_demo = lambda output, seed: calls.append((output, seed))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seas_aug.report", ModuleType("seas_aug.report"))
    monkeypatch.setitem(sys.modules, "seas_aug.report.demo", module)
    demo.run(["--output", str(tmp_path), "--seed", "2"])
    assert calls == [(tmp_path, 2)]
