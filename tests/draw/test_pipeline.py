# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from seas_aug.config import DrawConfig
from seas_aug.data.images import load_mask
from seas_aug.draw.call import Call
from seas_aug.draw.few_shot import FewShotDefects
from seas_aug.draw.output import Refusal, as_tensor
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.references import ArrayReferences, is_grey_picture
from seas_aug.draw.sample import SamplerSettings, decode_pictures, draw_windows
from seas_aug.errors import SeasError
from seas_aug.latents.codec import decode_latents, encode_latents
from seas_aug.prompt import encode_prompts
from tests.draw.helpers import assert_same, grown, pixels, same_pixels, with_sampling

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


def call_of(pipe, anomaly_type="crack") -> Call:
    return pipe.make_call((anomaly_type,), DrawConfig(), pipe.references)


def alone(pipe, seed, reference):
    """Return latents and mask probabilities of one image, drawn by the sampler itself."""
    call = call_of(pipe)
    settings = SamplerSettings(call.sampling, call.sampling.strength, pipe.prompt.normal_prompt())
    with torch.no_grad():
        return draw_windows(pipe, pixels(pipe, [reference]), [seed], call.prompt, True, settings)


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


def test_output(pipe):
    pairs = pipe("crack", num_images=3, seed=5)
    for pictures, channels in ((pairs.images, (3,)), (pairs.masks, ()), (pairs.references, (3,))):
        assert [picture.shape for picture in pictures] == [(32, 32, *channels)] * 3
        assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}
    assert np.ptp(pairs.images) > 0
    assert {int(value) for mask in pairs.masks for value in np.unique(mask)} == {0, 1}
    assert pairs.refused == []
    assert [record.seed for record in pairs.records] == [5, 6, 7]
    for record in pairs.records:
        assert record.anomaly_types == ("crack",)
        assert record.prompt == "a <ob1> with <sks1> <sks2>"
        assert pipe.sampling.mask_threshold < record.score <= 1
        assert record.retries == 0
    assert len({image.tobytes() for image in pairs.images}) == 3


def test_masks_are_finished_with_the_image_and_the_prompt_that_belong_to_them(pipe, monkeypatch):
    """What the detail branch sees is the picture that is returned, the mean mask of its steps, and its own prompt."""
    seen = []

    def finish(known, image, prompt):
        seen.append((known, image, prompt))
        return (known > known.median()).float()

    monkeypatch.setattr(pipe.mask_predictor, "finish", finish)
    pairs = pipe("crack", num_images=3, seed=2, batch_size=2)
    prompt = pipe.prompt.anomaly_prompt("crack")
    for row, (known, image, words) in enumerate(seen):
        torch.testing.assert_close(image / 2 + 0.5, as_tensor([pairs.images[row]]))
        torch.testing.assert_close(words, encode_prompts(pipe.tokenizer, pipe.text_encoder, [prompt]).pooled)
        _, expected = alone(pipe, row + 2, (row + 2) % 4)
        torch.testing.assert_close(known, expected)
        assert np.array_equal(pairs.masks[row], (known[0, 0] > known[0, 0].median()).numpy())
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
    one_by_one = pipe("crack", num_images=8, seed=10, batch_size=1)
    for batch_size in (3, 8):
        assert_same(one_by_one, pipe("crack", num_images=8, seed=10, batch_size=batch_size))
    mixed = pipe("crack", num_images=3, seeds=[14, 99, 11], batch_size=8)
    for place, index in ((0, 4), (2, 1)):
        assert same_pixels(mixed.images[place], one_by_one.images[index])
        assert same_pixels(mixed.masks[place], one_by_one.masks[index])
        assert mixed.records[place] == one_by_one.records[index]
    assert sum(record.retries for record in one_by_one.records) > 0


def test_all_normals_are_used_in_turn(pipe):
    pairs = pipe("crack", num_images=6, seed=3)
    names = [pipe.references.names.index(record.reference) for record in pairs.records]
    assert names == [3, 0, 1, 2, 3, 0]
    for picture, index in zip(pairs.references, names, strict=True):
        assert same_pixels(picture, pipe.references.native(index))
    chosen = pipe("crack", num_images=2, seed=3, reference_indices=[2, 2])
    assert [record.reference for record in chosen.records] == [pipe.references.names[2]] * 2
    assert not same_pixels(chosen.images[0], pairs.images[0])


