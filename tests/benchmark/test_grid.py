# SPDX-License-Identifier: Apache-2.0
import pytest

from seas_aug.benchmark.grid import Cell, TaskGrid, plan_cells
from seas_aug.errors import SeasError

GRIDS = (
    TaskGrid("detection", {"draem": {"steps": 3}, "glass": {}}, ("none", "seas")),
    TaskGrid("segmentation", {"unet": {}}, ("few_shot", "seas")),
)


def test_every_combination_seed_after_seed() -> None:
    cells = plan_cells(GRIDS, ["screw", "tile"], [0, 1], {"screw": {"model": "a"}, "tile": {"model": "b"}})
    assert len(cells) == len(set(cells_of(cells))) == 2 * 2 * (2 * 2 + 2)
    assert [cell.seed for cell in cells] == [0] * 12 + [1] * 12
    first = cells[0]
    assert (first.task, first.category, first.network, first.source) == ("detection", "screw", "draem", "none")
    assert first.settings == {"steps": 3, "model": "a"}
    assert str(first) == "screw, draem, none, seed 0"


def cells_of(cells: list[Cell]) -> list[str]:
    return [cell.key for cell in cells]


def test_key_follows_every_setting() -> None:
    cell = Cell("detection", "screw", "draem", "seas", 0, {"steps": 3, "lr": 0.1})
    assert cell.key == Cell("detection", "screw", "draem", "seas", 0, {"lr": 0.1, "steps": 3}).key
    assert cell.key.startswith("detection-screw-draem-seas-0-")
    assert cell.key != Cell("detection", "screw", "draem", "seas", 0, {"steps": 4, "lr": 0.1}).key


def test_twice_the_same() -> None:
    with pytest.raises(SeasError, match="planned twice"):
        plan_cells(GRIDS, ["screw"], [0, 0], {})
