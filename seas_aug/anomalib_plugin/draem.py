# SPDX-License-Identifier: Apache-2.0
"""DRAEM: reconstructs the clean twin of each picture and finds what differs."""

from __future__ import annotations

from seas_aug.anomalib_plugin.paste import PasteAdapter
from seas_aug.anomalib_plugin.registry import register_adapter


@register_adapter("Draem")
class DraemAdapter(PasteAdapter):
    """Feeds DRAEM with pasted pairs."""

    generators = ("augmenter",)
