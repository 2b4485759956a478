# SPDX-License-Identifier: Apache-2.0
"""Pairs that start from a copied defect, on a fine-tuned tiny model of whole images."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seas_aug.config import DrawConfig
from seas_aug.data.decode import as_rgb
from seas_aug.data.windows import Window
from seas_aug.draw.attempt import Attempt, Request
from seas_aug.draw.compose import Spot, put_copies
from seas_aug.draw.draw import _reasons
from seas_aug.draw.holes import near
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.place import Place, Surface
from seas_aug.draw.shape import cut_shape
from seas_aug.errors import SeasError
from seas_aug.finetune.run import finetune
from tests.draw.helpers import assert_same, same_pixels, with_sampling
from tests.draw.made import defects, plain
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
    return with_sampling(pipe, copied_share=share)


def call_of(pipe, types=("crack",)):
    return pipe.make_call(types, DrawConfig(), pipe.references)


def test_the_share_of_images_that_start_from_a_copy(pipe):
    for share in (0.0, 0.3, 1.0):
        call = call_of(with_share(pipe, share))
        copied = sum(call.start_of(seed) == "copy" for seed in range(1000)) / 1000
        assert copied == pytest.approx(share, abs=0.05 if 0 < share < 1 else 0)
    assert {call_of(pipe, ()).start_of(seed) for seed in range(20)} == {"reference"}


def test_surroundings_reach_a_sixteenth_of_the_side():
    area = np.zeros((64, 64), np.uint8)
    area[20, 30] = 1
    grown = near(area)
    assert grown.sum() == 81
    assert grown[16:25, 26:35].all()


def test_each_of_several_defects_has_to_be_there():
    """Two holes 12 pixels apart, of which the mask shows one only: no pair, however near they are."""
    known, reference = defects(), plain(320, 400)
    shape = cut_shape(known, known.defects[0])
    spots = [
        Spot((shape,), (Place(0.0, 100, left),), (Window(90, left - 14, 40, 40),))
        for left in (100, 100 + shape.width + 12)
    ]
    image = reference.copy()
    for spot in spots:
        image = put_copies(image, spot, 1.0)
    call = SimpleNamespace(settings=DrawConfig(), keep_background=True, types=("hole",), limits=None)

    def reasons(mask):
        return _reasons(call, Attempt(Request(0, 0), reference, reference, image, spots, True, mask))

    areas = [spot.area(320, 400) for spot in spots]
    assert reasons(areas[0] | areas[1]) == []
    for one in areas:
        assert "empty mask" in reasons(one)


def test_a_copied_start_is_the_copy_at_its_own_strength(pipe):
    """The same as handing the copies over as references, at that strength, without copying."""
    with_share(pipe, 1.0)
    pairs = pipe("crack", num_images=3, seed=4)
    starts = []
    for index in range(3):
        before = as_rgb(pipe.references.native(index))
        (spot,) = call_of(pipe).composer.spots(4 + index, Surface(before))
        starts.append((put_copies(before, spot, 1.0), spot))
    expected = with_share(pipe, 0.0)(
        "crack",
        num_images=3,
        seed=4,
        references=[image for image, _ in starts],
        reference_indices=[0, 1, 2],
        settings=DrawConfig(strength=0.5),
    )
    assert all(same_pixels(one, other) for one, other in zip(pairs.images, expected.images, strict=True))
    for mask, (_, spot) in zip(pairs.masks, starts, strict=True):
        assert np.array_equal(mask, near(spot.area(32, 32)))
    assert [record.copied_from for record in pairs.records] == [(spot.shapes[0].source,) for _, spot in starts]
    assert not any(record.copied_from for record in expected.records)
    # What the pair is compared with is the normal image, not the copy.
    assert all(same_pixels(pairs.references[index], pipe.references.native(index)) for index in range(3))
    assert [record.reference for record in pairs.records] == list(pipe.references.names[:3])
    assert [record.windows for record in pairs.records] == [((0, 0, 32),)] * 3


def test_batch_size_does_not_matter_when_some_are_copied(pipe):
    alone = pipe("crack", num_images=8, seed=10, batch_size=1)
    copied = [bool(record.copied_from) for record in alone.records]
    assert any(copied) and not all(copied)
    for batch_size in (3, 8):
        assert_same(pipe("crack", num_images=8, seed=10, batch_size=batch_size), alone)


def test_images_that_are_drawn_again_keep_their_kind_of_start(pipe, monkeypatch):
    """Masks that are empty for half of the images: batches of 1, 3 and 8 still give the same."""

    def finish(known, image, prompt):
        digits = image.double().mean() * 1e4
        return torch.full_like(known, 0.5 if digits - digits.floor() > 0.5 else 0.0)

    monkeypatch.setattr(pipe.mask_predictor, "finish", finish)
    alone = pipe("crack", num_images=8, seed=30, batch_size=1)
    again = [record for record in alone.records if record.retries]
    assert any(record.copied_from for record in again) and not all(record.copied_from for record in again)
    assert all(record.rejected == ("empty mask",) * record.retries for record in alone.records)
    call = call_of(pipe)
    assert [bool(record.copied_from) for record in alone.records] == [
        call.start_of(record.seed) == "copy" for record in alone.records
    ]
    assert len(alone.records) + len(alone.refused) == 8
    for batch_size in (3, 8):
        assert_same(pipe("crack", num_images=8, seed=30, batch_size=batch_size), alone)


def test_seeds_of_any_integer_type_mean_the_same(pipe):
    plain = pipe("crack", num_images=3, seeds=[0, 1, 2], reference_indices=[2, 1, 0])
    for seeds in (np.arange(3), torch.arange(3)):
        other = pipe("crack", num_images=3, seeds=seeds, reference_indices=np.array([2, 1, 0]))
        assert_same(other, plain)


def test_the_share_of_copies_can_be_chosen_per_call(pipe):
    none, all_of_them = (pipe("crack", 4, 0, DrawConfig(copied_share=share)).records for share in (0.0, 1.0))
    assert not any(record.copied_from for record in none)
    assert all(record.copied_from for record in all_of_them)
    with pytest.raises(SeasError, match=r"copied_share is 1\.5"):
        pipe("crack", settings=DrawConfig(copied_share=1.5))


def test_the_noise_of_copies_is_limited_too(pipe):
    pipe.register_to_config(max_timestep=400)
    with pytest.raises(SeasError, match=r"strength is 0\.8, .* below 400 only, of 1000; give at most 0\.40"):
        pipe("crack")
    with_sampling(pipe, strength=0.3)
    with pytest.raises(SeasError, match=r"strength is 0\.5"):
        pipe("crack")
    assert pipe("crack", settings=DrawConfig(strength=0.3, num_inference_steps=10)).records


def test_a_given_strength_goes_first_and_normal_images_have_no_copies(pipe):
    with_share(pipe, 1.0)
    own = pipe("crack").images[0]
    given, weak = (pipe("crack", settings=DrawConfig(strength=strength)).images[0] for strength in (0.5, 0.75))
    assert same_pixels(own, given)
    assert not same_pixels(own, weak)
    assert pipe(None).records[0].copied_from == ()
    both = pipe(["crack", "hole"]).records[0]
    assert len(both.copied_from) == 2


def test_severity_changes_the_start(pipe):
    with_share(pipe, 1.0)
    faint, plain, strong = (pipe("crack", 1, 3, DrawConfig(severity=severity)) for severity in (0.2, 1.0, 2.0))
    assert not same_pixels(faint.images[0], plain.images[0]) and not same_pixels(strong.images[0], plain.images[0])
    assert same_pixels(faint.masks[0], plain.masks[0])


def test_the_model_keeps_its_defects_only_if_it_needs_them(copying_run, run_folder, tmp_path):
    loaded = SeaSPipeline.from_pretrained(copying_run)
    assert set(loaded.few_shot.anomaly_types) == {"crack", "hole"}
    loaded.save_pretrained(tmp_path / "copy")
    again = SeaSPipeline.from_pretrained(tmp_path / "copy")
    assert np.array_equal(again.few_shot.images, loaded.few_shot.images)
    without = SeaSPipeline.from_pretrained(run_folder)
    assert without.few_shot is None
    assert not with_share(without, 1.0)("crack").records[0].copied_from


def test_runs_from_before_there_were_copies_make_none(pipe):
    old = {key: value for key, value in pipe.config.sampling.items() if not key.startswith("copied")}
    pipe.register_to_config(sampling=old)
    assert pipe.sampling.copied_share == 0.0
    assert pipe("crack").records[0].copied_from == ()
