# SPDX-License-Identifier: Apache-2.0
"""The demo's page: what was generated, what the detectors found, and every setting behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seas_aug.anomalib_plugin.pool import PoolEntry, read_manifest
from seas_aug.atomic import atomic_write_text
from seas_aug.data.category import DefectSample
from seas_aug.data.images import load_image, to_model_range
from seas_aug.data.split_file import load_split
from seas_aug.evaluate.real_images import attention_heatmaps
from seas_aug.pipeline.seas_pipeline import SeaSPipeline
from seas_aug.report.contact_sheet import Cell, Picture, Row, save_contact_sheet
from seas_aug.report.demo_detector import METRICS
from seas_aug.report.environment import describe_environment
from seas_aug.report.page import render_template
from seas_aug.report.pictures import heat_picture, mask_picture, outlined, picture_of, spread

if TYPE_CHECKING:
    from seas_aug.report.demo import DemoFolders
    from seas_aug.report.stages import Stages

_TILE, _COLUMNS = 128, 4
SOURCE_TITLES = {"seas": "SeaS", "perlin": "Perlin (anomalib)"}


@dataclass(frozen=True)
class Line:
    """A labelled line of pictures.

    Attributes:
        label: what they are.
        pictures: each uint8 ``[tile, tile, 3]``, RGB.
    """

    label: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Block:
    """Lines under a common title."""

    title: str
    lines: tuple[Line, ...]


def write_page(
    folders: DemoFolders,
    sources: Sequence[str],
    tests: Mapping[str, Sequence[DefectSample]],
    commands: Sequence[str],
    settings: dict[str, Any],
    stages: Stages,
) -> None:
    """Write ``contact_sheet.png``, then ``index.html`` with all pictures inside it.

    Args:
        folders: a demo whose other stages are done.
        sources: sources of anomalies that a detector was trained on.
        tests: held-out defects to show, in the order of the detectors' maps.
        commands: command lines that were run.
        settings: everything that decides the results.
        stages: seconds per stage.
    """
    from seas_aug.report.demo import read_metrics

    blocks = collect_blocks(folders, sources, tests)
    rows = [Row(name, tuple(_as_cell(block) for block in of_type)) for name, of_type in blocks.items()]
    titles = [block.title for block in next(iter(blocks.values()))]
    save_contact_sheet(folders.sheet, titles, rows, _TILE)
    page = render_page(blocks, read_metrics(folders, sources), commands, settings, stages.seconds)
    atomic_write_text(folders.page, page)


def collect_blocks(
    folders: DemoFolders, sources: Sequence[str], tests: Mapping[str, Sequence[DefectSample]]
) -> dict[str, tuple[Block, ...]]:
    """Gather the pictures of each type: real few-shot, generated, and held-out defects with anomaly maps."""
    from safetensors.torch import load_file

    pipe = SeaSPipeline.from_pretrained(folders.run)
    few_shot = load_split(folders.run / "split.json").split.few_shot
    pairs = read_manifest(folders.generated)
    maps = {source: load_file(folders.detector(source) / "maps.safetensors")["maps"] for source in sources}
    blocks: dict[str, tuple[Block, ...]] = {}
    first = 0
    for name, samples in tests.items():
        own = {source: found[first : first + len(samples)] for source, found in maps.items()}
        first += len(samples)
        triples = spread([pair for pair in pairs if pair.anomaly_type == name], _COLUMNS)
        blocks[name] = (
            _few_shot_block(spread(few_shot[name], _COLUMNS)),
            _generated_block(pipe, name, triples),
            _test_block(pipe, name, samples, own),
        )
    return blocks


def render_page(
    blocks: Mapping[str, Sequence[Block]],
    metrics: Mapping[str, Mapping[str, float]],
    commands: Sequence[str],
    settings: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> str:
    """Return the page as one HTML text.

    Args:
        blocks: pictures per anomaly type.
        metrics: measured values per source of anomalies.
        commands: command lines that were run.
        settings: name -> value.
        seconds: stage -> seconds.
    """
    return render_template(
        "demo.html",
        blocks=blocks,
        sources={source: SOURCE_TITLES[source] for source in metrics},
        metrics=metrics,
        metric_titles=METRICS,
        commands=commands,
        settings=settings,
        environment=describe_environment(),
        seconds=seconds,
        total=sum(seconds.values()),
    )


def _few_shot_block(samples: Sequence[DefectSample]) -> Block:
    images = tuple(picture_of(sample.image, _TILE) for sample in samples)
    masks = tuple(mask_picture(sample.mask, _TILE) for sample in samples)
    return Block("real few-shot", (Line("image", images), Line("mask", masks)))


def _generated_block(pipe: SeaSPipeline, name: str, pairs: Sequence[PoolEntry]) -> Block:
    images = tuple(picture_of(pair.image, _TILE) for pair in pairs)
    masks = tuple(mask_picture(pair.mask, _TILE) for pair in pairs)
    outlines = tuple(outlined(image, mask) for image, mask in zip(images, masks, strict=True))
    return Block(
        "generated",
        (
            Line("reference", tuple(picture_of(pair.reference, _TILE) for pair in pairs)),
            Line("image", images),
            Line("mask", masks),
            Line("mask outline", outlines),
            Line("attention", _attention(pipe, name, [pair.image for pair in pairs])),
        ),
    )


def _test_block(
    pipe: SeaSPipeline, name: str, samples: Sequence[DefectSample], maps: Mapping[str, torch.Tensor]
) -> Block:
    detectors = [
        Line(f"DRAEM, {SOURCE_TITLES[source]}", tuple(heat_picture(one, _TILE) for one in found))
        for source, found in maps.items()
    ]
    return Block(
        "held-out test",
        (
            Line("image", tuple(picture_of(sample.image, _TILE) for sample in samples)),
            Line("true mask", tuple(mask_picture(sample.mask, _TILE) for sample in samples)),
            Line("attention", _attention(pipe, name, [sample.image for sample in samples])),
            *detectors,
        ),
    )


def _attention(pipe: SeaSPipeline, name: str, paths: Sequence[Path]) -> tuple[Picture, ...]:
    size = int(pipe.config.image_size)
    images = to_model_range(torch.stack([load_image(path, size, "squash") for path in paths]))
    return tuple(heat_picture(one, _TILE) for one in attention_heatmaps(pipe, images, [name] * len(paths)))


def _as_cell(block: Block) -> Cell:
    labels = tuple(line.label.replace(", ", ",\n") for line in block.lines)
    return Cell(tuple(line.pictures for line in block.lines), labels)
