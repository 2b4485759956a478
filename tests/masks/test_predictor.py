# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.nn import functional

from seas_aug.config import MaskConfig
from seas_aug.errors import SeasError
from seas_aug.losses import focal_loss
from seas_aug.masks import MaskPredictor, UNetFeatures, VAEDecoderFeatures, default_width, probabilities
from seas_aug.masks.coarse import attention_heads
from seas_aug.masks.refinement import MaskRefinement
from tests.tiny_models import TEXT_WIDTH, tiny_unet, tiny_vae


def small_predictor(official=False, **kwargs):
    torch.manual_seed(0)
    return MaskPredictor(6, 5, (4, 3), width=16, attention_blocks=1, official=official, **kwargs)


def small_features(batch=3, side=4):
    generator = torch.Generator().manual_seed(1)

    def draw(channels, size):
        return torch.randn(batch, channels, size, size, generator=generator)

    return [draw(6, side // 2), draw(5, side)], [draw(4, 2 * side), draw(3, 4 * side)]


@pytest.mark.parametrize(
    ("unet_levels", "vae_levels"), [((8, 16, 16), (8, 8, 16)), ((32, 32, 64, 64), (32, 32, 64, 64))]
)
def test_real_features_give_masks_at_image_and_latent_size(unet_levels, vae_levels):
    """The second case is Stable Diffusion 1's topology: four levels and an 8x VAE."""
    unet, vae = tiny_unet(unet_levels), tiny_vae(vae_levels)
    predictor = MaskPredictor.for_models(unet, vae, MaskConfig(attention_blocks=1))
    assert len(predictor.refinements) == len(vae_levels) - 1
    latents = torch.randn(1, 4, 16, 16)
    with torch.no_grad(), UNetFeatures(unet) as low_mid, VAEDecoderFeatures(vae) as fine:
        unet(latents, 5, torch.randn(1, 3, TEXT_WIDTH))
        image = vae.decode(latents).sample
        logits = predictor(low_mid.features, fine.features)
        normal = predictor(low_mid.features)
    for output in (logits, normal):
        assert output.refined.shape == (1, 2, *image.shape[-2:])
        assert output.coarse.shape == (1, 2, 16, 16)
    torch.testing.assert_close(normal.coarse, logits.coarse)


def test_widths():
    assert [default_width(n) for n in (320, 192, 128, 96, 64, 32, 16, 8, 4)] == [192, 192, 120, 96, 48, 24, 16, 8, 8]
    assert [attention_heads(width) for width in (192, 120, 64, 48, 24, 16, 8)] == [8, 5, 2, 2, 1, 1, 1]


def test_paper_size():
    """Stable Diffusion 1's channels, without the dead convolutions of the authors' code (6.5 M with 1 M dead)."""
    with torch.device("meta"):
        predictor = MaskPredictor(1280, 640, (512, 512, 256))
    assert 5.2e6 < sum(parameter.numel() for parameter in predictor.parameters()) < 5.8e6


def refinement_reference(module, coarse, fine):
    """Specification 4.3, line by line, with group normalisation by hand."""

    def cb(block, features):
        convolution, norm, _ = block
        features = functional.conv2d(features, convolution.weight, padding=convolution.kernel_size[0] // 2)
        grouped = features.reshape(len(features), norm.num_groups, -1)
        mean, variance = grouped.mean(-1, keepdim=True), grouped.var(-1, unbiased=False, keepdim=True)
        features = ((grouped - mean) / (variance + norm.eps).sqrt()).reshape(features.shape)
        return (features * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0)

    size = fine.shape[-1]
    u = torch.zeros(*coarse.shape[:2], size, size)
    last = coarse.shape[-1] - 1
    for y in range(size):
        for x in range(size):
            down, right = y * last / (size - 1), x * last / (size - 1)
            top, left = int(down), int(right)
            below, beside = min(top + 1, last), min(left + 1, last)
            upper = coarse[..., top, left] * (1 - right + left) + coarse[..., top, beside] * (right - left)
            lower = coarse[..., below, left] * (1 - right + left) + coarse[..., below, beside] * (right - left)
            u[..., y, x] = upper * (1 - down + top) + lower * (down - top)
    a = cb(module.first[2], cb(module.first[1], cb(module.first[0], u)))
    g = a + cb(module.shortcut, u) + cb(module.second[2], cb(module.second[1], cb(module.second[0], a)))
    return cb(module.project_fine, fine) * g + u


def test_refinement_equals_reference():
    torch.manual_seed(0)
    module = MaskRefinement(8, 5)
    coarse, fine = torch.randn(2, 8, 4, 4), torch.randn(2, 5, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            module(coarse, fine), refinement_reference(module, coarse, fine), atol=1e-5, rtol=1e-4
        )


def test_normal_images_go_from_coarse_features_straight_to_the_head():
    predictor = small_predictor()
    unet_features, _ = small_features()
    with torch.no_grad():
        coarse = predictor.coarse_branch(*unet_features)
        expected = predictor.head(functional.interpolate(coarse, size=(16, 16), mode="bilinear", align_corners=False))
        torch.testing.assert_close(predictor(unet_features).refined, expected)


def test_anomaly_and_normal_images_go_through_together():
    """The last two of three are normal; without official each is what it is alone."""
    predictor = small_predictor()
    unet_features, vae_features = small_features()
    with torch.no_grad():
        both = predictor(unet_features, [fine[:1] for fine in vae_features])
        anomaly = predictor([one[:1] for one in unet_features], [fine[:1] for fine in vae_features])
        normal = predictor([one[1:] for one in unet_features])
    for name in ("refined", "coarse"):
        expected = torch.cat([getattr(anomaly, name), getattr(normal, name)])
        torch.testing.assert_close(getattr(both, name), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="VAE features of 3 images with U-Net features of 2"):
        predictor([one[:2] for one in unet_features], vae_features)


def test_the_official_head_starts_without_a_prior():
    """The others start at odds of 49 to 1."""
    assert small_predictor(official=True).head[2].bias.abs().max() < 0.1
    assert small_predictor().head[2].bias.tolist() == pytest.approx([1.9459, -1.9459], abs=1e-4)


def test_normal_images_teach_coarse_branch_and_head_only():
    predictor = small_predictor()
    logits = predictor(small_features()[0])
    focal_loss(logits.refined, torch.zeros(3, 1, 16, 16)).backward()
    assert all(parameter.grad is None for parameter in predictor.refinements.parameters())
    for part in (predictor.coarse_branch, predictor.head):
        assert all(parameter.grad is not None for parameter in part.parameters())


@pytest.mark.parametrize("official", [False, True])
def test_masks_depend_on_batch_mates_only_if_official(official):
    predictor = small_predictor(official).eval()
    unet_features, vae_features = small_features()
    with torch.no_grad():
        together = predictor(unet_features, vae_features)
        alone = predictor([f[:1] for f in unet_features], [f[:1] for f in vae_features])
        trained = predictor.train()(unet_features, vae_features)
    same = torch.allclose(together.refined[:1], alone.refined, atol=1e-4)
    assert same is not official
    torch.testing.assert_close(trained.refined, together.refined)


def test_official_is_batch_normalisation_without_running_statistics():
    kinds = {type(module) for module in small_predictor(official=True).refinements.modules()}
    assert torch.nn.BatchNorm2d in kinds
    assert torch.nn.GroupNorm not in kinds
    assert not any("running" in name for name, _ in small_predictor(official=True).named_buffers())


@pytest.mark.parametrize("official", [False, True])
def test_saving_keeps_the_masks(tmp_path, official):
    predictor = small_predictor(official).eval()
    predictor.save_pretrained(tmp_path)
    loaded = MaskPredictor.from_pretrained(tmp_path)
    assert loaded.config.official is official
    unet_features, vae_features = small_features()
    with torch.no_grad():
        expected, logits = predictor(unet_features, vae_features), loaded(unet_features, vae_features)
    torch.testing.assert_close(logits.refined, expected.refined)
    torch.testing.assert_close(logits.coarse, expected.coarse)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-5), (torch.bfloat16, 0.05)])
