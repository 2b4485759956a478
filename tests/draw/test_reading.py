# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from seas_aug.config import AttentionConfig
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.reading import LOW_NOISE_TIMESTEPS, attention_heatmaps, mask_probabilities
from seas_aug.errors import SeasError

READ = AttentionConfig(resolutions=(8, 4))


@pytest.fixture(scope="module")
def pipe(run_folder):
    return SeaSPipeline.from_pretrained(run_folder)


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


TYPES = ["crack", "hole", "crack"]


def heatmaps(pipe, images, types, **kwargs):
    return attention_heatmaps(pipe, images, types, attention=READ, **kwargs)


@pytest.mark.parametrize("read", [heatmaps, mask_probabilities])
def test_shape_range_and_no_batch_mates(pipe, images, read):
    whole = read(pipe, images, TYPES)
    assert whole.shape == (3, 1, 32, 32)
    assert whole.dtype == torch.float32
    assert 0 <= whole.min() < whole.max() <= 1
    for row in range(3):
        alone = read(pipe, images[row : row + 1], TYPES[row : row + 1])
        torch.testing.assert_close(alone, whole[row : row + 1], atol=1e-4, rtol=1e-3)
    assert torch.equal(whole, read(pipe, images, TYPES))
    asked = read(pipe, images, ["hole", "hole", "crack"])  # the first image about another type
    assert not torch.equal(asked[0], whole[0])
    assert torch.equal(asked[1:], whole[1:])


@pytest.mark.parametrize("read", [heatmaps, mask_probabilities])
def test_noise_level_belongs_to_the_timestep(pipe, images, read, monkeypatch):
    """Also after sampling, which leaves the solver with its own timesteps."""
    pipe("crack")
    seen = []
    monkeypatch.setattr("seas_aug.draw.reading.encode_latents", lambda *_: torch.full((1, 4, 8, 8), 10.0))
    with pipe.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[:2])):
        read(pipe, images[:1], TYPES[:1])
    assert tuple(int(moment) for _, moment in seen) == LOW_NOISE_TIMESTEPS
    levels = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2).cumprod(0)
    for noisy, moment in seen:
        torch.testing.assert_close(noisy.mean(), 10 * levels[moment].sqrt(), atol=0.1, rtol=0)
        torch.testing.assert_close(noisy.std(), (1 - levels[moment]).sqrt(), atol=0, rtol=0.15)


def test_mistakes(pipe, images, run_folder):
    with pytest.raises(SeasError, match="'dent' is not known"):
        mask_probabilities(pipe, images[:1], ["dent"])
    with pytest.raises(SeasError, match="maps of side 64"):
        attention_heatmaps(pipe, images[:1], ["crack"], attention=AttentionConfig(resolutions=(64,)))
    other = SeaSPipeline.from_pretrained(run_folder)
    other.mask_predictor = None
    with pytest.raises(SeasError, match="no mask predictor"):
        mask_probabilities(other, images[:1], ["crack"])
