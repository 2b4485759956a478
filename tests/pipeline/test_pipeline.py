# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from seas_aug.base.latents import decode_latents, encode_latents
from seas_aug.errors import SeasError
from seas_aug.pipeline.grey import is_grey
from seas_aug.pipeline.sampler import ImageRequest, SamplerSettings, draw_pairs
from seas_aug.pipeline.seas_pipeline import SeaSPipeline
from seas_aug.prompt import pooled_prompts

STRIDE = 1_000_003  # between the seeds of one image's draws


@pytest.fixture
def pipe(run_folder):
    """A model of its own for each test; its masks are split about half and half."""
    loaded = SeaSPipeline.from_pretrained(run_folder)
    loaded.set_progress_bar_config(disable=True)
    with torch.no_grad():
        loaded.mask_predictor.detail.result.bias.copy_(torch.tensor([0.6, -0.6]))
        loaded.mask_predictor.detail.result.weight.mul_(20)
    return with_sampling(loaded, mask_threshold=0.2)


def with_sampling(pipe, **changes):
    pipe.register_to_config(sampling=dataclasses.asdict(dataclasses.replace(pipe.sampling, **changes)))
    return pipe


class SometimesEmpty(nn.Module):
    """A mask predictor that marks the upper half of the image, or nothing where the features' mean says so."""

    def __init__(self, share=0.5):
        super().__init__()
        self.share = share

    def forward(self, unet_features, vae_features):
        refined = torch.full((len(unet_features[0]), 2, 32, 32), -9.0)
        refined[:, 0] = 9
        digits = unet_features[0].double().mean(dim=(1, 2, 3)) * 1e4
        for row, value in enumerate((digits - digits.floor()).tolist()):
            if value >= self.share:
                refined[row, 1, :16] = 20
        return SimpleNamespace(refined=refined)

    def finish(self, known, image, prompt):
        return known


def assert_same(left, right):
    assert torch.equal(left.images, right.images)
    assert torch.equal(left.masks, right.masks)
    assert torch.equal(left.references, right.references)
    assert left.records == right.records


def test_output(pipe):
    pairs = pipe("crack", num_images=3, seed=5)
    for tensor, channels in ((pairs.images, 3), (pairs.masks, 1), (pairs.references, 3)):
        assert tensor.shape == (3, channels, 32, 32)
        assert tensor.dtype == torch.float32
    assert 0 <= pairs.images.min() < pairs.images.max() <= 1
    torch.testing.assert_close(pairs.images * 255, (pairs.images * 255).round())
    assert set(pairs.masks.unique().tolist()) == {0.0, 1.0}
    assert [record.seed for record in pairs.records] == [5, 6, 7]
    for record in pairs.records:
        assert record.anomaly_types == ("crack",)
        assert record.prompt == "a <ob1> with <sks1> <sks2>"
        assert pipe.sampling.mask_threshold < record.score <= 1
        assert record.retries == 0
    assert len({image.numpy().tobytes() for image in pairs.images}) == 3


def test_masks_are_finished_with_the_image_and_the_prompt_that_belong_to_them(pipe, monkeypatch):
    """What the detail branch sees is the picture that is returned, the mean mask of its steps, and its own prompt."""
    seen = []

    def finish(known, image, prompt):
        seen.append((known, image, prompt))
        return (known > known.median()).float()

    monkeypatch.setattr(pipe.mask_predictor, "finish", finish)
    pairs = pipe("crack", num_images=3, seed=2, batch_size=2)
    settings = SamplerSettings(4, 3.0, 0.8, 2, False, pipe.prompt.normal_prompt())
    prompt = pipe.prompt.anomaly_prompt("crack")
    for row, (known, image, words) in enumerate(seen):
        torch.testing.assert_close(image[0] / 2 + 0.5, pairs.images[row])
        torch.testing.assert_close(words, pooled_prompts(pipe.tokenizer, pipe.text_encoder, [prompt]))
        request = ImageRequest(row + 2, row + 2, (row + 2) % 4, 0)
        with torch.no_grad():
            _, expected = draw_pairs(pipe, [request], pipe.references, prompt, True, settings)
        torch.testing.assert_close(known, expected)
        assert torch.equal(pairs.masks[row], (known[0] > known[0].median()).float())
    assert len(seen) == 3


def test_saved_and_loaded_again(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "copy")
    again = SeaSPipeline.from_pretrained(tmp_path / "copy")
    assert again.anomaly_types == pipe.anomaly_types == ("crack", "hole")
    assert again.sampling == pipe.sampling
    assert again.references.names == pipe.references.names
    assert_same(pipe("hole", num_images=2, seed=1), again("hole", num_images=2, seed=1))
    assert not [path for path in (tmp_path / "copy").rglob("*.bin")]
    again.save_pretrained(tmp_path / "second")
    for path in (tmp_path / "copy").rglob("*"):
        assert (
            path.is_dir()
            or path.read_bytes() == (tmp_path / "second" / path.relative_to(tmp_path / "copy")).read_bytes()
        )


