# SPDX-License-Identifier: Apache-2.0
"""Every example trains and tests its detector on a rendered category, with backbones that need no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import yaml
from anomalib.models.image.dsr.lightning_model import Dsr
from anomalib.models.image.uninet.torch_model import Teachers
from torchvision.models.feature_extraction import create_feature_extractor

from seas_aug.anomalib_plugin.paste import PasteAugmenter
from seas_aug.cli.main import main
from tests.anomalib_plugin import rendered
from tests.anomalib_plugin.fixtures import category, own_cache

__all__ = ["category", "own_cache"]

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL: dict[str, dict[str, Any]] = {
    "draem": {},
    "glass": {
        "backbone": "resnet18",
        "input_shape": [128, 128],
        "pretrain_embed_dim": 64,
        "target_embed_dim": 64,
        "discriminator_hidden": 32,
        "step": 2,
    },
    "supersimplenet": {"backbone": "resnet18"},
    "uninet": {"student_backbone": "resnet50", "teacher_backbone": "resnet50"},
    "dsr": {"upsampling_train_ratio": 0.5},
    "patchcore": {"backbone": "resnet18"},
}
SIZES = {256: 128, 128: 64}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, category: Path) -> Path:
    """Pairs and two generated normal images."""
    return rendered.add_normals(rendered.make_generated(tmp_path_factory.mktemp("pool") / "pairs", category))


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Random weights wherever a detector would fetch some."""
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *args, **options: create(*args, **{**options, "pretrained": False})
    )

    def teacher(backbone: str) -> torch.nn.Module:
        model = getattr(torchvision.models, backbone)(weights=None)
        return create_feature_extractor(model, return_nodes=["layer3", "layer2", "layer1"])

    monkeypatch.setattr(Teachers, "_get_teacher", staticmethod(teacher))

    def first_phase() -> Path:
        path = tmp_path / "first_phase.pckl"
        torch.save(Dsr().model.discrete_latent_model.state_dict(), path)
        return path

    monkeypatch.setattr(Dsr, "prepare_pretrained_model", staticmethod(first_phase))


def smaller(value: Any) -> Any:
    """Halve the sizes of an example's transforms."""
    if isinstance(value, dict):
        return {
            key: [SIZES[side] for side in inner] if key == "size" else smaller(inner) for key, inner in value.items()
        }
    return [smaller(inner) for inner in value] if isinstance(value, list) else value


def tiny(name: str, category: Path, pool: Path, output: Path) -> dict[str, Any]:
    """Return an example with another data set, small networks and a few steps."""
    content = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    augmentation = content["augmentation"]
    options = augmentation["init_args"] if isinstance(augmentation, dict) else {}
    options = {**options, "run": None, "generated": str(pool)}
    content["augmentation"] = {"class_path": "seas_aug.anomalib_plugin.SeasAugmentation", "init_args": options}
    content["model"] = smaller(content["model"])
    content["model"]["init_args"].update(SMALL[name], visualizer=False)
    content["data"]["init_args"].update(
        root=str(category.parent), category=category.name, train_batch_size=3, eval_batch_size=4
    )
    trainer = content["trainer"]
    if "max_steps" in trainer:
        trainer["max_steps"] = 2
    elif "max_epochs" in trainer:
        trainer.update(max_epochs=2, limit_train_batches=1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer.update(accelerator="cpu", limit_val_batches=1, limit_test_batches=1, **quiet)
    content["default_root_dir"] = str(output)
    return content


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_example(
    name: str,
    category: Path,
    pool: Path,
    no_download: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pasted: list[str] = []
    for method in ("forward", "augment_batch"):
        original = getattr(PasteAugmenter, method)

        def spy(self: PasteAugmenter, image: torch.Tensor, method: str = method, original: Any = original) -> Any:
            pasted.append(method)
            return original(self, image)

        monkeypatch.setattr(PasteAugmenter, method, spy)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tiny(name, category, pool, tmp_path / "results")))
    assert main(["train", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    assert "few-shot images taken out of evaluation: 2 from val_data, 2 from test_data" in printed
    if name == "patchcore":
        assert "Patchcore learns from normal images alone; it gets 2 generated ones more, and no defect" in printed
    else:
        assert "training on 6 pairs of hole, scratch" in printed
    expected = {"draem": {"forward"}, "glass": {"forward"}, "dsr": {"forward", "augment_batch"}}
    assert set(pasted) == expected.get(name, set())
    checkpoint = torch.load(next((tmp_path / "results").rglob("*.ckpt")), weights_only=True, map_location="cpu")
    assert not [key for key in checkpoint["state_dict"] if "perlin" in key and "generator" not in key]
