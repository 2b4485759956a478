# SPDX-License-Identifier: Apache-2.0
"""One pair from its seed to its end: composed, drawn window by window, pasted back, and looked at by the gate."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seas_aug.data.decode import as_rgb
from seas_aug.data.seeds import derive_seed
from seas_aug.data.windows import Box, Window, scale_pixels, view, view_mask, window
from seas_aug.draw.attempt import Attempt, Request, Start
from seas_aug.draw.call import Call
from seas_aug.draw.compose import Spot, put_copies
from seas_aug.draw.gate import LEAST_FOUND, Candidate, check_pair_looks_right, check_size_and_count
from seas_aug.draw.holes import NEIGHBOURHOOD, proposed_holes, reach_of, spread
from seas_aug.draw.output import Pair, PairRecord, Refusal
from seas_aug.draw.paste_back import carried_over, fade, in_own_format, paste_back, rim
from seas_aug.draw.place import Surface
from seas_aug.draw.reading import read_masks
from seas_aug.draw.sample import SamplerSettings, decode_pictures, draw_windows
from seas_aug.prompt.embedding import encode_prompts

_HALF = 0.5


def draw_all(call: Call, requests: list[Request], batch_size: int) -> list[Pair | Refusal]:
    """Draw every request; what the gate rejects is drawn again with the next seed of its own sequence.

    Args:
        call: what they share.
        requests: one per image.
        batch_size: images drawn at once.

    Returns:
        One entry per request, in order.
    """
    done: dict[int, Pair | Refusal] = {}
    waiting = list(enumerate(requests))
    while waiting:
        kind = call.start_of(waiting[0][1].seed)
        alike = [entry for entry in waiting if call.start_of(entry[1].seed) == kind][:batch_size]
        taken = {position for position, _ in alike}
        waiting = [entry for entry in waiting if entry[0] not in taken]
        drawn = _draw_batch(call, [request for _, request in alike], kind)
        for (position, request), result in zip(alike, drawn, strict=True):
            if isinstance(result, Pair):
                done[position] = result
                continue
            again = dataclasses.replace(
                request, retries=request.retries + 1, rejected=(*request.rejected, ", ".join(result))
            )
            if request.retries < call.sampling.max_retries:
                waiting.append((position, again))
            else:
                name = call.references.names[request.reference]
                done[position] = Refusal(request.seed, tuple(sorted(call.types)), name, again.rejected)
    return [done[position] for position in range(len(requests))]


def draw_first_window(call: Call, request: Request) -> tuple[Tensor, Tensor]:
    """Return the first window of an image before and after it is drawn, float32 ``[3, S, S]`` in [0, 1].

    Args:
        call: the models need no mask predictor.
        request: the image.
    """
    kind = call.start_of(request.seed)
    attempt = begin(call, request, kind)
    spot = attempt.spots[0] if attempt.spots else None
    place = spot.windows[0] if spot else window(0, 0, max(attempt.mask.shape), attempt.mask.shape)
    start = put_copies(attempt.before, spot, call.settings.severity) if spot and kind == "copy" else attempt.before
    seen = torch.from_numpy(view(start, place, call.image_size)).permute(2, 0, 1)
    shapes = proposed_holes(call, [(attempt, spot, place)], [request.noise_seed]) if spot and kind == "hole" else None
    settings = _sampler(call, kind)
    latents, _ = draw_windows(call.pipe, seen[None], [request.noise_seed], call.prompt, False, settings, shapes)
    return seen.float() / 255, decode_pictures(call.pipe, latents, call.grey)[0].float() / 255


def begin(call: Call, request: Request, start: Start) -> Attempt:
    """Return an image before anything of it is drawn: reference, shapes, places and windows.

    Args:
        call: what all share.
        request: the image.
        start: what it starts from.
    """
    native = call.references.native(request.reference)
    before = as_rgb(native)
    name, shape = call.references.names[request.reference], before.shape
    allowed = call.control.region(name, shape) if call.types else None
    own_mask = call.control.mask(request.position, name, shape) if call.types and call.control.gives_masks else None
    surface = Surface(before, allowed)
    if not call.types:
        spots = call.composer.normal_windows(request.noise_seed, surface)
    elif own_mask is not None:
        spots = call.composer.spots_of_mask(request.noise_seed, surface, own_mask)
    else:
        spots = call.composer.spots(request.noise_seed, surface)
    empty = np.zeros(before.shape[:2], np.uint8)
    return Attempt(request, native, before, before.copy(), spots, start, empty, allowed, own_mask)


def _draw_batch(call: Call, requests: list[Request], kind: Start) -> list[Pair | list[str]]:
    """Return the pairs of a batch, or why one was rejected."""
    attempts = [begin(call, request, kind) for request in requests]
    queues = [list(attempt.steps()) for attempt in attempts]
    starts: dict[int, NDArray[np.uint8]] = {}
    for number in range(max(len(queue) for queue in queues)):
        active = [row for row, queue in enumerate(queues) if number < len(queue)]
        for row in active:
            spot, _, first = queues[row][number]
            attempt = attempts[row]
            if first and kind == "copy":
                starts[row] = put_copies(attempt.after, spot, call.settings.severity)
            elif first:
                starts[row] = attempt.after
        places = [queues[row][number][1] for row in active]
        seen = [view(starts[row], place, call.image_size) for row, place in zip(active, places, strict=True)]
        seeds = [_window_seed(attempts[row].request.noise_seed, number) for row in active]
        entries = [(attempts[row], *queues[row][number][:2]) for row in active]
        holes = proposed_holes(call, entries, seeds) if kind == "hole" else None
        drawn, probabilities = _draw_seen(call, seen, seeds, kind, holes)
        for slot, row in enumerate(active):
            spot, place, _ = queues[row][number]
            hole = None if holes is None else holes[slot, 0].numpy()
            mask = _finish_window(
                call, attempts[row], spot, place, starts[row], seen[slot], drawn[slot], probabilities[slot], hole
            )
            if kind == "copy":  # the next window of a long defect goes on from this one
                place.cut(starts[row])[mask > 0] = place.cut(attempts[row].after)[mask > 0]
    return [_judged(call, attempt) for attempt in attempts]


def _window_seed(seed: int, number: int) -> int:
    """Return the seed of the noise of an image's n-th window; the first one's is that of the image."""
    return seed if number == 0 else derive_seed(seed, "window", number)


def _draw_seen(
    call: Call, seen: list[NDArray[np.uint8]], seeds: list[int], kind: Start, shapes: Tensor | None
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.float32]]]:
    """Return drawn pictures uint8 ``[S, S, 3]`` and mask probabilities float32 ``[S, S]`` for pictures as seen."""
    settings = _sampler(call, kind)
    starts = torch.stack([torch.from_numpy(picture).permute(2, 0, 1) for picture in seen])
    latents, probabilities = draw_windows(call.pipe, starts, seeds, call.prompt, bool(call.types), settings, shapes)
    images = decode_pictures(call.pipe, latents, call.grey)
    if call.types and shapes is not None:
        # Read afterwards and in the whole picture: what reads the mask must not be told where the hole was.
        pictures = [image[None].float() / 127.5 - 1 for image in images]
        probabilities = torch.cat([read_masks(call.pipe, picture, [call.prompt]) for picture in pictures])
    elif call.types:
        probabilities = _finish_masks(call, probabilities, images.float() / 255)
    drawn = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images]
    return drawn, [np.ascontiguousarray(probability[0].numpy()) for probability in probabilities]


def _sampler(call: Call, kind: Start) -> SamplerSettings:
    strength = {"copy": call.sampling.copied_strength, "reference": call.sampling.strength, "hole": 1.0}[kind]
    sampling = call.sampling
    if not call.types:  # patches as they are, of which nothing is known
        sampling = dataclasses.replace(sampling, hole_reference="hidden", hole_shape="exact")
    return dataclasses.replace(call.sampler, strength=strength, sampling=sampling)


def _finish_masks(call: Call, known: Tensor, images: Tensor) -> Tensor:
    """Return final probabilities ``[B, 1, S, S]`` on the CPU, drawn one image at a time or together as all else is."""
    pipe, size = call.pipe, len(known) if call.sampler.official else 1
    device, words = pipe.unet.device, encode_prompts(pipe.tokenizer, pipe.text_encoder, [call.prompt]).pooled
    pairs = zip(known.to(device).split(size), (images * 2 - 1).to(device).split(size), strict=True)
    return torch.cat([pipe.mask_predictor.finish(mask, image, words.expand(size, -1)).cpu() for mask, image in pairs])


def _finish_window(
    call: Call,
    attempt: Attempt,
    spot: Spot,
    place: Window,
    start: NDArray[np.uint8],
    seen: NDArray[np.uint8],
    drawn: NDArray[np.uint8],
    probability: NDArray[np.float32],
    hole: NDArray[np.float32] | None,
) -> NDArray[np.uint8]:
    """Put one drawn window and its mask into the image; return the mask, uint8 ``[side, side]``."""
    result = carried_over(np.ascontiguousarray(place.cut(start)), seen, drawn)
    if not call.types:
        weight = fade(place, *attempt.mask.shape)
        if hole is not None:  # the rest stays as sharp as it is
            weight = weight * rim((scale_pixels(hole, place.side, place.side) > _HALF).astype(np.uint8))
        paste_back(attempt.after, place, result, weight)
        return np.zeros((place.side, place.side), np.uint8)
    area = spot.area(*attempt.mask.shape) if spot.shapes else None
    if attempt.is_shaped and area is not None:
        probability = probability * reach_of(call, view_mask(area, place, call.image_size), attempt.start)
    probability = scale_pixels(probability, place.side, place.side)
    mask = (probability > call.sampling.mask_threshold).astype(np.uint8)
    if attempt.own_mask is not None and area is not None:
        mask = np.ascontiguousarray(place.cut(area))
    if attempt.allowed is not None:
        mask *= place.cut(attempt.allowed)
    inside = probability[mask > 0]
    attempt.scores += [float(inside.sum()), float(inside.size)]
    if call.keep_background:
        attempt.cut_off = max(attempt.cut_off, _cut_off(result, place.cut(attempt.before), mask, place.side))
        paste_back(attempt.after, place, result, rim(mask) * _room(attempt, place))
    else:
        paste_back(attempt.after, place, result, fade(place, *attempt.mask.shape))
    place.cut(attempt.mask)[:] |= mask
    return mask


def _room(attempt: Attempt, place: Window) -> NDArray[np.float32]:
    """Return where a rim may lie: not outside of the user's region."""
    if attempt.allowed is None:
        return np.ones((place.side, place.side), np.float32)
    return place.cut(attempt.allowed).astype(np.float32)


