# SPDX-License-Identifier: Apache-2.0
"""Pretraining of the U-Net: what it learns from, on a handful of latents."""

from __future__ import annotations

import pytest
import torch

from seas_aug.base.load import load_base
from seas_aug.base.pretrain.diffusion import DiffusionModule, LatentPool, LatentScenes, supervised_words
from seas_aug.base.renderer.scene import all_words, render_scene
from seas_aug.errors import SeasError


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    torch.manual_seed(0)
    return DiffusionModule(10, 1.0, tmp_path_factory.mktemp("tokenizer"))


def make_batch(prompts, defect=True):
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(len(prompts), 1, 32, 32)
    mask[:, :, 4:10, 20:24] = float(defect)
    return {"latent": torch.randn(len(prompts), 8, 32, 32, generator=generator), "mask": mask, "prompt": prompts}


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a circuit board with colour change", ("board</w>", "change</w>")),
        ("a object with defect", ("object</w>", "defect</w>")),
        ("a leather", None),
    ],
)
def test_supervised_words(prompt, words):
    assert supervised_words(prompt) == words


def test_every_scene_has_words_of_the_vocabulary(module):
    """A word that the tokenizer splits could not be found among the tokens."""
    known = set(module.tokenizer.get_vocab())
    for seed in range(60):
        words = supervised_words(render_scene(seed, 32).prompt)
        assert words is None or set(words) <= known
    assert {word + "</w>" for word in all_words()} <= known


def test_pool_holds_the_masks_of_its_scenes(tmp_path, monkeypatch):
    pool = LatentPool.cached(tmp_path / "pool.pt", "embedded", 5, first_seed=3)
    with monkeypatch.context() as patch:
        patch.setattr("seas_aug.base.pretrain.diffusion.load_autoencoder", None)  # nothing is encoded again
        again = LatentPool.cached(tmp_path / "pool.pt", "embedded", 5, first_seed=3)
    for index in range(5):
        scene = render_scene(3 + index)
        expected = torch.from_numpy(scene.mask)[None] > 0
        assert torch.equal(pool.masks[index], expected)
        assert pool.prompts[index] == scene.prompt
        assert bool(expected.any()) == (" with " in scene.prompt)
    assert torch.equal(pool.latents, again.latents)
    assert torch.equal(pool.masks, again.masks)
    item = LatentScenes(pool, 4, 0)[2]
    assert item["latent"].shape == (8, 32, 32)
    assert item["mask"].shape == (1, 128, 128)


@pytest.mark.parametrize("other", [("other", 5, 3), ("embedded", 6, 3), ("embedded", 5, 4)])
def test_pool_of_other_scenes_is_not_taken_for_this_one(tmp_path, other):
    LatentPool.cached(tmp_path / "pool.pt", "embedded", 1, first_seed=3)
    with pytest.raises(SeasError, match=r"pool\.pt holds other latents"):
        LatentPool.cached(tmp_path / "pool.pt", *other)


def test_losses_reach_attention_and_skip_what_has_no_word(module):
    generator = torch.Generator().manual_seed(1)
    parts = module.losses(make_batch(["a leather with crack", "a wood", "a object with hole"] * 2), generator, 0.0)
    assert set(parts) == {"noise", "attention"}
    assert all(torch.isfinite(value) and value > 0 for value in parts.values())
    parts["attention"].backward()
    keys = [weight for name, weight in module.unet.named_parameters() if name.endswith("attn2.to_k.weight")]
    assert sum(weight.grad is not None and bool(weight.grad.abs().sum() > 0) for weight in keys) >= 2
    for prompts, dropout in ((["a wood", "a leather"], 0.0), (["a wood with crack"] * 2, 1.1)):
        without = module.losses(make_batch(prompts), torch.Generator().manual_seed(1), dropout)
        assert float(without["attention"]) == 0
        assert without["noise"] > 0


def test_attention_loss_falls_when_it_is_trained(module):
    """The supervised attention really comes to lie on the masks."""
    batch = make_batch(["a leather with crack"] * 4)
    optimiser = torch.optim.AdamW(module.parameters(), lr=2e-3)
    values = []
    for _ in range(12):
        loss = module.losses(batch, torch.Generator().manual_seed(3), 0.0)["attention"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]


def test_continues_from_a_base_and_knows_its_words(tmp_path):
    torch.manual_seed(0)
    module = DiffusionModule(10, 1.0, tmp_path / "tokenizer")
    base = load_base("embedded")
    untrained = module.text_encoder.get_input_embeddings().weight.detach().clone()
    module.continue_from(base)
    for name, weight in module.unet.state_dict().items():
        assert torch.equal(weight, base.unet.state_dict()[name])
    words = "embeddings.token_embedding.weight"
    for name, weight in module.text_encoder.state_dict().items():
        assert name == words or torch.equal(weight, base.text_encoder.state_dict()[name])
    found, theirs = module.text_encoder.state_dict()[words], base.text_encoder.state_dict()[words]
    known = base.tokenizer.get_vocab()
    for piece, index in module.tokenizer.get_vocab().items():
        expected = theirs[known[piece]] if piece in known else untrained[index]
        assert torch.equal(found[index], expected), piece


def test_a_word_that_the_base_did_not_have_starts_untrained(tmp_path):
    module = DiffusionModule(10, 1.0, tmp_path / "tokenizer")
    base = load_base("embedded")
    fewer = dict(base.tokenizer.get_vocab())
    row = module.tokenizer.get_vocab()["leather</w>"]
    before = module.text_encoder.get_input_embeddings().weight[row].detach().clone()
    del fewer["leather</w>"]
    base.tokenizer.get_vocab = lambda: fewer
    module.continue_from(base)
    assert torch.equal(module.text_encoder.get_input_embeddings().weight[row], before)
