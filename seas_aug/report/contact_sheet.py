# SPDX-License-Identifier: Apache-2.0
"""A labelled grid of pictures as one PNG: a row per anomaly type, a column per kind of picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seas_aug.artifact.atomic import atomic_write
from seas_aug.errors import SeasError

Picture = NDArray[np.uint8]
_GAP, _MARGIN, _LABEL_WIDTH, _TITLE_HEIGHT, _LINE_LABEL_WIDTH = 2, 14, 22, 24, 92


@dataclass(frozen=True)
class Cell:
    """A block of equally large pictures.

    Attributes:
        lines: lines of pictures from top to bottom, each uint8 ``[tile, tile, 3]``, RGB; lines may differ in length.
        labels: what each line shows, written to its left; empty or one per line.
    """

    lines: tuple[tuple[Picture, ...], ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One row of the sheet.

    Attributes:
        label: written upright to the left, such as the anomaly type.
        cells: one per column title.
    """

    label: str
    cells: tuple[Cell, ...]


def draw_contact_sheet(titles: Sequence[str], rows: Sequence[Row], tile: int, heading: str = "") -> Picture:
    """Compose a sheet.

    Args:
        titles: one per column.
        rows: from top to bottom, all with as many cells as there are titles.
        tile: side of every picture in pixels.
        heading: a line above everything.

    Returns:
        uint8 ``[H, W, 3]``, RGB, on white.

    Raises:
        SeasError: there is no row.
        ValueError: a row has another number of cells, a cell another number of labels than lines, or a picture is not
            ``[tile, tile, 3]``.
    """
    if not rows:
        raise SeasError("there is nothing to draw on the contact sheet; give at least one anomaly type.")
    for row in rows:
        if len(row.cells) != len(titles):
            raise ValueError(f"row {row.label!r} has {len(row.cells)} cells for {len(titles)} titles")
    step = tile + _GAP
    columns = list(zip(*(row.cells for row in rows), strict=True))
    gutters = [_LINE_LABEL_WIDTH if any(cell.labels for cell in cells) else 0 for cells in columns]
    widths = [
        gutter + step * max(len(line) for cell in cells for line in cell.lines or ((),))
        for gutter, cells in zip(gutters, columns, strict=True)
    ]
    heights = [step * max(len(cell.lines) for cell in row.cells) for row in rows]
    top = _MARGIN + (_TITLE_HEIGHT if heading else 0) + _TITLE_HEIGHT
    lefts, tops = _starts(widths, _MARGIN + _LABEL_WIDTH), _starts(heights, top)
    canvas = np.full((tops[-1] + heights[-1] + _MARGIN, lefts[-1] + widths[-1] + _MARGIN, 3), 255, np.uint8)
    texts = [_Text(_MARGIN, _MARGIN + 10, heading, bold=True)] if heading else []
    for title, left, gutter in zip(titles, lefts, gutters, strict=True):
        texts.append(_Text(left + gutter, top - 8, title))
    for row, begin, height in zip(rows, tops, heights, strict=True):
        texts.append(_Text(_MARGIN + 8, begin + height / 2, row.label, upright=True))
        for cell, left, gutter in zip(row.cells, lefts, gutters, strict=True):
            _paste(canvas, cell, begin, left + gutter, step)
            if cell.labels and len(cell.labels) != len(cell.lines):
                raise ValueError(f"{len(cell.labels)} labels for {len(cell.lines)} lines in row {row.label!r}")
            for number, label in enumerate(cell.labels):
                texts.append(_Text(left + gutter - 6, begin + (number + 0.5) * step, label, to_left=True))
    return _write_texts(canvas, texts)


def save_contact_sheet(path: Path, titles: Sequence[str], rows: Sequence[Row], tile: int, heading: str = "") -> Path:
    """Draw a sheet and write it as PNG, whole or not at all.

    Args:
        path: file to write.
        titles: see :func:`draw_contact_sheet`, like the others.
        rows: rows of the sheet.
        tile: side of every picture.
        heading: a line above everything.

    Returns:
        ``path``.
    """
    save_png(path, draw_contact_sheet(titles, rows, tile, heading))
    return path


def save_png(path: Path, picture: Picture) -> None:
    """Write an RGB picture uint8 ``[H, W, 3]`` as PNG, whole or not at all."""
    import cv2

    _, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    with atomic_write(path) as file:
        file.write(data.tobytes())


@dataclass(frozen=True)
class _Text:
    x: float
    y: float
    text: str
    upright: bool = False
    to_left: bool = False
    bold: bool = False


def _starts(lengths: Sequence[int], first: int) -> list[int]:
    starts = [first]
    for length in lengths[:-1]:
        starts.append(starts[-1] + length + _MARGIN)
    return starts


def _paste(canvas: Picture, cell: Cell, top: int, left: int, step: int) -> None:
    tile = step - _GAP
    for number, line in enumerate(cell.lines):
        for column, picture in enumerate(line):
            if picture.shape != (tile, tile, 3):
                raise ValueError(f"a picture has the shape {picture.shape}, not {(tile, tile, 3)}")
            y, x = top + number * step, left + column * step
            canvas[y : y + tile, x : x + tile] = picture


def _write_texts(canvas: Picture, texts: Sequence[_Text]) -> Picture:
    """Write texts with matplotlib, without touching any other pixel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = canvas.shape[:2]
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    figure.figimage(canvas, resize=False)
    for item in texts:
        style: dict[str, Any] = {"fontsize": 9.5, "color": "black", "weight": "bold" if item.bold else "normal"}
        if item.upright:
            style.update(rotation=90, va="center", ha="center")
        if item.to_left:
            style.update(va="center", ha="right", fontsize=8, color="dimgray")
        figure.text(item.x / width, 1 - item.y / height, item.text, **style)
    with io.BytesIO() as buffer:
        FigureCanvasAgg(figure).print_rgba(buffer)
        pixels = np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, width, 4)
    return np.ascontiguousarray(pixels[..., :3])
