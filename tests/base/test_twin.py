# SPDX-License-Identifier: Apache-2.0
"""Twins, photographs, and the pool that is made of them."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest
import torch

from seas_aug.base.load import load_base
from seas_aug.base.pretrain.twin_pool import TwinPool, TwinRecipe
from seas_aug.base.renderer.defects import DEFECTS
from seas_aug.base.renderer.photographs import Photographs, pack_photographs
from seas_aug.base.renderer.twin import render_twin, strength_word, twin_prompts, twin_words
from seas_aug.errors import SeasError


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Two materials: one large picture, one small, of known colours."""
    folder = tmp_path_factory.mktemp("surfaces")
    for name, colour, side in (("rust", (200, 60, 20), 96), ("cork", (40, 90, 200), 40)):
        (folder / name).mkdir()
        picture = np.full((side, side, 3), colour[::-1], np.uint8)
        cv2.imwrite(str(folder / name / "000.png"), picture)
    pack_photographs(folder, folder / "packed.npz", side=64)
    return folder / "packed.npz"


def test_twins_differ_where_the_defect_is_and_nowhere_else():
    for seed in range(40):
        twin = render_twin(seed, 64)
        change = np.abs(twin.image.astype(int) - twin.reference).max(axis=2)
        away = cv2.dilate(twin.mask.astype(np.uint8), np.ones((15, 15), np.uint8)) == 0
        assert twin.mask.any()
        assert change[twin.mask].mean() > 2
        assert change[away].mean() < 1.5, (seed, twin.defects)


def test_the_same_seed_gives_the_same_twin(packed):
    photographs = Photographs(packed)
    first, second = render_twin(7, 48, photographs), render_twin(7, 48, photographs)
    assert np.array_equal(first.image, second.image)
    assert (first.noun, first.defects) == (second.noun, second.defects)
    assert not np.array_equal(first.image, render_twin(8, 48, photographs).image)


def test_two_kinds_of_defect_now_and_then():
    counts = [len(render_twin(seed, 48, both_share=0.5).defects) for seed in range(60)]
    assert 15 < counts.count(2) < 45
    assert set(counts) == {1, 2}


def test_prompts_are_words_of_the_vocabulary(packed):
    photographs = Photographs(packed)
    words = set(twin_words(photographs.materials))
    assert {"rust", "cork", "faint", "strong", *" ".join(DEFECTS).split()} <= words
    for seed in range(60):
        twin = render_twin(seed, 32, photographs)
        defect, normal = twin_prompts(twin, np.random.default_rng(seed))
        assert set(defect.split()) | set(normal.split()) <= words
        assert " with " in defect
        assert " with " not in normal
    assert [strength_word(change) for change in (0.04, 0.1, 0.3)] == ["faint", "", "strong"]


def test_cuts_of_photographs(packed):
    photographs = Photographs(packed)
    assert photographs.materials == ["cork", "rust"]
    assert len(photographs) == 2
    seen = set()
    for seed in range(30):
        image, noun = photographs.cut(np.random.default_rng(seed), 24)
        assert image.shape == (24, 24, 3)
        seen.add(noun)
        red, _, blue = image.mean((0, 1))
        grey = np.allclose(image[..., 0], image[..., 2])
        assert grey or (red > blue) == (noun == "rust")
    assert seen == {"cork", "rust"}


def test_photographs_that_are_not_there(tmp_path):
    with pytest.raises(SeasError, match="no such file"):
        Photographs(tmp_path / "none.npz")
    with pytest.raises(SeasError, match="holds no photograph"):
        pack_photographs(tmp_path, tmp_path / "out.npz")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(SeasError, match=r"bad\.png cannot be read"):
        pack_photographs(tmp_path, tmp_path / "out.npz")


@pytest.fixture
def small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seas_aug.base.pretrain.twin_pool._CHUNK", 4)
        yield


def test_pools_grow_are_kept_and_alike_with_processes(tmp_path, small_chunks, packed):
    vae = load_base("embedded").vae.eval()
    recipe = TwinRecipe("v6", "packed", "1", first_seed=3, size=32)
    alone = TwinPool(tmp_path / "alone", recipe, packed, vae, most=10)
    assert [len(chunk.prompts) for chunk in alone.grow(5)] == [4, 4]
    assert len(alone) == 8
    assert alone.latents.shape == (8, 2, 8, 8, 8)
    assert not list(alone.grow(8))
    assert len(list(alone.grow(100))) == 1  # 10, in whole chunks, and no more
    again = TwinPool(tmp_path / "alone", recipe, packed, unused(vae), most=10)
    list(again.grow(12))
    assert torch.equal(again.latents, alone.latents)
    assert torch.equal(again.masks, alone.masks)
    assert again.prompts == alone.prompts
    with pytest.raises(SeasError, match="holds other twins"):
        TwinPool(tmp_path / "alone", TwinRecipe("v6", "", "1", first_seed=3, size=32), None, vae, most=10)
    twin = render_twin(3 + 5, 32, Photographs(packed))
    assert np.array_equal(alone.masks[5, 0].numpy(), twin.mask)


def test_twins_of_processes_are_those_of_one(tmp_path, packed):
    """The size of a chunk is that of the package, since a new process knows no patched one."""
    vae = load_base("embedded").vae.eval()
    recipe = TwinRecipe("v6", "packed", "1", first_seed=5, size=16)
    several = TwinPool(tmp_path / "several", recipe, packed, vae, most=256, workers=1)
    try:
        chunk = next(several.grow(1))
    finally:
        several.close()
    for row in (0, 100, 255):
        twin = render_twin(5 + row, 16, Photographs(packed))
        assert np.array_equal(chunk.masks[row, 0].numpy(), twin.mask)
        assert chunk.prompts[row] == twin_prompts(twin, np.random.default_rng((1, 5 + row)))
    assert copy.deepcopy(several) is several


def unused(vae):
    """An autoencoder that must not be used: all chunks are there."""

    class Unused:
        def parameters(self):
            return vae.parameters()

        def encode(self, _):
            raise AssertionError

    return Unused()
