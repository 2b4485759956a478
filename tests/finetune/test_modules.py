# SPDX-License-Identifier: Apache-2.0
"""The two training steps, piece by piece."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from unittest.mock import PropertyMock, patch

import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn

from seas_aug.base.load import load_base
from seas_aug.config import FineTuneConfig, GeneratorConfig, MaskConfig, SamplingConfig
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.sample import solver
from seas_aug.errors import SeasError
from seas_aug.finetune import generator_module
from seas_aug.finetune.generator_module import GeneratorModule, draw_timesteps, visited_timesteps
from seas_aug.finetune.latent_cache import LatentCache
from seas_aug.finetune.mask_module import MaskModule
from seas_aug.latents.codec import encode_latents
from seas_aug.latents.start import first_step
from seas_aug.presets import paper_preset
from seas_aug.prompt import encode_prompts
from seas_aug.prompt.embedding import add_prompt_tokens
from seas_aug.prompt.ua_prompt import UAPrompt
from tests.tiny_base import tiny_config
from tests.tiny_models import tiny_vae

PROMPT = UAPrompt(("crack", "hole"), 1, 2)


def make_batch(empty=False):
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(2, 1, 32, 32)
    if not empty:
        mask[:, :, 4:12, 8:20] = 1
    return {
        "anomaly_image": torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1,
        "normal_image": torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1,
        "mask": mask,
        "anomaly_type": ["crack", "hole"],
        **{
            f"{kind}_{what}": torch.tensor([0, 1])
            for kind in ("anomaly", "normal")
            for what in ("index", "augmentation")
        },
    }


def make_generator_module(category_folder, base_folder, **changes):
    config = tiny_config(category_folder, base_folder / "unused", base_folder, **changes)
    models = load_base(str(base_folder))
    embedding = add_prompt_tokens(models.tokenizer, models.text_encoder, PROMPT)
    return GeneratorModule(models, PROMPT, embedding, config, 32)


def optimiser_of(module):
    return module.configure_optimizers()["optimizer"]


def alpha_bar():
    return (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)


def spy_on_unet(unet, calls):
    return unet.register_forward_pre_hook(lambda _, inputs: calls.append(inputs))


@pytest.mark.parametrize("stage", ["generator", "masks"])
def test_noise_level_belongs_to_the_timestep(category_folder, base_folder, run_folder, stage):
    """With latents of 10 everywhere the mean of the noisy ones shows sqrt(alpha bar), their deviation the noise."""
    if stage == "generator":
        module = make_generator_module(category_folder, base_folder)
        unet = module.unet
    else:
        pipe = SeaSPipeline.from_pretrained(run_folder)
        pipe.scheduler.set_timesteps(20)  # whatever was sampled before must not matter
        module = MaskModule(pipe, tiny_config(category_folder, run_folder, base_folder))
        unet = pipe.unet
    module.latents.encode = lambda *_: torch.full((2, 4, 8, 8), 10.0)
    calls = []
    with spy_on_unet(unet, calls), torch.no_grad():
        module.training_step(make_batch(), 0)
    ((noisy, timesteps, *_),) = calls
    assert noisy.shape == (4, 4, 8, 8)  # 2 anomaly and 2 normal images
    assert len(set(timesteps.tolist())) > 1
    if stage == "masks":
        assert timesteps.max() < module.config.masks.max_timestep
    level = alpha_bar()[timesteps]
    torch.testing.assert_close(noisy.mean((1, 2, 3)).double(), 10 * level.sqrt(), atol=0.3, rtol=0)
    torch.testing.assert_close(noisy.std((1, 2, 3)).double(), (1 - level).sqrt(), atol=0.02, rtol=0.15)


def test_losses_are_finite_with_an_empty_mask(category_folder, base_folder, run_folder):
    """A crop or an augmentation can leave nothing of a mask."""
    module = make_generator_module(category_folder, base_folder)
    loss = module.training_step(make_batch(empty=True), 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(weight.grad).all() for weight in module.parameters() if weight.grad is not None)
    masks = MaskModule(SeaSPipeline.from_pretrained(run_folder), tiny_config(category_folder, run_folder, base_folder))
    loss = masks.training_step(make_batch(empty=True), 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(weight.grad).all() for weight in masks.parameters() if weight.grad is not None)


NORMS = (nn.GroupNorm, nn.BatchNorm2d)


def varied_batch():
    """As variations give it: no picture comes twice."""
    batch = make_batch()
    return {**batch, **{key: torch.full_like(batch[key], -1) for key in ("anomaly_index", "normal_index")}}


@pytest.mark.parametrize(
    ("features", "normals", "expected"), [(None, None, (2, 2)), (None, 1, (2, 1)), (1, 2, (1, 1)), (9, 9, (2, 2))]
)
def test_mask_training_reads_few_features_and_encodes_varied_images(
    category_folder, base_folder, run_folder, features, normals, expected
):
    config = tiny_config(category_folder, run_folder, base_folder)
    masks = dataclasses.replace(config.masks, normal_batch_size=normals, feature_batch_size=features)
    config = dataclasses.replace(config, masks=masks)
    for batch in (make_batch(), varied_batch()):
        module = MaskModule(SeaSPipeline.from_pretrained(run_folder), config)
        calls, decoded, finished = [], [], []
        module.generator.vae.decoder.register_forward_pre_hook(lambda _, inputs, seen=decoded: seen.append(inputs[0]))
        module.predictor.detail.register_forward_pre_hook(lambda _, inputs, seen=finished: seen.append(inputs))
        with spy_on_unet(module.generator.unet, calls):
            loss = module.training_step(batch, 0)
        assert torch.isfinite(loss)
        assert len(calls[0][0]) == sum(expected)
        assert [len(latents) for latents in decoded] == [expected[0]]
        image, known, prompt = finished[0]
        assert len(image) == len(known) == len(prompt) == 2 + min(normals or 2, 2)
        pictures = torch.cat([batch["anomaly_image"], batch["normal_image"]])[: len(image)]
        torch.testing.assert_close(image, pictures, atol=0.15, rtol=0)
        assert bool(module.latents._kept) == bool((batch["anomaly_index"] >= 0).all())


def test_normals_are_asked_about_a_type(category_folder, base_folder, run_folder):
    """The prompts of the detail branch are those of anomalies, for every image."""
    module = MaskModule(SeaSPipeline.from_pretrained(run_folder), tiny_config(category_folder, run_folder, base_folder))
    pipe, seen = module.generator, []
    possible = encode_prompts(
        pipe.tokenizer, pipe.text_encoder, [pipe.prompt.anomaly_prompt(name) for name in pipe.anomaly_types]
    ).pooled
    module.predictor.detail.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    batch = make_batch()
    module.training_step(batch, 0)
    own = [list(pipe.anomaly_types).index(name) for name in batch["anomaly_type"]]
    torch.testing.assert_close(seen[0][:2], possible[own])
    assert all(any(torch.allclose(row, prompt) for prompt in possible) for row in seen[0][2:])


@pytest.mark.parametrize("flip", [True, False])
def test_masks_are_averaged_over_mirror_images_if_trained_on_them(category_folder, base_folder, run_folder, flip):
    config = tiny_config(category_folder, run_folder, base_folder)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, flip=flip))
    assert MaskModule(SeaSPipeline.from_pretrained(run_folder), config).predictor.config["mirrored"] is flip


def test_generator_trains_on_varied_images(category_folder, base_folder):
    module = make_generator_module(category_folder, base_folder)
    assert torch.isfinite(module.training_step(varied_batch(), 0))
    assert not module.latents._kept


def test_paper_masks_have_no_detail_branch_and_keep_normals_from_the_refinement(
    category_folder, base_folder, run_folder
):
    config = tiny_config(category_folder, run_folder, base_folder)
    config = dataclasses.replace(config, masks=dataclasses.replace(paper_preset().masks, attention_blocks=1))
    module = MaskModule(SeaSPipeline.from_pretrained(run_folder), config)
    assert module.predictor.detail is None
    decoded = []
    module.generator.vae.decoder.register_forward_pre_hook(lambda _, inputs: decoded.append(len(inputs[0])))
    module.training_step(make_batch(), 0)
    assert decoded == [2]


@pytest.mark.parametrize(("detail_width", "expected"), [(8, [True, False, False, True]), (0, [True] * 4)])
def test_features_are_read_at_every_third_update(category_folder, base_folder, run_folder, detail_width, expected):
    """Without a detail branch, which could learn in between, at every one."""
    config = tiny_config(category_folder, run_folder, base_folder)
    masks = dataclasses.replace(config.masks, feature_every=3, detail_width=detail_width)
    module = MaskModule(SeaSPipeline.from_pretrained(run_folder), dataclasses.replace(config, masks=masks))
    read, told = [], []
    if detail_width:
        module.predictor.detail.register_forward_pre_hook(lambda _, inputs: told.append(bool(inputs[1].any())))
    for step, features in enumerate(expected):
        calls: list = []
        with (
            spy_on_unet(module.generator.unet, calls),
            patch.object(MaskModule, "global_step", new_callable=PropertyMock, return_value=step),
        ):
            module.training_step(make_batch(), 0).backward()
        read.append(bool(calls))
        assert all((weight.grad is not None) == features for weight in module.predictor.head.parameters())
        module.zero_grad()
    assert read == expected
    assert not any(hint and not features for hint, features in zip(told, expected, strict=False))


@pytest.mark.parametrize("name", ["normal_batch_size", "feature_batch_size", "feature_every"])
def test_batch_size_out_of_range(category_folder, base_folder, run_folder, name):
    config = tiny_config(category_folder, run_folder, base_folder)
    config = dataclasses.replace(config, masks=dataclasses.replace(config.masks, **{name: 0}))
    with pytest.raises(SeasError, match=rf"masks\.{name} is 0"):
        MaskModule(SeaSPipeline.from_pretrained(run_folder), config)


def test_gradients_reach_the_unet_and_the_new_rows_only(category_folder, base_folder, run_folder):
    module = make_generator_module(category_folder, base_folder)
    module.training_step(make_batch(), 0).backward()
    assert all(weight.grad is not None for weight in module.unet.parameters())
    rows = module.embedding.new_rows.grad.abs().sum(dim=1)
    assert (rows > 0).all()
    parameters = [*module.models.vae.parameters(), *module.models.text_encoder.parameters()]
    frozen = [weight for weight in parameters if weight is not module.embedding.new_rows]
    assert all(weight.grad is None and not weight.requires_grad for weight in frozen)
    trained = {id(weight) for group in optimiser_of(module).param_groups for weight in group["params"]}
    assert trained == {id(weight) for weight in module.parameters() if weight.requires_grad}

    masks = MaskModule(SeaSPipeline.from_pretrained(run_folder), tiny_config(category_folder, run_folder, base_folder))
    masks.training_step(make_batch(), 0).backward()
    pipe = masks.generator
    assert all(weight.grad is None for part in (pipe.unet, pipe.vae, pipe.text_encoder) for weight in part.parameters())
    assert {id(weight) for weight in masks.parameters()} == {id(weight) for weight in masks.predictor.parameters()}


def test_official_changes_exactly_maps_loss_and_norm(category_folder, base_folder, run_folder, monkeypatch):
    """The first two quirks here are flags of pure functions, everything around them is identical."""
    original_maps, original_loss = generator_module.reduce_maps, generator_module.da_loss
    seen = {}
    for official in (False, True):
        module = make_generator_module(category_folder, base_folder, official=official)
        calls, flags, losses = [], [], {}

        def reduce_maps(store, official, flags=flags):
            flags.append(("maps", official))
            return original_maps(store, official)

        def da_loss(maps, mask, count, official, partly, flags=flags):
            flags.append(("loss", official))
            return original_loss(maps, mask, count, official, partly)

        module.log_dict = lambda values, losses=losses, **_: losses.update(values)
        with monkeypatch.context() as patch, spy_on_unet(module.unet, calls), torch.no_grad():
            patch.setattr(generator_module, "reduce_maps", reduce_maps)
            patch.setattr(generator_module, "da_loss", da_loss)
            module.training_step(make_batch(), 0)
        masks = MaskModule(
            SeaSPipeline.from_pretrained(run_folder),
            tiny_config(category_folder, run_folder, base_folder, official=official),
        )
        of_features = (masks.predictor.refinements, masks.predictor.head)
        norms = {type(part) for branch in of_features for part in branch.modules() if isinstance(part, NORMS)}
        running = any("running_mean" in name for name, _ in masks.predictor.named_buffers())
        others = [type(part) for part in masks.predictor.modules() if not isinstance(part, NORMS)]
        optimisers = [
            [{key: value for key, value in group.items() if key != "params"} for group in optimiser_of(m).param_groups]
            for m in (module, masks)
        ]
        seen[official] = SimpleNamespace(
            calls=calls,
            flags=flags,
            losses=losses,
            norms=norms,
            others=others,
            optimisers=optimisers,
            running=running,
        )
    fixed, quirky = seen[False], seen[True]
    assert fixed.flags == [("maps", False), ("loss", False)]
    assert quirky.flags == [("maps", True), ("loss", True)]
    assert fixed.losses["loss_da"] != quirky.losses["loss_da"]
    assert (fixed.norms, quirky.norms) == ({nn.GroupNorm}, {nn.BatchNorm2d})
    assert fixed.running and not quirky.running
    # What is the same: inputs of the U-Net (noise, timesteps, prompts), noise losses, other layers, optimisers.
    assert all(torch.equal(a, b) for a, b in zip(fixed.calls[0], quirky.calls[0], strict=True))
    assert fixed.losses["loss_sd"] == quirky.losses["loss_sd"]
    assert fixed.losses["loss_na"] == quirky.losses["loss_na"]
    assert fixed.others == quirky.others
    assert fixed.optimisers == quirky.optimisers


def test_prompt_dropout_concerns_normal_images_only(category_folder, base_folder, monkeypatch):
    texts = []
    original = generator_module.encode_prompts
    monkeypatch.setattr(generator_module, "encode_prompts", lambda *a: (texts.append(a[-1]), original(*a))[1])
    for share in (0.0, 1.0):
        module = make_generator_module(category_folder, base_folder)
        settings = dataclasses.replace(module.config.generator, prompt_dropout=share)
        module.config = dataclasses.replace(module.config, generator=settings)
        with torch.no_grad():
            module.training_step(make_batch(), 0)
    anomalies = ["a <ob1> with <sks1> <sks2>", "a <ob1> with <sks3> <sks4>"]
    assert texts == [[*anomalies, "a <ob1>", "a <ob1>"], [*anomalies, "", ""]]


def test_total_is_the_weighted_sum(category_folder, base_folder):
    module = make_generator_module(category_folder, base_folder)
    settings = dataclasses.replace(module.config.generator, na_weight=2.0, da_weight=3.0, defect_weight=5.0)
    module.config = dataclasses.replace(module.config, generator=settings)
    parts = {}
    module.log_dict = lambda values, **_: parts.update(values)
    with torch.no_grad():
        total = module.training_step(make_batch(), 0)
    expected = parts["loss_sd"] + 2 * parts["loss_na"] + 3 * parts["loss_da"] + 5 * parts["loss_defect"]
    torch.testing.assert_close(total, expected)
    assert 0 < parts["loss_defect"] < parts["loss_sd"]


def test_latent_cache_encodes_once_and_draws_each_time(monkeypatch):
    vae = tiny_vae()
    calls = []
    original = vae.encode
    monkeypatch.setattr(vae, "encode", lambda images: (calls.append(len(images)), original(images))[1])
    cache = LatentCache(vae)
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images[2] = images[0]
    noise = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    index, turn = torch.tensor([5, 6, 5]), torch.tensor([0, 0, 0])
    first = cache.encode("anomaly", images, index, turn, noise)
    assert sum(calls) <= 3
    calls.clear()
    torch.testing.assert_close(cache.encode("anomaly", images, index, turn, noise), first, atol=0, rtol=0)
    assert not calls
    with torch.no_grad():
        posterior = original(images).latent_dist
    expected = (posterior.mean + posterior.std * noise) * vae.config.scaling_factor
    # The noise is drawn in scaled latents, so that its deviation is scaled as well.
    torch.testing.assert_close(first, expected, atol=1e-5, rtol=1e-4)
    cache.encode("normal", images[:1], index[:1], turn[:1], noise[:1])
    cache.encode("anomaly", images[:1], index[:1], turn[:1] + 1, noise[:1])
    assert calls == [1, 1]


def test_latent_cache_without_room(monkeypatch):
    monkeypatch.setattr("seas_aug.finetune.latent_cache._LIMIT_BYTES", 0)
    cache = LatentCache(tiny_vae())
    arguments = (torch.zeros(2, 3, 16, 16), torch.tensor([0, 1]), torch.tensor([0, 0]), torch.zeros(2, 4, 4, 4))
    first = cache.encode("anomaly", *arguments)
    torch.testing.assert_close(cache.encode("anomaly", *arguments), first)


def test_timesteps_of_the_anomaly_half():
    settings = GeneratorConfig(low_noise_share=0.5, limit_timesteps=False)
    config = FineTuneConfig(generator=settings, masks=MaskConfig(max_timestep=110))
    generator = torch.Generator().manual_seed(0)
    timesteps = torch.stack([draw_timesteps(50, 1000, config, generator) for _ in range(200)])  # (200, 100)
    low = (timesteps < 110).float()
    assert low[:, :50].mean().item() == pytest.approx(0.5 + 0.5 * 0.11, abs=0.02)
    assert low[:, 50:].mean().item() == pytest.approx(0.11, abs=0.02)
    assert timesteps.min() >= 0
    assert timesteps.max() < 1000


@pytest.mark.parametrize(("strength", "steps"), [(0.6, 20), (0.33, 7), (1.0, 20), (0.05, 20)])
def test_fine_tuning_sees_every_noise_that_sampling_visits_and_little_more(strength, steps):
    sampling = SamplingConfig(strength=strength, num_inference_steps=steps, copied_share=0.0)
    config = FineTuneConfig(sampling=sampling)
    timesteps = draw_timesteps(20_000, 1000, config, torch.Generator().manual_seed(0))
    scheduler = solver(DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"))
    scheduler.set_timesteps(steps)
    first = int(scheduler.timesteps[first_step(1000, strength, scheduler.timesteps, 2)])
    assert first <= timesteps.max() <= min(999, first + 1000 / steps + 1)
    # Images that start from copied defects count as well.
    copying = dataclasses.replace(sampling, strength=0.05, copied_strength=strength, copied_share=0.5)
    assert visited_timesteps(1000, dataclasses.replace(config, sampling=copying)) == visited_timesteps(1000, config)
    official = dataclasses.replace(config, official=True)  # starts from almost pure noise, whatever the strength
    assert draw_timesteps(20_000, 1000, official, torch.Generator().manual_seed(0)).max() > 990


def test_paper_preset_draws_all_timesteps_alike():
    config = paper_preset()
    timesteps = draw_timesteps(20_000, 1000, config, torch.Generator().manual_seed(0))
    assert timesteps[:20_000].float().mean().item() == pytest.approx(499.5, abs=10)


def test_latents_of_kept_and_single_pictures_go_to_their_own_rows(base_folder):
    """Row by row what the autoencoder makes of each image; only pictures with an index are kept."""
    vae = load_base(str(base_folder)).vae
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 32, 32, generator=generator) * 2 - 1
    images[2] = images[0]
    with torch.no_grad():
        noise = torch.randn(encode_latents(vae, images).shape, generator=generator)
        expected = torch.cat([encode_latents(vae, images[row : row + 1], noise[row : row + 1]) for row in range(4)])
    cache = LatentCache(vae)
    for _ in range(2):
        found = cache.encode("anomaly", images, torch.tensor([5, -1, 5, -1]), torch.zeros(4).long(), noise)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert set(cache._kept) == {("anomaly", 5, 0)}
