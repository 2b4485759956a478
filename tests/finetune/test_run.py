# SPDX-License-Identifier: Apache-2.0
"""A whole run on a tiny base: what is trained, what is not, and what it leaves behind."""

from __future__ import annotations

import dataclasses

import cv2
import pytest
import torch
import yaml
from safetensors.torch import load_file

from seas_aug.config import as_plain
from seas_aug.data.split_file import load_split
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.errors import SeasError
from seas_aug.finetune.run import finetune
from tests.data.helpers import make_category
from tests.finetune.recording import files, recorded
from tests.tiny_base import tiny_config, tiny_dc_vae, write_base


def test_run_folder(whole, category_folder, base_folder):
    output, _ = whole
    names = set(files(output))
    assert {name.partition("/")[0] for name in names} == {
        "artifact.json",
        "config.yaml",
        "split.json",
        "log",
        "model",
        "previews",
    }
    assert {name for name in names if name.startswith(("previews", "log"))} == {
        "previews/generator_000002.png",
        "previews/generator_000004.png",
        "previews/generator_000006.png",
        "previews/masks_000002.png",
        "log/generator.csv",
        "log/masks.csv",
    }
    assert {name.split("/")[1] for name in names if name.startswith("model/")} == {
        "model_index.json",
        "references.safetensors",
        *("unet", "vae", "text_encoder", "tokenizer", "scheduler", "mask_predictor"),
    }
    assert not [name for name in names if name.endswith((".bin", ".pt", ".ckpt"))]
    config = tiny_config(category_folder, output, base_folder)
    assert yaml.safe_load((output / "config.yaml").read_text()) == as_plain(config)
    split = load_split(output / "split.json")
    assert list(split.split.few_shot) == ["crack", "hole"]
    assert len(split.fine_tuning_hashes) == 2 + 3 + 4


@pytest.mark.parametrize(("name", "columns"), [("generator_000004", 5), ("masks_000002", 3)])
def test_previews_show_something(whole, name, columns):
    """One row per type; every picture has contrast, but for the mask of a predictor that has learnt nothing yet."""
    grid = cv2.imread(str(whole[0] / "previews" / f"{name}.png"))
    assert grid.shape == (2 * (32 + 2) + 2, columns * (32 + 2) + 2, 3)
    pictures = [
        grid[2 + 34 * row : 34 + 34 * row, 2 + 34 * column : 34 + 34 * column]
        for row in range(2)
        for column in range(columns)
        if (name, column) != ("masks_000002", 2)
    ]
    assert all(picture.std() > 1 for picture in pictures)


def test_only_the_new_rows_and_the_unet_are_trained(whole, base_folder):
    def weights(folder, part):
        (path,) = (folder / part).glob("*.safetensors")
        return load_file(path)

    model = whole[0] / "model"
    before, after = weights(base_folder, "vae"), weights(model, "vae")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)

    before, after = weights(base_folder, "text_encoder"), weights(model, "text_encoder")
    assert before.keys() == after.keys()
    (embedding,) = [name for name in before if name.endswith("token_embedding.weight")]
    assert all(torch.equal(before[name], after[name]) for name in before if name != embedding)
    old = len(before[embedding])
    assert torch.equal(before[embedding], after[embedding][:old])
    new = after[embedding][old:]
    assert len(new) == 1 + 2 * 2  # <ob1>, two types of two tokens
    assert len({tuple(row.tolist()) for row in new}) == len(new)  # those of a type started equal

    before, after = weights(base_folder, "unet"), weights(model, "unet")
    assert before.keys() == after.keys()
    assert not [name for name in before if torch.equal(before[name], after[name])]


def test_updates_follow_the_number_of_types(whole):
    """steps_per_type 3 with 2 types, of 2 batches each; max_steps 3 for the masks."""
    _, recording = whole
    assert [batch[:2] for batch in recording.batches["generator"]] == [(u, m) for u in range(6) for m in range(2)]
    assert [batch[:2] for batch in recording.batches["masks"]] == [(0, 0), (1, 0), (2, 0)]