def test_batch_size_and_position_do_not_matter(pipe):
    """Batches of 1, 3 and 8, other neighbours and another order give the same pixels."""
    pipe.mask_predictor = SometimesEmpty()
    alone = pipe("crack", num_images=8, seed=10, batch_size=1)
    for batch_size in (3, 8):
        assert_same(alone, pipe("crack", num_images=8, seed=10, batch_size=batch_size))
    mixed = pipe("crack", num_images=3, seeds=[14, 99, 11], batch_size=8)
    for place, index in ((0, 4), (2, 1)):
        assert torch.equal(mixed.images[place], alone.images[index])
        assert torch.equal(mixed.masks[place], alone.masks[index])
        assert mixed.records[place] == alone.records[index]
    assert sum(record.retries for record in alone.records) > 0


def test_all_normals_are_used_in_turn(pipe):
    pairs = pipe("crack", num_images=6, seed=3)
    names = [pipe.references.names.index(record.reference) for record in pairs.records]
    assert names == [3, 0, 1, 2, 3, 0]
    assert torch.equal(pairs.references, pipe.references.images[names].float() / 255)
    chosen = pipe("crack", num_images=2, seed=3, reference_indices=[2, 2])
    assert [record.reference for record in chosen.records] == [pipe.references.names[2]] * 2
    assert not torch.equal(chosen.images[0], pairs.images[0])


def test_own_references(pipe):
    own = pipe.references.images[1:2]
    expected = pipe("crack", seed=4, reference_indices=[1])
    for images in (own, own.float() / 255):
        pairs = pipe("crack", seed=4, references=images)
        assert torch.equal(pairs.images, expected.images)
        assert pairs.records[0].reference == "references[0]"


def test_background_is_the_reference_and_the_mask_the_same(pipe):
    whole = pipe("crack", num_images=2, seed=1)
    for background, kept in (("reference", True), ("generated", False)):
        pipe.register_to_config(sampling={**pipe.config.sampling, "background": background})
        pairs = pipe("crack", num_images=2, seed=1)
        assert torch.equal(pairs.masks, whole.masks)
        near = torch.nn.functional.max_pool2d(pairs.masks, 9, stride=1, padding=4) > 0
        far = ~near.expand_as(pairs.images)
        assert torch.allclose(pairs.images[far], pairs.references[far], atol=0.5 / 255) == (kept or not far.any())
        inside = pairs.masks.expand_as(pairs.images) > 0
        assert torch.equal(pairs.images[inside], whole.images[inside])


def test_a_grey_product_stays_grey(pipe):
    size = pipe.config.image_size
    grey = torch.randint(0, 256, (2, 1, size, size), dtype=torch.uint8).expand(-1, 3, -1, -1)
    colour = grey.clone()
    colour[1, 0] ^= 1
    pipe.few_shot = None
    drawn = pipe(None, num_images=2, references=grey).images
    assert is_grey(drawn)
    tinted = pipe(None, num_images=2, references=colour).images
    assert not is_grey(tinted[:1])  # the product is in colour, even if this reference is not
    assert torch.allclose(drawn[0, 0], tinted[0].mean(dim=0), atol=1 / 255)
    bank = SimpleNamespace(images=grey)
    pipe.few_shot = SimpleNamespace(images=grey)
    assert pipe._is_grey(bank)
    pipe.few_shot = SimpleNamespace(images=colour)  # a stain may be in colour on a grey product
    assert not pipe._is_grey(bank)


def test_normal_images(pipe):
    """They need no mask predictor; the mask is empty, and that is no reason to draw again."""
    pipe.mask_predictor = None
    pairs = pipe(None, num_images=2)
    assert not pairs.masks.any()
    assert pairs.masks.shape == (2, 1, 32, 32)
    assert [(r.anomaly_types, r.prompt, r.score, r.retries) for r in pairs.records] == [((), "a <ob1>", 1.0, 0)] * 2


def test_types_recombine(pipe):
    pairs = pipe(["hole", "crack"], seed=1)
    assert pairs.records[0].prompt == "a <ob1> with <sks3> <sks4> <sks1> <sks2>"
    assert pairs.records[0].anomaly_types == ("crack", "hole")
    assert not torch.equal(pairs.images, pipe("hole", seed=1).images)


def test_prompt_matters_and_guidance_of_1_works(pipe):
    strong = pipe("crack", guidance_scale=8.0)
    plain = pipe("crack", guidance_scale=1.0)
    assert not torch.equal(strong.images, plain.images)
    assert not torch.equal(plain.images, pipe("hole", guidance_scale=1.0).images)


