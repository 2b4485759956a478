# SPDX-License-Identifier: Apache-2.0
"""Capture of cross-attention maps beside the ordinary, fused attention (SeaS specification, section 2.1).

The supervised map is not the attention that the model uses: its softmax runs over the pixels, not over the tokens, so
that tokens do not compete and each map says where its token's logits peak. Only the wanted layers, batch rows and
tokens are computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from seas_aug.errors import SeasError

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel


@dataclass(frozen=True)
class CapturedLayer:
    """The map of one cross-attention layer.

    Args:
        name: module name, for example ``down_blocks.1.attentions.0.transformer_blocks.0.attn2``.
        map: float32 [b, T, r, r], mean over heads; each of the b x T maps sums to 1 over its pixels.
    """

    name: str
    map: torch.Tensor

    @property
    def block(self) -> str:
        """Name of its block, for example ``down_blocks.1``."""
        return ".".join(self.name.split(".")[:2])

    @property
    def resolution(self) -> int:
        """Side r of the map."""
        return self.map.shape[-1]


@dataclass
class AttentionStore:
    """What the last U-Net pass inside ``capture_attention`` left.

    Args:
        layers: captured layers by module name, in order of execution; a second pass replaces the maps of the first.
        seen: map sides of all layers that were looked at, wanted or not.
    """

    layers: dict[str, CapturedLayer] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)

    @property
    def maps(self) -> dict[int, list[torch.Tensor]]:
        """For each resolution the maps [b, T, r, r] of its layers, float32 with autograd."""
        maps: dict[int, list[torch.Tensor]] = {}
        for layer in self.layers.values():
            maps.setdefault(layer.resolution, []).append(layer.map)
        return maps


def spatial_attention(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
    """Return attention with the softmax over pixels, in float32 even under autocast.

    Args:
        query: [b, heads, HW, d], any float dtype.
        key: [b, heads, T, d], any float dtype.
        scale: factor of the logits, 1 / sqrt(d).

    Returns:
        float32 [b, T, HW] in [0, 1], mean over heads; sums to 1 over HW.
    """
    with torch.autocast(query.device.type, enabled=False):
        logits = key.float() @ query.float().transpose(-1, -2) * scale
        return logits.softmax(dim=-1).mean(dim=1)


class _CaptureProcessor:
    """A diffusers attention processor that leaves the attention to ``inner`` and computes the side map beside it."""

    def __init__(
        self, name: str, inner: Any, store: AttentionStore, positions: torch.Tensor, rows: slice, resolutions: set[int]
    ) -> None:
        self.name = name
        self.inner = inner
        self.store = store
        self.positions = positions
        self.rows = rows
        self.resolutions = resolutions

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        if encoder_hidden_states is not None:
            pixels = hidden_states.shape[1]
            side = math.isqrt(pixels)
            if side * side != pixels:
                raise SeasError(
                    f"A cross-attention layer has {pixels} positions, which is no square; give images of equal "
                    "width and height."
                )
            self.store.seen.add(side)
            if side in self.resolutions:
                maps = self._side_map(attn, hidden_states[self.rows], encoder_hidden_states)
                self.store.layers[self.name] = CapturedLayer(self.name, maps.unflatten(-1, (side, side)))
        return self.inner(attn, hidden_states, encoder_hidden_states, attention_mask, temb, *args, **kwargs)

    def _side_map(self, attn: Any, hidden_states: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        if attn.norm_cross:
            text = attn.norm_encoder_hidden_states(text)
        positions = self.positions.to(text.device)
        text = text[self.rows]
        if text.shape[0] != positions.shape[0]:
            raise ValueError(f"rows select {text.shape[0]} of the batch, but positions has {positions.shape[0]} rows.")
        tokens = text.gather(1, positions.unsqueeze(-1).expand(-1, -1, text.shape[-1]))
        query = attn.to_q(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        key = attn.to_k(tokens).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        query = query if attn.norm_q is None else attn.norm_q(query)
        key = key if attn.norm_k is None else attn.norm_k(key)
        return spatial_attention(query, key, query.shape[-1] ** -0.5)


@contextmanager
def capture_attention(
    unet: UNet2DConditionModel,
    positions: torch.Tensor,
    rows: slice,
    resolutions: Sequence[int],
    include_up_blocks: bool = False,
) -> Iterator[AttentionStore]:
    """Capture the cross-attention maps of every U-Net pass inside the ``with`` block; its output stays the same.

    The original attention processors are put back at the end, after an exception too.

    Args:
        unet: diffusers U-Net with square input and gradient checkpointing off.
        positions: token positions of each selected row, int64 [b, T] (see ``token_positions``).
        rows: which b rows of the U-Net's batch are captured (the anomaly half).
        resolutions: sides of the maps that are wanted, in latent pixels.
        include_up_blocks: also the layers of the up blocks, not of the down blocks only.

    Yields:
        The store that the pass fills.

    Raises:
        SeasError: no resolution is asked for, no layer has one that was, the input is not square, or gradient
            checkpointing is on.
        ValueError: ``rows`` and ``positions`` disagree.
    """
    if not resolutions:
        raise SeasError("attention.resolutions is empty; give at least one side of the maps, for example 16.")
    if unet.is_gradient_checkpointing:
        raise SeasError(
            "Gradient checkpointing is on and would lose the attention maps; switch it off for fine-tuning."
        )
    store = AttentionStore()
    originals = dict(unet.attn_processors)
    wanted = ("down_blocks.", "up_blocks.") if include_up_blocks else ("down_blocks.",)
    replaced: dict[str, Any] = dict(originals)
    for name, inner in originals.items():
        if name.startswith(wanted) and name.endswith(".attn2.processor"):
            layer = name.removesuffix(".processor")
            replaced[name] = _CaptureProcessor(layer, inner, store, positions, rows, set(resolutions))
    unet.set_attn_processor(replaced)
    try:
        yield store
    finally:
        unet.set_attn_processor(originals)
    missing = sorted(set(resolutions) - store.seen)
    if store.seen and missing:
        raise SeasError(
            f"No cross-attention layer has maps of side {', '.join(map(str, missing))}; set attention.resolutions to "
            f"some of {', '.join(map(str, sorted(store.seen)))}."
        )
