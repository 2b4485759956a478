# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seas_aug.base.pretrain
import seas_aug.base.renderer
from seas_aug.base.renderer import noise
from seas_aug.base.renderer.defects import DEFECTS
from seas_aug.base.renderer.parts import PARTS, render_part
from seas_aug.base.renderer.scene import all_words, render_scene
from seas_aug.base.renderer.surfaces import SURFACES, lighting

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=4, deadline=None, derandomize=True)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("name", SURFACES)
@FEW
@given(seed=SEEDS)
def test_surfaces(name, size, seed):
    image = SURFACES[name](np.random.default_rng(seed), size)
    assert image.shape == (size, size, 3)
    assert np.isfinite(image).all()
    assert np.abs(image).max() < 10


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("name", PARTS)
@FEW
@given(seed=SEEDS)
def test_parts(name, size, seed):
    image, outline = render_part(np.random.default_rng(seed), size, name)
    assert image.shape == (size, size, 3)
    assert outline.shape == (size, size)
    assert np.isfinite(image).all()
    assert outline.min() >= 0
    assert outline.max() <= 1
    assert 0.005 < (outline > 0.5).mean() <= (1 if name == "plate" else 0.8)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("name", DEFECTS)
@FEW
@given(seed=SEEDS)
def test_defects(name, size, seed):
    """The image changes inside the mask, and hardly outside its surroundings."""
    rng = np.random.default_rng(seed)
    before, support = render_part(rng, size, "tablet")
    before = before.astype(np.float32)
    after, cover = DEFECTS[name](rng, before.copy(), support)
    assert after.shape == before.shape
    assert cover.shape == (size, size)
    assert np.isfinite(after).all()
    assert cover.min() >= 0
    assert cover.max() <= 1
    assert (cover > 0.5).mean() < 0.6
    difference = np.abs(after - before).max(axis=-1)
    if (cover > 0.5).sum() >= 6:
        assert difference[cover > 0.5].max() > 0
    outside = difference[cover == 0]
    assert (outside > 0.12).mean() < 0.05


@FEW
@given(seed=SEEDS)
def test_a_seed_is_a_picture(seed):
    one, same = render_scene(seed, 64), render_scene(seed, 64)
    assert np.array_equal(one.image, same.image)
    assert np.array_equal(one.mask, same.mask)
    assert one.prompt == same.prompt
    assert not np.array_equal(one.image, render_scene(seed + 1, 64).image)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=SEEDS, size=st.sampled_from([64, 128]))
def test_prompt_names_a_defect_exactly_where_there_is_one(seed, size):
    scene = render_scene(seed, size, defect_share=0.7)
    assert scene.image.shape == (size, size, 3)
    assert scene.image.dtype == scene.mask.dtype == np.uint8
    assert set(np.unique(scene.mask)) <= {0, 1}
    assert (" with " in scene.prompt) == bool(scene.mask.any())
    noun, _, defect = scene.prompt.removeprefix("a ").partition(" with ")
    assert noun in {*SURFACES, *PARTS, "object"}
    assert defect in {*DEFECTS, "defect", ""}
    assert set(scene.prompt.split()) <= set(all_words())
    if scene.mask.any():
        assert scene.mask.sum() >= 6


def test_shares():
    assert not any(render_scene(seed, 64, defect_share=0).mask.any() for seed in range(10))
    assert all(render_scene(seed, 64, defect_share=1).mask.any() for seed in range(100))
    nouns = {render_scene(seed, 64, part_share=1, defect_share=0).prompt.removeprefix("a ") for seed in range(10)}
    assert nouns <= {*PARTS, "object"}


@FEW
@given(seed=SEEDS)
def test_random_fields(seed):
    rng = np.random.default_rng(seed)
    for field in (noise.spectral_noise(rng, 64, 1.0), noise.streaks(rng, 64, 20, 0.5)):
        assert field.shape == (64, 64)
        assert abs(field.mean()) < 1e-4
        assert abs(field.std() - 1) < 1e-3
    light = lighting(rng, 64, 0.5)
    assert light.shape == (64, 64, 1)
    assert light.min() >= 0.2
    assert light.max() <= 2
    assert noise.cells(rng, 64, 20).min() == 0
    step = np.zeros((8, 8), np.float32)
    step[:, 6:] = 1
    assert np.array_equal(noise.shift_field(step, 3, 0)[:, :4], np.zeros((8, 4)))  # nothing comes round from the right
    assert np.array_equal(noise.shift_field(step, -3, 1)[:, 3:], np.ones((8, 5)))
    line = noise.stroke(64, noise.polyline(rng, (32, 32), 20, 0.3, 0.2), 1.0)
    assert 5 < line.sum() < 200
    assert line.max() <= 1


def test_the_base_reads_no_picture():
    """It is trained on what the project draws itself and on packed CC0 photographs, and on nothing else."""
    folders = [Path(module.__file__).parent for module in (seas_aug.base.pretrain, seas_aug.base.renderer)]
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(sources) > 8
    forbidden = ("imread", "imdecode", "videocapture", "import pil", "from pil", "imageio", "fromfile", "np.load")
    forbidden += ("read_rgb", "read_image", "load_image", "datasets", "urlopen", "requests", "hub")
    forbidden += ("shared", "magnetic", "mvtecad")
    packed = [path for path in sources if path.name == "photographs.py"]
    assert len(packed) == 1
    assert not [name for name in forbidden[-3:] if name in packed[0].read_text(encoding="utf-8").lower()]
    for path in set(sources) - set(packed):
        text = path.read_text(encoding="utf-8").lower()
        assert not [name for name in forbidden if name in text], path
