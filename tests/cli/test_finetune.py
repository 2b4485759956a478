# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from seas_aug.cli import finetune
from seas_aug.config import FineTuneConfig, as_plain
from seas_aug.errors import SeasError
from seas_aug.presets import paper_preset


def test_defaults_and_nested_options() -> None:
    assert finetune.parse([]) == FineTuneConfig()
    config = finetune.parse(["--data.root", "d", "--output", "r", "--base", "b", "--seed", "3", "--masks.lr", "1e-3"])
    assert (config.data.root, config.output, config.base, config.seed, config.masks.lr) == (
        Path("d"),
        Path("r"),
        "b",
        3,
        1e-3,
    )


def test_short_options_win() -> None:
    config = finetune.parse(["--few_shot", "0.25", "--data.few_shot", "0.5", "--max_steps", "7"])
    assert config.data.few_shot == "0.25"
    assert config.generator.max_steps == config.masks.max_steps == 7
    assert finetune.parse(["--few_shot", "a/split.json"]).data.few_shot == "a/split.json"


def test_preset_on_the_command_line_and_in_a_file(tmp_path: Path) -> None:
    assert finetune.parse(["--preset", "paper"]) == paper_preset()
    assert finetune.parse(["--preset=paper", "--seed=4"]) == dataclasses.replace(paper_preset(), seed=4)
    file = tmp_path / "c.yaml"
    file.write_text("preset: paper\nseed: 5\ngenerator: {batch_size: 3}\n")
    config = finetune.parse(["--config", str(file)])
    assert config.base == paper_preset().base
    assert (config.seed, config.generator.batch_size, config.generator.unet_lr) == (5, 3, 4e-6)


def test_config_of_a_run_reloads(tmp_path: Path) -> None:
    config = finetune.parse(["--data.root", "d", "--sampling.strength", "0.5", "--attention.resolutions", "[8,4]"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(as_plain(config)))
    assert finetune.parse(["--config", str(tmp_path / "config.yaml")]) == config


def test_datamodule_spec(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("data:\n  datamodule:\n    class_path: MVTecAD\n    init_args: {root: x, category: y}\n")
    expected = {"class_path": "MVTecAD", "init_args": {"root": "x", "category": "y"}}
    assert finetune.parse(["--config", str(file)]).data.datamodule == expected


def test_printed_config_reloads(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as exit_info:
        finetune.parse(["--preset", "paper", "--max_steps", "2", "--print_config"])
    assert not exit_info.value.code
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    config = finetune.parse(["--config", str(tmp_path / "c.yaml")])
    assert config.base == paper_preset().base
    assert config.masks.max_steps == 2


@pytest.mark.parametrize("arguments", [["--nonsense", "1"], ["--preset", "x"], ["--seed", "x"], ["--max_steps", "x"]])
def test_refused_arguments(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as exit_info:
        finetune.parse(arguments)
    assert exit_info.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_value_out_of_range() -> None:
    with pytest.raises((SeasError, SystemExit)):
        finetune.parse(["--sampling.strength", "3"])


def test_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    module = ModuleType("seas_aug.finetune.run")
    module.finetune = lambda config: config.output / "model"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seas_aug.finetune.run", module)
    finetune.run(["--output", "here"])
    assert "here/model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--base", "embedded"], FineTuneConfig()),
        (["--base", "CompVis/stable-diffusion-v1-4"], paper_preset()),
        (["--base", "other/base", "--seed=3"], dataclasses.replace(paper_preset(), base="other/base", seed=3)),
        (["--preset", "default", "--base", "other/base"], FineTuneConfig(base="other/base")),
        (["--preset", "paper", "--base", "embedded"], dataclasses.replace(paper_preset(), base="embedded")),
    ],
)
def test_settings_follow_the_base(arguments: list[str], expected: FineTuneConfig) -> None:
    assert finetune.parse(arguments) == expected


def test_settings_follow_the_base_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("base: other/base\nseed: 5\n")
    found = finetune.parse(["--config", str(tmp_path / "run.yaml")])
    assert found == dataclasses.replace(paper_preset(), base="other/base", seed=5)
