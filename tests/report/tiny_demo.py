# SPDX-License-Identifier: Apache-2.0
"""A demo of a few seconds on a tiny base with random weights; its folders serve several tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from diffusers import DDPMScheduler

from seas_aug.report.demo import DemoSettings, DetectorSettings, run_demo
from tests.tiny_models import tiny_text_encoder, tiny_tokenizer, tiny_unet, tiny_vae

SIZE = 128


def make_base(folder: Path) -> Path:
    """Write a base of Stable Diffusion's layout whose native size is 128 px."""
    tokenizer = tiny_tokenizer()
    parts = {
        "unet": tiny_unet(sample_size=32),
        "vae": tiny_vae(),
        "text_encoder": tiny_text_encoder(tokenizer),
        "tokenizer": tokenizer,
        "scheduler": DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    index = {name: [type(part).__module__.partition(".")[0], type(part).__name__] for name, part in parts.items()}
    index["tokenizer"] = ["transformers", "CLIPTokenizer"]
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **index}))
    return folder


def settings(base: Path) -> DemoSettings:
    return DemoSettings(
        base=str(base),
        width=256,
        height=192,
        image_size=SIZE,
        detector_size=128,
        normals=4,
        per_type=4,
        few_shot=2,
        generator_steps=1,
        mask_steps=1,
        pairs_per_type=2,
        inference_steps=20,
        detector=DetectorSettings(steps=2, batch_size=2, width=4),
    )


def make_demo(folder: Path) -> Path:
    """Make the demo, or return the one that another test made in this session."""
    base = folder.with_name("tiny_base")
    if not base.is_dir():
        make_base(base)
    with pytest.MonkeyPatch.context() as patch:
        # An untrained mask predictor is sure that all is normal; one that is unsure leaves no mask empty.
        patch.setattr("seas_aug.masks.detail._IMAGE_PRIOR", 0.0)
        # Random weights change a window all over, which the gate would reject.
        patch.setattr("seas_aug.draw.draw.check_pair_looks_right", lambda candidate, limits: [])
        run_demo(folder, seed=0, settings=settings(base))
    return folder
