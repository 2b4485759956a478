# SPDX-License-Identifier: Apache-2.0
"""Losses of the mask predictor, and the features that it is trained on."""

from __future__ import annotations

import pytest
import torch

from seas_aug.config import MaskConfig
from seas_aug.losses import cross_entropy_dice_loss, focal_loss
from seas_aug.masks.features import read_features
from seas_aug.masks.predictor import MaskLogits, MaskPredictor
from seas_aug.masks.training import (
    detail_loss,
    loss_function,
    mask_losses,
    official_targets,
    tell,
    with_normals,
)
from seas_aug.prompt.embedding import PromptEmbeddings
from tests.tiny_models import tiny_unet, tiny_vae


def test_losses_of_anomaly_and_normal_half():
    """Written out: refined masks at full size, coarse ones at a quarter, normals with an empty target."""
    generator = torch.Generator().manual_seed(0)
    logits = MaskLogits(*(torch.randn((5, 2, side, side), generator=generator) for side in (16, 4)))
    calls = []

    def predictor(unet_features, vae_features):
        calls.append([len(feature) for feature in (*unet_features, *vae_features)])
        return logits

    mask = torch.zeros(2, 1, 16, 16)
    mask[0, 0, 5, 6] = 1
    mask[1, 0, 8:, :8] = 1
    features = [torch.zeros(5, 1, 2, 2), torch.zeros(5, 1, 4, 4)]
    found, seen = mask_losses(predictor, features, [torch.zeros(2, 1, 8, 8)], mask)
    assert calls == [[5, 5, 2]]  # both halves at once
    target = torch.zeros(5, 1, 16, 16)
    target[:2] = mask
    coarse = torch.zeros(5, 1, 4, 4)
    coarse[0, 0, 1, 1] = 1  # one pixel survives
    coarse[1, 0, 2:, :2] = 1
    assert float(found["loss_refined"]) == pytest.approx(float(focal_loss(logits.refined, target)))
    assert float(found["loss_coarse"]) == pytest.approx(float(focal_loss(logits.coarse, coarse)))
    torch.testing.assert_close(seen, torch.sigmoid(logits.refined[:, 1:] - logits.refined[:, :1]))


def test_official_targets_are_an_integer_cast():
    """Of cells of 4 pixels a side the two middle ones count; an edge through them gives one half."""
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :6, :12] = 1
    mask[..., :6, 12:] = 0.75
    large, small, known = official_targets(mask, 1, 4)
    assert known
    assert torch.equal(large[0], (mask[0] == 1).float())
    expected = torch.zeros(4, 4)
    expected[0, :3] = 1  # the second row of cells holds one half
    assert torch.equal(small[0, 0], expected)
    assert not large[1:].any() and not small[1:].any()
    assert large.shape == (2, 1, 16, 16) and small.shape == (2, 1, 4, 4)


def test_partly_marked_targets_are_relative_to_the_batch():
    mask = torch.zeros(2, 1, 16, 16)
    mask[0, 0, 2, 4:8] = 0.5  # half of the values that a cell is made of
    assert official_targets(mask, 0, 4)[2]
    assert not official_targets(mask, 0, 4)[0].any()
    large, small, known = official_targets(mask, 0, 4, partly=True)
    assert known
    assert torch.equal(large, (mask == 0.5).float())
    assert small.sum() == 1 and small[0, 0, 0, 1] == 1
    assert not official_targets(torch.zeros(1, 1, 16, 16), 0, 4, partly=True)[2]


def test_an_update_without_a_mask_is_skipped_where_masks_are_relative():
    logits = MaskLogits(*(torch.randn((1, 2, side, side), requires_grad=True) for side in (16, 4)))
    features = [torch.zeros(1, 1, 2, 2)] * 2, [torch.zeros(1, 1, 8, 8)]
    empty = torch.zeros(1, 1, 16, 16)
    losses, _ = mask_losses(lambda *_: logits, *features, empty, official=True, partly=True)
    assert [float(value) for value in losses.values()] == [0, 0]
    losses, _ = mask_losses(lambda *_: logits, *features, empty, official=True)
    assert all(value > 0 for value in losses.values())


def test_losses_by_name():
    assert loss_function("focal") is focal_loss
    assert loss_function("cross_entropy_dice") is cross_entropy_dice_loss


