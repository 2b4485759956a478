# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest
import torch

from seas_aug.config import DrawConfig
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.sample import check_mask_steps
from seas_aug.errors import SeasError
from seas_aug.finetune.run import finetune
from tests.tiny_base import tiny_config


@pytest.fixture(scope="module")
def trained(category_folder, base_folder, tmp_path_factory):
    config = tiny_config(category_folder, tmp_path_factory.mktemp("run"), base_folder)
    stages = {
        name: dataclasses.replace(getattr(config, name), max_steps=1, accumulate=1) for name in ("generator", "masks")
    }
    finetune(dataclasses.replace(config, preview_every=0, **stages))
    return config


@pytest.mark.parametrize("how", ["loaded", "cast"])
def test_half_precision_leaves_the_masks_exact(trained, how):
    dtype = torch.bfloat16
    pipe = SeaSPipeline.from_pretrained(trained.output, **({"torch_dtype": dtype} if how == "loaded" else {}))
    pipe = pipe if how == "loaded" else pipe.to(dtype)
    exact = SeaSPipeline.from_pretrained(trained.output).mask_predictor.state_dict()
    assert {part.dtype for part in (pipe.unet, pipe.vae, pipe.text_encoder)} == {dtype}
    for name, weights in pipe.mask_predictor.state_dict().items():
        assert weights.dtype == exact[name].dtype
        assert torch.equal(weights, exact[name])
    drawn = pipe("crack", settings=DrawConfig(gate=False))
    assert len(drawn.images) == 1


def test_offloading_is_refused(trained):
    pipe = SeaSPipeline.from_pretrained(trained.output)
    for refuse in (pipe.enable_model_cpu_offload, pipe.enable_sequential_cpu_offload, pipe.enable_group_offload):
        with pytest.raises(SeasError, match=r"none can be offloaded; load the model with torch_dtype"):
            refuse(device="cuda")


def test_a_map_of_devices_is_refused(trained):
    with pytest.raises(SeasError, match="device_map is 'balanced', but all parts of SeaS lie on one device"):
        SeaSPipeline.from_pretrained(trained.output, device_map="balanced")


def test_the_dtype_of_the_files(trained):
    pipe = SeaSPipeline.from_pretrained(trained.output, torch_dtype="auto")
    assert {part.dtype for part in (pipe.unet, pipe.vae, pipe.mask_predictor)} == {torch.float32}


@pytest.mark.parametrize(
    ("timesteps", "steps", "limit", "passes"),
    [
        ([900, 100, 50], 2, 110, True),
        ([900, 100, 50], 2, 101, True),
        ([900, 100, 50], 2, 100, False),
        ([900, 100, 50], 3, 900, False),
        ([900, 100, 50], 3, None, True),
        ([500], 3, 200, False),
    ],
)
def test_where_masks_are_read(timesteps, steps, limit, passes):
    if passes:
        check_mask_steps(torch.tensor(timesteps), steps, limit)
        return
    with pytest.raises(SeasError, match=rf"trained below {limit} only .*; give more inference steps or fewer mask"):
        check_mask_steps(torch.tensor(timesteps), steps, limit)


def test_few_solver_steps_are_refused_before_anything_is_drawn(trained):
    pipe = SeaSPipeline.from_pretrained(trained.output)
    assert pipe.config.max_mask_timestep == trained.masks.max_timestep
    pipe.register_to_config(max_mask_timestep=110)
    with pytest.raises(SeasError, match=r"num_inference_steps is 3 .*masks would be read from timestep"):
        pipe.check(DrawConfig(num_inference_steps=3))
