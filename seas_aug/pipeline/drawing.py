# SPDX-License-Identifier: Apache-2.0
"""From requests to finished pairs: what each starts from, its mask, and drawing again where the mask is empty."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from seas_aug.base.latents import decode_latents
from seas_aug.data.seeds import SEED_BITS, derive_seed
from seas_aug.errors import SeasError
from seas_aug.pipeline.background import keep_background
from seas_aug.pipeline.grey import to_grey
from seas_aug.pipeline.references import References
from seas_aug.pipeline.sampler import ImageRequest, SamplerSettings, draw_pairs
from seas_aug.prompt.embedding import pooled_prompts

if TYPE_CHECKING:
    from torch import Tensor

# A redrawn image takes its next seed this far away, beyond the seeds of any neighbouring image.
RETRY_STRIDE = 1_000_003
_NEIGHBOURHOOD = 16  # a copied defect may spread by this fraction of the image's side


@dataclass(frozen=True)
class Drawing:
    """What all images of a call share.

    Attributes:
        bank: reference images.
        prompt: text of the condition.
        anomaly_types: types in the prompt; empty for normal images.
        from_reference: solver settings of images that start from their reference alone.
        from_copy: solver settings of those that start from a copied defect.
        copied_share: share of the defect images that do.
        grey: images are made grey, since those of the product are.
        keep_background: outside the mask a defect image is its reference.
    """

    bank: References
    prompt: str
    anomaly_types: tuple[str, ...]
    from_reference: SamplerSettings
    from_copy: SamplerSettings
    copied_share: float
    grey: bool = False
    keep_background: bool = False


@dataclass(frozen=True)
class Drawn:
    """One finished image, on the CPU.

    Attributes:
        request: what was asked for, with the retries that it took.
        image: float32 ``[3, H, W]`` in [0, 1].
        mask: float32 ``[1, H, W]`` of 0 and 1.
        score: mean probability inside the mask; 1 for a normal image.
        copied_from: few-shot images whose defects it started from.
    """

    request: ImageRequest
    image: Tensor
    mask: Tensor
    score: float
    copied_from: tuple[str, ...]


def draw_all(pipe: Any, requests: list[ImageRequest], drawing: Drawing, batch_size: int) -> list[Drawn]:
    """Draw every request; one whose mask is empty is drawn again with the next seed of its own sequence.

    Args:
        pipe: the models.
        requests: one per image.
        drawing: what they share.
        batch_size: images drawn at once.

    Returns:
        One entry per request, in order.

    Raises:
        SeasError: a mask stays empty.
    """
    done: dict[int, Drawn] = {}
    waiting = list(enumerate(requests))
    while waiting:
        kind = starts_from_copy(waiting[0][1], drawing)
        alike = [entry for entry in waiting if starts_from_copy(entry[1], drawing) == kind][:batch_size]
        waiting = [entry for entry in waiting if entry not in alike]
        for (position, request), drawn in zip(
            alike, _draw_batch(pipe, [request for _, request in alike], drawing, kind), strict=True
        ):
            if drawn is None:
                waiting.append((position, _redraw(request, pipe.sampling.max_retries)))
            else:
                done[position] = drawn
    return [done[position] for position in range(len(requests))]


def starts_from_copy(request: ImageRequest, drawing: Drawing) -> bool:
    """Return whether an image starts from a copied defect, as its own seed decides once for all its draws."""
    chance = derive_seed(request.seed, "copied") / 2**SEED_BITS
    return bool(drawing.anomaly_types) and chance < drawing.copied_share


def copied_starts(
    pipe: Any, requests: Sequence[ImageRequest], drawing: Drawing
) -> tuple[list[ImageRequest], References, Tensor, list[tuple[str, ...]]]:
    """Return requests that start from copied defects.

    Args:
        pipe: holds the few-shot defects.
        requests: B images.
        drawing: reference images and types.

    Returns:
        The requests with a bank of their own, in which image i is the start of request i; where the defects are,
        float32 ``[B, 1, H, W]`` of 0 and 1; and for each the names of the few-shot images they come from.
    """
    copies = [
        pipe.few_shot.copy_onto(
            drawing.bank.images[request.reference],
            drawing.anomaly_types,
            torch.Generator().manual_seed(derive_seed(request.noise_seed, "copy")),
        )
        for request in requests
    ]
    images, areas, names = zip(*copies, strict=True)
    bank = References(torch.stack(images), tuple(drawing.bank.names[request.reference] for request in requests))
    moved = [dataclasses.replace(request, reference=row) for row, request in enumerate(requests)]
    return moved, bank, torch.stack(areas), list(names)


def _draw_batch(pipe: Any, requests: list[ImageRequest], drawing: Drawing, copied: bool) -> list[Drawn | None]:
    """Return the images of a batch, None for one with an empty mask."""
    defects, settings = bool(drawing.anomaly_types), drawing.from_copy if copied else drawing.from_reference
    names: list[tuple[str, ...]] = [()] * len(requests)
    starts, bank, area = requests, drawing.bank, None
    if copied:
        starts, bank, area, names = copied_starts(pipe, requests, drawing)
    latents, probabilities = draw_pairs(pipe, starts, bank, drawing.prompt, defects, settings)
    images = torch.cat([decode_latents(pipe.vae, latent[None]) for latent in latents])
    images = ((images.clamp(-1, 1) + 1) / 2).cpu()
    images = to_grey(images) if drawing.grey else images
    # 8-bit steps, so that what is returned is what a PNG holds.
    images = (images * 255).round() / 255
    if defects:
        probabilities = _finish_masks(pipe, probabilities, images, drawing.prompt)
    if area is not None:
        probabilities = probabilities * near(area)
    masks = (probabilities > pipe.sampling.mask_threshold).float()
    if defects and drawing.keep_background:
        normals = torch.stack([drawing.bank.images[request.reference] for request in requests]).float() / 255
        images = (keep_background(images, normals, masks) * 255).round() / 255
    drawn: list[Drawn | None] = []
    for row, request in enumerate(requests):
        inside = probabilities[row][masks[row] > 0]
        if defects and inside.numel() == 0:
            drawn.append(None)
        else:
            score = float(inside.mean()) if defects else 1.0
            drawn.append(Drawn(request, images[row], masks[row], score, names[row]))
    return drawn


def near(area: Tensor) -> Tensor:
    """Return the surroundings of copied defects, ``[B, 1, H, W]`` of 0 and 1: a mask cannot lie anywhere else.

    Args:
        area: where the defects are, float ``[B, 1, H, W]`` of 0 and 1.
    """
    reach = max(1, area.shape[-1] // _NEIGHBOURHOOD)
    return torch.nn.functional.max_pool2d(area, 2 * reach + 1, stride=1, padding=reach)


def _finish_masks(pipe: Any, known: Tensor, images: Tensor, prompt: str) -> Tensor:
    """Return final probabilities ``[B, 1, H, W]`` on the CPU, one image at a time like everything that is drawn."""
    device, words = pipe.unet.device, pooled_prompts(pipe.tokenizer, pipe.text_encoder, [prompt])
    pairs = zip(known.to(device).split(1), (images * 2 - 1).to(device).split(1), strict=True)
    return torch.cat([pipe.mask_predictor.finish(mask, image, words).cpu() for mask, image in pairs])


def _redraw(request: ImageRequest, most: int) -> ImageRequest:
    if request.retries >= most:
        message = (
            f"seed {request.seed}: the mask stayed empty in {request.retries + 1} draws; fine-tune the masks "
            "longer, or lower sampling.mask_threshold."
        )
        raise SeasError(message)
    return ImageRequest(request.seed, request.noise_seed + RETRY_STRIDE, request.reference, request.retries + 1)
