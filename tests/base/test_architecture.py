# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from seas_aug.base.load import load_base
from seas_aug.base.pretrain.architecture import (
    LATENT_CHANNELS,
    MAX_TOKENS,
    NATIVE_SIZE,
    TEXT_WIDTH,
    build_autoencoder,
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
    build_unet,
)
from seas_aug.base.pretrain.autoencoder import psnr, reconstruction_loss
from seas_aug.base.pretrain.scenes import CropDataset, ScenePool
from seas_aug.base.renderer.scene import all_words
from seas_aug.latents.codec import latent_scale
from seas_aug.masks.features import unet_channels, vae_channels
from seas_aug.prompt.embedding import add_prompt_tokens, encode_prompts
from seas_aug.prompt.ua_prompt import UAPrompt
from tests.tiny_base import write_base


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return build_tokenizer(tmp_path_factory.mktemp("tokenizer"), all_words())


def test_every_word_of_the_renderer_is_one_token(tokenizer):
    ids = {}
    for word in all_words():
        (ids[word],) = tokenizer(word, add_special_tokens=False)["input_ids"]
    assert len(set(ids.values())) == len(all_words())
    sentence = tokenizer("a metal plate with colour change", add_special_tokens=False)["input_ids"]
    assert sentence == [ids[word] for word in ("a", "metal", "plate", "with", "colour", "change")]


@pytest.mark.parametrize("text", ["zygote", "Überlänge 12%", "日本", "caps", "scratched", "crackcrack"])
def test_other_text_falls_apart_into_bytes(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) >= 1
    assert tokenizer.unk_token_id not in ids
    assert max(ids) < len(tokenizer) - 2
    assert tokenizer.decode(ids).replace(" ", "") == text.lower().replace(" ", "")


def test_tokenizer_reads_its_own_files(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    prompts = ["a leather with crack", "", "something else"]
    assert tokenizer(prompts)["input_ids"] == again(prompts)["input_ids"]
    assert len(again) == len(tokenizer)
    assert again.model_max_length == MAX_TOKENS


def test_prompts_of_five_types_fit(tokenizer):
    """Recombining five types of four tokens must fit the 32 positions."""
    encoder = build_text_encoder(len(tokenizer)).eval()
    prompt = UAPrompt(tuple("abcde"))
    add_prompt_tokens(tokenizer, encoder, prompt)
    with torch.no_grad():
        states, _, ids = encode_prompts(
            tokenizer, encoder, [prompt.anomaly_prompt(*"abcde"), prompt.normal_prompt(), ""]
        )
    assert states.shape == (3, MAX_TOKENS, TEXT_WIDTH)
    assert torch.isfinite(states).all()
    assert not torch.allclose(states[1], states[2])
    assert int((ids[0] == tokenizer.eos_token_id).nonzero()[0]) == 24


def test_networks_fit_together(tmp_path):
    """The untrained base loads as any other, at its native size, and is a few million parameters."""
    tokenizer = build_tokenizer(tmp_path / "words", all_words())
    vae, unet = build_autoencoder(), build_unet()
    assert sum(weight.numel() for part in (vae, unet) for weight in part.parameters()) < 12e6
    assert latent_scale(vae) == 4
    assert unet_channels(unet) == (160, 96)
    assert vae_channels(vae) == (48, 24)
    folder = write_base(tmp_path / "base")
    for name, part in {
        "unet": unet,
        "vae": vae,
        "text_encoder": build_text_encoder(len(tokenizer)),
        "tokenizer": tokenizer,
        "scheduler": build_scheduler(),
    }.items():
        for old in (folder / name).glob("*"):
            old.unlink()
        part.save_pretrained(folder / name)
    index = (folder / "model_index.json").read_text().replace("AutoencoderKL", "AutoencoderDC")
    (folder / "model_index.json").write_text(index)
    models = load_base(str(folder))
    assert models.image_size == NATIVE_SIZE == 128
    sides = set()
    for name, module in models.unet.named_modules():
        if name.endswith("attn2"):
            module.register_forward_pre_hook(lambda _, inputs: sides.add(round(inputs[0].shape[1] ** 0.5)))
    with torch.no_grad():
        latents = models.vae.encode(torch.zeros(1, 3, 128, 128)).latent
        assert latents.shape == (1, LATENT_CHANNELS, 32, 32)
        assert models.unet(latents, 5, torch.zeros(1, 7, TEXT_WIDTH)).sample.shape == latents.shape
    assert sides == {32, 16, 8}


def test_reconstruction_loss_and_psnr():
    image = torch.zeros(1, 3, 4, 4)
    assert reconstruction_loss(image, image) == 0
    shifted = image + 0.1
    torch.testing.assert_close(reconstruction_loss(shifted, image), torch.tensor(0.1 + 2 * 0.01))
    striped = image.clone()
    striped[..., ::2] = 0.1
    torch.testing.assert_close(reconstruction_loss(striped, image), torch.tensor(0.05 + 2 * 0.005 + 0.5 * 0.1))
    torch.testing.assert_close(psnr(image + 0.2, image), torch.tensor(20.0))


def test_crops_are_the_same_in_every_run():
    pool = ScenePool(3, 64, first_seed=5)
    crops, again = CropDataset(pool, 32, 4, seed=1), CropDataset(ScenePool(3, 64, first_seed=5), 32, 4, seed=1)
    assert len(crops) == 4
    for index in range(4):
        assert crops[index].shape == (3, 32, 32)
        assert crops[index].dtype == torch.float32
        assert crops[index].abs().max() <= 1
        assert torch.equal(crops[index], again[index])
    assert not torch.equal(crops[0], crops[1])
