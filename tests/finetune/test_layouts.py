# SPDX-License-Identifier: Apache-2.0
"""Every layout of base is fine-tuned, draws into holes, reads what it drew, and is saved."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from seas_aug.config import AttentionConfig, DrawConfig
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.reading import attention_heatmaps, mask_probabilities
from seas_aug.draw.sample import draw_windows, drawing_hole
from seas_aug.errors import SeasError
from seas_aug.finetune.mask_module import MaskModule
from seas_aug.finetune.run import finetune
from seas_aug.latents.codec import encode_latents
from seas_aug.latents.prediction import is_inpainting
from tests.finetune.test_modules import make_batch
from tests.tiny_base import SIZE, tiny_dc_vae, window_config, with_holes, write_base
from tests.tiny_models import tiny_unet

LAYOUTS = {
    "4 channels": {},  # Stable Diffusion, whose latents are blended at each step
    "9 channels": {"unet": (False,)},  # Stable Diffusion inpainting
    "2C + 1 channels": {"unet": (True,), "vae": tiny_dc_vae, "prediction_type": "v_prediction"},  # the embedded base
}


def make_base(folder, layout):
    settings = dict(LAYOUTS[layout])
    if "unet" in settings:
        settings["unet"] = with_holes(tiny_unet(sample_size=SIZE // 4), *settings["unet"])
    if "vae" in settings:
        settings["vae"] = settings["vae"]()
    return write_base(folder, **settings)


def hole_config(category, output, base, **changes):
    config = window_config(category, output, base)
    sampling = dataclasses.replace(config.sampling, copied_share=0.0, fill="hole", mask_threshold=0.005, **changes)
    return dataclasses.replace(config, sampling=sampling)


@pytest.fixture(scope="module", params=list(LAYOUTS))
def made(request, window_category, tmp_path_factory):
    """A run on a base of each layout."""
    folder = tmp_path_factory.mktemp("layout")
    base = make_base(folder / "base", request.param)
    finetune(hole_config(window_category, folder / "run", base))
    return request.param, folder / "run"


def test_draws_reads_and_saves(made, tmp_path):
    layout, run = made
    pipe = SeaSPipeline.from_pretrained(run)
    assert is_inpainting(pipe.unet) == (layout != "4 channels")
    settings = DrawConfig(gate=False)
    pairs = pipe("crack", num_images=3, seed=4, settings=settings, batch_size=3)
    assert len(pairs.images) + len(pairs.refused) == 3
    assert pairs.images
    for image, mask, reference, record in zip(pairs.images, pairs.masks, pairs.references, pairs.records, strict=True):
        assert image.shape == reference.shape
        changed = (image != reference).reshape(*mask.shape, -1).any(axis=-1)
        assert changed.any()
        assert mask.any()
        assert record.copied_from == ()
    pipe.save_pretrained(tmp_path / "copy")
    again = SeaSPipeline.from_pretrained(tmp_path / "copy")
    alone = again("crack", num_images=3, seed=4, settings=settings, batch_size=1)  # at another batch size
    assert len(alone.images) == len(pairs.images)
    assert all(np.array_equal(one, other) for one, other in zip(alone.images, pairs.images, strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(alone.masks, pairs.masks, strict=True))


def test_what_has_no_meaning_in_a_hole_is_refused(made):
    _, run = made
    pipe = SeaSPipeline.from_pretrained(run)
    for settings in (DrawConfig(severity=0.5), DrawConfig(strength=0.5)):
        with pytest.raises(SeasError, match=r"is 0\.5, but this model draws from nothing in a hole"):
            pipe("crack", settings=settings)


def test_normal_images_are_new_in_patches_and_real_between_them(made):
    layout, run = made
    pipe = SeaSPipeline.from_pretrained(run)
    found = pipe(None, num_images=2, seed=3)
    for image, reference, mask in zip(found.images, found.references, found.masks, strict=True):
        changed = (image != reference).reshape(*mask.shape, -1).any(axis=-1)
        assert not mask.any()
        assert changed.any()
        if layout != "4 channels":  # that redraws whole windows; where windows overlap, patches of both are new
            assert changed.mean() < 0.9
    alone = pipe(None, num_images=1, seed=4, batch_size=1)
    assert np.array_equal(alone.images[0], found.images[1])


def test_only_the_hole_is_drawn(made):
    """Outside of it a window is what the autoencoder makes of the reference, whatever the prompt."""
    _, run = made
    pipe = SeaSPipeline.from_pretrained(run)
    call = pipe.make_call(("crack",), DrawConfig())
    pictures = (torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    shapes = torch.zeros(1, 1, SIZE, SIZE)
    shapes[..., 12:20, 12:20] = 1
    settings = dataclasses.replace(call.sampler, strength=1.0)
    found = [
        draw_windows(pipe, pictures, [1], prompt, False, settings, shapes)[0]
        for prompt in (call.prompt, call.sampler.against)
    ]
    inside = drawing_hole(pipe, pictures, shapes, call.sampling).inside.bool()[0, 0]
    assert int(inside.sum()) == 6 * 6  # 2 x 2 cells and a margin of 2 on each side
    assert not torch.equal(found[0][..., inside], found[1][..., inside])
    assert torch.equal(found[0][..., ~inside], found[1][..., ~inside])
    assert torch.equal(found[0][..., ~inside], encode_latents(pipe.vae, pictures.float() / 127.5 - 1)[..., ~inside])


def test_official_knows_no_holes(window_category, tmp_path):
    base = make_base(tmp_path / "base", "9 channels")
    config = hole_config(window_category, tmp_path / "run", base)
    with pytest.raises(
        SeasError, match=r"official calculates with text-to-image models that predict noise, and .* fills holes"
    ):
        finetune(dataclasses.replace(config, official=True))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_masks_and_attention_are_read_in_the_whole_picture(made, monkeypatch):
    layout, run = made
    pipe = SeaSPipeline.from_pretrained(run)
    inputs = []
    pipe.unet.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    images = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    found = mask_probabilities(pipe, images, ["crack", "hole"])
    heat = attention_heatmaps(pipe, images, ["crack", "hole"], attention=AttentionConfig(resolutions=(8, 4)))
    assert found.shape == heat.shape == (2, 1, SIZE, SIZE)
    channels = pipe.unet.config.out_channels
    for given in inputs:
        assert given.shape[1] == (channels if layout == "4 channels" else 2 * channels + 1)
        if layout != "4 channels":
            assert bool((given[:, channels] == 1).all())
            assert torch.equal(given[0, channels + 1 :], given[1, channels + 1 :])  # nothing of either picture


def test_the_mask_stage_is_not_told_where_defects_are(made):
    layout, run = made
    pipe = SeaSPipeline.from_pretrained(run)
    config = hole_config(run, run, run)
    module = MaskModule(pipe, config)
    inputs = []
    pipe.unet.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    module.training_step(make_batch(), 0)
    channels = pipe.unet.config.out_channels
    assert inputs
    if layout == "4 channels":  # it is told nothing about holes at all
        assert {given.shape[1] for given in inputs} == {channels}
    else:
        assert all(bool((given[:, channels] == 1).all()) for given in inputs)
