# SPDX-License-Identifier: Apache-2.0
"""The detail branch: shapes, what its result depends on, and that it learns what it is for."""

from __future__ import annotations

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.errors import SeasError
from seas_aug.losses import cross_entropy_dice_loss
from seas_aug.masks import MaskPredictor, probabilities
from seas_aug.masks.detail import DetailBranch


def inputs(batch=2, height=32, width=32, prompts=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(batch, 3, height, width, generator=generator) * 2 - 1
    known = torch.rand(batch, 1, height, width, generator=generator)
    return image, known, torch.randn(batch, prompts, generator=generator)


def predictor_with_detail(official=False):
    torch.manual_seed(0)
    return MaskPredictor(
        6, 5, (4, 3), width=16, attention_blocks=1, official=official, detail_width=8, prompt_channels=6
    )


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.integers(16, 70), st.integers(16, 70))
def test_result_has_the_size_of_the_image(batch, height, width):
    branch = DetailBranch(6, 8).eval()
    with torch.no_grad():
        assert branch(*inputs(batch, height, width)).shape == (batch, 2, height, width)


def test_depends_on_image_known_mask_and_type():
    torch.manual_seed(0)
    branch = DetailBranch(6, 8).eval()
    image, known, prompt = inputs()
    with torch.no_grad():
        first = branch(image, known, prompt)
        others = [branch(-image, known, prompt), branch(image, 1 - known, prompt), branch(image, known, -prompt)]
    assert not any(torch.allclose(first, other) for other in others)


def test_finds_nothing_at_first():
    branch = DetailBranch(6, 8)
    with torch.no_grad():
        assert float(probabilities(branch(*inputs())).mean()) < 0.15


@pytest.mark.parametrize("official", [False, True])
def test_masks_depend_on_batch_mates_only_if_official(official):
    predictor = predictor_with_detail(official)
    image, known, prompt = inputs(3)
    predictor.detail_logits(known, image, prompt)  # some statistics
    predictor.eval()
    together = predictor.finish(known, image, prompt)
    rows = [slice(i, i + 1) for i in range(3)]
    alone = torch.cat([predictor.finish(known[row], image[row], prompt[row]) for row in rows])
    assert torch.allclose(alone, together, atol=1e-5) is not official


def test_finished_mask_is_that_of_the_detail_branch_or_the_known_one():
    image, known, prompt = inputs()
    predictor = predictor_with_detail().eval()
    with torch.no_grad():
        expected = predictor.detail(image, known, prompt).softmax(dim=1)[:, 1:]
    torch.testing.assert_close(predictor.finish(known, image, prompt), expected)
    plain = MaskPredictor(6, 5, (4, 3), width=16, attention_blocks=1)
    assert plain.finish(known.double(), image, prompt).dtype == torch.float32
    torch.testing.assert_close(plain.finish(known, image, prompt), known)
    with pytest.raises(ValueError, match="no detail branch"):
        plain.detail_logits(known, image, prompt)


def test_finished_mask_of_a_mirrored_image_is_the_mirrored_mask():
    """Where mirror images were trained on, it is the mean over four images, each turned back."""
    image, known, prompt = inputs(1)
    predictor = predictor_with_detail().eval()
    views = ((), (-1,), (-2,), (-1, -2))
    alone = [predictor.finish(known.flip(sides), image.flip(sides), prompt).flip(sides) for sides in views]
    assert not torch.allclose(alone[0], alone[1])
    predictor.register_to_config(mirrored=True)
    torch.testing.assert_close(predictor.finish(known, image, prompt), torch.stack(alone).mean(dim=0))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-5), (torch.bfloat16, 0.05)])
def test_float16_autocast_is_kept_out_and_bfloat16_let_through(dtype, tolerance):
    predictor = predictor_with_detail().eval()
    image, known, prompt = inputs()
    expected = predictor.finish(known, image, prompt)
    with torch.autocast("cpu", dtype=dtype):
        found = predictor.finish(known, image, prompt)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_learns_a_thin_line_of_the_type_that_it_is_asked_for():
    """Every image has a dark row and a dark column on strong shading; one prompt means the row, the other the column.

    No coarse map shows them: the mask that is known is empty.
    """
    torch.manual_seed(0)
    branch = DetailBranch(2, 8)
    optimiser = torch.optim.AdamW(branch.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)

    def draw(count=8):
        corners = 0.5 * torch.randn(count, 1, 3, 3, generator=generator)
        image = torch.nn.functional.interpolate(corners, size=(32, 32), mode="bilinear").expand(-1, 3, -1, -1).clone()
        target, prompt = torch.zeros(count, 1, 32, 32), torch.zeros(count, 2)
        for row, (y, x) in enumerate(torch.randint(2, 30, (count, 2), generator=generator).tolist()):
            image[row, :, y] -= 0.6
            image[row, :, :, x] -= 0.6
            prompt[row, row % 2] = 1
            if row % 2:
                target[row, :, :, x] = 1
            else:
                target[row, :, y] = 1
        return image, torch.zeros_like(target), prompt, target

    for _ in range(120):
        *given_, target = draw()
        loss = cross_entropy_dice_loss(branch(*given_), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    *given_, target = draw(16)
    with torch.no_grad():
        found, inside = probabilities(branch.eval()(*given_)) > 0.5, target > 0.5
    assert float((found & inside).sum() / (found | inside).sum()) > 0.6


@pytest.mark.parametrize("width", [-8, 4, 12])
def test_width_out_of_range(width):
    with pytest.raises(SeasError, match=r"masks\.detail_width"):
        MaskPredictor(4, 4, (4,), width=8, attention_blocks=1, detail_width=width, prompt_channels=4)


def test_models_with_the_earlier_branch_are_refused(tmp_path):
    """Loading them would leave its weights out and only warn."""
    predictor_with_detail().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"detail_channels": 0', '"detail_channels": 16'))
    with pytest.raises(SeasError, match="fine-tune it again"):
        MaskPredictor.from_pretrained(tmp_path)


def test_whole_models_with_the_earlier_branch_are_refused(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    path = next((tmp_path / "run").rglob("mask_predictor/config.json"))
    path.write_text(path.read_text().replace('"detail_channels": 0', '"detail_channels": 16'))
    with pytest.raises(SeasError, match="fine-tune it again"):
        SeaSPipeline.from_pretrained(tmp_path / "run")
