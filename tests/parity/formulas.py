# SPDX-License-Identifier: Apache-2.0
"""The published method written out slowly, formula by formula, in float64; nothing of seas_aug is used.

Section numbers are those of the specification. Networks of Stable Diffusion (U-Net, autoencoder, text encoder) are
given as modules in float64; whatever SeaS adds to them is calculated here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SCALE = 0.18215


@dataclass
class Models:
    """Frozen or trained networks in float64, and the tokenizer."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any


def levels(steps: int = 1000) -> Tensor:
    """Return abar of a scaled-linear schedule of so many betas (3, 5)."""
    bars, product = [], 1.0
    for index in range(steps):
        root = 0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * index / (steps - 1)
        product *= 1 - root**2
        bars.append(product)
    return torch.tensor(bars, dtype=torch.float64)


def bilinear(picture: Tensor, size: int, aligned: bool) -> Tensor:
    """Return ``[B, C, h, h]`` at another size, pixel centres or corners aligned, without antialiasing."""
    before = picture.shape[-1]
    weights = torch.zeros(size, before, dtype=torch.float64)
    for row in range(size):
        place = row * (before - 1) / (size - 1) if aligned else max(0.0, (row + 0.5) * before / size - 0.5)
        first = min(int(place), before - 1)
        second = min(first + 1, before - 1)
        weights[row, first] += 1 - (place - first)
        weights[row, second] += place - first
    return torch.einsum("ya,bcad,xd->bcyx", weights, picture, weights)


def pooled(mask: Tensor) -> Tensor:
    """Return the maximum of each 2 x 2 pixels."""
    return torch.stack([mask[..., top::2, left::2] for top in (0, 1) for left in (0, 1)]).amax(0)


# --- prompts (1) ------------------------------------------------------------------------------------------------------


def encode(models: Models, prompts: list[str]) -> tuple[Tensor, list[list[str]]]:
    """Return text features ``[B, 77, D]`` and the tokens of each prompt."""
    ids = models.tokenizer(prompts, padding="max_length", max_length=77, return_tensors="pt").input_ids
    return models.text_encoder(ids)[0], [models.tokenizer.convert_ids_to_tokens(row) for row in ids]


# --- stage 1 (2, 3) ---------------------------------------------------------------------------------------------------


def posterior_sample(models: Models, images: Tensor, noise: Tensor) -> Tensor:
    """Return ``VAE.encode(x).sample``, not scaled, with given noise."""
    with torch.no_grad():
        posterior = models.vae.encode(images.double()).latent_dist
    return posterior.mean + posterior.std * noise.double()


