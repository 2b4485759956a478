# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from seas_aug.errors import SeasError
from seas_aug.masks import UNetFeatures, VAEDecoderFeatures, unet_channels, vae_channels
from tests.tiny_models import TEXT_WIDTH, tiny_unet, tiny_vae


@pytest.mark.parametrize("channels", [(8, 16, 24), (8, 16, 24, 32)])
def test_unet_features_are_low_and_mid_whatever_the_depth(channels):
    unet = tiny_unet(channels)
    with torch.no_grad(), UNetFeatures(unet) as hook:
        unet(torch.randn(2, 4, 16, 16), 5, torch.randn(2, 3, TEXT_WIDTH))
    low, mid = hook.features
    assert unet_channels(unet) == (channels[2], channels[1])
    assert low.shape == (2, unet_channels(unet)[0], 8, 8)
    assert mid.shape == (2, unet_channels(unet)[1], 16, 16)


@pytest.mark.parametrize("channels", [(8, 16, 24), (8, 16, 24, 32)])
def test_vae_features_double_up_to_image_size(channels):
    vae = tiny_vae(channels)
    with torch.no_grad(), VAEDecoderFeatures(vae) as hook:
        image = vae.decode(torch.randn(2, 4, 4, 4)).sample
    assert vae_channels(vae) == tuple(reversed(channels))[: len(channels) - 1]
    for step, (feature, count) in enumerate(zip(hook.features, vae_channels(vae), strict=True), start=1):
        assert feature.shape == (2, count, 4 * 2**step, 4 * 2**step)
    assert hook.features[-1].shape[-2:] == image.shape[-2:]


def test_hooks_come_off_and_features_stay():
    vae = tiny_vae()
    hook = VAEDecoderFeatures(vae)
    with pytest.raises(RuntimeError, match="No features yet"):
        _ = hook.features
    with torch.no_grad(), pytest.raises(RuntimeError, match="stop"), hook:
        vae.decode(torch.randn(1, 4, 4, 4))
        raise RuntimeError("stop")
    kept = hook.features[0]
    with torch.no_grad():
        vae.decode(torch.randn(1, 4, 4, 4))
    assert hook.features[0] is kept
    assert not any(block._forward_hooks for block in vae.decoder.up_blocks)
    hook.clear()
    with pytest.raises(RuntimeError, match="No features yet"):
        _ = hook.features


def test_unsupported_models_are_named():
    with pytest.raises(SeasError, match="has 2 up blocks"):
        UNetFeatures(tiny_unet((8, 16)))
    with pytest.raises(SeasError, match="no up block that upsamples"):
        VAEDecoderFeatures(tiny_vae((8,)))
    vae = tiny_vae()
    vae.enable_slicing()
    with pytest.raises(SeasError, match="slices or tiles"):
        VAEDecoderFeatures(vae)


def test_features_of_an_autoencoder_dc():
    from diffusers import AutoencoderDC

    vae = AutoencoderDC(
        latent_channels=4,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 16),
        decoder_block_out_channels=(8, 8, 16),
        encoder_layers_per_block=(0, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
    )
    with torch.no_grad(), VAEDecoderFeatures(vae) as hook:
        vae.decode(torch.randn(2, 4, 8, 8))
    assert [tuple(feature.shape) for feature in hook.features] == [(2, 8, 16, 16), (2, 8, 32, 32)]
    assert vae_channels(vae) == (8, 8)
