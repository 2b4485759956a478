# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch

from seas_aug.anomalib_plugin.cutpaste import CutPastePool
from seas_aug.anomalib_plugin.sources import NoDefects
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.images import load_image
from seas_aug.errors import SeasError
from tests.anomalib_plugin.rendered import SIZE, TYPES


@pytest.fixture
def pool(category: Path) -> CutPastePool:
    read = read_mvtec_folder(category)
    return CutPastePool({name: samples[:2] for name, samples in read.defects.items()}, read.normals)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_defects_lie_on_real_normals_and_only_in_the_mask(pool: CutPastePool) -> None:
    images, masks, references = pool.draw(generator(), 8, (SIZE, SIZE))
    normals = torch.stack([load_image(path, SIZE, "squash") for path in pool.normals]).float() / 255
    for image, mask, reference in zip(images, masks, references, strict=True):
        assert (normals - reference).abs().flatten(1).amax(1).min() < 0.02
        inside = torch.nn.functional.max_pool2d(mask, 11, stride=1, padding=5) > 0
        torch.testing.assert_close(image[~inside.expand_as(image)], reference[~inside.expand_as(image)])
        assert mask.any() and set(mask.unique().tolist()) == {0.0, 1.0}
        assert float((image - reference).abs()[mask.expand_as(image) > 0].mean()) > 0.1


def test_every_defect_once_a_pass_and_never_twice_alike(pool: CutPastePool) -> None:
    assert len(pool) == 4 and pool.anomaly_types == TYPES
    images, masks, _ = pool.draw(generator(), 8, (SIZE, SIZE))
    areas = masks.flatten(1).sum(1)
    assert sorted((areas[:4] > 80).tolist()) == sorted((areas[4:] > 80).tolist())  # holes are larger than scratches
    assert len({float(image.sum()) for image in images}) == 8
    pool.reshuffle()
    first = pool.draw(generator(5), 3, (32, 48))
    pool.reshuffle()
    again = pool.draw(generator(5), 3, (32, 48))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert first[0].shape == (3, 3, 32, 48) and first[1].shape == (3, 1, 32, 48)
    assert pool.draw(generator(), 0, (32, 48))[0].shape == (0, 3, 32, 48)
    assert pool.native_size == (SIZE, SIZE)


def test_types_and_mistakes(category: Path) -> None:
    read = read_mvtec_folder(category)
    assert CutPastePool(dict(read.defects), read.normals, ["hole"]).anomaly_types == ("hole",)
    with pytest.raises(SeasError, match="no few-shot defect of type rust; there are hole, scratch"):
        CutPastePool(dict(read.defects), read.normals, ["rust"])
    with pytest.raises(SeasError, match="at least one of each"):
        CutPastePool(dict(read.defects), [])


def test_no_defects() -> None:
    source = NoDefects()
    assert len(source) == 0
    assert [part.shape[0] for part in source.draw(generator(), 0, (8, 8))] == [0, 0, 0]
    with pytest.raises(ValueError, match="has none"):
        source.draw(generator(), 1, (8, 8))
