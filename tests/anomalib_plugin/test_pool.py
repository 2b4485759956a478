# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seas_aug.anomalib_plugin import PairPool
from seas_aug.errors import SeasError
from tests.anomalib_plugin import rendered


def test_draws_the_triples_as_written(generated: Path) -> None:
    pool = PairPool(generated)
    images, masks, references = pool.draw(torch.Generator().manual_seed(0), len(pool), (64, 64))
    assert images.shape == references.shape == (6, 3, 64, 64)
    assert masks.shape == (6, 1, 64, 64)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    expected = {rendered.to_tensor(rendered.normal(seed)).numpy().tobytes() for seed in (300, 301, 302, 350, 351, 352)}
    assert {reference.numpy().tobytes() for reference in references} == expected


def test_each_pass_has_every_triple_in_another_order(generated: Path) -> None:
    pool, generator = PairPool(generated), torch.Generator().manual_seed(0)
    passes = [[image.sum().item() for image in pool.draw(generator, len(pool), (32, 32))[0]] for _ in range(4)]
    assert all(sorted(one) == sorted(passes[0]) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    again = PairPool(generated).draw(torch.Generator().manual_seed(0), 6, (32, 32))[0]
    assert [image.sum().item() for image in again] == passes[0]


def test_other_resolution_keeps_masks_binary_and_thin_defects(generated: Path) -> None:
    pool = PairPool(generated, ["scratch"])
    for size in ((8, 8), (128, 96)):
        masks = pool.draw(torch.Generator(), 3, size)[1]
        assert masks.shape == (3, 1, *size)
        assert set(masks.unique().tolist()) == {0.0, 1.0}
        assert (masks.flatten(1).sum(1) > 0).all()


def test_nothing_drawn(generated: Path) -> None:
    images, masks, references = PairPool(generated).draw(torch.Generator(), 0, (16, 24))
    assert images.shape == references.shape == (0, 3, 16, 24)
    assert masks.shape == (0, 1, 16, 24)


def test_memory_is_bounded(generated: Path) -> None:
    pool = PairPool(generated, cache_bytes=2 * 7 * 64 * 64)
    pool.draw(torch.Generator(), 12, (64, 64))
    assert len(pool._cache) == 2
    assert pool._held_bytes <= 2 * 7 * 64 * 64


def test_types_are_chosen(generated: Path) -> None:
    pool = PairPool(generated, ["hole"])
    assert pool.anomaly_types == ("hole",)
    assert len(pool) == 3
    with pytest.raises(SeasError, match=r"no pairs of type crack; it has hole, scratch"):
        PairPool(generated, ["crack"])


def test_recombined_types_in_any_order(tmp_path: Path) -> None:
    folder = rendered.make_generated(tmp_path / "pairs", None)
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        line["folder"] = "hole+scratch"
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(PairPool(folder, ["scratch+hole"])) == 6


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(SeasError, match="manifest"):
        PairPool(tmp_path)
    folder = rendered.make_generated(tmp_path / "pairs", None)
    (folder / "test" / "hole" / "001.png").unlink()
    with pytest.raises(SeasError, match=r"001\.png is named in"):
        PairPool(folder)
    (folder / "manifest.jsonl").write_text("")
    with pytest.raises(SeasError, match="no defect pair"):
        PairPool(folder)


def test_broken_picture(tmp_path: Path) -> None:
    folder = rendered.make_generated(tmp_path / "pairs", None, pairs=1)
    for path in (folder / "test").rglob("*.png"):
        path.write_bytes(np.arange(10, dtype=np.uint8).tobytes())
    with pytest.raises(SeasError, match="cannot be read"):
        PairPool(folder).draw(torch.Generator(), 1, (64, 64))
