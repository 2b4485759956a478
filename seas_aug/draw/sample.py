# SPDX-License-Identifier: Apache-2.0
"""Step 3 of drawing: DPM-Solver++ with guidance from a noised start, masks read in the last steps."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DPMSolverMultistepScheduler

from seas_aug.data.seeds import derive_seed
from seas_aug.errors import SeasError
from seas_aug.latents.codec import decode_latents, latent_shape, latent_statistics
from seas_aug.latents.hole import MARGIN, Hole, exact_hole, hidden_latents, make_hole, whole_hole
from seas_aug.latents.prediction import is_inpainting, predict
from seas_aug.latents.random_holes import coarse_hole
from seas_aug.latents.start import first_step, official_start_latent, start_latent
from seas_aug.masks.features import UNetFeatures, decoder_features
from seas_aug.masks.predictor import probabilities as mask_probabilities
from seas_aug.prompt.embedding import encode_prompts

if TYPE_CHECKING:
    from torch import Tensor

    from seas_aug.config import SamplingConfig
    from seas_aug.prompt.embedding import PromptEmbeddings


COARSE_SPARE = 0.3
"""By how many sizes of the shape a coarse hole reaches beyond it on each side."""


@dataclass(frozen=True)
class SamplerSettings:
    """How one start is drawn: the run's settings with its strength, see :class:`seas_aug.config.SamplingConfig`.

    Attributes:
        sampling: steps, guidance, mask steps.
        strength: share of the noise that the start gets.
        against: prompt that the guidance leads away from.
        official: start from a sample of the unscaled latent, and predict the masks of all images of a batch together,
            as the authors' code does.
        max_timestep: fine-tuning saw timesteps below it only; None means all.
    """

    sampling: SamplingConfig
    strength: float
    against: str = ""
    official: bool = False
    max_timestep: int | None = None


def start_noise(seed: int, shape: torch.Size) -> Tensor:
    """Return the start noise of one image, float32 ``shape``, from a generator of its own on the CPU."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draw_windows(
    pipe: Any,
    starts: Tensor,
    seeds: list[int],
    prompt: str,
    defects: bool,
    settings: SamplerSettings,
    shapes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw a batch of latents and their mask probabilities.

    Args:
        pipe: the models.
        starts: pictures to start from, uint8 ``[B, 3, S, S]``.
        seeds: of the noise, one per picture.
        prompt: text of the condition; where it is ``settings.against`` too, there is no guidance.
        defects: whether masks are predicted.
        settings: solver settings.
        shapes: float ``[B, 1, S, S]`` of 0 and 1: draw in holes of these shapes alone, from nothing but noise; no
            masks are predicted then. None noises the pictures.

    Returns:
        Scaled latents ``[B, C, h, w]`` on the model's device, and float32 CPU probabilities ``[B, 1, S, S]`` in [0, 1]
        (zeros without ``defects``).
    """
    device, scheduler, sampling = pipe.unet.device, pipe.scheduler, settings.sampling
    scheduler.set_timesteps(sampling.num_inference_steps, device="cpu")
    noises = None if shapes is None else torch.stack([start_noise(seed, _shape(pipe, starts)) for seed in seeds])
    hole = None if shapes is None else drawing_hole(pipe, starts, shapes, settings.sampling)
    pairs = zip(starts, seeds, strict=True)
    if noises is None:
        latents = torch.cat([_start(pipe, start, seed, settings) for start, seed in pairs]).to(device)
    else:
        latents = noises.to(device)
    begin = 0 if settings.official or hole is not None else first_index(scheduler, settings)
    scheduler.set_begin_index(begin)
    prompts = [prompt] if prompt == settings.against else [prompt, settings.against]
    embeddings = encode_prompts(pipe.tokenizer, pipe.text_encoder, prompts)
    total = torch.zeros(len(starts), 1, *starts.shape[-2:])
    timesteps = scheduler.timesteps[begin:]
    whole = None
    if hole is None and is_inpainting(pipe.unet):
        whole = whole_hole(hidden_latents(pipe.vae, starts.shape[-1]), len(latents))
    for index, timestep in enumerate(timesteps):
        read_mask = defects and hole is None and index >= len(timesteps) - sampling.mask_steps
        if hole is not None and noises is not None and not is_inpainting(pipe.unet):
            around = start_latent(scheduler, hole.reference, noises.to(device), timestep)
            latents = hole.inside * latents + (1 - hole.inside) * around
        noise, probability = _predict(pipe, latents, timestep, embeddings, settings, read_mask, hole or whole)
        if probability is not None:
            total += probability / sampling.mask_steps
        latents = scheduler.step(noise, timestep, latents).prev_sample
    if hole is not None:
        latents = hole.inside * latents + (1 - hole.inside) * hole.reference
    return latents, total


def drawing_hole(pipe: Any, pictures: Tensor, shapes: Tensor, sampling: SamplingConfig) -> Hole:
    """Return the holes that defects are drawn in.

    Args:
        pipe: the models.
        pictures: what is seen around the holes, uint8 ``[B, 3, S, S]``.
        shapes: float ``[B, 1, S, S]`` of 0 and 1.
        sampling: ``hole_shape`` and ``hole_reference``; a text-to-image model sees neither.
    """
    device = pipe.unet.device
    images = (picture[None].to(device).float() / 127.5 - 1 for picture in pictures)  # one by one: no pixel depends on
    latents = torch.cat([latent_statistics(pipe.vae, image)[0] for image in images])  # how many are drawn together
    side = latents.shape[-1]
    mask = exact_hole(shapes.to(device), side, MARGIN)
    if sampling.hole_shape == "coarse":
        spare = torch.full((len(mask), 4), COARSE_SPARE, device=device)
        mask = coarse_hole(mask > 0, spare, torch.zeros(len(mask), dtype=torch.bool, device=device))
    hidden = hidden_latents(pipe.vae, pictures.shape[-1])
    return make_hole(mask, latents, hidden, sampling.hole_reference == "seen" or not is_inpainting(pipe.unet))


def decode_pictures(pipe: Any, latents: Tensor, grey: bool) -> Tensor:
    """Return finished pictures, uint8 ``[B, 3, S, S]`` on the CPU, one decoded at a time.

    Args:
        pipe: the models.
        latents: scaled latents ``[B, C, h, w]``.
        grey: take the mean of the channels, as an autoencoder for colours leaves a tint on grey products.
    """
    images = torch.cat([decode_latents(pipe.vae, latent[None]) for latent in latents])
    images = ((images.clamp(-1, 1) + 1) / 2).cpu()
    if grey:
        images = images.mean(dim=1, keepdim=True).expand_as(images)
    return (images * 255).round().to(torch.uint8)


def first_index(scheduler: Any, settings: SamplerSettings) -> int:
    """Return the step to start from on the scheduler's present grid.

    Raises:
        SeasError: there is none whose noise the model was fine-tuned on.
    """
    total = scheduler.config.num_train_timesteps
    steps = settings.sampling.mask_steps
    return first_step(total, settings.strength, scheduler.timesteps, steps, settings.max_timestep)


def check_mask_steps(timesteps: Tensor, mask_steps: int, limit: int | None) -> None:
    """Refuse to read masks at more noise than their predictor has seen: they would be wrong without a word.

    Args:
        timesteps: of the solver, descending, integers ``[S]``.
        mask_steps: how many of the last ones read the mask.
        limit: the predictor was trained on timesteps below it only; None if that is not known.

    Raises:
        SeasError: the first of them is not below the limit.
    """
    first = int(timesteps[-min(mask_steps, len(timesteps))])
    if limit is not None and first >= limit:
        message = (
            f"num_inference_steps is {len(timesteps)} and mask_steps {mask_steps}, so that masks would be read from "
            f"timestep {first} on, but their predictor was trained below {limit} only (masks.max_timestep); give more "
            "inference steps or fewer mask steps."
        )
        raise SeasError(message)


def _shape(pipe: Any, pictures: Tensor) -> torch.Size:
    return latent_shape(pipe.unet, pipe.vae, pictures.shape[-1])


def _start(pipe: Any, start: Tensor, seed: int, settings: SamplerSettings) -> Tensor:
    """Return the noised latent ``[1, C, h, w]`` of one picture."""
    image = start[None].to(pipe.unet.device).float() / 127.5 - 1
    mean, deviation = latent_statistics(pipe.vae, image)
    scaled = mean.cpu()
    noise = start_noise(seed, scaled.shape)
    if deviation is not None and (settings.official or settings.sampling.reference_latent == "sample"):
        scaled = scaled + deviation.cpu() * start_noise(derive_seed(seed, "posterior"), scaled.shape)
    if settings.official:
        config = pipe.scheduler.config
        return official_start_latent(
            scaled / float(pipe.vae.config.scaling_factor), noise, config.beta_start, config.beta_end
        )
    timestep = pipe.scheduler.timesteps[first_index(pipe.scheduler, settings)]
    return start_latent(pipe.scheduler, scaled, noise, timestep)


def _predict(
    pipe: Any,
    latents: Tensor,
    timestep: Tensor,
    prompts: PromptEmbeddings,
    settings: SamplerSettings,
    read_mask: bool,
    hole: Hole | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the guided noise and, if asked for, the mask probabilities of the current latents.

    The batch goes through the networks one image at a time on a CPU, where that costs nothing, so that the pixels of an
    image never depend on how many others are drawn with it. With ``official`` they do: the mask branch takes the
    statistics of the batch.
    """
    one_by_one = latents.device.type == "cpu" and not settings.official
    chunks = latents.split(1) if one_by_one else (latents,)
    guidance = settings.sampling.guidance_scale
    noises, masks = [], []
    for number, chunk in enumerate(chunks):
        with ExitStack() as stack:
            hook = stack.enter_context(UNetFeatures(pipe.unet)) if read_mask else None
            count = len(chunk)
            inputs = chunk.repeat(len(prompts.context), 1, 1, 1)
            shown = None
            if hole is not None:
                shown = hole.rows(slice(number * count, (number + 1) * count)).repeat(len(prompts.context))
            predicted = predict(pipe.unet, inputs, timestep.to(chunk.device), prompts.repeat_each(count), shown)
            conditional, against = predicted[:count], predicted[-count:]
            noises.append(against + guidance * (conditional - against))
            if hook is not None:
                features = [feature[:count] for feature in hook.features]
                logits = pipe.mask_predictor(features, decoder_features(pipe.vae, chunk)).refined
                masks.append(mask_probabilities(logits).cpu())
    return torch.cat(noises), torch.cat(masks) if masks else None


def solver(scheduler: Any, official: bool = False) -> Any:
    """Return DPM-Solver++ (order 2, midpoint; Lu et al. 2022) for a base's noise schedule.

    Args:
        scheduler: of the base.
        official: end at the schedule's least noise, timestep 0, and not without any, as the diffusers of the authors'
            code does.
    """
    return DPMSolverMultistepScheduler.from_config(
        scheduler.config,
        algorithm_type="dpmsolver++",
        solver_order=2,
        timestep_spacing="linspace",
        # Karras noise levels lie between the timesteps, and the start from a reference has to match one.
        use_karras_sigmas=False,
        final_sigmas_type="sigma_min" if official else "zero",
    )
