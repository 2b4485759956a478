# SPDX-License-Identifier: Apache-2.0
"""Settings of a benchmark. Every default says why it is what it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from seas_aug.benchmark.grid import TaskGrid, needs_seas
from seas_aug.benchmark.sources import QUALITY_FEATURES, QUALITY_SOURCES, SEGMENTATION_SOURCES
from seas_aug.config import FineTuneConfig
from seas_aug.errors import SeasError
from seas_aug.presets import PRESETS, PresetName, preset_of

# The smallest variants that learn on two CPU cores; a GPU machine names the full ones.
COMPACT_NETWORKS: dict[str, dict[str, Any]] = {
    "upernet-compact": {
        "architecture": "UPerNet",
        "encoder": "resnet18",
        "options": {"decoder_channels": 64},
    },
    "unet-compact": {
        "architecture": "Unet",
        "encoder": "resnet18",
        "options": {"decoder_channels": [128, 64, 32, 16, 16]},
    },
    "fpn-compact": {
        "architecture": "FPN",
        "encoder": "resnet18",
        "options": {"decoder_pyramid_channels": 64, "decoder_segmentation_channels": 64},
    },
}


_COUNTS = ("anomaly_types", "defects", "normals")


@dataclass(frozen=True)
class CategoryEntry:
    """A category to measure.

    Args:
        root: category in MVTec layout (``train/good``, ``test/<type>``, ``ground_truth/<type>``).
        few_shot: leading fraction, or number above 1, of each type that SeaS may learn from, or a ``split.json``; all
            sources of defects have these images and no others (paper: a third).
        groups: CSV with ``folder,file,group``; None takes ``groups.csv`` in ``root`` if it is there.
        run: run folder of ``seas-aug finetune``; None fine-tunes now, into the benchmark's output.
        generated: what ``seas-aug generate`` made with it; None generates now.
        expected: number of ``anomaly_types``, ``defects`` (test images with one) and ``normals`` (for training), by
            which a dry run counts while ``root`` is not there yet.
    """

    root: Path
    few_shot: str | float = "0.3333"
    groups: Path | None = None
    run: Path | None = None
    generated: Path | None = None
    expected: dict[str, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "few_shot", str(self.few_shot))  # YAML reads 0.4 as a number
        if self.expected is not None and (set(self.expected) != set(_COUNTS) or min(self.expected.values()) < 1):
            raise SeasError(
                f"categories: {self.root} has expected {self.expected}; give {', '.join(_COUNTS)}, each at least 1."
            )


@dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured.

    Args:
        categories: one or more.
        output: folder of results, and of what is fine-tuned and generated on the way; an interrupted benchmark is gone
            on with.
        seeds: of weights and order. Three show how far seeds lie apart.
        detectors: synthesis-based detectors, by the names of ``seas_aug.benchmark.detectors.VARIANTS``.
        one_class: detectors that learn from normal images alone, by those names.
        segmentation: segmentation networks by a name of your own, with the arguments of ``SegmentationSettings``.
        detection_sources: sources of anomalies for the detectors. ``placed_paste``, the few-shot defects pasted where
            SeaS draws, is what drawing itself has to beat; it is measured where it is named.
        quality: features of the images' own quality (IS, KID, IC-LPIPS): ``wavelets`` needs no download, ``inception``
            is the paper's; empty leaves it out.
        segmentation_sources: sources of defects for the segmentation networks; ``few_shot`` is the real ones alone.
        masks: also compare the masks that SeaS predicts on real test defects with the true ones, where anything is
            measured with ``seas``: a few passes of its network, no training.
        textures: folder of pictures that fill Perlin anomalies, such as DTD's ``images`` (paper). None renders some,
            which are simpler: then the figures of ``perlin`` are no published baseline.
        preset: settings of SeaS where it is fine-tuned: ``default``, or ``paper`` (on VisA and MVTec 3D
            ``paper_visa``, ``paper_mvtec_3d``) for Stable Diffusion on a GPU; None takes those that ``base`` is made
            for.
        base: base model where SeaS is fine-tuned; None takes the preset's.
        finetune: other settings of SeaS than the preset's, such as ``{"sampling": {"guidance_scale": 2}}``.
        pairs: generated pairs of each type (paper: 1000); 100 show most of what the embedded base can vary.
        normals: generated normal images for one-class detectors (paper: not stated).
        detector_steps: updates of each detector; None takes the variant's.
        segmentation_steps: updates of each segmentation network; None takes those of ``SegmentationSettings``.
        draws: samples of the bootstrap.
        devices: numbers of the CUDA devices that take cells and categories to fine-tune; none for the CPU, or for one
            at a time on a GPU.
        cells_per_device: how many of them a device takes at a time. The embedded base and compact networks leave most
            of a GPU idle, so that many can share it, each on a CPU core. Stable Diffusion and full networks want one.
        dry_run: only print what would be done, with the hours that it takes.
        tflops: what a device sustains, in TFLOP/s, for those hours. 20 is assumed for an A100, an eighth of its TF32
            peak; small batches and networks leave most of it idle.
    """

    categories: list[CategoryEntry]
    output: Path
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    detectors: list[str] = field(default_factory=lambda: ["draem-compact"])
    one_class: list[str] = field(default_factory=lambda: ["patchcore-compact", "padim-compact"])
    segmentation: dict[str, dict[str, Any]] = field(default_factory=lambda: dict(COMPACT_NETWORKS))
    quality: list[str] = field(default_factory=lambda: ["wavelets"])
    detection_sources: list[str] = field(default_factory=lambda: ["none", "perlin", "cutpaste", "seas"])
    segmentation_sources: list[str] = field(default_factory=lambda: ["few_shot", "cutpaste", "seas"])
    masks: bool = True
    textures: Path | None = None
    preset: PresetName | None = None
    base: str | None = None
    finetune: dict[str, dict[str, Any]] = field(default_factory=dict)
    pairs: int = 100
    normals: int = 60
    detector_steps: int | None = None
    segmentation_steps: int | None = None
    draws: int = 2000
    devices: list[str | int] = field(default_factory=list)
    cells_per_device: int = 1
    dry_run: bool = False
    tflops: float = 20.0

    def __post_init__(self) -> None:
        names = [entry.root.name for entry in self.categories]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names or twice:
            seen = f"{', '.join(twice)} twice" if twice else "no category"
            raise SeasError(f"categories has {seen}; give one or more, each folder's name once.")
        alone = [str(entry.root) for entry in self.categories if entry.generated and not entry.run]
        if alone:
            raise SeasError(f"categories: {alone[0]} has generated without run; give the run that made the pairs.")
        for name in ("pairs", "normals", "draws", "cells_per_device"):
            if getattr(self, name) < 1:
                raise SeasError(f"{name} is {getattr(self, name)}; give at least 1.")
        for name in ("detector_steps", "segmentation_steps"):
            if (steps := getattr(self, name)) is not None and steps < 1:
                raise SeasError(f"{name} is {steps}; give at least 1, or leave it out for the networks' own.")
        if not self.seeds:
            raise SeasError("seeds is empty; give one or more.")
        if self.cells_per_device > 1 and not self.devices:
            raise SeasError(f"cells_per_device is {self.cells_per_device} without devices; name these too.")
        if not self.tflops > 0:
            raise SeasError(f"tflops is {self.tflops}; give a number above 0.")

    def places(self) -> list[str]:
        """Return the device of each process that runs at a time; empty where all is done in this one."""
        return [str(device) for _ in range(self.cells_per_device) for device in self.devices]

    def seas_settings(self) -> FineTuneConfig:
        """Return the settings of SeaS where it is fine-tuned: the preset's, changed by ``base`` and ``finetune``.

        Raises:
            SeasError: a setting that there is not, or a value that it cannot have.
        """
        chosen = PRESETS[self.preset or preset_of(self.base or "embedded")]()
        for part, changed in self.finetune.items():
            try:
                chosen = dataclasses.replace(chosen, **{part: dataclasses.replace(getattr(chosen, part), **changed)})
            except (AttributeError, TypeError) as error:
                message = f"finetune has {part}: {changed}; give settings of `seas-aug finetune --help` ({error})."
                raise SeasError(message) from error
        return dataclasses.replace(chosen, base=self.base or chosen.base)

    def grids(self) -> list[TaskGrid]:
        """Return what is compared in each task.

        Raises:
            SeasError: an unknown detector, or a wrong setting of a segmentation network.
        """
        from seas_aug.anomalib_plugin.sources import Origin
        from seas_aug.benchmark.measure import detector_settings, segmentation_settings

        _check_names("detection_sources", self.detection_sources, get_args(Origin))
        _check_names("segmentation_sources", self.segmentation_sources, SEGMENTATION_SOURCES)
        _check_names("quality", self.quality, QUALITY_FEATURES)
        _check_kinds("detectors", self.detectors, one_class=False)
        _check_kinds("one_class", self.one_class, one_class=True)
        steps = {} if self.detector_steps is None else {"steps": self.detector_steps}
        own = {} if self.segmentation_steps is None else {"steps": self.segmentation_steps}
        networks = {}
        for name, options in self.segmentation.items():
            try:
                networks[name] = segmentation_settings(**{**options, **own})
            except TypeError as error:
                message = f"segmentation.{name} is {options}; give the arguments of SegmentationSettings ({error})."
                raise SeasError(message) from error
        found = [
            TaskGrid(
                "detection",
                {name: detector_settings(name, **steps) for name in self.detectors},
                tuple(self.detection_sources),
            ),
            TaskGrid("one_class", {name: detector_settings(name) for name in self.one_class}, ("none", "seas")),
            TaskGrid("segmentation", networks, tuple(self.segmentation_sources)),
            TaskGrid(
                "quality",
                {name: {"size": QUALITY_FEATURES[name], "count": self.pairs} for name in self.quality},
                QUALITY_SOURCES,
            ),
        ]
        return [*found, TaskGrid("masks", {"rmp": {}}, ("seas",))] if self.masks and needs_seas(found) else found


def _check_names(setting: str, given: Sequence[str], known: Iterable[str]) -> None:
    unknown = [name for name in given if name not in set(known)]
    if unknown:
        raise SeasError(f"{setting} has {unknown[0]!r}; give some of {', '.join(known)}.")


def _check_kinds(setting: str, given: Sequence[str], one_class: bool) -> None:
    from seas_aug.benchmark.detectors import get_variant

    wrong = [name for name in given if get_variant(name).one_class != one_class]
    if wrong:
        kind = "learns from normal images alone" if not one_class else "learns from anomalies"
        raise SeasError(f"{setting} has {wrong[0]!r}, which {kind}; move it to the other list.")
