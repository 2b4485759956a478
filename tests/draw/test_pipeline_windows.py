# SPDX-License-Identifier: Apache-2.0
"""A model that draws in windows of images of any size, depth and channels: what changes, and what does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seas_aug.config import DrawConfig
from seas_aug.draw import draw
from seas_aug.draw.output import as_tensor
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.errors import SeasError
from tests.data.helpers import ground
from tests.draw.helpers import assert_same, grown, same_pixels, with_sampling

UNGATED = DrawConfig(gate=False)  # weights that learnt nothing draw what the gate would reject
KINDS = ["grey", "colour", "alpha", "grey 16", "colour 16"]


@pytest.fixture
def pipe(window_run, monkeypatch):
    """Its predictor finds everything to be defect, so that masks are limited by the copies alone."""
    loaded = SeaSPipeline.from_pretrained(window_run)
    loaded.set_progress_bar_config(disable=True)
    monkeypatch.setattr(loaded.mask_predictor, "finish", lambda known, image, prompt: torch.full_like(known, 0.5))
    return loaded


@pytest.fixture
def perfect(pipe, monkeypatch):
    """It draws what it starts from, and its masks are what is dark: every pair is a good one."""

    def drawn(call, seen, seeds, kind, shapes):
        return seen, [(picture.mean(axis=2) < 90).astype(np.float32) for picture in seen]

    monkeypatch.setattr(draw, "_draw_seen", drawn)
    return pipe


def picture(kind: str, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a light surface as a camera of a kind gives it."""
    image = ground(min(height, 500), min(width, 500), seed)
    image = np.tile(image, (height // 500 + 1, width // 500 + 1, 1))[:height, :width]
    if kind.endswith("16"):
        image = image.astype(np.uint16) * 257 + np.arange(width, dtype=np.uint16)[None, :, None] % 100
    if kind == "alpha":
        return np.dstack([image, np.arange(height * width).reshape(height, width).astype(np.uint8)])
    return np.ascontiguousarray(image[..., 0] if kind.startswith("grey") else image)


def inside_windows(record, shape) -> np.ndarray:
    inside = np.zeros(shape[:2], bool)
    for top, left, side in record.windows:
        assert top >= 0 and left >= 0 and top + side <= shape[0] and left + side <= shape[1]
        inside[top : top + side, left : left + side] = True
    return inside


def check(pairs) -> None:
    """Outside of the masks and their rims images are their references, to the last bit, in their own form."""
    for image, mask, reference, record in zip(pairs.images, pairs.masks, pairs.references, pairs.records, strict=True):
        assert image.dtype == reference.dtype and image.shape == reference.shape
        assert mask.shape == image.shape[:2] and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
        inside = inside_windows(record, image.shape)
        assert not (mask > inside).any()
        reach = max(1, max(side for _, _, side in record.windows) // 128)
        kept = ~(grown(mask, reach) & inside)
        assert same_pixels(image[kept], reference[kept])
        if image.ndim == 3 and image.shape[2] == 4:
            assert same_pixels(image[..., 3], reference[..., 3])


@settings(max_examples=14, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(KINDS),
    st.sampled_from([(64, 64), (65, 700), (900, 80), (333, 501), (2000, 3000)]),
    st.integers(0, 999),
    st.sampled_from(["crack", "hole"]),
)
def test_nothing_but_the_defect_changes_in_images_of_any_size_and_kind(pipe, kind, size, seed, name):
    reference = picture(kind, *size)
    pairs = pipe(name, 1, seed, UNGATED, references=[reference])
    check(pairs)
    assert same_pixels(pairs.references[0], reference)
    assert (pairs.images[0] != reference).any() and pairs.records[0].copied_from
    assert {side for _, _, side in pairs.records[0].windows} <= {*pipe.config.windows, min(size)}


def test_the_models_own_images_of_different_sizes_and_kinds(pipe):
    pairs = pipe("crack", 4, 0, UNGATED)
    assert [image.shape for image in pairs.images] == [(120, 160, 3), (96, 200), (150, 110, 4), (128, 128, 3)]
    assert [image.dtype for image in pairs.images] == [np.uint8] * 3 + [np.uint16]
    check(pairs)
    assert len(pipe.config.windows) > 1 and pipe.config.windows[0] == 32
    with pytest.raises(RuntimeError):
        as_tensor(pairs.images)
    assert as_tensor(pairs.images[:1]).shape == (1, 3, 120, 160)


@pytest.mark.parametrize("asked", [UNGATED, DrawConfig(gate=False, count=(1, 2)), DrawConfig()])
def test_batch_size_does_not_matter(pipe, asked):
    with_sampling(pipe, copied_share=0.5, max_retries=1)
    alone = pipe("crack", 8, 10, asked, batch_size=1)
    assert len(alone.records) + len(alone.refused) == 8
    for batch_size in (3, 8):
        assert_same(pipe("crack", 8, 10, asked, batch_size=batch_size), alone)


def test_good_pairs_pass_the_gate(perfect):
    pairs = perfect("hole", 8, 0)
    assert len(pairs.records) >= 7
    check(pairs)
    for image, mask in zip(pairs.images, pairs.masks, strict=True):
        light = image[..., :3].mean(axis=2) if image.ndim == 3 else image
        assert light[mask > 0].mean() < 0.5 * light[~grown(mask, 3)].mean()


def test_what_the_gate_rejects_is_reported_by_its_reason(perfect, monkeypatch):
    with_sampling(perfect, max_retries=2)

    def drawing(change, **asked):
        def drawn(call, seen, seeds, kind, shapes):
            marked = [(one.mean(axis=2) < 90).astype(np.float32) for one in seen]
            return change(seen, marked)

        monkeypatch.setattr(draw, "_draw_seen", drawn)
        result = perfect("hole", 2, 0, DrawConfig(**asked))
        assert not result.images and len(result.refused) == 2
        assert [refusal.seed for refusal in result.refused] == [0, 1]
        assert all(len(refusal.reasons) == 3 and refusal.anomaly_types == ("hole",) for refusal in result.refused)
        return {reason for refusal in result.refused for entry in refusal.reasons for reason in entry.split(", ")}

    assert drawing(lambda seen, marked: (seen, [0 * one for one in marked])) == {"empty mask"}
    everywhere = drawing(lambda seen, marked: (seen, [0 * one + 1 for one in marked]), severity=0.01)
    assert "nothing to see" in everywhere


def test_no_place_is_a_reason_too(perfect, tmp_path):
    region = np.zeros((100, 120), np.uint8)
    region[50:52, 50:52] = 255
    cv2.imwrite(str(tmp_path / "region.png"), region)
    result = with_sampling(perfect, max_retries=1)(
        "crack", 1, 0, DrawConfig(region=tmp_path / "region.png"), references=[picture("colour", 100, 120)]
    )
    assert result.images == [] and result.refused[0].reasons == ("no place", "no place")
    assert result.refused[0].reference == "references[0]"


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 99), st.sampled_from(["crack", "hole"]), st.sampled_from([0.0, 1.0]))
def test_defects_lie_in_the_region(pipe, tmp_path_factory, seed, name, share):
    path = tmp_path_factory.mktemp("region") / "region.png"
    region = np.zeros((200, 300), np.uint8)
    cv2.circle(region, (200, 100), 60, 255, -1)
    cv2.imwrite(str(path), region)
    asked = DrawConfig(region=path, gate=False, size=(6, 20), copied_share=share)
    pairs = pipe(name, 2, seed, asked, references=[picture("grey", 200, 300)])
    check(pairs)
    for image, mask, reference in zip(pairs.images, pairs.masks, pairs.references, strict=True):
        assert mask.any() and not mask[region == 0].any()
        assert same_pixels(image[region == 0], reference[region == 0])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_users_masks_are_the_masks(pipe, tmp_path, share):
    masks = np.zeros((2, 200, 300), np.uint8)
    cv2.line(masks[0], (5, 5), (290, 190), 255, 3)  # longer than any window
    masks[1, :8, 100:110], masks[1, 150:160, 200:210] = 255, 255
    for index, mask in enumerate(masks):
        cv2.imwrite(str(tmp_path / f"{index}.png"), mask)
    asked = DrawConfig(masks=tmp_path, gate=False, copied_share=share)
    pairs = pipe("crack", 3, 7, asked, references=[picture("colour 16", 200, 300)])
    check(pairs)
    for index, mask in enumerate(pairs.masks):
        assert np.array_equal(mask > 0, masks[index % 2] > 0)
    assert len(pairs.records[0].windows) > 3 and len(pairs.records[1].windows) == 2
    with pytest.raises(SeasError, match="300x200 pixels and the reference"):
        pipe("crack", 1, 0, asked)


@pytest.mark.parametrize("count", [1, 3, (2, 4)])
def test_as_many_defects_as_are_asked_for(perfect, count):
    low, high = (count, count) if isinstance(count, int) else count
    pairs = perfect("hole", 4, 0, DrawConfig(count=count, size=(9, 14)), references=[picture("colour", 300, 400)])
    check(pairs)
    assert len(pairs.masks) >= 3
    found = [cv2.connectedComponents(cv2.dilate(mask, np.ones((3, 3), np.uint8)))[0] - 1 for mask in pairs.masks]
    assert all(low <= number <= high for number in found)
    assert isinstance(count, int) or len(set(found)) > 1


@pytest.mark.parametrize("size", [(8, 8), (20, 26), (50, 60)])
def test_defects_are_as_large_as_is_asked_for(perfect, size):
    pairs = perfect("hole", 4, 0, DrawConfig(size=size), references=[picture("colour", 300, 400)])
    assert len(pairs.masks) >= 3
    for mask in pairs.masks:
        rows, columns = np.nonzero(mask)
        extent = 1 + max(np.ptp(rows), np.ptp(columns))
        assert 0.8 * size[0] - 2 <= extent <= 1.2 * size[1] + 2


def test_types_recombine_in_a_window(perfect):
    pairs = perfect(["hole", "crack"], 4, 0, DrawConfig(size=(10, 14)), references=[picture("colour", 300, 400)])
    check(pairs)
    assert pairs.records
    for record in pairs.records:
        assert record.anomaly_types == ("crack", "hole") and len(record.windows) == 1
        assert {source.split("/")[-2] for source in record.copied_from} == {"crack", "hole"}


def test_a_seed_means_the_same_reference_and_anchor_for_every_type(perfect):
    one, other = (perfect(name, 6, 40, UNGATED) for name in ("crack", "hole"))
    assert [record.reference for record in one.records] == [record.reference for record in other.records]
    for left, right, mask in zip(one.masks, other.masks, one.masks, strict=True):
        middles = [np.argwhere(marked).mean(axis=0) / mask.shape for marked in (left, right)]
        assert left.shape == right.shape and np.isfinite(middles).all()


def test_a_defect_of_the_border_stays_there(perfect):
    """Some holes touch the left border of their image; what is drawn of them touches the left or the right one."""
    found = 0
    pairs = perfect("hole", 16, 0, references=[picture("colour", 150, 200)])
    for mask, record in zip(pairs.masks, pairs.records, strict=True):
        if record.copied_from[0].endswith("002.png"):
            found += 1
            assert mask[:, 0].any() or mask[:, -1].any()
    assert found >= 2


def test_normal_images(pipe):
    pipe.mask_predictor = None
    references = [picture("colour", 70, 90), picture("grey 16", 700, 900)]
    pairs = pipe(None, 2, 0, references=references)
    for image, mask, reference, record in zip(pairs.images, pairs.masks, pairs.references, pairs.records, strict=True):
        assert image.dtype == reference.dtype and image.shape == reference.shape and not mask.any()
        inside = inside_windows(record, image.shape)
        assert same_pixels(image[~inside], reference[~inside])
        assert (image[inside] != reference[inside]).any() and 1 <= len(record.windows) <= 9
    assert inside_windows(pairs.records[0], (70, 90)).all() and pairs.records[0].reference == "references[0]"


def test_saved_and_loaded_again(pipe, tmp_path, monkeypatch):
    pipe.save_pretrained(tmp_path / "copy")
    again = SeaSPipeline.from_pretrained(tmp_path / "copy")
    monkeypatch.setattr(again.mask_predictor, "finish", lambda known, image, prompt: torch.full_like(known, 0.5))
    assert tuple(again.config.windows) == tuple(pipe.config.windows)
    assert_same(pipe("hole", 3, 1, UNGATED), again("hole", 3, 1, UNGATED))


def test_the_preview_is_the_first_window(pipe):
    start, drawn = pipe.preview("crack", 5, 1, pipe.sampling)
    assert start.shape == drawn.shape == (3, 32, 32)
    assert 0 <= float(drawn.min()) < float(drawn.max()) <= 1 and not torch.equal(start, drawn)
