# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import shutil

import cv2
import numpy as np
import pytest
import yaml

from benchmarks import real_defects
from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.mask_quality import measure_masks
from seas_aug.data.images import load_image
from seas_aug.data.split_file import load_split
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.errors import SeasError
from tests.benchmarks.conftest import TYPES, demo  # noqa: F401


@pytest.fixture
def made(demo) -> CategoryFolders:  # noqa: F811
    return CategoryFolders(demo / "board", demo / "run", demo / "generated")


@pytest.fixture
def whole_images(made, tmp_path) -> CategoryFolders:
    """The same run as one that sees whole images as squares."""
    run = tmp_path / "run"
    shutil.copytree(made.run, run)
    index = run / "model" / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "windows": []}))
    return dataclasses.replace(made, run=run)


def as_resized(made, resize):
    config = yaml.safe_load((made.run / "config.yaml").read_text())
    config["data"]["resize"] = resize
    (made.run / "config.yaml").write_text(yaml.safe_dump(config))


def test_figures_are_those_of_the_benchmark_of_real_defects(made):
    found = measure_masks(made, seed=3, batch_size=1)
    known = real_defects.evaluate(made.run, made.root, made.root / "split.json", seed=3)
    assert tuple(found["types"]) == TYPES
    for name, figures in found["types"].items():
        assert figures["images"] == known["types"][name]["images"] == 2
        assert figures["mask_iou"] == pytest.approx(known["types"][name]["mask_iou_pooled"], abs=0.02)
    assert found["mask_iou"] == pytest.approx(known["mean"]["mask_iou_pooled"], abs=0.02)
    assert found["mask_iou_per_image"] == pytest.approx(known["mean"]["mask_iou_per_image"], abs=0.02)
    assert 0 < found["mask_iou"] < 1


def test_images_are_brought_to_size_as_the_run_does_it(whole_images, monkeypatch):
    seen = []
    monkeypatch.setattr("seas_aug.data.pictures.load_image", lambda *given: seen.append(given[2]) or load_image(*given))
    for resize in ("squash", "crop"):
        as_resized(whole_images, resize)
        seen.clear()
        types = measure_masks(whole_images, seed=0)["types"].values()
        assert set(seen) == {resize} and len(seen) == sum(one["images"] for one in types) > len(types)
    for text, words in (("data: {}", "tells no data.resize"), ("data: {resize: no}", "expected one of squash, crop")):
        (whole_images.run / "config.yaml").write_text(text)
        with pytest.raises(SeasError, match=words):
            measure_masks(whole_images, seed=0)


def test_a_run_in_windows_sees_a_window_around_each_defect(made, monkeypatch):
    monkeypatch.setattr("seas_aug.data.pictures.load_image", lambda *_: pytest.fail("a whole image was squeezed"))
    assert SeaSPipeline.from_pretrained(made.run).sides
    assert all(one["images"] == 2 for one in measure_masks(made, seed=0)["types"].values())


def test_what_the_crop_cuts_away_and_groups_of_few_shot_images_are_left_out(made, whole_images, tmp_path):
    root = tmp_path / "board"
    shutil.copytree(made.root, root)
    few_shot = load_split(made.run / "split.json").split.few_shot["pit"][0].image.name
    tested = json.loads((made.root / "split.json").read_text())["pit"]["test"]
    (root / "groups.csv").write_text(f"folder,file,group\ntest/pit,{few_shot},first\ntest/pit,{tested[0]},first\n")
    assert measure_masks(dataclasses.replace(made, root=root), seed=0)["types"]["pit"]["images"] == 1
    as_resized(whole_images, "crop")
    before = set(measure_masks(dataclasses.replace(whole_images, root=root), seed=0)["types"])
    picture, mask = root / "test/pit" / tested[1], root / "ground_truth/pit" / tested[1].replace(".png", "_mask.png")
    right = int(np.argwhere(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE))[:, 1].max()) + 1
    for path in (picture, mask):  # so wide that the middle square begins right of the defect
        cv2.imwrite(str(path), cv2.copyMakeBorder(cv2.imread(str(path)), 0, 0, 0, 2 * right, cv2.BORDER_CONSTANT))
    found = measure_masks(dataclasses.replace(whole_images, root=root), seed=0)
    assert set(found["types"]) == before - {"pit"} != before
    # A run in windows has nothing cut away.
    assert tuple(measure_masks(dataclasses.replace(made, root=root), seed=0)["types"]) == TYPES


def test_only_types_that_the_run_knows(made, tmp_path):
    root = tmp_path / "board"
    shutil.copytree(made.root, root)
    for kind in ("test", "ground_truth"):
        shutil.move(root / kind / "stain", root / kind / "rust")
    found = measure_masks(dataclasses.replace(made, root=root), seed=0)
    others = TYPES[:-1]
    assert tuple(found["types"]) == others
    for kind in ("test", "ground_truth"):
        for name in others:
            shutil.move(root / kind / name, root / kind / f"{name}_new")
    with pytest.raises(SeasError, match=rf"no test defect is of a type that the run knows \({', '.join(TYPES)}\)"):
        measure_masks(dataclasses.replace(made, root=root), seed=0)


def test_a_run_without_a_model_is_refused(made, tmp_path):
    shutil.copy(made.run / "split.json", tmp_path)
    with pytest.raises(SeasError, match="holds no fine-tuned model"):
        measure_masks(dataclasses.replace(made, run=tmp_path), seed=0)
