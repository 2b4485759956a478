# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seas_aug.errors import SeasError
from seas_aug.report.contact_sheet import Cell, Row, draw_contact_sheet, save_contact_sheet
from seas_aug.report.pictures import flat_picture, heat_picture, image_picture, outlined, spread

TILE = 16


def tile(*colour: int) -> np.ndarray:
    return np.full((TILE, TILE, 3), colour, np.uint8)


def find(sheet: np.ndarray, colour: tuple[int, int, int]) -> tuple[slice, slice]:
    rows, columns = np.nonzero((sheet == np.asarray(colour, np.uint8)).all(axis=-1))
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


def test_pictures_are_unchanged_and_in_order(tmp_path: Path) -> None:
    red, green, blue, yellow = (200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)
    first = Row("crack", (Cell(((tile(*red), tile(*green)),), ("image",)), Cell(((tile(*blue),), ()))))
    second = Row("hole", (Cell(((tile(*yellow),),)), Cell(())))
    path = save_contact_sheet(tmp_path / "sheet.png", ["real", "generated"], [first, second], TILE, "heading")
    sheet = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    places = {colour: find(sheet, colour) for colour in (red, green, blue, yellow)}
    for rows, columns in places.values():
        assert (rows.stop - rows.start, columns.stop - columns.start) == (TILE, TILE)
    assert places[red][0] == places[green][0] == places[blue][0]
    assert places[red][1].stop < places[green][1].start < places[blue][1].start
    assert places[yellow][0].start > places[red][0].stop
    assert places[yellow][1] == places[red][1]
    assert (sheet[:, : places[red][1].start] < 128).any()  # labels


def test_wrong_content() -> None:
    cell = Cell(((tile(0, 0, 0),),))
    with pytest.raises(SeasError, match="nothing to draw"):
        draw_contact_sheet(["real"], [], TILE)
    with pytest.raises(ValueError, match="2 cells for 1 titles"):
        draw_contact_sheet(["real"], [Row("crack", (cell, cell))], TILE)
    with pytest.raises(ValueError, match="shape"):
        draw_contact_sheet(["real"], [Row("crack", (cell,))], TILE + 1)
    with pytest.raises(ValueError, match="2 labels for 1 lines"):
        draw_contact_sheet(["real"], [Row("crack", (Cell(cell.lines, ("a", "b")),))], TILE)


def test_pictures_from_tensors() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[0, 2:6, 2:6] = 1
    flat = flat_picture(mask, TILE)
    assert flat.shape == (TILE, TILE, 3)
    assert set(np.unique(flat)) == {0, 255}
    heat = heat_picture(mask * 0.5, TILE, highest=0.5)
    assert (heat == heat_picture(mask, TILE)).all()
    assert heat[8, 8].sum() > heat[0, 0].sum()
    grey = image_picture(torch.full((3, 8, 8), 0.5), TILE)
    assert (grey == 128).all()
    drawn = outlined(grey, flat)
    assert (drawn != grey).any(axis=-1).sum() == 4 * 7
    assert (grey == 128).all()


def test_spread() -> None:
    assert spread([1, 2], 5) == [1, 2]
    assert spread(range(10), 4) == [0, 3, 6, 9]
