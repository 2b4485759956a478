# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import inception_v3, vgg16

from seas_aug.benchmark.config import COMPACT_NETWORKS
from seas_aug.benchmark.detectors import get_variant
from seas_aug.benchmark.estimate import cell_work, seas_work
from seas_aug.benchmark.grid import Cell
from seas_aug.benchmark.measure import detector_settings, segmentation_settings
from seas_aug.config import FineTuneConfig
from seas_aug.presets import paper_preset


def _cell(task: str, network: str, settings: dict) -> Cell:
    return Cell(task, "part", network, "seas", 0, settings)


@pytest.mark.parametrize("name", ["draem", "draem-compact"])
def test_work_of_draem_is_what_its_passes_count(name: str, tmp_path) -> None:
    variant = get_variant(name)
    model = variant.make(variant.size, str(tmp_path)).model.train().to("meta")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        sum(part.sum() for part in model(torch.empty(1, 3, variant.size, variant.size))).backward()
    measured = counter.get_total_flops() / 1e9
    assert variant.training_gflop == pytest.approx(measured, rel=0.02)
    settings = detector_settings(name, steps=10)
    images = 10 * settings["batch_size"]
    assert cell_work(_cell("detection", name, settings)) == pytest.approx(images * measured / 1e3, rel=0.02)
    half = {**settings, "size": settings["size"] // 2}
    assert cell_work(_cell("detection", name, half)) == pytest.approx(images * measured / 4e3, rel=0.02)


def test_work_of_a_segmentation_network_is_counted_and_grows_with_the_updates() -> None:
    settings = segmentation_settings(**COMPACT_NETWORKS["unet-compact"], steps=10)
    short = cell_work(_cell("segmentation", "unet-compact", settings))
    assert cell_work(_cell("segmentation", "unet-compact", {**settings, "steps": 30})) == pytest.approx(3 * short)
    assert cell_work(_cell("segmentation", "unet-compact", {**settings, "size": 256})) == pytest.approx(4 * short)
    pretrained = {**settings, "pretrained": True}  # nothing is downloaded for a plan
    assert cell_work(_cell("segmentation", "unet-compact", pretrained)) == short


def test_what_learns_in_one_pass_has_no_updates_to_count() -> None:
    assert cell_work(_cell("one_class", "patchcore", detector_settings("patchcore"))) == 0
    assert cell_work(_cell("quality", "wavelets", {"size": 128, "count": 10})) == 0


def test_quality_with_inception_is_what_its_passes_count() -> None:
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone, inception = vgg16(weights=None).features, inception_v3(weights=None, init_weights=False).eval()
        for _ in range(4):
            backbone(torch.empty(1, 3, 256, 256))
        for _ in range(2):
            inception(torch.empty(1, 3, 299, 299))
    measured = counter.get_total_flops() / 1e12
    settings = {"size": 256, "count": 1000}
    assert cell_work(_cell("quality", "inception", settings)) == pytest.approx(1000 * measured, rel=0.05)


def test_work_of_seas_on_stable_diffusion_is_that_of_its_published_networks() -> None:
    found = seas_work(paper_preset())
    # A pass of Stable Diffusion v1's U-Net at 512 px is 0.8 TFLOP, of its encoder 1.1, of its decoder 2.5.
    images = 2 * 2 * 2  # batch, accumulation, normal beside anomaly
    generator = 800 * images * (3 * 0.803 + 1.117)
    masks_without_branch = 800 * (4 * 2.515 + 8 * (0.803 + 1.117))
    assert found.fine_tune > generator + masks_without_branch
    assert found.fine_tune < 2 * (generator + masks_without_branch)
    assert found.normal == pytest.approx(50 * 0.803 + 1.117 + 2.515, rel=0.01)
    assert found.pair > found.normal + 3 * 2.515
    # Of a real image the mask is read at three noises: it is encoded once, and each takes U-Net, decoder and branch.
    branch = (found.pair - found.normal - 3 * 2.515) / 3
    assert found.real_mask == pytest.approx(1.117 + 3 * (0.803 + 2.515 + branch), rel=0.01)


def test_the_embedded_base_costs_a_thousandth_and_each_update_counts() -> None:
    config = FineTuneConfig()
    found, large = seas_work(config), seas_work(paper_preset())
    assert found.fine_tune < large.fine_tune / 300 and found.pair < large.pair / 300
    twice = dataclasses.replace(
        config,
        generator=dataclasses.replace(config.generator, steps_per_type=300),
        masks=dataclasses.replace(config.masks, steps_per_type=480),
    )
    assert seas_work(twice).fine_tune == pytest.approx(2 * found.fine_tune)