def _cut_off(drawn: NDArray[np.float32], before: NDArray[np.uint8], mask: NDArray[np.uint8], side: int) -> float:
    """Return the change that was drawn right outside a mask, and is not taken over, as a share of that inside."""
    change = np.abs(drawn - before).mean(axis=-1)
    reach = 2 + side // 64
    outside = cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) - cv2.dilate(
        mask, np.ones((5, 5), np.uint8)
    )
    if not mask.any() or not outside.any():
        return 0.0
    # What the model changes everywhere is no seam.
    usual = float(np.median(change[mask == 0]))
    inner, outer = float(change[mask > 0].mean()) - usual, float(change[outside > 0].mean()) - usual
    return max(0.0, outer) / max(inner, 1.0)


def _judged(call: Call, attempt: Attempt) -> Pair | list[str]:
    if not attempt.spots:
        return ["no place"]
    if call.types:
        reasons = _reasons(call, attempt)
        if reasons:
            return reasons
    total, count = sum(attempt.scores[::2]), sum(attempt.scores[1::2])
    request = attempt.request
    shapes = [shape for spot in attempt.spots for shape in spot.shapes]
    record = PairRecord(
        seed=request.seed,
        anomaly_types=tuple(sorted(call.types)),
        prompt=call.prompt,
        reference=call.references.names[request.reference],
        score=total / count if call.types else 1.0,
        retries=request.retries,
        rejected=request.rejected,
        copied_from=tuple(shape.source for shape in shapes) if attempt.start == "copy" else (),
        windows=tuple((place.top, place.left, place.side) for _, place, _ in attempt.steps()),
    )
    image = in_own_format(attempt.native, attempt.before, attempt.after)
    return Pair(image, attempt.mask, attempt.native, record)


