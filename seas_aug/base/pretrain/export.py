# SPDX-License-Identifier: Apache-2.0
"""Write the pretrained base as a diffusers folder of fp16 safetensors."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch


def export_base(
    autoencoder: str = "runs/base/autoencoder/final.ckpt",
    diffusion: str = "runs/base/diffusion/final.ckpt",
    masks: Path | None = None,
    output: Path = Path("seas_aug/base/weights/v6"),
) -> None:
    """Stage 3: write ``unet``, ``vae``, ``text_encoder``, ``tokenizer``, ``scheduler`` and their hashes.

    Args:
        autoencoder: checkpoint of stage 1, or the base that stage 2 kept it from, such as ``embedded``.
        diffusion: checkpoint of stage 2, or a base whose U-Net, text encoder and words are kept.
        masks: checkpoint of stage 4 or, with a detail branch, 5, once there is one; or a base that has one.
        output: folder of the weights in the package.
    """
    from seas_aug.base.load import load_base
    from seas_aug.base.pretrain.architecture import NATIVE_SIZE
    from seas_aug.base.pretrain.diffusion import DiffusionModule, load_autoencoder
    from seas_aug.base.pretrain.inpainting import is_inpainting_checkpoint, load_inpainting
    from seas_aug.base.pretrain.masks import load_mask_predictor

    module: Any
    if Path(diffusion).suffix == ".ckpt" and is_inpainting_checkpoint(Path(diffusion)):
        module = load_inpainting(Path(diffusion))
        scaling = 1.0  # of normalised latents
    elif Path(diffusion).suffix == ".ckpt":
        module = DiffusionModule.load_from_checkpoint(diffusion, map_location="cpu", weights_only=True)
        scaling = float(module.hparams["scaling_factor"])
    else:
        module = load_base(diffusion)
        scaling = float(module.vae.config.scaling_factor)
    vae = load_autoencoder(autoencoder).cpu()
    vae.register_to_config(scaling_factor=scaling)  # type: ignore[operator]
    for part in (vae, module.unet):
        part.register_to_config(_name_or_path="embedded")  # type: ignore[operator]  # not a path of this machine
    # All is read before anything is deleted: a source may lie in the output folder.
    if masks is not None and masks.is_dir():  # of a base
        predictor = load_base(str(masks)).mask_predictor
    else:
        predictor = None if masks is None else load_mask_predictor(masks)
    if output.exists():
        shutil.rmtree(output)
    parts = {"unet": module.unet, "vae": vae, "text_encoder": module.text_encoder}
    for name, part in parts.items():
        part.eval().to(torch.float16).save_pretrained(output / name)  # type: ignore[operator]
    module.tokenizer.save_pretrained(output / "tokenizer")
    module.scheduler.save_pretrained(output / "scheduler")
    index: dict[str, object] = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", type(vae).__name__],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDPMScheduler"],
    }
    if predictor is not None:
        predictor.to(torch.float16).save_pretrained(output / "mask_predictor")
        index["mask_predictor"] = ["seas_aug.masks.predictor", "MaskPredictor"]
    (output / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    hashes = {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*.safetensors"))
    }
    card = {"name": f"embedded-{output.name}", "image_size": NATIVE_SIZE, "sha256": hashes}
    (output / "base.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