def test_empty_mask_is_drawn_again(pipe):
    """The n-th redraw of a seed takes noise seed + n x stride and keeps its reference."""
    pipe.mask_predictor = SometimesEmpty(0.6)
    pairs = pipe("crack", num_images=8, seed=0, batch_size=3)
    settings = SamplerSettings(4, 3.0, 0.8, 2, False, pipe.prompt.normal_prompt())
    prompt = pipe.prompt.anomaly_prompt("crack")
    counts = []
    for seed, record in enumerate(pairs.records):
        for retries in range(20):
            request = ImageRequest(seed, seed + retries * STRIDE, seed % 4, retries)
            with torch.no_grad():
                latents, probability = draw_pairs(pipe, [request], pipe.references, prompt, True, settings)
                image = decode_latents(pipe.vae, latents)
            if (probability > 0.2).any():
                break
        counts.append(retries)
        image = (((image.clamp(-1, 1) + 1) / 2 * 255).round() / 255)[0]
        assert torch.equal(pairs.images[seed], image)
        assert (record.seed, record.retries) == (seed, retries)
        assert record.reference == pipe.references.names[seed % 4]
    assert max(counts) > 0
    assert min(counts) == 0
    assert pairs.masks.flatten(1).any(dim=1).all()


def test_mask_that_stays_empty(pipe):
    pipe.mask_predictor = SometimesEmpty(1.0)
    with pytest.raises(SeasError, match="seed 7: the mask stayed empty in 3 draws"):
        with_sampling(pipe, max_retries=2)("crack", seed=7)


def test_lower_strength_stays_nearer_to_the_reference(pipe):
    """Measured against what the autoencoder makes of the reference, mean over 4 images."""
    with torch.no_grad():
        kept = decode_latents(pipe.vae, encode_latents(pipe.vae, pipe.references.images.float() / 127.5 - 1))
    kept = (kept.clamp(-1, 1) + 1) / 2
    distances = [
        float((pipe(None, 4, strength=strength, num_inference_steps=20).images - kept).square().mean())
        for strength in (0.15, 0.5, 1.0)
    ]
    assert distances[0] < distances[1] < distances[2]


def test_settings_of_one_call(pipe):
    calls = []
    with pipe.unet.register_forward_pre_hook(lambda _, inputs: calls.append(int(inputs[1]))):
        pipe(None, num_inference_steps=10, strength=0.5)
        pipe(None, strength=1.0)
    assert calls == [500, 400, 300, 200, 100, 999, 749, 500, 250]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"anomaly_type": "dent"}, "'dent' is not known; the known types are crack, hole"),
        ({"anomaly_type": ["crack", "crack"]}, "twice"),
        ({"num_images": 0}, "num_images is 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"num_images": 2, "seeds": [1]}, "2 images were asked for, with 1 seeds"),
        ({"reference_indices": [4]}, "there are 4 references, give 0 to 3"),
        ({"reference_indices": [-1]}, "reference_indices holds -1"),
        ({"strength": 0}, "strength is 0"),
        ({"num_inference_steps": 1}, "mask_steps is 2 of 1 steps"),
        ({"references": torch.zeros(1, 3, 16, 16)}, r"\(1, 3, 16, 16\); give \[M, 3, 32, 32\]"),
        ({"references": torch.zeros(0, 3, 32, 32)}, "M of 1 or more"),
    ],
)
def test_mistakes(pipe, arguments, message):
    with pytest.raises(SeasError, match=message) as error:
        pipe(**{"anomaly_type": "crack", **arguments})
    assert "\n" not in str(error.value)


def test_noise_beyond_what_was_fine_tuned_on(pipe):
    pipe.register_to_config(max_timestep=550)
    assert pipe(None, strength=0.5).images.shape[0] == 1
    with pytest.raises(SeasError, match=r"strength is 0.6, but .* below 550 only, .* --sampling.strength 0.6"):
        pipe(None, strength=0.6)
    with pytest.raises(SeasError, match="num_inference_steps is 2, so that sampling has to start at timestep 999"):
        pipe(None, strength=0.5, num_inference_steps=2)
    pipe.register_to_config(max_timestep=None)


def test_runs_before_guidance_from_keep_their_guidance(pipe):
    saved = pipe.config.sampling
    pipe.register_to_config(sampling={key: value for key, value in saved.items() if key != "guidance_from"})
    assert pipe.sampling.guidance_from == "empty"
    assert pipe.sampler_settings().against == ""
    pipe.register_to_config(sampling=saved)
    assert pipe.sampling.guidance_from == "normal"
    assert pipe.sampler_settings().against == pipe.prompt.normal_prompt()


def test_defects_need_a_mask_predictor_and_references(pipe):
    pipe.mask_predictor = None
    with pytest.raises(SeasError, match="no mask predictor"):
        pipe("crack")
    pipe.references = None
    with pytest.raises(SeasError, match="no reference images"):
        pipe(None)
