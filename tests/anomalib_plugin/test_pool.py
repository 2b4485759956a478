# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

from seas_aug.anomalib_plugin import PairPool
from seas_aug.artifact.record import Record
from seas_aug.data.decode import as_rgb
from seas_aug.errors import SeasError
from seas_aug.generate.writer import PairWriter
from tests.anomalib_plugin import rendered

MADE_FROM = Record(code="1", model="a", settings={"seed": 0})


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
    with pytest.raises(SeasError, match="corrupt or no image"):
        PairPool(folder).draw(torch.Generator(), 1, (64, 64))


@pytest.mark.parametrize("shape", [(90, 200), (90, 200, 3), (90, 200, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_large_pictures_are_seen_as_the_detector_sees_them(tmp_path: Path, shape: tuple, dtype: type) -> None:
    """Whole pictures, in the detector's size: not square, of any depth, and a crack of a pixel is not lost."""
    rng = np.random.default_rng(0)
    image, reference = (rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True) for _ in range(2))
    mask = np.zeros(shape[:2], np.uint8)
    mask[40, 20:180] = 1
    PairWriter(tmp_path / "pairs", MADE_FROM).write("crack", 0, image, mask, reference, {})
    pool = PairPool(tmp_path / "pairs")
    assert pool.native_size == (90, 200)
    for size in ((90, 200), (32, 48)):
        seen = pool.draw(torch.Generator(), 1, size)
        for found, pixels in ((seen[0], image), (seen[2], reference)):
            tensor = torch.from_numpy(as_rgb(pixels)).permute(2, 0, 1)
            expected = transforms.resize(tensor, list(size), antialias=True).float() / 255
            assert torch.equal(found[0], expected)
        assert seen[1].shape == (1, 1, *size) and set(seen[1].unique().tolist()) == {0.0, 1.0}
        row = round((40.5 * size[0]) / 90 - 0.5)
        column = slice(size[1] // 10 + 1, size[1] * 9 // 10 - 1)
        assert seen[1][0, 0, row - 1 : row + 2, column].any(0).all()
    assert torch.equal(pool.draw(torch.Generator(), 1, (90, 200))[1][0, 0], torch.from_numpy(mask).float())


def test_refused_seeds_are_passed_over(tmp_path: Path) -> None:
    folder = rendered.make_generated(tmp_path / "pairs", None)
    writer = PairWriter(folder, MADE_FROM)
    for index in (3, 4):
        writer.refuse("hole", index, {"rejected": ["seam"]})
    writer.finish()
    assert len(PairPool(folder)) == 6
    assert len(PairPool(folder, ["hole"])) == 3
    for name in ("hole", "scratch"):
        for index in range(3):
            writer.retire(name, index)
    with pytest.raises(SeasError, match="no defect pair"):
        PairPool(folder)


def test_a_folder_of_version_0_1_is_read(tmp_path: Path) -> None:
    """Its pictures are squares, its generate.json has no way of drawing, and its manifest no windows."""
    folder = tmp_path / "old"
    names = {"file": "test/hole/000.png", "mask": "ground_truth/hole/000_mask.png"}
    names["reference"] = "reference/hole/good/000.png"
    image, mask = rendered.defect(1, "hole")
    for key, picture in (("file", image), ("mask", mask), ("reference", rendered.normal(1))):
        (folder / names[key]).parent.mkdir(parents=True)
        assert cv2.imwrite(str(folder / names[key]), picture)
    settings = {"model": "0" * 16, "seed": 0, "strength": None, "guidance_scale": None, "copied_share": None}
    (folder / "generate.json").write_text(json.dumps({"settings": settings, "digits": 3}))
    entry = {**names, "folder": "hole", "index": 0, "seed": 5, "anomaly_types": ["hole"], "prompt": "a", "retries": 0}
    (folder / "manifest.jsonl").write_text(json.dumps(entry) + "\n")
    images, masks, references = PairPool(folder).draw(torch.Generator(), 1, (64, 64))
    assert torch.equal(images[0], rendered.to_tensor(image))
    assert torch.equal(masks[0, 0], torch.from_numpy(mask).float() / 255)
    assert torch.equal(references[0], rendered.to_tensor(rendered.normal(1)))


def test_the_first_pairs_of_each_type(category: Path, tmp_path: Path) -> None:
    folder = rendered.add_normals(rendered.make_generated(tmp_path / "pairs", category, 4))
    pool = PairPool(folder, most=2)
    assert [(entry.anomaly_type, entry.image.stem) for entry in pool.entries] == [
        (name, number) for name in ("hole", "scratch") for number in ("000", "001")
    ]
    assert len(PairPool(folder)) == len(PairPool(folder, most=9)) == 8