def test_own_references(pipe):
    own = pipe.references.native(1)
    expected = pipe("crack", seed=4, reference_indices=[1])
    pairs = pipe("crack", seed=4, references=[own])
    assert same_pixels(pairs.images[0], expected.images[0])
    assert pairs.records[0].reference == "references[0]"


def test_background_is_the_reference_and_the_mask_the_same(pipe):
    ungated = DrawConfig(gate=False)  # weights that learnt nothing draw what the gate would reject
    whole = pipe("crack", num_images=2, seed=1)
    for background, kept in (("reference", True), ("generated", False)):
        pairs = with_sampling(pipe, background=background)("crack", 2, 1, ungated)
        for image, mask, reference, drawn, first in zip(
            pairs.images, pairs.masks, pairs.references, whole.images, whole.masks, strict=True
        ):
            assert same_pixels(mask, first)
            far = ~grown(mask, 1)
            assert bool((image[far] == reference[far]).all()) == (kept or not far.any())
            assert (image[mask > 0] == drawn[mask > 0]).all()


def test_a_grey_product_stays_grey(pipe):
    size = pipe.config.image_size
    plane = np.random.default_rng(0).integers(0, 256, (2, size, size, 1), dtype=np.uint8)
    grey = list(np.repeat(plane, 3, axis=3))
    colour = [image.copy() for image in grey]
    colour[1][..., 0] ^= 1
    pipe.few_shot = None
    drawn = pipe(None, num_images=2, references=grey).images
    assert all(is_grey_picture(image) for image in drawn)
    tinted = pipe(None, num_images=2, references=colour).images
    assert not is_grey_picture(tinted[0])  # the product is in colour, even if this reference is not
    assert np.abs(drawn[0][..., 0] - tinted[0].mean(axis=2)).max() <= 1
    masks = np.ones((2, size, size), np.uint8)
    for stains, is_grey in ((grey, True), (colour, False)):  # a stain may be in colour on a grey product
        pipe.few_shot = FewShotDefects(np.stack(stains), masks, ("crack", "hole"), ("a", "b"))
        assert pipe.make_call((), DrawConfig(), ArrayReferences(grey, "ab")).grey == is_grey


def test_normal_images(pipe):
    """They need no mask predictor; the mask is empty, and that is no reason to draw again."""
    pipe.mask_predictor = None
    pairs = pipe(None, num_images=2)
    assert [(mask.shape, bool(mask.any())) for mask in pairs.masks] == [((32, 32), False)] * 2
    assert [(r.anomaly_types, r.prompt, r.score, r.retries) for r in pairs.records] == [((), "a <ob1>", 1.0, 0)] * 2


def test_types_recombine(pipe):
    pairs = pipe(["hole", "crack"], seed=1)
    assert pairs.records[0].prompt == "a <ob1> with <sks3> <sks4> <sks1> <sks2>"
    assert pairs.records[0].anomaly_types == ("crack", "hole")
    assert not same_pixels(pairs.images[0], pipe("hole", seed=1).images[0])


def test_prompt_matters_and_guidance_of_1_works(pipe):
    strong = pipe("crack", settings=DrawConfig(guidance_scale=8.0))
    plain = pipe("crack", settings=DrawConfig(guidance_scale=1.0))
    assert not same_pixels(strong.images[0], plain.images[0])
    assert not same_pixels(plain.images[0], pipe("hole", settings=DrawConfig(guidance_scale=1.0)).images[0])


