# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from seas_aug.benchmark.gains import ALL, Gains, check_comparable, gain_of, gain_rows
from seas_aug.benchmark.grid import Cell
from seas_aug.benchmark.store import CellStore
from seas_aug.benchmark.summary import summarise
from seas_aug.errors import SeasError
from tests.benchmark.made_cells import write_cell


def _grid(folder: Path) -> tuple[list[Cell], dict[tuple[str, str, str, int], float]]:
    """Two categories, two networks, two seeds; the second network has no opponent on screws."""
    cells, found = [], {}
    for category, network, seed in (
        *((name, "draem-compact", seed) for name in ("screw", "tile") for seed in (0, 1)),
        ("tile", "other", 0),
        ("screw", "other", 0),
    ):
        for source, skill in (("perlin", 0.1), ("seas", 0.4)):
            if (category, network, source) != ("screw", "other", "perlin"):
                precision = "bf16-mixed" if network == "other" and source == "seas" else "32-true"
                cell, metrics = write_cell(
                    folder, category, source, skill, network=network, seed=seed, precision=precision
                )
                cells.append(cell)
                found[category, network, source, seed] = 100 * metrics["pixel_ap"]
    return cells, found


def test_gains_by_network_and_category_and_their_means(tmp_path: Path) -> None:
    cells, found = _grid(tmp_path)
    gains = Gains(cells, CellStore(tmp_path), "detection", "perlin")

    def expected(category: str, network: str, seeds: tuple[int, ...]) -> float:
        own, other = (np.mean([found[category, network, name, seed] for seed in seeds]) for name in ("seas", "perlin"))
        return float(own - other)

    screw, tile = (expected(name, "draem-compact", (0, 1)) for name in ("screw", "tile"))
    other = expected("tile", "other", (0,))
    for (category, network), value in {
        ("screw", ALL): screw,
        ("tile", "draem-compact"): tile,
        ("tile", ALL): (tile + other) / 2,
        (ALL, "draem-compact"): (screw + tile) / 2,
        (ALL, ALL): (screw + (tile + other) / 2) / 2,
    }.items():
        gained = gains.of(category, network, draws=50)
        assert gained is not None and gained["mean"] == pytest.approx(value, abs=0.006)
        assert gained["low"] <= gained["mean"] <= gained["high"]
    whole, alone = gains.of(draws=5), gains.of("tile", "other", draws=5)
    assert whole is not None and alone is not None
    assert whole["networks"] == ["draem-compact", "other"] and whole["categories"] == ["screw", "tile"]
    assert (whole["seeds"], alone["seeds"]) == (1, 1)
    assert alone["precisions"] == ["32-true", "bf16-mixed"]
    assert gains.of("screw", "other") is gains.of("nut") is None


def test_rows_and_the_headline_agree_and_say_what_they_are_made_of(tmp_path: Path) -> None:
    cells, found = _grid(tmp_path)
    store = CellStore(tmp_path)
    rows = gain_rows(cells, store, draws=20)
    assert [(row["network"], row["category"]) for row in rows] == [
        *((ALL, name) for name in (ALL, "screw", "tile")),
        *(("draem-compact", name) for name in (ALL, "screw", "tile")),
        *(("other", name) for name in (ALL, "tile")),
    ]
    summary = summarise([*cells, Cell("detection", "nut", "draem-compact", "seas", 0)], store, draws=20)
    headline = summary["draem_gain_vs_perlin"]
    assert headline["mean"] == rows[3]["mean"] and headline["networks"] == ["draem-compact"]
    assert headline["categories"] == ["screw", "tile"] and headline["seeds"] == 2
    own = np.mean([found["screw", "draem-compact", "seas", seed] for seed in (0, 1)])
    assert summary["pixel_ap"]["screw"]["seas"] == pytest.approx(own, abs=0.006)
    assert summary["gains"] == rows and summary["cells"] == {"done": len(cells), "planned": len(cells) + 1}
    assert summary["segmentation_gain_vs_cutpaste"] is None
    single = gain_rows([cell for cell in cells if cell.network == "other"], store, draws=5)
    assert gain_of(single, "detection", "perlin", ALL) == single[0]


@pytest.mark.parametrize("other", [{"steps": 6}, {"steps": 5, "size": 64}, {"steps": 5, "data": "b"}])
def test_unlike_trainings_are_not_compared(tmp_path: Path, other: dict[str, object]) -> None:
    first, _ = write_cell(tmp_path, "tile", "perlin", 0.1)
    second, _ = write_cell(tmp_path, "tile", "seas", 0.1, settings=other)
    with pytest.raises(SeasError, match="cannot be compared"):
        gain_rows([first, second], CellStore(tmp_path))


def test_what_differs_by_nature_may_differ() -> None:
    first = Cell("detection", "tile", "net", "perlin", 0, {"steps": 5, "textures": "rendered"})
    second = Cell("detection", "tile", "net", "seas", 0, {"steps": 5, "pairs": "a", "model": "b"})
    check_comparable([first, second], CellStore(Path("nowhere")))


def test_other_test_images_are_refused(tmp_path: Path) -> None:
    first, _ = write_cell(tmp_path, "tile", "perlin", 0.1)
    second, _ = write_cell(tmp_path, "tile", "seas", 0.1)
    store = CellStore(tmp_path)
    path = store.path(second, ".npz")
    with np.load(path) as content:
        changed = {name: content[name] for name in content.files}
    changed["names"][0] = "test/nut/9.png"
    np.savez_compressed(path, **changed)
    with pytest.raises(SeasError, match="other test images"):
        gain_rows([first, second], store)