def noised(clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    bars = levels()[timesteps].reshape(-1, 1, 1, 1)
    return bars.sqrt() * clean + (1 - bars).sqrt() * noise.double()


def block_maps(attentions: Any, seen: dict[str, Tensor], heads: int) -> Tensor:
    """Return the spatial softmax of a block's layers, mean over layers and heads, ``[B, HW, L]`` (2.1)."""
    layers = []
    for number in range(len(attentions)):
        query, key = seen[f"{number} q"], seen[f"{number} k"]
        by_head = []
        width = query.shape[-1] // heads
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            by_head.append((query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(width)).softmax(dim=1))
        layers.append(torch.stack(by_head))
    return torch.stack(layers).mean(0).mean(0)


def minmax(maps: Tensor) -> Tensor:
    """One minimum and maximum of the whole batch (2.2)."""
    return (maps - maps.min()) / (maps.max() - maps.min())


def stage_1_losses(
    models: Models, clean: Tensor, noise: Tensor, timesteps: Tensor, prompts: list[str], mask: Tensor, partly: bool
) -> dict[str, Tensor]:
    """Return L_SD, L_NA and L_DA of A anomaly images and as many normal ones behind them."""
    count = len(mask)
    context, tokens = encode(models, prompts)
    seen: dict[int, dict[str, Tensor]] = {1: {}, 2: {}}
    hooks = []
    for index, store in seen.items():
        for number, attention in enumerate(models.unet.down_blocks[index].attentions):
            for name in ("q", "k"):
                layer = getattr(attention.transformer_blocks[0].attn2, f"to_{name}")

                def keep(_: Any, __: Any, output: Tensor, key: str = f"{number} {name}", store: Any = store) -> None:
                    store[key] = output

                hooks.append(layer.register_forward_hook(keep))
    predicted = models.unet(noised(clean, noise, timesteps), timesteps, context).sample
    for hook in hooks:
        hook.remove()
    target = noise.double()
    # M at the latents' size, and half and a quarter of it (512 px: 64, 32, 16)
    middle = bilinear(mask.double(), clean.shape[-1], aligned=False)
    masks = {1: pooled(middle)[:, 0], 2: pooled(pooled(middle))[:, 0]}
    alignment = torch.zeros((), dtype=torch.float64)
    for index, store in seen.items():
        attentions = models.unet.down_blocks[index].attentions
        heads = attentions[0].transformer_blocks[0].attn2.heads
        first = block_maps(attentions, store, heads)[:count]
        maps = (first + first) / 2  # the down block twice, where the up block is meant
        side, small = math.isqrt(maps.shape[1]), masks[index]
        anomaly, normal = [], []
        for row in range(count):
            words = tokens[row]
            chosen = [place for place, word in enumerate(words) if word.startswith("<sks")]
            anomaly.append(torch.stack([maps[row, :, place] for place in chosen]).mean(0).reshape(side, side))
            normal.append(maps[row, :, words.index("<ob1>")].reshape(side, side))
        spread, product = minmax(torch.stack(anomaly)), minmax(torch.stack(normal))
        alignment = alignment + ((spread - small) ** 2).mean()
        inside = small > 0 if partly else small == 1
        if inside.any():  # else NaN there
            alignment = alignment + ((product - (1 - small)) ** 2)[inside].mean()
    return {
        "loss_sd": ((predicted[:count] - target[:count]) ** 2).mean(),
        "loss_na": ((predicted[count:] - target[count:]) ** 2).mean(),
        "loss_da": alignment,
    }


# --- the mask branch (4.1 - 4.4) --------------------------------------------------------------------------------------


def batch_norm(features: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    """Statistics of all images that are there, in training as in inference."""
    mean = features.mean((0, 2, 3), keepdim=True)
    variance = ((features - mean) ** 2).mean((0, 2, 3), keepdim=True)
    scaled = (features - mean) / (variance + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]


def cb(features: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    kernel = weights[f"{name}.0.weight"]
    return batch_norm(functional.conv2d(features, kernel, padding=kernel.shape[-1] // 2), weights, f"{name}.1").relu()


def transformer(features: Tensor, weights: dict[str, Tensor], heads: int, groups: int) -> Tensor:
    """GroupNorm, 1 x 1 in, blocks of self-attention and GEGLU, 1 x 1 out, residual (4.2)."""
    name = "coarse_branch.transformer"
    images, width, side, _ = features.shape
    grouped = features.reshape(images, groups, -1)
    mean, variance = grouped.mean(-1, keepdim=True), grouped.var(-1, unbiased=False, keepdim=True)
    normal = ((grouped - mean) / (variance + 1e-6).sqrt()).reshape(features.shape)
    normal = normal * weights[f"{name}.norm.weight"][:, None, None] + weights[f"{name}.norm.bias"][:, None, None]
    inside = functional.conv2d(normal, weights[f"{name}.proj_in.weight"], weights[f"{name}.proj_in.bias"])
    tokens = inside.flatten(2).transpose(1, 2)

    def layer_norm(values: Tensor, key: str) -> Tensor:
        centred = values - values.mean(-1, keepdim=True)
        scaled = centred / ((centred**2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{key}.weight"] + weights[f"{key}.bias"]

    def linear(values: Tensor, key: str) -> Tensor:
        return values @ weights[f"{key}.weight"].T + weights.get(f"{key}.bias", torch.zeros(()).double())

    number = 0
    while f"{name}.transformer_blocks.{number}.norm1.weight" in weights:
        block = f"{name}.transformer_blocks.{number}"
        values = layer_norm(tokens, f"{block}.norm1")
        query, key, value = (linear(values, f"{block}.attn1.to_{part}") for part in "qkv")
        found = []
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            score = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(width // heads)
            found.append(score.softmax(-1) @ value[..., part])
        tokens = tokens + linear(torch.cat(found, -1), f"{block}.attn1.to_out.0")
        hidden, gate = linear(layer_norm(tokens, f"{block}.norm3"), f"{block}.ff.net.0.proj").chunk(2, -1)
        tokens = tokens + linear(hidden * functional.gelu(gate), f"{block}.ff.net.2")
        number += 1
    outside = tokens.transpose(1, 2).reshape(images, width, side, side)
    return functional.conv2d(outside, weights[f"{name}.proj_out.weight"], weights[f"{name}.proj_out.bias"]) + features


def mask_branch(
    weights: dict[str, Tensor], low: Tensor, mid: Tensor, fine: list[Tensor], heads: int, groups: int
) -> tuple[Tensor, Tensor]:
    """Return probabilities ``[B, 2, H, W]`` and ``[B, 2, s, s]``; ``fine`` is of the anomaly images, the first ones."""
    low = functional.conv2d(low, weights["coarse_branch.reduce_low.weight"])
    mid = functional.conv2d(mid, weights["coarse_branch.reduce_mid.weight"])
    fused = torch.cat([bilinear(low, mid.shape[-1], aligned=False), mid], dim=1)
    coarse = transformer(fused, weights, heads, groups)
    count = len(fine[0])
    refined = coarse[:count]
    for number, feature in enumerate(fine):
        name = f"refinements.{number}"
        u = bilinear(refined, 2 * refined.shape[-1], aligned=True)
        a = u
        for part in range(3):
            a = cb(a, weights, f"{name}.first.{part}")
        again = a
        for part in range(3):
            again = cb(again, weights, f"{name}.second.{part}")
        g = a + cb(u, weights, f"{name}.shortcut") + again
        refined = cb(feature, weights, f"{name}.project_fine") * g + u
    if count < len(coarse):
        refined = torch.cat([refined, bilinear(coarse[count:], refined.shape[-1], aligned=False)])

    def head(features: Tensor) -> Tensor:
        normal = batch_norm(features, weights, "head.0").relu()
        return functional.conv2d(normal, weights["head.2.weight"], weights["head.2.bias"], padding=1).softmax(dim=1)

    return head(refined), head(coarse)


# --- stage 2 (4.5) ----------------------------------------------------------------------------------------------------


def unet_pass(models: Models, noisy: Tensor, timesteps: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the predicted noise, and the features of up_blocks[1] and up_blocks[2]."""
    kept: dict[int, Tensor] = {}
    hooks = [
        models.unet.up_blocks[index].register_forward_hook(
            lambda _, __, output, index=index: kept.__setitem__(index, output)
        )
        for index in (1, 2)
    ]
    with torch.no_grad():
        predicted = models.unet(noisy, timesteps, context).sample
    for hook in hooks:
        hook.remove()
    return predicted, kept[1], kept[2]


def decoded(models: Models, latents: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the picture of scaled latents, and the outputs of the decoder's blocks that upsample."""
    kept: list[Tensor] = []
    blocks = models.vae.decoder.up_blocks[:-1]  # all but the last
    hooks = [block.register_forward_hook(lambda _, __, output: kept.append(output)) for block in blocks]
    with torch.no_grad():
        picture = models.vae.decode(latents / SCALE).sample
    for hook in hooks:
        hook.remove()
    return picture, kept


def ddpm(noisy: Tensor, predicted: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
    """Return z_{t-1}, row by row (Ho et al. 2020, equation 7)."""
    bars = levels().tolist()
    rows = []
    for row, step in enumerate(timesteps.tolist()):
        bar, before = bars[step], bars[step - 1] if step else 1.0
        beta = 1 - bar / before
        clean = (noisy[row] - (1 - bar) ** 0.5 * predicted[row]) / bar**0.5
        mean = before**0.5 * beta / (1 - bar) * clean + (1 - beta) ** 0.5 * (1 - before) / (1 - bar) * noisy[row]
        rows.append(mean + ((1 - before) / (1 - bar) * beta) ** 0.5 * noise[row].double())
    return torch.stack(rows)


def focal(probability: Tensor, values: Tensor) -> Tensor:
    """Gamma 2, no class weight, smoothed by 1e-5; any value below 1 becomes background."""
    target = values.trunc()
    hot = torch.cat([1 - target, target], dim=1).clamp(1e-5, 1 - 1e-5)
    p = (hot * probability).sum(1) + 1e-5
    return -((1 - p) ** 2 * p.log()).mean()


def stage_2_loss(
    models: Models,
    weights: dict[str, Tensor],
    clean: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    fresh: Tensor,
    prompts: list[str],
    mask: Tensor,
    partly: bool,
    heads: int,
    groups: int,
) -> Tensor:
    """Return L_RMP of A anomaly images and as many normal ones behind them; ``fresh`` is the noise of the DDPM step."""
    count = len(mask)
    context, _ = encode(models, prompts)
    noisy = noised(clean, noise, timesteps)
    predicted, low, mid = unet_pass(models, noisy, timesteps, context)
    _, fine = decoded(models, ddpm(noisy[:count], predicted[:count], timesteps[:count], fresh))
    refined, coarse = mask_branch(weights, low, mid, fine, heads, groups)
    large, small = mask.double(), bilinear(mask.double(), coarse.shape[-1], aligned=False)
    if partly:
        large, small = large / large.max(), small / small.max()

    def behind(values: Tensor) -> Tensor:
        return torch.cat([values, torch.zeros((len(coarse) - count, *values.shape[1:]), dtype=torch.float64)])

    return focal(refined, behind(large)) + focal(coarse, behind(small))


# --- sampling (4.6, 5) ------------------------------------------------------------------------------------------------


def sampled(
    models: Models,
    weights: dict[str, Tensor],
    start: Tensor,
    prompt: str,
    steps: int,
    guidance: float,
    heads: int,
    groups: int,
    read: int = 3,
) -> tuple[Tensor, Tensor]:
    """Return latents and mask probabilities of a batch, by DPM-Solver++(2M) (Lu et al. 2022, algorithm 2)."""
    bars = levels()
    grid = [round(999 * (steps - index) / steps) for index in range(steps)]
    alphas, sigmas = bars.sqrt(), (1 - bars).sqrt()
    lambdas = (alphas / sigmas).log()
    with torch.no_grad():
        context, _ = encode(models, [prompt, ""])
    latents, before, gap_before = start, None, None
    total = torch.zeros(())
    for index, now in enumerate(grid):
        after = grid[index + 1] if index + 1 < steps else 0  # the end is timestep 0, not noiseless
        moment = torch.tensor(now)
        rows = len(latents)
        noise, low, mid = unet_pass(models, latents, moment, context[:1].expand(rows, -1, -1))
        empty, *_ = unet_pass(models, latents, moment, context[1:].expand(rows, -1, -1))
        if index >= steps - read:
            _, fine = decoded(models, latents)
            total = total + mask_branch(weights, low, mid, fine, heads, groups)[0][:, 1:].detach() / read
        noise = empty + guidance * (noise - empty)
        clean = (latents - sigmas[now] * noise) / alphas[now]
        gap = lambdas[after] - lambdas[now]
        growth = alphas[after] * (1 - torch.exp(-gap))
        used = clean
        if before is not None:
            used = clean + 0.5 * (gap / gap_before) * (clean - before)
        latents = sigmas[after] / sigmas[now] * latents + growth * used
        before, gap_before = clean, gap
    return latents, total
