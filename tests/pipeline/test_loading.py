# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil

import pytest
import torch

from seas_aug.errors import SeasError
from seas_aug.pipeline.references import References
from seas_aug.pipeline.seas_pipeline import SeaSPipeline, solver
from tests.tiny_models import tiny_scheduler


def test_run_folder_and_model_folder(run_folder):
    for folder in (run_folder, run_folder / "model", str(run_folder)):
        pipe = SeaSPipeline.from_pretrained(folder)
        assert pipe.anomaly_types == ("crack", "hole")
        assert pipe.num_references == 4


def test_only_safetensors_and_json(run_folder):
    suffixes = {path.suffix for path in (run_folder / "model").rglob("*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".txt"}


def test_mistakes_give_one_sentence(run_folder, base_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    damaged = shutil.copytree(run_folder / "model", tmp_path / "damaged")
    (damaged / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"torn")
    scattered = shutil.copytree(run_folder / "model", tmp_path / "scattered")
    (scattered / "references.safetensors").write_bytes(b"torn")
    garbled = shutil.copytree(run_folder / "model", tmp_path / "garbled")
    (garbled / "model_index.json").write_text("{")
    for folder, message in [
        (tmp_path / "missing", "holds no fine-tuned model"),
        (tmp_path / "empty", "holds no fine-tuned model"),
        (base_folder, "is a base model, not a fine-tuned one; run 'seas-aug finetune --base"),
        (damaged, "is damaged"),
        (scattered, "references.safetensors is damaged"),
        (garbled, "is damaged"),
    ]:
        with pytest.raises(SeasError, match=message) as error:
            SeaSPipeline.from_pretrained(folder)
        assert "\n" not in str(error.value)


def test_references_round_trip(tmp_path):
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    References(images, ("a.png", "ü/b.png")).save(tmp_path)
    loaded = References.load(tmp_path)
    assert torch.equal(loaded.images, images)
    assert loaded.names == ("a.png", "ü/b.png")
    assert len(loaded) == 2
    assert References.load(tmp_path / "none") is None


def test_solver_is_dpm_solver_2m_on_the_timesteps(run_folder):
    saved = json.loads((run_folder / "model" / "scheduler" / "scheduler_config.json").read_text())
    assert saved["_class_name"] == "DPMSolverMultistepScheduler"
    for key, value in (("algorithm_type", "dpmsolver++"), ("solver_order", 2), ("solver_type", "midpoint")):
        assert saved[key] == value
    plain = tiny_scheduler("leading")
    other = type(plain).from_config(plain.config, use_karras_sigmas=True)
    other.set_timesteps(5)
    assert other.timesteps.tolist() != [999, 799, 599, 400, 200]
    made = solver(other)
    made.set_timesteps(5)
    assert made.timesteps.tolist() == [999, 799, 599, 400, 200]
