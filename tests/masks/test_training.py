# SPDX-License-Identifier: Apache-2.0
"""Losses of the mask predictor, and the features that it is trained on."""

from __future__ import annotations

import pytest
import torch

from seas_aug.config import MaskConfig
from seas_aug.losses import cross_entropy_dice_loss, focal_loss
from seas_aug.masks.predictor import MaskLogits, MaskPredictor
from seas_aug.masks.training import mask_losses, read_features
from tests.tiny_models import tiny_unet, tiny_vae


def test_losses_of_anomaly_and_normal_half():
    """Written out: refined masks at full size, coarse ones at a quarter, normals with an empty target."""
    generator = torch.Generator().manual_seed(0)
    logits = {
        name: torch.randn(shape, generator=generator)
        for name, shape in {
            "anomaly": (2, 2, 16, 16),
            "anomaly_coarse": (2, 2, 4, 4),
            "normal": (3, 2, 16, 16),
            "normal_coarse": (3, 2, 4, 4),
        }.items()
    }
    calls = []

    def predictor(unet_features, vae_features=None):
        name = "normal" if vae_features is None else "anomaly"
        calls.append((name, [len(feature) for feature in unet_features]))
        return MaskLogits(logits[name], logits[name + "_coarse"])

    mask = torch.zeros(2, 1, 16, 16)
    mask[0, 0, 5, 6] = 1
    mask[1, 0, 8:, :8] = 1
    found = mask_losses(predictor, [torch.zeros(5, 1, 2, 2), torch.zeros(5, 1, 4, 4)], [torch.zeros(2, 1, 8, 8)], mask)
    assert calls == [("anomaly", [2, 2]), ("normal", [3, 3])]
    target = torch.zeros(5, 1, 16, 16)
    target[:2] = mask
    coarse = torch.zeros(5, 1, 4, 4)
    coarse[0, 0, 1, 1] = 1  # one pixel survives
    coarse[1, 0, 2:, :2] = 1
    refined = focal_loss(torch.cat([logits["anomaly"], logits["normal"]]), target)
    assert float(found["loss_refined"]) == pytest.approx(float(refined))
    small = focal_loss(torch.cat([logits["anomaly_coarse"], logits["normal_coarse"]]), coarse)
    assert float(found["loss_coarse"]) == pytest.approx(float(small))


def test_normals_with_decoder_features_go_through_everything():
    logits = MaskLogits(
        *(torch.randn(5, 2, size, size, generator=torch.Generator().manual_seed(1)) for size in (16, 4))
    )
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, 4:9, 5:7] = 1
    features = [torch.zeros(5, 1, 2, 2), torch.zeros(5, 1, 4, 4)]
    found = mask_losses(lambda *_: logits, features, [torch.zeros(5, 1, 8, 8)], mask, "cross_entropy_dice")
    target = torch.cat([mask, torch.zeros(3, 1, 16, 16)])
    expected = cross_entropy_dice_loss(logits.refined, target)
    assert float(found["loss_refined"]) == pytest.approx(float(expected))
    small = cross_entropy_dice_loss(logits.coarse, torch.nn.functional.max_pool2d(target, 4))
    assert float(found["loss_coarse"]) == pytest.approx(float(small))


def test_features_have_no_gradient_and_decode_the_anomalies_only():
    unet, vae = tiny_unet(), tiny_vae()
    decoded = []
    vae.decoder.register_forward_pre_hook(lambda _, inputs: decoded.append(len(inputs[0])))
    noisy = torch.randn(5, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    context = torch.zeros(5, 7, 16)
    low_and_mid, fine = read_features(unet, vae, noisy, torch.tensor([1, 2, 3, 4, 5]), context, 2)
    assert decoded == [2]
    assert [len(feature) for feature in low_and_mid] == [5, 5]
    assert [len(feature) for feature in fine] == [2, 2]
    assert not any(feature.requires_grad for feature in (*low_and_mid, *fine))
    predictor = MaskPredictor.for_models(unet, vae, MaskConfig(attention_blocks=1))
    losses = mask_losses(predictor, low_and_mid, fine, torch.ones(2, 1, 64, 64))
    sum(losses.values()).backward()
    assert all(weight.grad is not None for weight in predictor.parameters())


def test_same_architecture(tmp_path):
    unet, vae = tiny_unet(), tiny_vae()
    one = MaskPredictor.for_models(unet, vae, MaskConfig(attention_blocks=1))
    one.save_pretrained(tmp_path / "predictor")
    again = MaskPredictor.from_pretrained(tmp_path / "predictor")
    assert again.same_architecture(one)
    assert one.same_architecture(again)
    for config, official in ((MaskConfig(attention_blocks=2), False), (MaskConfig(attention_blocks=1), True)):
        assert not MaskPredictor.for_models(unet, vae, config, official).same_architecture(one)
