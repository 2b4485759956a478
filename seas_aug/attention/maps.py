# SPDX-License-Identifier: Apache-2.0
"""Reduction of captured attention to one map per token and resolution, and to one heatmap per image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

from seas_aug.attention.capture import AttentionStore
from seas_aug.errors import SeasError

_TINY = 1e-12


def reduce_maps(store: AttentionStore, official: bool = False) -> dict[int, torch.Tensor]:
    """Average the layers of each block, then the blocks of each resolution.

    Args:
        store: captured layers.
        official: count down blocks only. The authors' code adds the down block twice where it means down and up block
            (SeaS specification, section 2.1), so that up blocks never enter, whether captured or not.

    Returns:
        For each resolution a map float32 [b, T, r, r], with autograd.

    Raises:
        SeasError: nothing was captured.
    """
    blocks: dict[int, dict[str, list[torch.Tensor]]] = {}
    for layer in store.layers.values():
        if not official or layer.block.startswith("down_blocks."):
            blocks.setdefault(layer.resolution, {}).setdefault(layer.block, []).append(layer.map)
    if not blocks:
        raise SeasError("No attention map was captured; run the U-Net inside capture_attention before reducing maps.")
    return {
        resolution: torch.stack([torch.stack(maps).mean(dim=0) for maps in by_block.values()]).mean(dim=0)
        for resolution, by_block in blocks.items()
    }


def anomaly_heatmap(maps: Mapping[int, torch.Tensor], num_normal_tokens: int, size: int) -> torch.Tensor:
    """Show where the anomaly tokens look, as one picture per image (for evaluation, not for training).

    Args:
        maps: for each resolution [b, T, r, r]; the first ``num_normal_tokens`` of T are normal tokens.
        num_normal_tokens: how many tokens are left out in front.
        size: side of the heatmap in pixels.

    Returns:
        float32 [b, 1, size, size] in [0, 1]: mean over anomaly tokens, min-max per image, bilinear to ``size``, mean
        over resolutions. An entirely flat map becomes 0.

    Raises:
        ValueError: there is no map or no anomaly token.
    """
    heatmaps = []
    for tokens in maps.values():
        if tokens.shape[1] <= num_normal_tokens:
            raise ValueError(f"{tokens.shape[1]} tokens with {num_normal_tokens} normal ones leave no anomaly token.")
        mean = tokens[:, num_normal_tokens:].float().mean(dim=1, keepdim=True)
        low, high = mean.amin(dim=(2, 3), keepdim=True), mean.amax(dim=(2, 3), keepdim=True)
        scaled = (mean - low) / (high - low).clamp(min=_TINY)
        heatmaps.append(functional.interpolate(scaled, size=(size, size), mode="bilinear", align_corners=False))
    if not heatmaps:
        raise ValueError("A heatmap needs at least one map.")
    return torch.stack(heatmaps).mean(dim=0).clamp(0, 1)
