# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil

import pytest

from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.sample import solver
from seas_aug.errors import SeasError
from tests.tiny_models import tiny_scheduler


def test_run_folder_and_model_folder(run_folder):
    for folder in (run_folder, run_folder / "model", str(run_folder)):
        pipe = SeaSPipeline.from_pretrained(folder)
        assert pipe.anomaly_types == ("crack", "hole")
        assert pipe.num_references == 4


def test_only_safetensors_json_and_pictures(run_folder, window_run):
    for folder, pictures in ((run_folder, set()), (window_run, {".png"})):
        suffixes = {path.suffix for path in (folder / "model").rglob("*") if path.is_file()}
        assert suffixes - pictures <= {".safetensors", ".json", ".txt"}


def test_mistakes_give_one_sentence(run_folder, window_run, base_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    damaged = shutil.copytree(run_folder / "model", tmp_path / "damaged")
    (damaged / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"torn")
    scattered = shutil.copytree(run_folder / "model", tmp_path / "scattered")
    (scattered / "references.safetensors").write_bytes(b"torn")
    garbled = shutil.copytree(run_folder / "model", tmp_path / "garbled")
    (garbled / "model_index.json").write_text("{")
    incomplete = shutil.copytree(window_run / "model", tmp_path / "incomplete")
    (incomplete / "references" / "00002.png").unlink()
    without_mask = shutil.copytree(window_run / "model", tmp_path / "without_mask")
    (without_mask / "few_shot" / "00000_mask.png").unlink()
    for folder, message in [
        (tmp_path / "missing", "holds no fine-tuned model"),
        (tmp_path / "empty", "holds no fine-tuned model"),
        (base_folder, "is a base model, not a fine-tuned one; run 'seas-aug finetune --base"),
        (damaged, "is damaged"),
        (scattered, "references.safetensors is damaged"),
        (garbled, "is damaged"),
        (incomplete, r"00002\.png is missing"),
        (without_mask, r"00000_mask\.png is missing"),
    ]:
        with pytest.raises(SeasError, match=message) as error:
            SeaSPipeline.from_pretrained(folder)
        assert "\n" not in str(error.value)


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
