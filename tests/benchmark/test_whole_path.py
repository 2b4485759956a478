# SPDX-License-Identifier: Apache-2.0
"""A category in MVTec layout from ``seas-aug benchmark`` to the page: fine-tuned, generated and measured for real."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torchmetrics.functional.image.lpips import _NoTrainLpips

from seas_aug.benchmark.command import run_benchmark
from seas_aug.benchmark.config import BenchmarkConfig, CategoryEntry
from seas_aug.benchmark.prepare import prepare_all
from seas_aug.benchmark.test_set import read_test_set
from seas_aug.cli.main import main
from seas_aug.data.decode import content_hash
from seas_aug.data.split_file import load_split
from seas_aug.errors import SeasError
from seas_aug.report.benchmark_page import write_report
from tests.anomalib_plugin import rendered
from tests.tiny_base import write_base

# The protocol of benchmarks/grids/mvtec_ad.yaml in small; no mask of a tiny base may be empty (see tests.tiny_base).
FINETUNE = {
    "data": {"image_size": 32, "num_normals": 3},
    "prompt": {"anomaly_tokens": 2},
    "attention": {"resolutions": [8, 4]},
    "generator": {"steps_per_type": 1, "min_steps": 0, "batch_size": 1, "limit_timesteps": False},
    "masks": {"max_steps": 1, "batch_size": 2, "attention_blocks": 1, "max_timestep": 600},
    "sampling": {
        "num_inference_steps": 4,
        "mask_steps": 2,
        "strength": 0.8,
        "mask_threshold": 0.005,
        "copied_share": 0.0,
        "background": "generated",
    },
}


class _Inception(torch.nn.Module):
    """Random features in place of Inception's weights, which have to be downloaded."""

    def __init__(self, name: str, features_list: list[str]) -> None:
        super().__init__()
        self._size = 5 if features_list == ["logits_unbiased"] else 16

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 256, 256)
        weights = torch.randn(3 * 16 * 16, self._size, generator=torch.Generator().manual_seed(0))
        return torch.nn.functional.avg_pool2d(images.float() / 255, 16).flatten(1) @ weights


class _Lpips:
    """LPIPS on a small backbone of random weights in place of VGG's."""

    def __init__(self, net_type: str) -> None:
        assert net_type == "vgg"
        torch.manual_seed(0)
        self.net = _NoTrainLpips(net="squeeze", pnet_rand=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "tiny")


