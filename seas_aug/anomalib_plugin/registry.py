# SPDX-License-Identifier: Apache-2.0
"""Adapters: how generated pairs reach a detector, one small class per detector.

A third party adds a detector in one file::

    from seas_aug.anomalib_plugin import DetectorAdapter, register_adapter

    @register_adapter("MyDetector")
    class MyAdapter(DetectorAdapter):
        def attach(self, model, source): ...
        def prepare_batch(self, model, batch): ...
        def detach(self, model): ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from lightning.pytorch import LightningModule

from seas_aug.anomalib_plugin.sources import DefectSource
from seas_aug.errors import SeasError


class DetectorAdapter(ABC):
    """Connects a detector with a :class:`~seas_aug.anomalib_plugin.sources.DefectSource` while it trains."""

    default_probability: float = 0.5
    """Share of the images in a batch that get a defect, where the user gives none: the detector's own."""

    @abstractmethod
    def attach(self, model: LightningModule, source: DefectSource) -> None:
        """Put the source into the detector, before training.

        Args:
            model: the detector.
            source: what to draw from.
        """

    @abstractmethod
    def prepare_batch(self, model: LightningModule, batch: Any) -> None:
        """Change a training batch before the detector's own pre-processing sees it.

        Args:
            model: the detector.
            batch: anomalib's ``ImageBatch``, changed in place.
        """

    @abstractmethod
    def detach(self, model: LightningModule) -> None:
        """Put the detector back as it was; also called after an error.

        Args:
            model: the detector.
        """


_ADAPTERS: dict[str, type[DetectorAdapter]] = {}
_BUILT_IN = tuple(f"seas_aug.anomalib_plugin.{name}" for name in ("draem", "glass", "dsr", "labelled"))
AdapterType = TypeVar("AdapterType", bound=type[DetectorAdapter])


def register_adapter(*names: str) -> Callable[[AdapterType], AdapterType]:
    """Register the decorated adapter for detectors of these class names (and for their subclasses).

    Args:
        names: class names of detectors, such as ``"Draem"``; a later registration replaces an earlier one.
    """

    def register(adapter: AdapterType) -> AdapterType:
        for name in names:
            _ADAPTERS[name] = adapter
        return adapter

    return register


def registered_detectors() -> tuple[str, ...]:
    """Return the class names of all detectors that have an adapter, sorted."""
    _import_built_in()
    return tuple(sorted(_ADAPTERS))


def _import_built_in() -> None:
    for module in _BUILT_IN:
        import_module(module)


def import_adapters(module: str) -> None:
    """Import a module of a third party, which registers its adapters; they may replace those of this package.

    Args:
        module: dotted name; it lies on Python's path.

    Raises:
        SeasError: there is no such module.
    """
    _import_built_in()  # first, or they would replace the third party's
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        message = f"augmentation.adapters names {module}, which cannot be imported ({error}); put it on PYTHONPATH."
        raise SeasError(message) from error


ONE_CLASS_DETECTORS = {
    *("AnomalyDINO", "AnomalyVFM", "CFM", "Cfa", "Cflow", "Csflow", "Dfkde", "Dfm", "Dinomaly", "EfficientAd"),
    *("Fastflow", "FoundAD", "Fre", "Ganomaly", "GeneralAD", "InpFormer", "L2BT", "MHPatchcore", "Padim"),
    *("Patchcore", "Patchflow", "Rad", "ReverseDistillation", "Stfpm", "SuperADD", "Uflow"),
}
"""Class names of anomalib's detectors that take every training image for a normal one."""


def register_one_class(*names: str) -> None:
    """Say that detectors of these class names (and their subclasses) take every training image for a normal one.

    They get generated normal images and never a defect.

    Args:
        names: class names of detectors.
    """
    ONE_CLASS_DETECTORS.update(names)


def is_one_class(model: LightningModule) -> bool:
    """Return whether a detector learns from normal images alone.

    Args:
        model: the detector; its class, then its base classes, are looked up by name. The nearest one decides, by an
            adapter rather than by the list of one-class detectors.
    """
    _import_built_in()
    for kind in type(model).__mro__:
        if kind.__name__ in _ADAPTERS:
            return False
        if kind.__name__ in ONE_CLASS_DETECTORS:
            return True
    return False


def find_adapter(model: LightningModule) -> DetectorAdapter:
    """Return a new adapter for a detector.

    Args:
        model: the detector; its class, then its base classes, are looked up by name.

    Raises:
        SeasError: there is no adapter for it.
    """
    known = registered_detectors()
    for kind in type(model).__mro__:
        if kind.__name__ in _ADAPTERS:
            return _ADAPTERS[kind.__name__]()
    names = ", ".join(known)
    message = f"{type(model).__name__} has no adapter for generated anomalies; augmentation: seas works with {names}."
    raise SeasError(message)
