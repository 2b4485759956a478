# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from anomalib.data import ImageBatch
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
from anomalib.models.image.dsr.anomaly_generator import DsrAnomalyGenerator
from anomalib.pre_processing import PreProcessor
from lightning import seed_everything
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from seas_aug.anomalib_plugin import DefectSource, PairPool
from seas_aug.anomalib_plugin.draem import DraemAdapter
from seas_aug.anomalib_plugin.paste import PasteAdapter
from seas_aug.errors import SeasError


class Detector(nn.Module):
    """What the adapter sees of DRAEM."""

    def __init__(self, transform: v2.Transform | None = None) -> None:
        super().__init__()
        self.augmenter = PerlinAnomalyGenerator()
        self.pre_processor = PreProcessor(transform)


def make_batch(size: int = 4, side: int = 64) -> ImageBatch:
    image = tv_tensors.Image(torch.rand(size, 3, side, side, generator=torch.Generator().manual_seed(3)))
    return ImageBatch(image=image, gt_mask=tv_tensors.Mask(torch.zeros(size, side, side)))


def run_step(
    model: Detector, adapter: DraemAdapter, batch: ImageBatch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Do what Lightning does: our callback, the pre-processor, then the first lines of ``Draem.training_step``."""
    adapter.prepare_batch(model, batch)
    model.pre_processor.on_train_batch_start(None, None, batch, 0)
    target = batch.image.clone()
    augmented, mask = model.augmenter(batch.image)
    assert torch.equal(batch.image, target)
    return target, augmented, mask


def source(generated: Path, probability: float = 1.0, perlin_ratio: float = 0.0) -> DefectSource:
    return DefectSource(PairPool(generated), probability, perlin_ratio, torch.Generator().manual_seed(0))


def drawn(generated: Path, size: tuple[int, int], n: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw what the adapter draws from the same seed."""
    again = source(generated)
    again.choose(n)
    return again.pool.draw(again.generator, n, size)


@pytest.mark.parametrize("side", [64, 96])
def test_target_is_the_reference_and_the_defect_is_pasted_by_its_mask(generated: Path, side: int) -> None:
    model, adapter = Detector(v2.Resize((side, side), antialias=True)), DraemAdapter()
    adapter.attach(model, source(generated))
    target, augmented, mask = run_step(model, adapter, make_batch(side=side))
    images, masks, references = drawn(generated, (side, side))
    assert torch.equal(target, references)
    assert torch.equal(mask, masks)
    assert mask.dtype == torch.float32
    inside = mask.bool().expand_as(target)
    assert torch.equal(augmented[~inside], references[~inside])
    assert torch.equal(augmented[inside], images[inside])
    assert inside.any()


def test_pre_processor_that_resizes_and_crops(generated: Path) -> None:
    transform = v2.Compose([v2.Resize((48, 48), antialias=True), v2.CenterCrop(32)])
    model, adapter = Detector(transform), DraemAdapter()
    adapter.attach(model, source(generated))
    target, augmented, mask = run_step(model, adapter, make_batch())
    references = transform(tv_tensors.Image(drawn(generated, (64, 64))[2]))
    assert torch.equal(target, references)
    assert mask.shape == (4, 1, 32, 32)
    inside = mask.bool().expand_as(target)
    assert torch.equal(augmented[~inside], target[~inside])
    assert not torch.equal(augmented[inside], target[inside])


def test_random_pre_processor_is_refused(generated: Path) -> None:
    model, adapter = Detector(v2.RandomAffine(degrees=(20, 90))), DraemAdapter()
    adapter.attach(model, source(generated))
    with pytest.raises(SeasError, match="train_augmentations"):
        run_step(model, adapter, make_batch())


def test_probability_zero_leaves_the_batch_alone(generated: Path) -> None:
    model, adapter, batch = Detector(), DraemAdapter(), make_batch()
    before = batch.image.clone()
    adapter.attach(model, source(generated, probability=0.0))
    target, augmented, mask = run_step(model, adapter, batch)
    assert torch.equal(target, before)
    assert torch.equal(augmented, before)
    assert not mask.any()


def test_shares(generated: Path) -> None:
    chosen = source(generated, 0.5, 0.25)
    rows = [chosen.choose(100) for _ in range(100)]
    assert sum(len(own) + len(perlin) for own, perlin in rows) == pytest.approx(5000, abs=200)
    assert sum(len(perlin) for _, perlin in rows) == pytest.approx(1250, abs=150)
    assert all(not set(own) & set(perlin) for own, perlin in rows)


def test_perlin_rows_keep_their_image(generated: Path) -> None:
    model, adapter, batch = Detector(), DraemAdapter(), make_batch()
    before = batch.image.clone()
    adapter.attach(model, source(generated, perlin_ratio=1.0))
    target, augmented, mask = run_step(model, adapter, batch)
    assert torch.equal(target, before)
    assert (mask.flatten(1).sum(1) > 0).all()
    assert torch.equal(augmented[~mask.bool().expand_as(target)], target[~mask.bool().expand_as(target)])


def test_nothing_foreign_in_the_state_and_all_restored(generated: Path) -> None:
    model, adapter = Detector(), DraemAdapter()
    original, keys = model.augmenter, list(model.state_dict())
    adapter.attach(model, source(generated, perlin_ratio=0.5))
    assert model.augmenter is not original
    assert list(model.state_dict()) == keys
    adapter.detach(model)
    assert model.augmenter is original
    assert original.probability == 0.5
    adapter.detach(model)
    assert model.augmenter is original


def test_defect_outside_a_batch(generated: Path) -> None:
    model, adapter = Detector(), DraemAdapter()
    adapter.attach(model, source(generated))
    with pytest.raises(SeasError, match="outside a training batch"):
        model.augmenter(torch.rand(1, 3, 8, 8))
    with pytest.raises(SeasError, match="before it was attached"):
        DraemAdapter().prepare_batch(SimpleNamespace(), make_batch())


def test_mask_alone_as_dsr_asks_for_it(generated: Path) -> None:
    class DsrLike(Detector):
        def __init__(self) -> None:
            super().__init__()
            self.masks = DsrAnomalyGenerator(p_anomalous=0.0)

    class Adapter(PasteAdapter):
        generators = ("augmenter", "masks")

    model, adapter = DsrLike(), Adapter()
    original = model.masks
    adapter.attach(model, source(generated))
    adapter.prepare_batch(model, batch := make_batch())
    found = model.masks.augment_batch(batch.image)
    _, masks, references = drawn(generated, (64, 64))
    assert torch.equal(found, masks)
    assert torch.equal(batch.image.as_subclass(torch.Tensor), references)
    with pytest.raises(SeasError, match="outside a training batch"):
        model.masks.augment_batch(batch.image)
    adapter.detach(model)
    seed_everything(0)  # Perlin noise leaves a mask empty now and then
    adapter.attach(model, source(generated, perlin_ratio=1.0))
    adapter.prepare_batch(model, batch := make_batch())
    assert model.masks.augment_batch(batch.image).flatten(1).any(1).all()  # though its own probability is 0
    adapter.detach(model)
    assert model.masks is original
    assert original.p_anomalous == 0.0


def test_part_that_is_not_there(generated: Path) -> None:
    class Adapter(PasteAdapter):
        generators = ("augmenter", "model.augmentor")

    model, adapter = Detector(), Adapter()
    original = model.augmenter
    with pytest.raises(SeasError, match=r"no part 'model\.augmentor'.*version of anomalib"):
        adapter.attach(model, source(generated))
    adapter.detach(model)
    assert model.augmenter is original
