# SPDX-License-Identifier: Apache-2.0
"""SeaS as the anomaly source of anomalib's detectors.

Plain anomalib users put the callback under ``trainer.callbacks``::

    trainer:
      callbacks:
        - class_path: seas_aug.anomalib_plugin.SeasAugmentation
          init_args: {run: runs/seas}

and ``seas-aug train`` takes it as the top-level key ``augmentation: seas``. Exports are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seas_aug.anomalib_plugin.callback import SeasAugmentation
    from seas_aug.anomalib_plugin.pool import PairPool
    from seas_aug.anomalib_plugin.registry import DetectorAdapter, register_adapter, register_one_class
    from seas_aug.anomalib_plugin.sources import DefectSource

_EXPORTS = {
    "DefectSource": "seas_aug.anomalib_plugin.sources",
    "DetectorAdapter": "seas_aug.anomalib_plugin.registry",
    "PairPool": "seas_aug.anomalib_plugin.pool",
    "SeasAugmentation": "seas_aug.anomalib_plugin.callback",
    "register_adapter": "seas_aug.anomalib_plugin.registry",
    "register_one_class": "seas_aug.anomalib_plugin.registry",
}
__all__ = ["DefectSource", "DetectorAdapter", "PairPool", "SeasAugmentation", "register_adapter", "register_one_class"]


def __getattr__(name: str) -> Any:
    """Import an export when it is first asked for."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    message = f"module 'seas_aug.anomalib_plugin' has no attribute {name!r}"
    raise AttributeError(message)
