# SPDX-License-Identifier: Apache-2.0
"""Estimates how long a benchmark takes, from the multiplications of each network: a plan before anything is run.

Counted are the passes through the networks. Reading images, tests and metrics come on top; they are small beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seas_aug.benchmark.grid import Cell
from seas_aug.config import FineTuneConfig

_BACKWARD = 3  # forward and backward together cost three times the forward pass
_PROMPT_LENGTH = 77  # tokens of CLIP
# TFLOP for the quality of an image: VGG-16 at 256 px twice for each of two diversities, Inception at 299 px twice.
_QUALITY = 0.18


@dataclass(frozen=True)
class SeasWork:
    """What SeaS costs, in TFLOP (10^12 floating-point operations).

    Args:
        fine_tune: both stages, for one anomaly type.
        pair: one generated pair.
        normal: one generated normal image.
        real_mask: mask of one real image.
    """

    fine_tune: float
    pair: float
    normal: float
    real_mask: float


def seas_work(config: FineTuneConfig) -> SeasWork:
    """Count the work of fine-tuning and generating.

    Args:
        config: the settings. Of a hub id, which is not downloaded for this, Stable Diffusion v1's networks are counted.

    Returns:
        Work of ``steps_per_type`` updates, and of the images; the text encoder, which is small, is left out.

    Raises:
        SeasError: the base cannot be loaded.
    """
    import torch

    from seas_aug.draw.reading import LOW_NOISE_TIMESTEPS
    from seas_aug.latents.codec import latent_statistics
    from seas_aug.latents.hole import whole_hole
    from seas_aug.latents.prediction import predict
    from seas_aug.masks.features import read_features
    from seas_aug.masks.predictor import MaskPredictor
    from seas_aug.prompt.embedding import PromptEmbeddings

    unet, vae, native = _networks(config.base)
    size = config.data.image_size or native
    with torch.device("meta"):
        predictor = MaskPredictor.for_models(unet, vae, config.masks)
        image = torch.empty(1, 3, size, size)
        latent = latent_statistics(vae, image)[0]
        width = int(unet.config.cross_attention_dim)
        context, words = torch.empty(1, _PROMPT_LENGTH, width), torch.empty(1, width)
        time, prompts = torch.empty(1), PromptEmbeddings(context, words, torch.empty(1, _PROMPT_LENGTH))
        hole = whole_hole(torch.empty_like(latent), 1)
        features = read_features(unet, vae, latent, time, prompts, 1, hole=hole)
        noise = _tflop(lambda: predict(unet, latent, time, prompts, hole))
        encode, decode = _tflop(lambda: vae.encode(image)), _tflop(lambda: vae.decode(latent))
        mask = _tflop(lambda: predictor(*features))
        detail = 0.0
        if predictor.detail is not None:
            detail = _tflop(lambda: predictor.detail_logits(image[:, :1], image, words))
    first, second, sampling = config.generator, config.masks, config.sampling
    # As many normal images as anomalies; their latents are not kept, because every image is varied anew.
    generator = 2 * first.batch_size * first.accumulate * (_BACKWARD * noise + encode)
    normals = second.batch_size if second.normal_batch_size is None else second.normal_batch_size
    read = second.batch_size if second.feature_batch_size is None else second.feature_batch_size
    shown = read * (1 + normals / second.batch_size)
    masks = read * (decode + _BACKWARD * mask) + shown * (noise + encode)
    masks = second.accumulate * (masks / second.feature_every + _BACKWARD * detail * (second.batch_size + normals))
    image_steps = sampling.num_inference_steps * 2 * noise + encode + decode  # two passes: guidance
    return SeasWork(
        fine_tune=first.steps_per_type * generator + second.steps_per_type * masks,
        pair=image_steps + sampling.mask_steps * (decode + mask) + detail,
        normal=image_steps,
        real_mask=encode + len(LOW_NOISE_TIMESTEPS) * (noise + decode + mask) + detail,
    )


def _networks(base: str) -> tuple[Any, Any, int]:
    """Return U-Net and autoencoder without weights, and the native side in pixels."""
    from pathlib import Path

    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from seas_aug.base.load import load_base

    if base.startswith("embedded") or Path(base).is_dir():
        models = load_base(base)
        return models.unet.to("meta"), models.vae.to("meta"), models.image_size
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
    return unet, vae, 512


def _tflop(run: Callable[[], Any]) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops()) / 1e12


def cell_work(cell: Cell) -> float:
    """Return the TFLOP of a cell's training, or of one type's quality; 0 where nothing is trained.

    Args:
        cell: of any task.

    Raises:
        SeasError: an unknown detector or segmentation network.
    """
    if cell.task == "segmentation":
        return int(cell.settings["steps"]) * int(cell.settings["batch_size"]) * _segmentation_work(cell.settings)
    if cell.task == "quality":
        return int(cell.settings["count"]) * _QUALITY if cell.network == "inception" else 0.0
    if cell.task != "detection":
        return 0.0
    from seas_aug.benchmark.detectors import get_variant

    variant = get_variant(cell.network)
    images = int(cell.settings["steps"]) * int(cell.settings["batch_size"])
    return images * variant.training_gflop * (int(cell.settings["size"]) / variant.size) ** 2 / 1e3


def _segmentation_work(settings: dict[str, Any]) -> float:
    import torch

    from seas_aug.benchmark.segmentation import SegmentationSettings, make_network

    known = SegmentationSettings.__dataclass_fields__
    chosen = {name: value for name, value in settings.items() if name in known}
    with torch.device("meta"):
        network = make_network(SegmentationSettings(**{**chosen, "pretrained": False})).eval()
        return _BACKWARD * _tflop(lambda: network(torch.empty(1, 3, chosen["size"], chosen["size"])))
