# SPDX-License-Identifier: Apache-2.0
"""The sampling loop: DPM-Solver++ with guidance from a noised reference, masks read in the last steps."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from seas_aug.base.latents import decode_latents, encode_latents
from seas_aug.masks.features import UNetFeatures, VAEDecoderFeatures
from seas_aug.masks.predictor import probabilities as mask_probabilities
from seas_aug.noise.start import first_step, official_start_latent, start_latent
from seas_aug.prompt.embedding import encode_prompts

if TYPE_CHECKING:
    from torch import Tensor

    from seas_aug.config import SamplingConfig
    from seas_aug.pipeline.references import References
    from seas_aug.prompt.ua_prompt import UAPrompt


@dataclass(frozen=True)
class ImageRequest:
    """One image to draw.

    Attributes:
        seed: what the user asked for.
        noise_seed: what the noise is drawn from; moves on when an image is drawn again.
        reference: index of the normal image to start from.
        retries: earlier draws with an empty mask.
    """

    seed: int
    noise_seed: int
    reference: int
    retries: int


@dataclass(frozen=True)
class SamplerSettings:
    """See :class:`seas_aug.config.SamplingConfig`; ``official`` starts from the unscaled latent.

    Attributes:
        against: prompt that the guidance leads away from.
        max_timestep: fine-tuning saw timesteps below it only; None means all.
    """

    num_inference_steps: int
    guidance_scale: float
    strength: float
    mask_steps: int
    official: bool
    against: str = ""
    max_timestep: int | None = None

    @classmethod
    def of(
        cls, sampling: SamplingConfig, prompt: UAPrompt, official: bool, max_timestep: int | None = None
    ) -> SamplerSettings:
        """Return the settings of a run.

        Args:
            sampling: steps, guidance, strength.
            prompt: words of the run, for the prompt that the guidance leads away from.
            official: quirks of the authors' code.
            max_timestep: see the class.
        """
        against = prompt.normal_prompt() if sampling.guidance_from == "normal" else ""
        return cls(
            sampling.num_inference_steps,
            sampling.guidance_scale,
            sampling.strength,
            sampling.mask_steps,
            official,
            against,
            max_timestep,
        )


def image_noise(request: ImageRequest, shape: torch.Size) -> Tensor:
    """Return the start noise of one image, float32 ``shape``, from a generator of its own on the CPU."""
    generator = torch.Generator().manual_seed(request.noise_seed)
    return torch.randn(shape, generator=generator)


def draw_pairs(
    pipe: Any, requests: list[ImageRequest], bank: References, prompt: str, defects: bool, settings: SamplerSettings
) -> tuple[Tensor, Tensor]:
    """Draw a batch of latents and their mask probabilities.

    Args:
        pipe: the models.
        requests: one per image.
        bank: reference images.
        prompt: text of the condition; where it is ``settings.against`` too, there is no guidance.
        defects: whether masks are predicted.
        settings: solver settings.

    Returns:
        Scaled latents ``[B, C, h, w]`` on the model's device, and float32 CPU probabilities ``[B, 1, H, W]`` in [0, 1]
        (zeros without ``defects``).
    """
    device, scheduler = pipe.unet.device, pipe.scheduler
    scheduler.set_timesteps(settings.num_inference_steps, device="cpu")
    latents = torch.cat([_start(pipe, request, bank, settings) for request in requests]).to(device)
    begin = 0 if settings.official else first_index(scheduler, settings)
    scheduler.set_begin_index(begin)
    prompts = [prompt] if prompt == settings.against else [prompt, settings.against]
    context, _ = encode_prompts(pipe.tokenizer, pipe.text_encoder, prompts)
    total = torch.zeros(len(requests), 1, *bank.images.shape[-2:])
    timesteps = scheduler.timesteps[begin:]
    for index, timestep in enumerate(timesteps):
        read_mask = defects and index >= len(timesteps) - settings.mask_steps
        noise, probability = _predict(pipe, latents, timestep, context, settings.guidance_scale, read_mask)
        if probability is not None:
            total += probability / settings.mask_steps
        latents = scheduler.step(noise, timestep, latents).prev_sample
    return latents, total


def first_index(scheduler: Any, settings: SamplerSettings) -> int:
    """Return the step to start from on the scheduler's present grid.

    Raises:
        SeasError: there is none whose noise the model was fine-tuned on.
    """
    total = scheduler.config.num_train_timesteps
    return first_step(total, settings.strength, scheduler.timesteps, settings.mask_steps, settings.max_timestep)


def _start(pipe: Any, request: ImageRequest, bank: References, settings: SamplerSettings) -> Tensor:
    """Return the noised latent ``[1, C, h, w]`` of one reference."""
    image = bank.images[request.reference][None].to(pipe.unet.device).float() / 127.5 - 1
    scaled = encode_latents(pipe.vae, image).cpu()
    noise = image_noise(request, scaled.shape)
    if settings.official:
        config = pipe.scheduler.config
        return official_start_latent(
            scaled / float(pipe.vae.config.scaling_factor), noise, config.beta_start, config.beta_end
        )
    timestep = pipe.scheduler.timesteps[first_index(pipe.scheduler, settings)]
    return start_latent(pipe.scheduler, scaled, noise, timestep)


def _predict(
    pipe: Any, latents: Tensor, timestep: Tensor, context: Tensor, guidance: float, read_mask: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the guided noise and, if asked for, the mask probabilities of the current latents.

    The batch goes through the networks one image at a time on a CPU, where that costs nothing, so that the pixels of an
    image never depend on how many others are drawn with it.
    """
    chunks = latents.split(1) if latents.device.type == "cpu" else (latents,)
    noises, masks = [], []
    for chunk in chunks:
        with ExitStack() as stack:
            hook = stack.enter_context(UNetFeatures(pipe.unet)) if read_mask else None
            count = len(chunk)
            both = context.repeat_interleave(count, dim=0).to(pipe.unet.dtype)
            inputs = chunk.repeat(len(context), 1, 1, 1).to(pipe.unet.dtype)
            predicted = pipe.unet(inputs, timestep.to(chunk.device), both).sample.float()
            conditional, against = predicted[:count], predicted[-count:]
            noises.append(against + guidance * (conditional - against))
            if hook is not None:
                features = [feature[:count] for feature in hook.features]
                masks.append(predict_mask(pipe.vae, pipe.mask_predictor, features, chunk).cpu())
    return torch.cat(noises), torch.cat(masks) if masks else None


def predict_mask(vae: Any, predictor: Any, unet_features: list[Tensor], latents: Tensor) -> Tensor:
    """Return anomaly probabilities ``[B, 1, H, W]`` of noisy latents (RMP, SeaS section 3.3).

    Args:
        vae: autoencoder; its decoder's features refine the mask.
        predictor: :class:`~seas_aug.masks.predictor.MaskPredictor`.
        unet_features: up-block features of the conditional pass at the same latents.
        latents: scaled latents ``[B, C, h, w]`` at the timestep of the features.
    """
    with VAEDecoderFeatures(vae) as hook:
        decode_latents(vae, latents)
    return mask_probabilities(predictor(unet_features, hook.features).refined)
