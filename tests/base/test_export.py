# SPDX-License-Identifier: Apache-2.0
"""What pretraining leaves is what the package loads."""

from __future__ import annotations

import json

import lightning
import torch

from seas_aug.base import load
from seas_aug.base.load import load_base
from seas_aug.base.pretrain.details import DetailPretraining
from seas_aug.base.pretrain.diffusion import DiffusionModule
from seas_aug.base.pretrain.export import export_base
from seas_aug.base.pretrain.masks import MaskPretraining


def save_checkpoint(module, path):
    trainer = lightning.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=True)


def assert_equal_in_half(found, expected):
    for name, weight in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], weight.half().to(found.state_dict()[name]), atol=0, rtol=0)


def test_export_with_and_without_masks(tmp_path, monkeypatch):
    torch.manual_seed(0)
    unet = DiffusionModule(10, 1.25, tmp_path / "tokenizer")
    save_checkpoint(unet, tmp_path / "unet.ckpt")
    target = tmp_path / "weights" / "v6"
    export_base("embedded", tmp_path / "unet.ckpt", output=target)
    assert load_base(str(target)).mask_predictor is None
    masks = MaskPretraining(str(target), 10)
    save_checkpoint(masks, tmp_path / "masks.ckpt")
    assert (tmp_path / "masks.ckpt").stat().st_size < 4e6  # the frozen base is not in it
    # Its own output folder as the source of the autoencoder, and of the base that the masks were trained on.
    export_base(str(target), tmp_path / "unet.ckpt", tmp_path / "masks.ckpt", target)
    monkeypatch.setattr(load, "_WEIGHTS", tmp_path / "weights")
    found = load_base("embedded-v6")
    card = json.loads((target / "base.json").read_text())
    assert {name.split("/")[0] for name in card["sha256"]} == {"unet", "vae", "text_encoder", "mask_predictor"}
    assert float(found.vae.config.scaling_factor) == 1.25
    assert all("tmp" not in (target / part / "config.json").read_text() for part in ("vae", "unet"))
    assert_equal_in_half(found.unet, unet.unet)
    assert_equal_in_half(found.text_encoder, unet.text_encoder)
    assert_equal_in_half(found.mask_predictor, masks.predictor)
    details = DetailPretraining(str(target), 10)
    save_checkpoint(details, tmp_path / "details.ckpt")
    assert (tmp_path / "details.ckpt").stat().st_size < 7e6
    export_base(str(target), tmp_path / "unet.ckpt", tmp_path / "details.ckpt", target)
    finished = load_base("embedded-v6").mask_predictor
    assert_equal_in_half(finished, details.predictor)
    assert torch.equal(finished.head[-1].weight, found.mask_predictor.head[-1].weight)  # the other stage's part
    assert finished.detail is not None
