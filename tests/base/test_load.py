# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch

from seas_aug.base import load
from seas_aug.base.load import load_base
from seas_aug.errors import SeasError
from seas_aug.latents.codec import decode_latents, encode_latents, latent_scale, latent_shape
from tests.tiny_base import tiny_dc_vae, with_holes, write_base
from tests.tiny_models import tiny_unet, tiny_vae


@pytest.fixture(scope="module")
def dc_folder(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("dc") / "base", vae=tiny_dc_vae())


def make_embedded(base_folder, folder):
    """Lay a base out as the embedded one lies in the package."""
    shutil.copytree(base_folder, folder / "v6")
    hashes = {
        path.relative_to(folder / "v6").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (folder / "v6").rglob("*.safetensors")
    }
    (folder / "v6" / "base.json").write_text(json.dumps({"name": "embedded-v6", "sha256": hashes}))
    return folder


def test_both_autoencoders(base_folder, dc_folder):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = torch.ones(2, 4, 8, 8)
    for folder, name in ((base_folder, "AutoencoderKL"), (dc_folder, "AutoencoderDC")):
        models = load_base(str(folder))
        assert type(models.vae).__name__ == name
        assert (models.image_size, models.name) == (32, str(folder))
        assert latent_scale(models.vae) == 4
        assert latent_shape(models.unet, models.vae, 64) == (4, 16, 16)
        for part in (models.unet, models.vae, models.text_encoder):
            assert {weight.dtype for weight in part.parameters()} == {torch.float32}
        with torch.no_grad():
            latents = encode_latents(models.vae, images)
            drawn = encode_latents(models.vae, images, noise)
            decoded = decode_latents(models.vae, latents)
        assert latents.shape == (2, 4, 8, 8)
        assert decoded.shape == images.shape
        assert torch.equal(latents, drawn) == (name == "AutoencoderDC")  # which has no posterior


def test_latents_are_scaled(base_folder):
    vae = load_base(str(base_folder)).vae
    image = torch.zeros(1, 3, 16, 16)
    with torch.no_grad():
        posterior = vae.encode(image).latent_dist
        noise = torch.full_like(posterior.mean, 2.0)
        expected = (posterior.mean + 2 * posterior.std) * vae.config.scaling_factor
        torch.testing.assert_close(encode_latents(vae, image, noise), expected)
        torch.testing.assert_close(
            decode_latents(vae, posterior.mean * vae.config.scaling_factor), vae.decode(posterior.mean).sample
        )


def test_half_precision_weights_are_loaded_as_float32(tmp_path):
    folder = write_base(tmp_path / "half", tiny_unet(sample_size=8).half(), tiny_vae().half())
    models = load_base(str(folder))
    assert models.unet.dtype == models.vae.dtype == torch.float32


def test_embedded(base_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "_WEIGHTS", make_embedded(base_folder, tmp_path))
    assert load_base().name == load_base("embedded").name == load_base("embedded-v6").name == "embedded-v6"


def test_damaged_embedded_weights(base_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "_WEIGHTS", make_embedded(base_folder, tmp_path))
    path = tmp_path / "v6" / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(SeasError, match=r"vae/diffusion_pytorch_model\.safetensors is damaged: its sha256 differs"):
        load_base()
    path.unlink()
    with pytest.raises(SeasError, match="lacks a file of the embedded base"):
        load_base()
    (tmp_path / "v6" / "base.json").unlink()
    with pytest.raises(SeasError, match="install seas_aug again"):
        load_base()


def broken_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0torn")


def no_unet(folder):
    shutil.rmtree(folder / "unet")


def broken_json(folder):
    (folder / "unet" / "config.json").write_text("{")


def no_index(folder):
    (folder / "model_index.json").unlink()


def other_vae(folder):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "vae": ["diffusers", "AutoencoderOfMars"]}))


def no_vae_in_index(folder):
    (folder / "model_index.json").write_text('{"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}')


def broken_text_encoder(folder):
    (folder / "text_encoder" / "model.safetensors").write_bytes(b"torn")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_index, "is no diffusion model: it has no model_index.json"),
        (no_unet, "could not be loaded as a Stable-Diffusion-like model"),
        (broken_weights, "could not be loaded"),
        (broken_json, "could not be loaded"),
        (other_vae, "AutoencoderOfMars"),
        (no_vae_in_index, "could not be loaded"),
        (broken_text_encoder, "could not be loaded"),
    ],
)
def test_broken_folders_give_one_sentence(base_folder, tmp_path, damage, message):
    folder = shutil.copytree(base_folder, tmp_path / "base")
    damage(folder)
    with pytest.raises(SeasError, match=message) as error:
        load_base(str(folder))
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_unknown_bases():
    with pytest.raises(SeasError, match="base 'embedded-v9' is not in this package, which has 'embedded-v6'"):
        load_base("embedded-v9")
    with pytest.raises(SeasError, match="'embedded-v4' is no longer in this package, which has 'embedded-v6'"):
        load_base("embedded-v4")
    with pytest.raises(SeasError, match="could not be loaded"):
        load_base("/no/such/folder/anywhere")


def test_other_predictions_and_layouts(tmp_path):
    folder = write_base(tmp_path / "velocity", prediction_type="v_prediction")
    assert load_base(str(folder)).scheduler.config.prediction_type == "v_prediction"
    folder = write_base(tmp_path / "sample", prediction_type="sample")
    with pytest.raises(SeasError, match="predicts 'sample'; give one that predicts noise"):
        load_base(str(folder))
    unet = tiny_unet(sample_size=8)
    assert load_base(str(write_base(tmp_path / "inpainting", with_holes(unet)))).unet.config.in_channels == 9
    depth = type(unet).from_config(unet.config, in_channels=5)
    with pytest.raises(SeasError, match="in_channels of its unet is 5, expected 4 or 9; give a text-to-image or inp"):
        load_base(str(write_base(tmp_path / "depth", depth)))
    with pytest.raises(SeasError, match="cross_attention_dim of its unet is 24, expected 16"):
        load_base(str(write_base(tmp_path / "wide", tiny_unet(sample_size=8, text_width=24))))
    oblong = type(unet).from_config(unet.config, sample_size=(8, 16))
    with pytest.raises(SeasError, match="draws no squares"):
        load_base(str(write_base(tmp_path / "oblong", oblong)))