def test_empty_mask_is_drawn_again(pipe):
    """The n-th redraw of a seed takes noise seed + n x stride and keeps its reference."""
    pipe.mask_predictor = SometimesEmpty(0.6)
    pairs = pipe("crack", num_images=8, seed=0, batch_size=3)
    counts = []
    for seed, record in enumerate(pairs.records):
        for retries in range(20):
            latents, probability = alone(pipe, seed + retries * STRIDE, seed % 4)
            if (probability > 0.2).any():
                break
        counts.append(retries)
        with torch.no_grad():
            image = decode_pictures(pipe, latents, grey=False)[0].permute(1, 2, 0).numpy()
        assert same_pixels(pairs.images[seed], image)
        assert (record.seed, record.retries, record.rejected) == (seed, retries, ("empty mask",) * retries)
        assert record.reference == pipe.references.names[seed % 4]
    assert max(counts) > 0
    assert min(counts) == 0
    assert all(mask.any() for mask in pairs.masks)


def test_mask_that_stays_empty(pipe):
    pipe.mask_predictor = SometimesEmpty(1.0)
    result = with_sampling(pipe, max_retries=2)("crack", num_images=2, seed=7)
    assert (result.images, result.masks, result.references, result.records) == ([], [], [], [])
    names = pipe.references.names
    assert result.refused == [
        Refusal(7, ("crack",), names[3], ("empty mask",) * 3),
        Refusal(8, ("crack",), names[0], ("empty mask",) * 3),
    ]


def test_a_refused_seed_leaves_the_others_alone(pipe):
    pipe.mask_predictor = SometimesEmpty(0.5)
    everything = pipe("crack", num_images=8, seed=0)
    some = with_sampling(pipe, max_retries=0)("crack", num_images=8, seed=0)
    refused = [refusal.seed for refusal in some.refused]
    assert refused == [record.seed for record in everything.records if record.retries]
    assert 0 < len(refused) < 8
    assert [record.seed for record in some.records] == [seed for seed in range(8) if seed not in refused]
    for image, record in zip(some.images, some.records, strict=True):
        assert same_pixels(image, everything.images[record.seed])


def test_lower_strength_stays_nearer_to_the_reference(pipe):
    """Measured against what the autoencoder makes of the reference, mean over 4 images."""
    with torch.no_grad():
        kept = decode_latents(pipe.vae, encode_latents(pipe.vae, pixels(pipe, [0, 1, 2, 3]).float() / 127.5 - 1))
    kept = (kept.clamp(-1, 1) + 1) / 2
    distances = [
        float((as_tensor(pipe(None, 4, 0, DrawConfig(strength, num_inference_steps=20)).images) - kept).square().mean())
        for strength in (0.15, 0.5, 1.0)
    ]
    assert distances[0] < distances[1] < distances[2]


def test_settings_of_one_call(pipe):
    calls = []
    with pipe.unet.register_forward_pre_hook(lambda _, inputs: calls.append(int(inputs[1]))):
        pipe(None, settings=DrawConfig(num_inference_steps=10, strength=0.5))
        pipe(None, settings=DrawConfig(strength=1.0))
    assert calls == [500, 400, 300, 200, 100, 999, 749, 500, 250]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"anomaly_type": "dent"}, "'dent' is not known; the known types are crack, hole"),
        ({"anomaly_type": ["crack", "crack"]}, "twice"),
        ({"num_images": 0}, "num_images is 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"num_images": 2, "seeds": [1]}, "2 images were asked for, with 1 seeds, "),
        ({"reference_indices": [4]}, "there are 4 references, give 0 to 3"),
        ({"reference_indices": [-1]}, "reference_indices holds -1"),
        ({"settings": DrawConfig(strength=0)}, "strength is 0"),
        ({"settings": DrawConfig(num_inference_steps=1)}, "mask_steps is 2 of 1 steps"),
        ({"settings": DrawConfig(count=2)}, "keeps no few-shot defects, which size and count need"),
        ({"settings": DrawConfig(size=(4, 9))}, "keeps no few-shot defects, which size and count need"),
        ({"settings": DrawConfig(references=("9.png",))}, "references names 9.png, which 0 of the model's 4 normal"),
        ({"settings": DrawConfig(region=Path("none"))}, "region is none, where there is no image"),
        ({"references": [np.zeros((16, 16, 3), np.uint8)]}, "16x16 pixels; this model sees whole images, give 32x32"),
        ({"references": [np.zeros((32, 32, 3), np.float32)]}, "type float32; give uint8 or uint16"),
        ({"references": [np.zeros((32, 32, 2), np.uint8)]}, r"shape \(32, 32, 2\)"),
        ({"references": []}, "give one or more images"),
    ],
)
def test_mistakes(pipe, arguments, message):
    with pytest.raises(SeasError, match=message) as error:
        pipe(**{"anomaly_type": "crack", **arguments})
    assert "\n" not in str(error.value)


