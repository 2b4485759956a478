# SPDX-License-Identifier: Apache-2.0
"""Cross-attention maps: their capture during a U-Net pass, and their reduction to one map per token and resolution."""

from seas_aug.attention.capture import AttentionStore, CapturedLayer, capture_attention, spatial_attention
from seas_aug.attention.maps import anomaly_heatmap, reduce_maps

__all__ = [
    "AttentionStore",
    "CapturedLayer",
    "anomaly_heatmap",
    "capture_attention",
    "reduce_maps",
    "spatial_attention",
]
