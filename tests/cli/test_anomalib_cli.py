# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from anomalib.cli.cli import AnomalibCLI
from anomalib.cli.pipelines import pipeline_subcommands
from anomalib.models import Draem
from jsonargparse import Namespace

from seas_aug.anomalib_plugin import SeasAugmentation
from seas_aug.anomalib_plugin.sources import Origin
from seas_aug.anomalib_plugin.textures import make_textures, stand_in_folder
from seas_aug.cli import anomalib_cli
from seas_aug.cli.anomalib_cli import SeasCLI
from seas_aug.cli.main import ANOMALIB_COMMANDS, main
from seas_aug.config import DrawConfig
from seas_aug.data.decode import content_hash
from seas_aug.data.split_file import load_split


def config(category: Path, output: Path, augmentation: Any = None) -> dict[str, Any]:
    resize = {"class_path": "torchvision.transforms.v2.Resize", "init_args": {"size": [64, 64], "antialias": True}}
    pre_processor = {"class_path": "anomalib.pre_processing.PreProcessor", "init_args": {"transform": resize}}
    content: dict[str, Any] = {
        "model": {"class_path": "Draem", "init_args": {"pre_processor": pre_processor, "visualizer": False}},
        "data": {
            "class_path": "MVTecAD",
            "init_args": {
                "root": str(category.parent),
                "category": category.name,
                "train_batch_size": 2,
                "eval_batch_size": 4,
                "num_workers": 0,
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 2,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
        "default_root_dir": str(output),
        "seed_everything": 1,
    }
    if augmentation is not None:
        content["augmentation"] = augmentation
    return content


def seas(**options: Any) -> dict[str, Any]:
    return {"class_path": "seas_aug.anomalib_plugin.SeasAugmentation", "init_args": options}


def save(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Record, at each setup of the detector, what the callbacks left of the datamodule and of DRAEM."""
    records: list[dict[str, Any]] = []

    def setup(self: Draem, stage: str) -> None:
        data = self.trainer.datamodule
        records.append(
            {
                "model": self,
                "stage": getattr(stage, "value", stage),
                "augmenter": type(self.augmenter).__name__,
                "val": list(data.val_data.samples["image_path"]),
                "test": list(data.test_data.samples["image_path"]),
                "attrs": dict(data.test_data.samples.attrs),
            }
        )

    monkeypatch.setattr(Draem, "setup", setup)
    return records


def test_train_and_test_again(
    category: Path, generated: Path, tmp_path: Path, seen: list, capsys: pytest.CaptureFixture
) -> None:
    content = config(category, tmp_path / "results", seas(generated=str(generated), perlin_ratio=0.2))
    assert main(["train", "--config", save(tmp_path / "c.yaml", content)]) == 0
    fit, test = seen
    assert (fit["stage"], fit["augmenter"]) == ("fit", "PasteAugmenter")
    assert (test["stage"], test["augmenter"]) == ("test", "PerlinAnomalyGenerator")
    assert type(fit["model"].augmenter).__name__ == "PerlinAnomalyGenerator"

    forbidden = load_split(generated / "split.json").forbidden_hashes
    every = sorted(str(path) for path in (category / "test").rglob("*.png"))
    allowed = [path for path in every if content_hash(Path(path)) not in forbidden]
    assert len(allowed) == len(every) - 2
    for record in seen:
        assert record["val"] == record["test"] == allowed
        assert record["attrs"]["task"] == "segmentation"

    printed = capsys.readouterr().out
    assert "few-shot images taken out of evaluation" in printed
    assert "training on 6 pairs of hole, scratch" in printed
    checkpoints = list((tmp_path / "results").rglob("*.ckpt"))
    state = torch.load(checkpoints[0], weights_only=True, map_location="cpu")
    assert all(key.startswith(("model.", "loss.", "post_processor.", "pre_processor.")) for key in state["state_dict"])
    assert not [key for key in state["callbacks"] if "Seas" in key]

    saved = next((tmp_path / "results").rglob("config.yaml"))
    assert yaml.safe_load(saved.read_text())["augmentation"]["init_args"]["generated"] == str(generated)
    again = SeasCLI(["train", "--config", str(saved)], run=False)
    callback = next(one for one in again.engine._cache.args["callbacks"] if isinstance(one, SeasAugmentation))
    assert (callback.generated, callback.perlin_ratio) == (generated, 0.2)
    for subcommand in ("fit", "validate", "test", "predict", "export"):
        options = ["--export_type", "torch"] if subcommand == "export" else []
        assert SeasCLI([subcommand, "--config", str(saved), *options], run=False).subcommand == subcommand

    content["data"]["init_args"]["eval_batch_size"] = 2
    assert main(["test", "--config", save(tmp_path / "t.yaml", content), "--ckpt_path", str(checkpoints[0])]) == 0
    assert seen[-1]["stage"] == "test"
    assert seen[-1]["test"] == allowed


def test_plain_anomalib_with_the_callback(category: Path, generated: Path, tmp_path: Path, seen: list) -> None:
    content = config(category, tmp_path / "results")
    content["trainer"]["callbacks"] = [seas(generated=str(generated))]
    content["trainer"].update({"max_steps": 1, "limit_val_batches": 1})
    content["model"]["init_args"]["dtd_dir"] = str(make_textures(tmp_path / "dtd", per_kind=1, size=32))
    AnomalibCLI(["fit", "--config", save(tmp_path / "c.yaml", content)])
    assert [(record["stage"], record["augmenter"]) for record in seen] == [("fit", "PasteAugmenter")]
    assert len(seen[0]["test"]) == 9
    assert type(seen[0]["model"].augmenter).__name__ == "PerlinAnomalyGenerator"


def test_error_in_training_restores_the_detector(
    category: Path, generated: Path, tmp_path: Path, seen: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("broken step")

    monkeypatch.setattr(Draem, "training_step", fail)
    content = config(category, tmp_path / "results", seas(generated=str(generated)))
    with pytest.raises(RuntimeError, match="broken step"):
        main(["fit", "--config", save(tmp_path / "c.yaml", content)])
    assert seen[0]["augmenter"] == "PasteAugmenter"
    assert type(seen[0]["model"].augmenter).__name__ == "PerlinAnomalyGenerator"


@pytest.mark.parametrize(
    ("augmentation", "source"),
    [*((name, name) for name in ("seas", "perlin", "cutpaste", "none")), (seas(few_shot=0.5), "seas"), (None, None)],
)
def test_forms_of_the_key(
    category: Path, tmp_path: Path, augmentation: Any, source: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anomalib_cli, "dtd_reachable", lambda: False)
    content = config(category, tmp_path, augmentation)
    if augmentation is None:  # then the textures are the user's own matter, as in anomalib
        content["model"]["init_args"]["dtd_dir"] = str(make_textures(tmp_path / "dtd", per_kind=1, size=32))
    cli = SeasCLI(["fit", "--config", save(tmp_path / "c.yaml", content)], run=False)
    callbacks = [one for one in cli.engine._cache.args["callbacks"] if isinstance(one, SeasAugmentation)]
    assert [one.source for one in callbacks] == ([source] if source else [])


def test_key_on_the_command_line(category: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "c.yaml", config(category, tmp_path))
    options = ["--augmentation", "seas_aug.anomalib_plugin.SeasAugmentation", "--augmentation.probability", "0.9"]
    cli = SeasCLI(["validate", "--config", file, *options], run=False)
    callback = next(one for one in cli.engine._cache.args["callbacks"] if isinstance(one, SeasAugmentation))
    assert callback.probability == 0.9


def given(cli: SeasCLI) -> DrawConfig:
    callback = next(one for one in cli.engine._cache.args["callbacks"] if isinstance(one, SeasAugmentation))
    return callback.settings.drawing


DRAWINGS: list[tuple[dict[str, Any] | None, DrawConfig]] = [
    ({"count": 2, "region": "r.png"}, DrawConfig(count=2, region=Path("r.png"))),
    ({"count": [1, 3], "size": [4, 9.5]}, DrawConfig(count=(1, 3), size=(4.0, 9.5))),
    (
        {"references": ["a.png", "b.png"], "severity": 0.5, "gate": False, "strength": 0.2},
        DrawConfig(references=("a.png", "b.png"), severity=0.5, gate=False, strength=0.2),
    ),
    ({"masks": "folder"}, DrawConfig(masks=Path("folder"))),
    ({}, DrawConfig()),
    (None, DrawConfig()),
]


@pytest.mark.parametrize(("drawing", "expected"), DRAWINGS)
def test_drawing_in_a_config(
    category: Path, tmp_path: Path, drawing: dict[str, Any] | None, expected: DrawConfig
) -> None:
    file = save(tmp_path / "c.yaml", config(category, tmp_path, seas(drawing=drawing)))
    cli = SeasCLI(["train", "--config", file], run=False)
    assert given(cli) == expected
    assert given(SeasCLI(["train", "--config", file, "--augmentation.drawing.severity", "0.25"], run=False)) == (
        dataclasses.replace(expected, severity=0.25)
    )


@pytest.mark.parametrize(
    ("drawing", "sentence"),
    [
        ({"count": 0}, "count is 0; give 1 or more"),
        ({"count": [3, 1]}, "count is (3, 1); give 1 or more"),
        ({"size": [9, 4]}, "size is (9.0, 4.0); give the least"),
        ({"severity": 3}, "severity is 3.0; give a number"),
        ({"masks": "m", "region": "r"}, "masks says where, how large and how many defects are"),
        ({"count": "two"}, "two"),
        ({"colour": 1}, "colour"),
    ],
)
def test_mistakes_in_a_drawing(
    category: Path, tmp_path: Path, capsys: pytest.CaptureFixture, drawing: dict[str, Any], sentence: str
) -> None:
    content = config(category, tmp_path / "results", seas(drawing=drawing))
    try:
        code = main(["train", "--config", save(tmp_path / "c.yaml", content)])
    except SystemExit as exit_info:  # the parser's own
        code = exit_info.code
    printed = capsys.readouterr().err
    assert code == 2
    assert sentence in printed and "Traceback" not in printed
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("subcommand", ["predict", "export"])
def test_key_is_accepted_where_it_has_no_effect(category: Path, tmp_path: Path, subcommand: str) -> None:
    content = config(category, tmp_path, "seas")
    content.pop("data" if subcommand == "export" else "seed_everything")
    arguments = [subcommand, "--config", save(tmp_path / "c.yaml", content)]
    cli = SeasCLI([*arguments, *(["--export_type", "torch"] if subcommand == "export" else [])], run=False)
    assert not [one for one in cli.engine._cache.args["callbacks"] if isinstance(one, SeasAugmentation)]


def test_unknown_augmentation(category: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["train", "--config", save(tmp_path / "c.yaml", config(category, tmp_path, "nope"))])
    assert exit_info.value.code == 2
    assert f"Literal[{', '.join(map(repr, get_args(Origin)))}]" in capsys.readouterr().err


def test_users_mistake_in_the_callback(category: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for options in (
        {"probability": 3.0},
        {"generated": str(tmp_path / "missing")},
        {"generated": str(tmp_path / "missing"), "drawing": {"count": 2}},
    ):
        content = config(category, tmp_path / "results", seas(**options))
        assert main(["train", "--config", save(tmp_path / "c.yaml", content)]) == 2
        assert "seas-aug: error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "augmentation", "reachable", "filled"),
    [
        ("./datasets/dtd", "seas", True, True),
        ("./datasets/dtd", Namespace(init_args=Namespace(perlin_ratio=0.0, source="seas")), True, True),
        ("./datasets/dtd", Namespace(init_args=Namespace(perlin_ratio=0.5, source="seas")), True, False),
        ("./datasets/dtd", "perlin", True, False),
        ("./datasets/dtd", None, True, False),
        ("./datasets/dtd", None, False, False),
        ("./datasets/dtd", "perlin", False, True),
        ("./own/dtd", "seas", False, False),
        (None, "seas", False, False),
    ],
)
def test_dtd_folder(
    folder: str | None,
    augmentation: Any,
    reachable: bool,
    filled: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(anomalib_cli, "dtd_reachable", lambda: reachable)
    model = Namespace(class_path="anomalib.models.Draem", init_args=Namespace(dtd_dir=folder))
    anomalib_cli._fill_dtd_dir(model, augmentation)
    assert model.init_args.dtd_dir == (str(stand_in_folder()) if filled else folder)
    printed = capsys.readouterr().out
    assert printed.count("\n") == filled
    assert ("cannot be downloaded" in printed) == (filled and not reachable)


def test_commands_are_anomalibs() -> None:
    # seas-aug has a benchmark of its own, which hands anomalib's configs on
    assert {*ANOMALIB_COMMANDS, "benchmark"} == {
        "install",
        *AnomalibCLI.subcommands(),
        *AnomalibCLI.anomalib_subcommands(),
        *pipeline_subcommands(),
    }


def test_example_parses(generated: Path, category: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "draem.yaml"
    options = ["--data.init_args.root", str(category.parent), "--data.init_args.category", category.name]
    cli = SeasCLI(["train", "--config", str(example), *options], run=False)
    callback = next(one for one in cli.engine._cache.args["callbacks"] if isinstance(one, SeasAugmentation))
    assert callback.run is None  # fine-tunes now
    assert callback.settings.num_images == 40


def test_plain_anomalib_as_its_own_process(category: Path, generated: Path, tmp_path: Path) -> None:
    """`anomalib train` and not `seas-aug`: the callback is a third-party class of its config."""
    content = config(category, tmp_path / "results")
    content["trainer"]["callbacks"] = [seas(generated=str(generated))]
    content["trainer"].update({"max_steps": 1, "limit_val_batches": 1, "limit_test_batches": 1})
    content["model"]["init_args"]["dtd_dir"] = str(make_textures(tmp_path / "dtd", per_kind=1, size=32))
    program = Path(sys.executable).parent / "anomalib"
    command = [str(program), "train", "--config", save(tmp_path / "c.yaml", content)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "few-shot images taken out of evaluation: 2 from val_data, 2 from test_data" in done.stdout
    assert "training on 6 pairs of hole, scratch" in done.stdout
    assert list((tmp_path / "results").rglob("*.ckpt"))
