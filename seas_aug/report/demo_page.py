# SPDX-License-Identifier: Apache-2.0
"""The demo's page: what was generated, what the detectors found, and every setting behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from seas_aug.anomalib_plugin.pool import PoolEntry, read_manifest
from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.data.category import DefectSample
from seas_aug.data.images import to_model_range
from seas_aug.data.pictures import seen_defects
from seas_aug.data.split_file import load_split
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.reading import attention_heatmaps
from seas_aug.environment import describe_environment
from seas_aug.report.closeup import Closeup, whole_picture
from seas_aug.report.contact_sheet import Cell, Picture, Row, save_contact_sheet
from seas_aug.report.demo_detector import METRICS
from seas_aug.report.demo_folders import DemoFolders, read_metrics
from seas_aug.report.page import render_template
from seas_aug.report.pictures import heat_picture, outlined, spread

if TYPE_CHECKING:
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
    blocks = collect_blocks(folders, sources, tests)
    rows = [Row(name, tuple(_as_cell(block) for block in of_type)) for name, of_type in blocks.items()]
    titles = [block.title for block in next(iter(blocks.values()))]
    save_contact_sheet(folders.sheet, titles, rows, _TILE)
    wholes = {name: _whole(folders, name) for name in blocks}
    page = render_page(blocks, wholes, read_metrics(folders, sources), commands, settings, stages.seconds)
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
            _few_shot_block(pipe, spread(few_shot[name], _COLUMNS)),
            _generated_block(pipe, name, triples),
            _test_block(pipe, name, samples, own),
        )
    return blocks


def render_page(
    blocks: Mapping[str, Sequence[Block]],
    wholes: Mapping[str, Picture],
    metrics: Mapping[str, Mapping[str, float]],
    commands: Sequence[str],
    settings: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> str:
    """Return the page as one HTML text.

    Args:
        blocks: pictures per anomaly type.
        wholes: a generated image of each at its own size, with the outline of its mask.
        metrics: measured values per source of anomalies.
        commands: command lines that were run.
        settings: name -> value.
        seconds: stage -> seconds.
    """
    return render_template(
        "demo.html",
        blocks=blocks,
        wholes=wholes,
        sources={source: SOURCE_TITLES[source] for source in metrics},
        metrics=metrics,
        metric_titles=METRICS,
        commands=commands,
        settings=settings,
        environment=describe_environment(),
        seconds=seconds,
        total=sum(seconds.values()),
    )


def _whole(folders: DemoFolders, name: str) -> Picture:
    pair = next(pair for pair in read_manifest(folders.generated) if pair.anomaly_type == name)
    return whole_picture(pair.image, pair.mask)


def _few_shot_block(pipe: SeaSPipeline, samples: Sequence[DefectSample]) -> Block:
    parts = [(sample, Closeup.of_sample(sample, pipe.sides, _TILE)) for sample in samples]
    images = tuple(part.image(sample.image) for sample, part in parts)
    masks = tuple(part.mask(sample.mask) for sample, part in parts)
    return Block("real few-shot", (Line("image", images), Line("mask", masks)))


def _generated_block(pipe: SeaSPipeline, name: str, pairs: Sequence[PoolEntry]) -> Block:
    """Show the windows that hold the defects."""
    samples = [DefectSample(pair.image, pair.mask, name) for pair in pairs]
    parts = [Closeup.of_sample(sample, pipe.sides, _TILE) for sample in samples]
    images = tuple(part.image(pair.image) for part, pair in zip(parts, pairs, strict=True))
    masks = tuple(part.mask(pair.mask) for part, pair in zip(parts, pairs, strict=True))
    outlines = tuple(outlined(image, mask) for image, mask in zip(images, masks, strict=True))
    references = tuple(part.image(pair.reference) for part, pair in zip(parts, pairs, strict=True))
    return Block(
        "generated",
        (
            Line("reference", references),
            Line("image", images),
            Line("mask", masks),
            Line("mask outline", outlines),
            Line("attention", _attention(pipe, name, samples)),
        ),
    )


def _test_block(
    pipe: SeaSPipeline, name: str, samples: Sequence[DefectSample], maps: Mapping[str, torch.Tensor]
) -> Block:
    parts = [Closeup.of_sample(sample, pipe.sides, _TILE) for sample in samples]
    detectors = [
        Line(
            f"DRAEM, {SOURCE_TITLES[source]}",
            tuple(part.heat(one) for part, one in zip(parts, found, strict=True)),
        )
        for source, found in maps.items()
    ]
    return Block(
        "held-out test",
        (
            Line("image", tuple(part.image(sample.image) for part, sample in zip(parts, samples, strict=True))),
            Line("true mask", tuple(part.mask(sample.mask) for part, sample in zip(parts, samples, strict=True))),
            Line("attention", _attention(pipe, name, samples)),
            *detectors,
        ),
    )


def _attention(pipe: SeaSPipeline, name: str, samples: Sequence[DefectSample]) -> tuple[Picture, ...]:
    images, _ = seen_defects(samples, int(pipe.config.image_size), pipe.sides, "squash")
    found = attention_heatmaps(pipe, to_model_range(images), [name] * len(samples))
    return tuple(heat_picture(one, _TILE) for one in found)


def _as_cell(block: Block) -> Cell:
    labels = tuple(line.label.replace(", ", ",\n") for line in block.lines)
    return Cell(tuple(line.pictures for line in block.lines), labels)