def test_normal_images_have_an_empty_target():
    mask = torch.tensor([0.0, 0.4, 0.6, 1.0]).reshape(1, 1, 2, 2)
    target = with_normals(mask, 2)
    assert target.flatten(1).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_detail_branch_is_told_the_truth_another_mask_or_nothing():
    """Masks here are numbers: image 2 k is known as k + 1, odd ones are not known."""
    found = torch.arange(1.0, 301).reshape(300, 1, 1, 1).expand(-1, -1, 2, 2)
    told = tell(found, torch.arange(0, 600, 2), 600, torch.Generator().manual_seed(0))
    assert told.shape == (600, 1, 2, 2)
    told = told[:, 0, 0, 0]
    truth = torch.arange(1.0, 301)
    known, unknown = told[::2], told[1::2]
    assert 0.63 < float((known == truth).float().mean()) < 0.77
    assert 0.10 < float((known == 0).float().mean()) < 0.20
    assert 0.10 < float(((known != truth) & (known > 0)).float().mean()) < 0.20
    assert 0.80 < float((unknown == 0).float().mean()) < 0.90
    again = tell(found, torch.arange(0, 600, 2), 600, torch.Generator().manual_seed(0))
    assert torch.equal(again[:, 0, 0, 0], told)


def test_detail_branch_is_told_nothing_where_nothing_was_found():
    told = tell(torch.zeros(0, 1, 4, 4), torch.zeros(0, dtype=torch.int64), 3)
    assert torch.equal(told, torch.zeros(3, 1, 4, 4))


def test_detail_loss_is_that_of_the_logits_with_a_little_grain():
    seen = {}

    class Predictor:
        def detail_logits(self, known, image, prompt):
            seen.update(known=known, image=image, prompt=prompt)
            return torch.cat([-known, known], dim=1)

    image, known = torch.zeros(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    target = (torch.rand(2, 1, 64, 64) > 0.5).float()
    prompt = torch.randn(2, 5)
    loss = detail_loss(Predictor(), image, known, prompt, target, "focal", torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss, focal_loss(torch.cat([-known, known], dim=1), target))
    assert seen["known"] is known and seen["prompt"] is prompt
    assert float(seen["image"].std()) == pytest.approx(0.02, rel=0.05)


def test_features_have_no_gradient_and_decode_the_anomalies_only():
    unet, vae = tiny_unet(), tiny_vae()
    decoded = []
    vae.decoder.register_forward_pre_hook(lambda _, inputs: decoded.append(len(inputs[0])))
    noisy = torch.randn(5, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    prompts = PromptEmbeddings(torch.zeros(5, 7, 16), torch.zeros(5, 16), torch.zeros(5, 7))
    low_and_mid, fine = read_features(unet, vae, noisy, torch.tensor([1, 2, 3, 4, 5]), prompts, 2)
    assert decoded == [2]
    assert [len(feature) for feature in low_and_mid] == [5, 5]
    assert [len(feature) for feature in fine] == [2, 2]
    assert not any(feature.requires_grad for feature in (*low_and_mid, *fine))
    predictor = MaskPredictor.for_models(unet, vae, MaskConfig(attention_blocks=1))
    losses, found = mask_losses(predictor, low_and_mid, fine, torch.ones(2, 1, 64, 64))
    sum(losses.values()).backward()
    learning = {name for name, weight in predictor.named_parameters() if weight.grad is not None}
    assert learning == {name for name, _ in predictor.named_parameters() if not name.startswith("detail.")}
    assert not found.requires_grad


def taken_parts(mine, theirs):
    """Which of the two parts has the weights of ``theirs`` after taking over what fits."""
    named = mine.take_over(theirs)
    equal = {
        name: name in theirs.state_dict() and torch.equal(weight, theirs.state_dict()[name])
        for name, weight in mine.state_dict().items()
        if weight.numel() > 1 and "norm" not in name  # statistics and scales start alike
    }
    taken = tuple(
        all(same for name, same in equal.items() if name.startswith("detail.") == detail) for detail in (False, True)
    )
    assert named == {part for part, same in zip(("features", "detail"), taken, strict=True) if same}
    return taken


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (True, True)),
        ({"attention_blocks": 2}, (False, True)),
        ({"detail_width": 8}, (True, False)),
        ({"channels": 16, "detail_width": 8}, (False, False)),
    ],
)
def test_predictors_take_over_the_parts_that_fit(tmp_path, changes, expected):
    unet, vae = tiny_unet(), tiny_vae()
    torch.manual_seed(0)
    base = MaskPredictor.for_models(unet, vae, MaskConfig(attention_blocks=1, channels=8))
    base.save_pretrained(tmp_path / "predictor")
    config = MaskConfig(**{"attention_blocks": 1, "channels": 8, **changes})
    mine = MaskPredictor.for_models(unet, vae, config)
    assert taken_parts(mine, MaskPredictor.from_pretrained(tmp_path / "predictor")) == expected


def test_official_predictors_take_over_nothing():
    unet, vae = tiny_unet(), tiny_vae()
    config = MaskConfig(attention_blocks=1)
    base = MaskPredictor.for_models(unet, vae, config)
    assert not MaskPredictor.for_models(unet, vae, config, official=True).take_over(base)
    without = MaskPredictor.for_models(unet, vae, MaskConfig(attention_blocks=1, detail_width=0))
    assert without.take_over(base) == {"features"}
