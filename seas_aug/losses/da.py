# SPDX-License-Identifier: Apache-2.0
"""Decoupled Anomaly Alignment (DA) loss (SeaS section 3.3; specification, section 2.2).

The anomaly tokens' mean map is pulled to the mask; the normal tokens' map is pushed to zero inside the defect and left
free outside.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from seas_aug.losses.mask_size import official_mask, shrink_mask

# A flat map of side 32 has the value 1/1024 everywhere; a thousandth of that is no longer structure to amplify.
_EPSILON = 1e-6
VISIBLE_TIMESTEP = 400
"""Well above it noise outweighs the latents (alpha bar is 0.5 near 360), and attention has nothing to find."""
_TINY = 1e-12


def _min_max(maps: torch.Tensor) -> torch.Tensor:
    """Scale each map of [B, r, r] to [0, 1) by its own minimum and maximum; a flat map becomes 0."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low + _EPSILON)


def _fixed_terms(anomaly: torch.Tensor, normal: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return L_anom + L_norm; each image counts by itself, one with an empty mask as zero."""
    selected = (mask > 0.5).float()
    area = selected.sum(dim=(1, 2))
    anomaly_term = (_min_max(anomaly) - mask).square().mean(dim=(1, 2)) * (area > 0)
    normal_term = ((_min_max(normal) - (1 - mask)).square() * selected).sum(dim=(1, 2)) / area.clamp(min=1)
    return (anomaly_term + normal_term).mean()


def _official_terms(
    anomaly: torch.Tensor, normal: torch.Tensor, mask: torch.Tensor, partly: bool = False
) -> torch.Tensor:
    """Return L_anom + L_norm with one minimum and maximum, and one set of selected pixels, for the whole batch."""

    def min_max(maps: torch.Tensor) -> torch.Tensor:
        return (maps - maps.min()) / (maps.max() - maps.min()).clamp(min=_TINY)

    selected = (mask > 0 if partly else mask == 1).float()
    anomaly_term = (min_max(anomaly) - mask).square().mean()
    normal_term = ((min_max(normal) - (1 - mask)).square() * selected).sum() / selected.sum().clamp(min=1)
    return anomaly_term + normal_term


def da_loss(
    maps: Mapping[int, torch.Tensor],
    mask: torch.Tensor,
    num_normal_tokens: int,
    official: bool = False,
    partly: bool = False,
) -> torch.Tensor:
    """Return the DA loss, summed over resolutions.

    Args:
        maps: for each resolution r a map [B, T, r, r] (see ``reduce_maps``), the normal tokens first, then the anomaly
            tokens.
        mask: float [B, 1, H, W] of 0 and 1.
        num_normal_tokens: how many of the T tokens are normal ones, at least 1.
        official: the authors' arithmetic: batch-global min-max without epsilon (a division by zero stays guarded),
            masks by plain bilinear to twice the largest resolution and max-pooling, normal term on pixels that are
            exactly 1 (with ``partly`` above 0). Default is per-image min-max with epsilon and max-pooled masks: one
            image's loss is independent of the others.
        partly: with ``official``, the normal term takes pixels that are only partly marked too, and pulls them to
            1 - mask, as the authors' code does for VisA and MVTec 3D.

    Returns:
        float32 scalar, at least 0, never NaN for finite maps: empty masks contribute zero (with ``official`` to the
        normal term only).

    Raises:
        ValueError: there is no map, or not at least one normal and one anomaly token.
    """
    if not maps:
        raise ValueError("The DA loss needs at least one map.")
    total = torch.zeros((), dtype=torch.float32, device=mask.device)
    for resolution, tokens in maps.items():
        if not 0 < num_normal_tokens < tokens.shape[1]:
            raise ValueError(
                f"{num_normal_tokens} normal tokens of {tokens.shape[1]}; there must be some of each kind."
            )
        normal = tokens[:, :num_normal_tokens].float().mean(dim=1)
        anomaly = tokens[:, num_normal_tokens:].float().mean(dim=1)
        if official:
            small = official_mask(mask, resolution, via=2 * max(maps))[:, 0]
            total = total + _official_terms(anomaly, normal, small, partly)
        else:
            total = total + _fixed_terms(anomaly, normal, shrink_mask(mask, resolution)[:, 0])
    return total
