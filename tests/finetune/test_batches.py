# SPDX-License-Identifier: Apache-2.0
import dataclasses
import logging

import pytest
import torch

from seas_aug.config import FineTuneConfig, GeneratorConfig, MaskConfig
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.errors import SeasError
from seas_aug.finetune.batches import is_out_of_memory, with_smaller_batches
from seas_aug.finetune.generator_module import GeneratorModule
from seas_aug.finetune.mask_module import MaskModule
from seas_aug.finetune.run import finetune
from tests.finetune.recording import recorded
from tests.tiny_base import tiny_config


@pytest.mark.parametrize(("size", "accumulate"), [(1, 3), (2, 1), (3, 1), (4, 2), (7, 1), (10, 3)])
def test_as_many_images_an_update(size, accumulate):
    config = FineTuneConfig(
        generator=GeneratorConfig(batch_size=size, accumulate=accumulate), masks=MaskConfig(batch_size=2)
    )
    smaller = with_smaller_batches(config).generator
    assert smaller.batch_size == max(1, size // 2)
    assert size * accumulate <= smaller.batch_size * smaller.accumulate < size * accumulate + smaller.batch_size


def test_what_is_read_of_a_batch_shrinks_along():
    masks = MaskConfig(batch_size=10, feature_batch_size=4, normal_batch_size=3)
    smaller = with_smaller_batches(FineTuneConfig(masks=masks)).masks
    assert (smaller.batch_size, smaller.feature_batch_size, smaller.normal_batch_size) == (5, 2, 1)
    smaller = with_smaller_batches(FineTuneConfig(masks=MaskConfig(batch_size=10, feature_batch_size=None))).masks
    assert smaller.feature_batch_size is None


def test_nothing_is_smaller_than_one():
    one = FineTuneConfig(generator=GeneratorConfig(batch_size=1), masks=MaskConfig(batch_size=1))
    with pytest.raises(SeasError, match="out of memory with one image at a time; give a smaller"):
        with_smaller_batches(one)


def test_which_errors_are_meant():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    assert is_out_of_memory(error.value)
    assert not is_out_of_memory(RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"))


def test_training_goes_on_with_smaller_batches(category_folder, base_folder, tmp_path, monkeypatch, caplog):
    """A device that holds one image at a time, in both stages; what was trained before is kept."""
    config = tiny_config(category_folder, tmp_path / "run", base_folder)
    config = dataclasses.replace(config, preview_every=0, checkpoint_every=1)
    config = dataclasses.replace(
        config,
        generator=dataclasses.replace(config.generator, batch_size=2, accumulate=1, max_steps=3),
        masks=dataclasses.replace(config.masks, batch_size=2, accumulate=1, max_steps=2),
    )
    first = {GeneratorModule: 1, MaskModule: 0}  # the update from which on there is less memory

    for module_class, update in first.items():
        step = module_class.training_step

        def training_step(self, batch, index, step=step, update=update):
            if self.global_step >= update and len(batch["anomaly_image"]) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return step(self, batch, index)

        monkeypatch.setattr(module_class, "training_step", training_step)
    with caplog.at_level(logging.WARNING), recorded() as done:
        finetune(config)
    assert "out of memory; going on with micro-batches of 1 (generator) and 1 (masks), 2 and 2 of them" in caplog.text
    # Lightning counts batches, so that the first update after the change may be a short one.
    assert [batch[:2] for batch in done.batches["generator"]] == [(0, 0), (1, 1), (2, 0), (2, 1)]
    assert done.updates("masks") == [0, 1]
    assert SeaSPipeline.from_pretrained(config.output).anomaly_types == ("crack", "hole")