def test_float16_autocast_is_kept_out_and_bfloat16_let_through(dtype, tolerance):
    predictor = small_predictor()
    unet_features, vae_features = small_features()
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        logits = predictor([f.bfloat16() for f in unet_features], [f.bfloat16() for f in vae_features])
    with torch.no_grad():
        expected = predictor(
            [f.bfloat16().float() for f in unet_features], [f.bfloat16().float() for f in vae_features]
        )
    assert logits.refined.dtype == logits.coarse.dtype == torch.float32
    torch.testing.assert_close(logits.refined, expected.refined, atol=tolerance, rtol=tolerance)


def test_it_learns_a_mask():
    predictor = small_predictor()
    unet_features, vae_features = small_features(batch=2)
    target = torch.zeros(2, 1, 16, 16)
    target[0, 0, 4:10, 2:9] = 1
    target[1, 0, 9:14, 6:15] = 1
    optimiser = torch.optim.AdamW(predictor.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = focal_loss(predictor(unet_features, vae_features).refined, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


def test_probabilities_are_the_softmax_of_channel_1():
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5]).reshape(1, 2, 1, 2).half()
    result = probabilities(logits)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.sigmoid(torch.tensor([[[[-1.0, -0.5]]]])), atol=1e-3, rtol=0)


def test_mistakes_are_named():
    with pytest.raises(SeasError, match=r"masks\.channels is 20"):
        MaskPredictor(4, 4, (4,), width=20)
    with pytest.raises(SeasError, match="attention_blocks is 0"):
        MaskPredictor(4, 4, (4,), width=8, attention_blocks=0)
    unet_features, vae_features = small_features()
    with pytest.raises(ValueError, match="Expected 2 U-Net and 2 VAE features, got 2 and 1"):
        small_predictor()(unet_features, vae_features[:1])
