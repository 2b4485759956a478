# SPDX-License-Identifier: Apache-2.0
"""Pairs that start from a copied defect, on a fine-tuned tiny model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from seas_aug.data.seeds import derive_seed
from seas_aug.errors import SeasError
from seas_aug.finetune.run import finetune
from seas_aug.pipeline.drawing import Drawing, near, starts_from_copy
from seas_aug.pipeline.sampler import ImageRequest
from seas_aug.pipeline.seas_pipeline import SeaSPipeline
from tests.tiny_base import tiny_config


@pytest.fixture(scope="module")
def copying_run(category_folder, base_folder, tmp_path_factory):
    config = tiny_config(category_folder, tmp_path_factory.mktemp("copying") / "run", base_folder)
    sampling = dataclasses.replace(config.sampling, copied_share=0.5, copied_strength=0.5)
    return finetune(dataclasses.replace(config, sampling=sampling))


@pytest.fixture
def pipe(copying_run, monkeypatch):
    """Its predictor finds half of the pixels to be defect, so that masks are limited by the copies alone."""
    loaded = SeaSPipeline.from_pretrained(copying_run)
    loaded.set_progress_bar_config(disable=True)
    monkeypatch.setattr(loaded.mask_predictor, "finish", lambda known, image, prompt: torch.full_like(known, 0.5))
    return loaded


def with_share(pipe, share):
    pipe.register_to_config(sampling=dataclasses.asdict(dataclasses.replace(pipe.sampling, copied_share=share)))
    return pipe


def request(seed):
    return ImageRequest(seed, seed, 0, 0)


def test_the_share_of_images_that_start_from_a_copy():
    for share in (0.0, 0.3, 1.0):
        drawing = Drawing(None, "", ("crack",), None, None, share)
        copied = sum(starts_from_copy(request(seed), drawing) for seed in range(1000)) / 1000
        assert copied == pytest.approx(share, abs=0.05 if 0 < share < 1 else 0)
    assert not any(starts_from_copy(request(seed), Drawing(None, "", (), None, None, 1.0)) for seed in range(20))


def test_surroundings_reach_a_sixteenth_of_the_side():
    area = torch.zeros(1, 1, 64, 64)
    area[..., 20, 30] = 1
    grown = near(area)[0, 0]
    assert grown.sum() == 81
    assert grown[16:25, 26:35].all()


def test_a_copied_start_is_the_copy_at_its_own_strength(pipe):
    """The same as handing the copies over as references, at that strength, without copying."""
    with_share(pipe, 1.0)
    pairs = pipe("crack", num_images=3, seed=4)
    starts = [
        pipe.few_shot.copy_onto(
            pipe.references.images[(4 + index) % 4],
            ("crack",),
            torch.Generator().manual_seed(derive_seed(4 + index, "copy")),
        )
        for index in range(3)
    ]
    images = torch.stack([image for image, _, _ in starts])
    expected = with_share(pipe, 0.0)(
        "crack", num_images=3, seed=4, references=images, reference_indices=[0, 1, 2], strength=0.5
    )
    assert torch.equal(pairs.images, expected.images)
    assert torch.equal(pairs.masks, near(torch.stack([area for _, area, _ in starts])))
    assert [record.copied_from for record in pairs.records] == [names for _, _, names in starts]
    # What the pair is compared with is the normal image, not the copy.
    assert torch.equal(pairs.references, pipe.references.images[[0, 1, 2]].float() / 255)
    assert [record.reference for record in pairs.records] == list(pipe.references.names[:3])


def test_batch_size_does_not_matter_when_some_are_copied(pipe):
    alone = pipe("crack", num_images=8, seed=10, batch_size=1)
    copied = [bool(record.copied_from) for record in alone.records]
    assert any(copied) and not all(copied)
    for batch_size in (3, 8):
        together = pipe("crack", num_images=8, seed=10, batch_size=batch_size)
        assert torch.equal(together.images, alone.images)
        assert torch.equal(together.masks, alone.masks)
        assert together.records == alone.records


def test_images_that_are_drawn_again_keep_their_kind_of_start(pipe, monkeypatch):
    """Masks that are empty for half of the images: batches of 1, 3 and 8 still give the same."""

    def finish(known, image, prompt):
        digits = image.double().mean() * 1e4
        return torch.full_like(known, 0.5 if digits - digits.floor() > 0.5 else 0.0)

    monkeypatch.setattr(pipe.mask_predictor, "finish", finish)
    alone = pipe("crack", num_images=8, seed=30, batch_size=1)
    again = [record for record in alone.records if record.retries]
    assert any(record.copied_from for record in again) and not all(record.copied_from for record in again)
    drawing = Drawing(None, "", ("crack",), None, None, 0.5)
    assert [bool(record.copied_from) for record in alone.records] == [
        starts_from_copy(request(seed), drawing) for seed in range(30, 38)
    ]
    for batch_size in (3, 8):
        together = pipe("crack", num_images=8, seed=30, batch_size=batch_size)
        assert torch.equal(together.images, alone.images)
        assert together.records == alone.records


def test_seeds_of_any_integer_type_mean_the_same(pipe):
    plain = pipe("crack", num_images=3, seeds=[0, 1, 2], reference_indices=[2, 1, 0])
    for seeds in (np.arange(3), torch.arange(3)):
        other = pipe("crack", num_images=3, seeds=seeds, reference_indices=np.array([2, 1, 0]))
        assert torch.equal(other.images, plain.images)
        assert other.records == plain.records


def test_the_share_of_copies_can_be_chosen_per_call(pipe):
    assert not any(record.copied_from for record in pipe("crack", num_images=4, copied_share=0.0).records)
    assert all(record.copied_from for record in pipe("crack", num_images=4, copied_share=1.0).records)
    with pytest.raises(SeasError, match=r"copied_share is 1\.5"):
        pipe("crack", copied_share=1.5)


def test_the_noise_of_copies_is_limited_too(pipe):
    pipe.register_to_config(max_timestep=400)
    with pytest.raises(SeasError, match=r"strength is 0\.8, .* below 400 only, of 1000; give at most 0\.40"):
        pipe("crack")
    sampling = dataclasses.replace(pipe.sampling, strength=0.3)
    pipe.register_to_config(sampling=dataclasses.asdict(sampling))
    with pytest.raises(SeasError, match=r"strength is 0\.5"):
        pipe("crack")
    assert pipe("crack", strength=0.3, num_inference_steps=10).records


def test_a_given_strength_goes_first_and_normal_images_have_no_copies(pipe):
    with_share(pipe, 1.0)
    own, given, weak = pipe("crack"), pipe("crack", strength=0.5), pipe("crack", strength=0.75)
    assert torch.equal(own.images, given.images)
    assert not torch.equal(own.images, weak.images)
    assert pipe(None).records[0].copied_from == ()
    both = pipe(["crack", "hole"]).records[0]
    assert len(both.copied_from) == 2


def test_the_model_keeps_its_defects_only_if_it_needs_them(copying_run, run_folder, tmp_path):
    loaded = SeaSPipeline.from_pretrained(copying_run)
    assert set(loaded.few_shot.anomaly_types) == {"crack", "hole"}
    loaded.save_pretrained(tmp_path / "copy")
    again = SeaSPipeline.from_pretrained(tmp_path / "copy")
    assert torch.equal(again.few_shot.images, loaded.few_shot.images)
    without = SeaSPipeline.from_pretrained(run_folder)
    assert without.few_shot is None
    assert not with_share(without, 1.0)("crack").records[0].copied_from


def test_runs_from_before_there_were_copies_make_none(pipe):
    old = {key: value for key, value in pipe.config.sampling.items() if not key.startswith("copied")}
    pipe.register_to_config(sampling=old)
    assert pipe.sampling.copied_share == 0.0
    assert pipe("crack").records[0].copied_from == ()
