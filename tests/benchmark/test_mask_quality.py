# SPDX-License-Identifier: Apache-2.0
import dataclasses
import shutil

import pytest

from benchmarks import real_defects
from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.mask_quality import measure_masks
from seas_aug.errors import SeasError
from tests.benchmarks.conftest import demo  # noqa: F401


@pytest.fixture
def made(demo) -> CategoryFolders:  # noqa: F811
    return CategoryFolders(demo / "flange", demo / "run", demo / "generated")


def test_figures_are_those_of_the_benchmark_of_real_defects(made):
    found = measure_masks(made, seed=3, batch_size=1)
    known = real_defects.evaluate(made.run, made.root, made.root / "split.json", seed=3)
    assert set(found["types"]) == {"hole", "scratch", "stain"}
    for name, figures in found["types"].items():
        assert figures["images"] == known["types"][name]["images"] == 2
        assert figures["mask_iou"] == pytest.approx(known["types"][name]["mask_iou_pooled"], abs=0.02)
    assert found["mask_iou"] == pytest.approx(known["mean"]["mask_iou_pooled"], abs=0.02)
    assert found["mask_iou_per_image"] == pytest.approx(known["mean"]["mask_iou_per_image"], abs=0.02)
    assert 0 < found["mask_iou"] < 1


def test_only_types_that_the_run_knows(made, tmp_path):
    root = tmp_path / "flange"
    shutil.copytree(made.root, root)
    for kind in ("test", "ground_truth"):
        shutil.move(root / kind / "stain", root / kind / "rust")
    found = measure_masks(dataclasses.replace(made, root=root), seed=0)
    assert set(found["types"]) == {"hole", "scratch"}
    for kind in ("test", "ground_truth"):
        for name in ("hole", "scratch"):
            shutil.move(root / kind / name, root / kind / f"{name}_new")
    with pytest.raises(SeasError, match=r"no test defect is of a type that the run knows \(hole, scratch, stain\)"):
        measure_masks(dataclasses.replace(made, root=root), seed=0)


def test_a_run_without_a_model_is_refused(made, tmp_path):
    shutil.copy(made.run / "split.json", tmp_path)
    with pytest.raises(SeasError, match="holds no fine-tuned model"):
        measure_masks(dataclasses.replace(made, run=tmp_path), seed=0)