def test_one_command_from_the_images_to_the_page(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("torchmetrics.image.fid.NoTrainInceptionV3", _Inception)
    monkeypatch.setattr("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity", _Lpips)
    root, output = rendered.make_category(tmp_path / "bottle"), tmp_path / "out"
    settings = {
        "categories": [{"root": str(root), "few_shot": 0.3333}],
        "output": str(output),
        "seeds": [0],
        "base": str(base),
        "finetune": FINETUNE,
        "pairs": 3,
        "normals": 2,
        "detection_sources": ["perlin", "seas"],
        "one_class": ["padim-compact"],
        "segmentation": {"unet": {"architecture": "Unet", "encoder": "resnet18", "size": 64}},
        "segmentation_sources": ["few_shot", "seas"],
        "quality": ["inception"],
        "detector_steps": 1,
        "segmentation_steps": 1,
        "draws": 20,
    }
    grid = tmp_path / "grid.yaml"
    grid.write_text(yaml.safe_dump(settings))
    assert main(["benchmark", "--config", str(grid), "--dry-run"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["categories"]["bottle"]["pairs"] == 2 * 3 and not output.exists()
    assert main(["benchmark", "--config", str(grid)]) == 0, capsys.readouterr().err
    summary = json.loads((output / "summary.json").read_text())
    assert summary["cells"] == {"done": 2 + 2 + 2 + 3 + 1, "planned": sum(planned["cells"].values())}
    assert {row["task"] for row in summary["gains"]} == {"detection", "one_class", "segmentation"}
    pairs = output / "seas" / "bottle" / "generated"
    assert len(list((pairs / "test").rglob("*.png"))) == 6 and len(list((pairs / "train/good").glob("*.png"))) == 2
    page = (output / "index.html").read_text()
    assert "minutes of fine-tuning SeaS" in page and page.count("data:image/png;base64,") == 1 + 3 * (2 + 4)
    quality = [path for path in (output / "cells").glob("quality-*.json")]
    metrics = [json.loads(path.read_text())["metrics"] for path in quality]
    assert len(metrics) == 3 and all(one["is"] >= 1 and one["ic_lpips"] > 0 for one in metrics)
    (masks,) = (json.loads(path.read_text()) for path in (output / "cells").glob("masks-bottle-rmp-seas-0-*.json"))
    iou = f"{100 * masks['metrics']['mask_iou']:.2f}"
    assert "Masks of SeaS on real test defects" in page
    assert f"| masks | bottle | rmp | seas | 1 | {iou} |" in (output / "table.md").read_text()
    # No image that SeaS, and so any network, has learnt from is tested on.
    learnt = load_split(output / "seas/bottle/run/split.json").fine_tuning_hashes
    entry = CategoryEntry(root, "0.3333")
    (ready,) = prepare_all(BenchmarkConfig([entry], output, base=str(base), finetune=FINETUNE, pairs=3, normals=2))
    tested = read_test_set(ready.folders)
    assert not {content_hash(path) for path in tested.images} & learnt
    assert sum(one["images"] for one in masks["types"].values()) == sum(mask is not None for mask in tested.masks)
    before = {path: path.stat().st_mtime_ns for path in (output / "cells").iterdir()}
    assert main(["benchmark", "--config", str(grid)]) == 0
    assert {path: path.stat().st_mtime_ns for path in (output / "cells").iterdir()} == before


def test_opponents_beside_the_fine_tuning_of_seas_end_with_the_same_cells(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # Each process finds no GPU, and takes the CPU: a core each, and so here, as more threads add up in another order.
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    torch.set_num_threads(1)
    monkeypatch.setattr("seas_aug.benchmark.command.check_devices", lambda devices: None)
    options: dict[str, Any] = {
        "seeds": [0],
        "base": str(base),
        "finetune": FINETUNE,
        "pairs": 3,
        "normals": 2,
        "detection_sources": ["none", "seas"],
        "one_class": ["padim-compact"],
        "segmentation": {},
        "detector_steps": 1,
        "draws": 20,
    }
    entries = [CategoryEntry(rendered.make_category(tmp_path / "bottle"))]
    found = {}
    for name, places in (("first", {}), ("beside", {"devices": [0], "cells_per_device": max(2, os.cpu_count() or 1)})):
        config = BenchmarkConfig(entries, tmp_path / name, **options, **places)
        assert run_benchmark(config, write_report)["cells"] == {"done": 2 + 2 + 3 + 1, "planned": 2 + 2 + 3 + 1}
        rows = {path.name: json.loads(path.read_text()) for path in (tmp_path / name / "cells").glob("*.json")}
        found[name] = {key: row["metrics"] for key, row in rows.items()}
    assert found["first"].keys() == found["beside"].keys()
    for key, metrics in found["first"].items():
        assert metrics == pytest.approx(found["beside"][key], abs=1e-3, nan_ok=True), key


def test_a_category_on_which_seas_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def failing(config: object) -> None:
        raise SeasError("bottle: the loss is not finite; lower the learning rate.")

    monkeypatch.setattr("seas_aug.finetune.run.finetune", failing)
    roots = [rendered.make_category(tmp_path / name) for name in ("bottle", "cable")]
    options = "detection_sources: [none, seas]\ndetector_steps: 1\none_class: []\nquality: []\nsegmentation: {}\n"
    grid = tmp_path / "grid.yaml"
    categories = ", ".join(f"{{root: {root}}}" for root in roots)
    grid.write_text(f"categories: [{categories}]\noutput: {tmp_path / 'out'}\nseeds: [0]\n{options}")
    assert main(["benchmark", "--config", str(grid)]) == 2
    printed = capsys.readouterr()
    assert "4 cell(s) failed" in printed.err and "Traceback" not in printed.err
    rows = [json.loads(path.read_text()) for path in sorted((tmp_path / "out" / "cells").glob("*.json"))]
    assert sorted((row["cell"]["source"], row["status"]) for row in rows) == [
        *(("none", "done") for _ in roots),
        *(("seas", "failed") for _ in range(2 * len(roots))),  # a detector and the masks
    ]
    assert all("not finite" in row["error"] for row in rows if row["status"] == "failed")
    assert "not finite" in (tmp_path / "out" / "index.html").read_text()
    grid.write_text(f"categories: [{{root: {roots[0]}}}]\noutput: {tmp_path / 'one'}\nseeds: [0]\n{options}")
    assert main(["benchmark", "--config", str(grid)]) == 2
    assert "lower the learning rate" in capsys.readouterr().err and not (tmp_path / "one" / "cells").exists()
