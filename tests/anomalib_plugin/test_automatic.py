# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from seas_aug.anomalib_plugin import SeasAugmentation
from seas_aug.anomalib_plugin.paste import PasteAugmenter
from seas_aug.data.decode import content_hash
from tests import tiny_models
from tests.anomalib_plugin import rendered
from tests.anomalib_plugin.stand_ins import FEW_SHOT, Draem, make_trainer, paths


def test_automatic_fine_tuning_is_done_once(category: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    strengths: list[float | None] = []

    def finetune(config: Any) -> Path:
        calls.append("finetune")
        assert config.generator.max_steps == config.masks.max_steps == 2
        linked = sorted(str(path.relative_to(config.data.root)) for path in config.data.root.rglob("*.png"))
        assert [path for path in linked if not path.startswith("train")] == [
            "ground_truth/hole/00000_mask.png",
            "ground_truth/scratch/00000_mask.png",
            "test/hole/00000.png",
            "test/scratch/00000.png",
        ]
        assert content_hash(config.data.root / "test/hole/00000.png") == content_hash(category / FEW_SHOT[0])
        torch.rand(1)
        (config.output / "model").mkdir(parents=True)
        (config.output / "model" / "model_index.json").write_text("{}")
        return config.output / "model"

    def generate(**options: Any) -> None:
        calls.append("generate")
        assert options["num_images"] == 3
        assert options["anomaly_types"] is None
        strengths.append(options["strength"])
        rendered.make_generated(options["output"], None)

    for name, function in {"finetune": finetune, "generate": generate}.items():
        module = ModuleType(f"seas_aug.{name}.run")
        setattr(module, name, function)
        monkeypatch.setitem(sys.modules, f"seas_aug.{name}.run", module)

    options: dict[str, Any] = {"few_shot": 0.25, "max_steps": 2, "num_images": 3, "cache": str(tmp_path / "cache")}
    for _ in range(2):
        trainer, model = make_trainer(category), Draem()
        torch.manual_seed(5)
        SeasAugmentation(**options).setup(trainer, model, "fit")
        assert isinstance(model.augmenter, PasteAugmenter)
        assert not set(FEW_SHOT) & set(paths(trainer, "test_data"))
        state = torch.random.get_rng_state()
        torch.manual_seed(5)
        assert torch.equal(state, torch.random.get_rng_state())  # the detector's own draws do not change
    assert calls == ["finetune", "generate"]
    SeasAugmentation(**{**options, "seed": 1}).setup(make_trainer(category), Draem(), "fit")
    assert calls == ["finetune", "generate"] * 2
    SeasAugmentation(**{**options, "strength": 0.2}).setup(make_trainer(category), Draem(), "fit")
    assert calls == ["finetune", "generate"] * 2 + ["generate"]  # other pairs of the same model
    assert strengths == [None, None, 0.2]


def test_automatic_with_a_real_model(category: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An untrained mask predictor is sure that all is normal; one that is unsure leaves no mask empty.
    monkeypatch.setattr("seas_aug.masks.detail._IMAGE_PRIOR", 0.0)
    tokenizer = tiny_models.tiny_tokenizer()
    StableDiffusionPipeline(
        vae=tiny_models.tiny_vae(),
        text_encoder=tiny_models.tiny_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=tiny_models.tiny_unet(sample_size=32),
        scheduler=tiny_models.tiny_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(tmp_path / "base")
    trainer, model = make_trainer(category), Draem()
    callback = SeasAugmentation(
        few_shot=0.25, base=str(tmp_path / "base"), max_steps=1, num_images=1, cache=str(tmp_path / "cache")
    )
    callback.setup(trainer, model, "fit")
    assert isinstance(model.augmenter, PasteAugmenter)
    assert callback._defects is not None
    assert callback._defects.pool.anomaly_types == rendered.TYPES
    images, masks, references = callback._defects.pool.draw(torch.Generator(), 2, (64, 64))
    assert masks.flatten(1).any(1).all()
    assert not torch.equal(images, references)