def test_types_are_mixed_and_all_images_are_used(whole):
    """Each batch of 2 has both types; images 0-1 are cracks, 2-4 holes; copies have no index; losses are finite."""
    batches = whole[1].batches["generator"]
    assert all(sorted(batch[2]) == ["crack", "hole"] for batch in batches)
    seen = {pair for batch in batches for pair in zip(batch[2], batch[3], strict=True)}
    plain = {(name, index) for name, index in seen if index >= 0}
    assert plain <= {("crack", 0), ("crack", 1), ("hole", 2), ("hole", 3), ("hole", 4)}
    assert len(plain) >= 3
    assert {("crack", -1), ("hole", -1)} <= seen
    assert {index for batch in batches for index in batch[5]} == set(range(4))
    assert all(0 < batch[-1] < 100 for stage in whole[1].batches.values() for batch in stage)


def test_saved_unet_has_the_averaged_weights(whole):
    weights = whole[1].weights
    average = weights[1].clone()
    for update in range(2, 7):
        average = 0.5 * average + 0.5 * weights[update]
    saved = load_file(whole[0] / "model" / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.weight"]
    torch.testing.assert_close(saved, average, atol=1e-7, rtol=1e-6)
    assert not torch.allclose(saved, weights[6], atol=1e-6)


def test_autoencoder_without_posterior(category_folder, tmp_path):
    """A base with AutoencoderDC, as the embedded one has; no average, no previews, normals limited to 2."""
    base = write_base(tmp_path / "base", vae=tiny_dc_vae())
    config = tiny_config(category_folder, tmp_path / "run", base, preview_every=0)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, num_normals=2, few_shot="0.5"),
        generator=dataclasses.replace(config.generator, max_steps=1, ema_decay=0.0),
        masks=dataclasses.replace(config.masks, max_steps=1),
    )
    with recorded() as recording:
        model = finetune(config)
    saved = load_file(model / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.weight"]
    assert torch.equal(saved, recording.weights[1])
    pipe = SeaSPipeline.from_pretrained(model)
    assert pipe.num_references == 2
    pairs = pipe("hole", num_images=2)
    assert [image.shape for image in pairs.images] == [(32, 32, 3)] * 2
    assert not list((config.output / "previews").glob("*"))


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("data", {"image_size": 40}, r"image_size is 40; this base needs a multiple of 16, such as 32\."),
        ("data", {"image_size": 0}, "image_size is 0"),
        ("data", {"root": None}, "no data was given"),
        ("generator", {"max_steps": 0}, "generator: updates is 0"),
        ("generator", {"batch_size": 0}, "generator: batch_size is 0"),
        ("attention", {"resolutions": (32,)}, "maps of side 32; set attention.resolutions to some of 4, 8"),
        ("prompt", {"anomaly_tokens": 90}, "the text encoder reads 77"),
    ],
)
def test_mistakes_give_one_sentence(category_folder, base_folder, tmp_path, part, change, message):
    config = tiny_config(category_folder, tmp_path / "run", base_folder)
    config = dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **change)})
    with pytest.raises(SeasError, match=message) as error:
        finetune(config)
    assert "\n" not in str(error.value)


def test_bad_images_are_refused_before_training(base_folder, tmp_path):
    root = make_category(tmp_path / "part", {"crack": 2})
    (root / "train" / "good" / "001.png").write_bytes(b"no image")
    with recorded() as recording, pytest.raises(SeasError, match=r"001\.png"):
        finetune(tiny_config(root, tmp_path / "run", base_folder))
    assert not recording.batches["generator"]
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_mask_stage_mistake(category_folder, base_folder, tmp_path):
    config = tiny_config(category_folder, tmp_path / "run", base_folder)
    config = dataclasses.replace(
        config,
        generator=dataclasses.replace(config.generator, max_steps=1, accumulate=1),
        masks=dataclasses.replace(config.masks, max_timestep=1001),
    )
    with pytest.raises(SeasError, match=r"max_timestep is 1001; give 1 to 1000"):
        finetune(config)
