# SPDX-License-Identifier: Apache-2.0
"""DSR: its second phase takes only the masks, and makes defects in its latent space; its third takes pictures."""

from __future__ import annotations

from seas_aug.anomalib_plugin.paste import PasteAdapter
from seas_aug.anomalib_plugin.registry import register_adapter


@register_adapter("Dsr")
class DsrAdapter(PasteAdapter):
    """Feeds both trained phases of DSR with pairs."""

    generators = ("quantized_anomaly_generator", "perlin_generator")