def _reasons(call: Call, attempt: Attempt) -> list[str]:
    if not attempt.mask.any():
        return ["empty mask"]
    if not call.settings.gate or not call.keep_background:
        return []
    reasons: list[str] = []
    for spot in attempt.spots:  # each defect has to be there
        part = spot.windows if spot.shapes else ()
        around = _hull(part, attempt.mask.shape)
        area = spot.area(*attempt.mask.shape)
        after, before, mask = (
            np.ascontiguousarray(pixels[around]) for pixels in (attempt.after, attempt.before, attempt.mask)
        )
        if len(attempt.spots) > 1 and (attempt.is_shaped or attempt.own_mask is not None):
            mine = mask * spread(np.ascontiguousarray(area[around]), max(1, spot.windows[0].side // NEIGHBOURHOOD))
            # The others in this window are neither part of its mask nor change outside of it.
            others = spread(mask - mine, 3 + mask.shape[0] // 64) * (1 - mine)
            after, mask = np.where(others[..., None] > 0, before, after), mine
        candidate = Candidate(
            after,
            before,
            mask,
            call.types,
            int(area.sum()) if attempt.is_shaped and spot.shapes else None,
            attempt.cut_off,
        )
        limits = None if attempt.own_mask is not None or attempt.allowed is not None else call.limits
        found = check_pair_looks_right(candidate, limits)
        if attempt.is_shaped and _one_is_missing(spot, attempt.mask):
            found.append("mask too small")
        reasons += [reason for reason in dict.fromkeys(found) if reason not in reasons]
    if attempt.own_mask is None and attempt.is_shaped:  # else the model alone decides how many it draws
        reasons += check_size_and_count(attempt.mask, call.settings, len(call.types))
    return reasons


def _one_is_missing(spot: Spot, mask: NDArray[np.uint8]) -> bool:
    """Return whether one of several defects that were drawn together is hardly marked."""
    if len(spot.shapes) < 2:
        return False
    for shape, place in zip(spot.shapes, spot.places, strict=True):
        marked = Box(place.top, place.left, shape.height, shape.width).cut(mask)
        inner = shape.mask[shape.margin : -shape.margin, shape.margin : -shape.margin]
        if int((marked * inner).sum()) < LEAST_FOUND * int(inner.sum()):
            return True
    return False


def _hull(windows: tuple[Window, ...], shape: tuple[int, ...]) -> tuple[slice, slice]:
    if not windows:
        return slice(0, shape[0]), slice(0, shape[1])
    return (
        slice(min(one.top for one in windows), max(one.top + one.side for one in windows)),
        slice(min(one.left for one in windows), max(one.left + one.side for one in windows)),
    )
