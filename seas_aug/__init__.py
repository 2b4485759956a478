# SPDX-License-Identifier: Apache-2.0
"""seas_aug: realistic few-shot anomaly generation (SeaS, arXiv 2410.14987) for anomalib.

Exports are loaded on first use, so that ``import seas_aug`` neither imports torch nor takes time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seas_aug.config import DrawConfig
    from seas_aug.draw.output import PairRecord, SeaSPipelineOutput
    from seas_aug.draw.pipeline import SeaSPipeline
    from seas_aug.errors import SeasError

__version__ = "0.2.0.dev0"

_EXPORTS = {
    "DrawConfig": "seas_aug.config",
    "PairRecord": "seas_aug.draw.output",
    "SeaSPipeline": "seas_aug.draw.pipeline",
    "SeaSPipelineOutput": "seas_aug.draw.output",
    "SeasError": "seas_aug.errors",
}
__all__ = ["DrawConfig", "PairRecord", "SeaSPipeline", "SeaSPipelineOutput", "SeasError", "__version__"]


def __getattr__(name: str) -> Any:
    """Import an export when it is first asked for."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    message = f"module 'seas_aug' has no attribute {name!r}"
    raise AttributeError(message)