def test_noise_beyond_what_was_fine_tuned_on(pipe):
    pipe.register_to_config(max_timestep=550, max_mask_timestep=None)
    assert len(pipe(None, settings=DrawConfig(strength=0.5)).images) == 1
    assert pipe.check(DrawConfig(strength=0.5)) == [0, 1, 2, 3]
    with pytest.raises(SeasError, match=r"strength is 0.6, but .* below 550 only, .* --sampling.strength 0.6"):
        pipe(None, settings=DrawConfig(strength=0.6))
    with pytest.raises(SeasError, match=r"strength is 0\.6"):
        pipe.check(DrawConfig(strength=0.6))
    with pytest.raises(SeasError, match="num_inference_steps is 2, so that sampling has to start at timestep 999"):
        pipe.check(DrawConfig(strength=0.5, num_inference_steps=2))
    pipe.register_to_config(max_timestep=None)


def test_runs_before_guidance_from_keep_their_guidance(pipe):
    saved = pipe.config.sampling
    pipe.register_to_config(sampling={key: value for key, value in saved.items() if key != "guidance_from"})
    assert pipe.sampling.guidance_from == "empty"
    assert call_of(pipe).sampler.against == ""
    pipe.register_to_config(sampling=saved)
    assert pipe.sampling.guidance_from == "normal"
    assert call_of(pipe).sampler.against == pipe.prompt.normal_prompt()


def test_defects_need_a_mask_predictor_and_references(pipe):
    pipe.mask_predictor = None
    with pytest.raises(SeasError, match="no mask predictor"):
        pipe("crack")
    pipe.references = None
    with pytest.raises(SeasError, match="no reference images"):
        pipe(None)


def test_references_that_are_named(pipe):
    """By file name or by whole path; every image of the call is drawn on one of them."""
    names = pipe.references.names
    wanted = DrawConfig(references=(Path(names[2]).name, names[1]))
    assert pipe.check(wanted) == [2, 1]
    drawn = pipe("crack", num_images=3, settings=wanted)
    assert [record.reference for record in drawn.records] == [names[2], names[1], names[2]]


def test_region_and_masks_of_whole_images(pipe, tmp_path):
    """Scaled like the images; nothing is marked outside of a region, and the user's masks are taken as they are."""
    region, masks = np.zeros((48, 64), np.uint8), np.zeros((2, 48, 64), np.uint8)
    region[:24], masks[0, 10:20, 8:16], masks[1, 30:40, 40:50] = 255, 255, 255
    (tmp_path / "masks").mkdir()
    for path, picture in (("region.png", region), ("masks/0.png", masks[0]), ("masks/1.png", masks[1])):
        cv2.imwrite(str(tmp_path / path), picture)
    inside = pipe("crack", 2, 0, DrawConfig(region=tmp_path / "region.png"))
    assert len(inside.masks) == 2
    assert all(mask[:16].any() and not mask[16:].any() for mask in inside.masks)
    given = pipe("crack", 3, 0, DrawConfig(masks=tmp_path / "masks"))
    for number, mask in enumerate(given.masks):
        assert np.array_equal(mask, load_mask(tmp_path / "masks" / f"{number % 2}.png", 32, "squash")[0].numpy())
    later = pipe("crack", 1, 2, DrawConfig(masks=tmp_path / "masks"), numbers=[2])
    assert same_pixels(later.images[0], given.images[2])
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((48, 64), np.uint8))
    for settings in (DrawConfig(region=tmp_path / "black.png"), DrawConfig(masks=tmp_path / "black.png")):
        with pytest.raises(SeasError, match=r"black\.png.* is empty \(all black\)"):
            pipe("crack", settings=settings)
