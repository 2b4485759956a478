# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from anomalib.data import ImageBatch
from lightning.pytorch import LightningModule
from torchvision import tv_tensors

from seas_aug.anomalib_plugin import DefectSource, PairPool
from seas_aug.anomalib_plugin.labelled import LabelledAdapter
from seas_aug.anomalib_plugin.registry import find_adapter
from seas_aug.errors import SeasError


def make_batch(masks: bool = True) -> ImageBatch:
    image = tv_tensors.Image(torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(3)))
    mask = tv_tensors.Mask(torch.zeros(4, 64, 64)) if masks else None
    return ImageBatch(image=image, gt_mask=mask, gt_label=torch.zeros(4, dtype=torch.int64))


def source(generated: Path, probability: float) -> DefectSource:
    return DefectSource(PairPool(generated), probability, 0.0, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("masks", [True, False])
def test_rows_become_pairs_with_their_mask_and_label(generated: Path, masks: bool) -> None:
    batch, adapter, model = make_batch(masks), LabelledAdapter(), LightningModule()
    before = batch.image.clone()
    adapter.attach(model, source(generated, 0.5))
    adapter.prepare_batch(model, batch)
    again = source(generated, 0.5)
    rows, _ = again.choose(4)
    images, expected, _ = again.pool.draw(again.generator, len(rows), (64, 64))
    assert 0 < len(rows) < 4
    others = [row for row in range(4) if row not in rows]
    assert torch.equal(batch.image[rows], images)
    assert torch.equal(batch.image[others], before[others])
    assert batch.gt_mask.shape == (4, 64, 64) and batch.gt_mask.dtype == torch.bool
    assert torch.equal(batch.gt_mask[rows].as_subclass(torch.Tensor), expected[:, 0] > 0)
    assert not batch.gt_mask[others].any()
    assert batch.gt_label.tolist() == [row in rows for row in range(4)]
    assert isinstance(batch.image, tv_tensors.Image) and isinstance(batch.gt_mask, tv_tensors.Mask)


def test_one_image_stays_normal(generated: Path) -> None:
    batch, adapter, model = make_batch(), LabelledAdapter(), LightningModule()
    adapter.attach(model, source(generated, 1.0))
    adapter.prepare_batch(model, batch)
    assert batch.gt_label.tolist() == [True, True, True, False]


def test_a_single_image_cannot_show_a_defect_and_a_normal_part(generated: Path) -> None:
    adapter, model = LabelledAdapter(), type("Supersimplenet", (LightningModule,), {})()
    single = ImageBatch(image=tv_tensors.Image(torch.rand(1, 3, 64, 64)), gt_label=torch.zeros(1, dtype=torch.int64))
    adapter.attach(model, source(generated, 1.0))
    with pytest.raises(SeasError, match=r"Supersimplenet needs a normal image .*train_batch_size of 2"):
        adapter.prepare_batch(model, single)
    adapter.prepare_batch(model, make_batch())
    adapter.prepare_batch(model, single)  # what is left at the end of an epoch
    assert not single.gt_label.any()


def test_a_detector_without_anomalies_of_its_own(generated: Path) -> None:
    model = type("UniNet", (LightningModule,), {})()
    adapter = find_adapter(model)
    adapter.attach(model, source(generated, 1.0))
    with pytest.raises(SeasError, match=r"UniNet makes no anomalies of its own; .*perlin_ratio"):
        adapter.attach(model, DefectSource(PairPool(generated), 0.5, 0.1, torch.Generator()))


def test_no_defect_changes_nothing(generated: Path) -> None:
    batch, adapter, model = make_batch(), LabelledAdapter(), LightningModule()
    before = batch.image.clone()
    adapter.attach(model, source(generated, 0.0))
    adapter.prepare_batch(model, batch)
    assert torch.equal(batch.image, before)
    assert not batch.gt_label.any() and not batch.gt_mask.any()
    adapter.detach(model)
    with pytest.raises(SeasError, match="before it was attached"):
        adapter.prepare_batch(model, batch)
