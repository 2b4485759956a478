# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from seas_aug.cli import demo, generate
from seas_aug.cli.main import main
from seas_aug.config import DrawConfig
from tests.generate.fake import ALL, FakePipeline, make_run

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


DRAWING: list[tuple[list[str], str, dict[str, Any]]] = [
    (["--region", "r.png"], "region: r.png", {"region": Path("r.png")}),
    (["--masks", "m"], "masks: m", {"masks": Path("m")}),
    (["--references", '["a.png", "007"]'], "references: [a.png, '007']", {"references": ("a.png", "007")}),
    (["--count", "3"], "count: 3", {"count": 3}),
    (["--count", "[1, 3]"], "count: [1, 3]", {"count": (1, 3)}),
    (["--size", "[4, 9.5]"], "size: [4, 9.5]", {"size": (4.0, 9.5)}),
    (["--severity", "0.5"], "severity: 0.5", {"severity": 0.5}),
    (["--gate", "false"], "gate: false", {"gate": False}),
    (["--copied_share", "0.2", "--guidance_scale", "2"], "copied_share: 0.2\nguidance_scale: 2", {}),
    ([], "seed: 0", {}),
]


@pytest.mark.parametrize(("arguments", "lines", "expected"), DRAWING)
def test_drawing_on_the_command_line_and_in_a_file(
    arguments: list[str], lines: str, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[DrawConfig] = []
    module = ModuleType("seas_aug.generate.run")

    def fake(**options: Any) -> SimpleNamespace:
        seen.append(options["settings"])
        return SimpleNamespace(counts={}, made=0, kept=0, seconds=0.0, refused={})

    module.generate = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seas_aug.generate.run", module)
    assert main(["generate", *BASE, *arguments]) == 0
    (tmp_path / "c.yaml").write_text(f"run: r\noutput: o\nnum_images: 4\n{lines}\n")
    assert main(["generate", "--config", str(tmp_path / "c.yaml")]) == 0
    if "--copied_share" in arguments:
        expected = {"copied_share": 0.2, "guidance_scale": 2.0}
    assert seen == [DrawConfig(**expected)] * 2


def test_printed_config_reloads(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = ["--region", "r.png", "--references", "[a.png]", "--count", "[1,3]", "--size", "[4,9]", "--gate", "false"]
    with pytest.raises(SystemExit) as exit_info:
        generate.parse([*BASE, *options, "--print_config"])
    assert not exit_info.value.code
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    read, given = generate.parse(["--config", str(tmp_path / "c.yaml")]), generate.parse([*BASE, *options])
    names = [field.name for field in dataclasses.fields(DrawConfig)]
    assert [read[name] for name in names] == [given[name] for name in names]


@pytest.fixture
def fake_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A model of noise whose gate refuses every hole; return the options that name it."""
    pipeline = FakePipeline({"hole": ALL})
    monkeypatch.setattr("seas_aug.generate.run.load_source", lambda model, accelerator: pipeline)
    run, output = make_run(tmp_path / "run"), tmp_path / "out"
    return ["--run", str(run), "--output", str(output), "--num_images", "2", "--anomaly_type", "crack"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--count", "0"], "count is 0; give 1 or more, or the least and the most."),
        (["--count", "[3, 1]"], "count is (3, 1); give 1 or more"),
        (["--size", "[9, 4]"], "size is (9.0, 4.0); give the least and the most"),
        (["--size", "[0, 4]"], "size is (0.0, 4.0); give"),
        (["--severity", "0"], "severity is 0.0; give a number above 0 and up to 2."),
        (["--severity", "2.5"], "severity is 2.5; give"),
        (
            ["--masks", "m", "--region", "r"],
            "masks says where, how large and how many defects are; leave out",
        ),
        (["--masks", "m", "--size", "[2, 3]"], "leave out region, size and count."),
        (["--region", "nowhere.png"], "region is nowhere.png, where there is no image; give"),
        (["--masks", "nowhere"], "masks is nowhere, where there is no image; give"),
        (["--anomaly_type", "hole"], "none of 6 seeds gave a pair that is accepted"),
    ],
)
def test_drawing_out_of_range_is_one_sentence(
    arguments: list[str], sentence: str, fake_model: list[str], capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    assert main(["generate", *fake_model, *arguments]) == 2
    printed = capsys.readouterr().err
    lines = [line for line in printed.splitlines() if line and "image/s" not in line]  # without the progress bar
    assert len(lines) == 1 and lines[0].startswith("seas-aug: error: ") and sentence in lines[0]
    assert "Traceback" not in printed
    assert (tmp_path / "out").exists() == ("hole" in arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--count", "x"],
        ["--count", "[1, 2, 3]"],
        ["--count", "1.5"],
        ["--size", "3"],
        ["--size", "[1, big]"],
        ["--severity", "strong"],
        ["--gate", "maybe"],
        ["--references", "{}"],
    ],
)
def test_drawing_of_another_type_is_refused_by_the_parser(
    arguments: list[str], fake_model: list[str], capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    name, value = arguments
    (tmp_path / "c.yaml").write_text(f"{name.removeprefix('--')}: {value}\n")
    for given in (arguments, ["--config", str(tmp_path / "c.yaml")]):
        with pytest.raises(SystemExit) as exit_info:
            main(["generate", *fake_model, *given])
        assert exit_info.value.code == 2
        printed = capsys.readouterr().err
        assert f'key "{name.removeprefix("--")}"' in printed and "Traceback" not in printed
    assert not (tmp_path / "out").exists()


def test_run_passes_all_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    seen: dict[str, Any] = {}

    def fake(**options: Any) -> SimpleNamespace:
        seen.update(options)
        refused = {"crack": {"empty mask": 2, "seam": 1}}
        return SimpleNamespace(counts={"crack": 4, "good": 4}, made=3, kept=5, seconds=2.0, refused=refused)

    module = ModuleType("seas_aug.generate.run")
    module.generate = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seas_aug.generate.run", module)
    output = tmp_path / "out"
    options = ["--normal", "--strength", "0.5", "--guidance_scale", "2", "--num_inference_steps", "9"]
    options += ["--copied_share", "0.25", "--region", "r.png", "--count", "[1,2]", "--gate", "false"]
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
        "settings": DrawConfig(
            strength=0.5,
            guidance_scale=2.0,
            num_inference_steps=9,
            copied_share=0.25,
            region=Path("r.png"),
            count=(1, 2),
            gate=False,
        ),
        "accelerator": "auto",
    }
    printed = capsys.readouterr().out
    assert "4 crack, 4 good (3 made now in 2 s)" in printed
    assert "crack: the gate refused seeds: empty mask 2x, seam 1x." in printed


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Path, int]] = []
    module = ModuleType("seas_aug.report.demo")
    module.run_demo = lambda output, seed: calls.append((output, seed))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seas_aug.report", ModuleType("seas_aug.report"))
    monkeypatch.setitem(sys.modules, "seas_aug.report.demo", module)
    demo.run(["--output", str(tmp_path), "--seed", "2"])
    assert calls == [(tmp_path, 2)]
