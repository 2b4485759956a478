# SPDX-License-Identifier: Apache-2.0
"""Fails when a change makes SeaS worse:   python -m pytest benchmarks   (minutes; not part of the quick tests)."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.regression import REFERENCE, RegressionSettings, find_drops, make_pairs, measure, measure_pairs
from seas_aug.benchmark.config import CategoryEntry

pytestmark = pytest.mark.benchmark
SHIFT = 8  # pixels
SEED = 0  # one of the reference's


@pytest.fixture(scope="module")
def reference() -> dict[str, dict[str, float]]:
    content = json.loads(REFERENCE.read_text(encoding="utf-8"))
    assert content["settings"] == dataclasses.asdict(RegressionSettings()), "the settings changed: renew the reference"
    return content["figures"]


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> CategoryEntry:
    return make_pairs(tmp_path_factory.mktemp("work"), RegressionSettings(), SEED)


def test_no_figure_is_worse_than_its_reference(
    entry: CategoryEntry, reference: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    figures = measure(entry, tmp_path, RegressionSettings(), SEED)
    assert figures.keys() == reference.keys(), "other figures than the reference has: renew it"
    drops = find_drops(figures, reference)
    assert not drops, "\n".join(drops)


def test_shifted_masks_are_noticed(
    entry: CategoryEntry, reference: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    assert entry.generated is not None
    assert not find_drops(measure_pairs(entry.generated), reference)
    generated = Path(shutil.copytree(entry.generated, tmp_path / "generated"))
    masks = sorted(generated.rglob("ground_truth/*/*.png"))
    for path in masks:
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        shifted = np.zeros_like(mask)
        shifted[SHIFT:, SHIFT:] = mask[:-SHIFT, :-SHIFT]
        cv2.imwrite(str(path), shifted if shifted.any() else mask)
    figures = measure_pairs(generated)
    assert masks and [sentence.split()[0] for sentence in find_drops(figures, reference)] == ["change_in_mask"], figures
