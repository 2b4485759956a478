# SPDX-License-Identifier: Apache-2.0
"""Load the models of a base: the embedded one, a local diffusers folder, or one from the hub."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seas_aug.artifact.model_hash import model_hash
from seas_aug.errors import SeasError

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer

EMBEDDED_VERSIONS = ("v6",)
_RETIRED_VERSIONS = ("v1", "v2", "v3", "v4", "v5")
_WEIGHTS = Path(__file__).parent / "weights"


@dataclass
class BaseModels:
    """The parts of a latent diffusion model, in float32.

    Attributes:
        unet: noise predictor.
        vae: autoencoder.
        text_encoder: CLIP text model.
        tokenizer: its tokenizer.
        scheduler: training noise schedule (DDPM).
        image_size: native side of the images in pixels.
        name: what a run records: ``embedded-v6``, a folder or a hub id.
        mask_predictor: Refined Mask Prediction (RMP) that the base brings along, or None.
    """

    unet: Any
    vae: Any
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: Any
    image_size: int
    name: str
    mask_predictor: Any = None


def resolve_base(base: str) -> str:
    """Return the base's lasting name: ``embedded`` becomes the newest version, such as ``embedded-v6``."""
    return f"embedded-{EMBEDDED_VERSIONS[-1]}" if base == "embedded" else base


def load_base(base: str = "embedded") -> BaseModels:
    """Load a base by name.

    Args:
        base: ``embedded`` (the newest embedded version), ``embedded-v6``, a local diffusers folder, or a hub id.

    Raises:
        SeasError: an unknown version, a folder or hub id that holds no diffusion model, or damaged weights.
    """
    base = resolve_base(base)
    if base.startswith("embedded-"):
        version = base.removeprefix("embedded-")
        if version not in EMBEDDED_VERSIONS:
            what = "is no longer" if version in _RETIRED_VERSIONS else "is not"
            message = (
                f"base '{base}' {what} in this package, which has {_names()}; choose one of them to fine-tune anew."
            )
            raise SeasError(message)
        _check_hashes(_WEIGHTS / version)
        return _load(str(_WEIGHTS / version), base)
    folder = Path(base)
    if folder.exists() and not (folder / "model_index.json").is_file():
        message = (
            f"base '{base}' is no diffusion model: it has no model_index.json; give a folder saved by diffusers with "
            f"unet, vae, text_encoder, tokenizer and scheduler, a hub id, or {_names()}."
        )
        raise SeasError(message)
    return _load(base, base)


def base_hash(base: str) -> str:
    """Return what tells the weights of bases apart.

    Args:
        base: as for :func:`load_base`.

    Returns:
        A hash of the files; of a hub id, whose files may not be here yet, the id itself.
    """
    base = resolve_base(base)
    folder = _WEIGHTS / base.removeprefix("embedded-") if base.startswith("embedded-") else Path(base)
    return model_hash(folder) if folder.is_dir() else base


def _names() -> str:
    return ", ".join(f"'embedded-{version}'" for version in EMBEDDED_VERSIONS)


def _check_hashes(folder: Path) -> None:
    """Compare the weights with the hashes in ``base.json``."""
    try:
        expected = json.loads((folder / "base.json").read_text(encoding="utf-8"))["sha256"]
        damaged = [
            name
            for name, digest in expected.items()
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest
        ]
    except (OSError, ValueError, KeyError) as error:
        message = f"{folder} lacks a file of the embedded base ({_first_line(error)}); install seas_aug again."
        raise SeasError(message) from error
    if damaged:
        message = f"{folder / damaged[0]} is damaged: its sha256 differs from base.json; install seas_aug again."
        raise SeasError(message)


def _load(source: str, name: str) -> BaseModels:
    import diffusers
    import torch
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from safetensors import SafetensorError
    from transformers import CLIPTextModel, CLIPTokenizer

    try:
        index = diffusers.DiffusionPipeline.load_config(source)
        vae_class = getattr(diffusers, index["vae"][1])
        unet = UNet2DConditionModel.from_pretrained(source, subfolder="unet", torch_dtype=torch.float32)
        vae = vae_class.from_pretrained(source, subfolder="vae", torch_dtype=torch.float32)
        text_encoder = CLIPTextModel.from_pretrained(source, subfolder="text_encoder", dtype=torch.float32)
        tokenizer = CLIPTokenizer.from_pretrained(source, subfolder="tokenizer")
        scheduler = DDPMScheduler.from_pretrained(source, subfolder="scheduler")
        predictor = _load_mask_predictor(source) if index.get("mask_predictor", [None])[0] else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        message = (
            f"base '{name}' could not be loaded as a Stable-Diffusion-like model ({_first_line(error)}); give "
            f"{_names()}, a local diffusers folder, or a hub id that this machine can reach."
        )
        raise SeasError(message) from error
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        message = (
            f"base '{name}' predicts '{scheduler.config.prediction_type}'; give one that predicts noise (epsilon, such "
            "as Stable Diffusion 1.x) or velocity (v_prediction, such as 2.1)."
        )
        raise SeasError(message)
    _check_fit(unet, vae, text_encoder, name)
    from seas_aug.latents.codec import latent_scale

    image_size = int(unet.config.sample_size) * latent_scale(vae)
    return BaseModels(unet, vae, text_encoder, tokenizer, scheduler, image_size, name, predictor)


def _load_mask_predictor(source: str) -> Any:
    import torch

    from seas_aug.masks.predictor import MaskPredictor

    return MaskPredictor.from_pretrained(source, subfolder="mask_predictor", torch_dtype=torch.float32)


def _check_fit(unet: Any, vae: Any, text_encoder: Any, name: str) -> None:
    """Refuse models of another layout, such as SDXL (two text encoders)."""
    channels, width = vae.config.latent_channels, text_encoder.config.hidden_size
    known: dict[str, tuple[Any, ...]] = {
        "in_channels": (channels, 2 * channels + 1),  # text-to-image, inpainting
        "out_channels": (channels,),
        "cross_attention_dim": (width,),
        "addition_embed_type": (None,),
        "class_embed_type": (None, "projection"),  # the pooled prompt, in the embedded base
        "projection_class_embeddings_input_dim": (None, width),
    }
    for key, values in known.items():
        if unet.config[key] not in values:
            expected = " or ".join(map(str, values))
            message = (
                f"base '{name}' has another layout than Stable Diffusion 1.x: {key} of its unet is {unet.config[key]}, "
                f"expected {expected}; give a text-to-image or inpainting model."
            )
            raise SeasError(message)
    if not isinstance(unet.config.sample_size, int):
        message = f"base '{name}' draws no squares: sample_size of its unet is {unet.config.sample_size}; give another."
        raise SeasError(message)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
