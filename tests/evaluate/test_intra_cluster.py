# SPDX-License-Identifier: Apache-2.0
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.image.lpips import _NoTrainLpips

from seas_aug.evaluate.distribution import cluster_diversity
from seas_aug.evaluate.intra_cluster import LpipsDistance, WaveletDistance, defects_alone, intra_cluster_distance


class Grey:
    """Distance of mean grey levels."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((1, 2, 3))[:, None]

    def between(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first - second.T).abs()


def _flat(*levels: int) -> torch.Tensor:
    return torch.stack([torch.full((3, 16, 16), level, dtype=torch.uint8) for level in levels])


def test_against_pairs_written_out() -> None:
    found = intra_cluster_distance(_flat(1, 2, 5, 98, 110, 250), _flat(0, 100, 200), Grey())
    first = np.mean([abs(a - b) for a, b in itertools.combinations((1, 2, 5), 2)])
    assert found["all_clusters"] == pytest.approx((first + 12 + 0) / 3)
    assert found["without_empty"] == pytest.approx((first + 12) / 2)


def test_large_clusters_are_cut() -> None:
    images, centre = _flat(1, 3, 50, 60), _flat(0)
    assert intra_cluster_distance(images, centre, Grey(), largest=2)["all_clusters"] == pytest.approx(2)


def test_copies_and_singles() -> None:
    assert intra_cluster_distance(_flat(7, 7, 7), _flat(0), Grey())["all_clusters"] == 0
    assert intra_cluster_distance(_flat(7), _flat(0), Grey())["without_empty"] == 0
    with pytest.raises(ValueError, match="one or more"):
        intra_cluster_distance(_flat(7)[:0], _flat(0), Grey())


def test_wavelets_are_those_of_the_other_function() -> None:
    generator = torch.Generator().manual_seed(0)
    images, few_shot, real = (
        torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8) for n in (9, 2, 12)
    )
    distance = WaveletDistance(real)
    found = intra_cluster_distance(images, few_shot, distance)
    assert found["without_empty"] == pytest.approx(
        cluster_diversity(distance.embed(images), distance.embed(few_shot)), rel=1e-4
    )


@pytest.mark.parametrize("net", ["vgg", "squeeze"])
def test_lpips_is_that_of_torchmetrics(net: Any) -> None:
    torch.manual_seed(0)
    network = _NoTrainLpips(net=net, pnet_rand=True)  # the backbone's weights would have to be downloaded
    images = torch.randint(0, 256, (3, 3, 256, 256), dtype=torch.uint8)
    images[2] = images[1]
    distance = LpipsDistance(network=network)
    found = distance.between(distance.embed(images), distance.embed(images[:2]))
    scaled = images.float() / 127.5 - 1
    expected = torch.stack([network(scaled, one[None].expand_as(scaled)).flatten() for one in scaled[:2]], dim=1)
    assert found.shape == (3, 2) and found[0, 0] == found[2, 1] == 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_defects_alone() -> None:
    masks = torch.zeros(1, 1, 16, 16)
    masks[..., :4] = 1
    shown = defects_alone(_flat(9), masks)
    assert shown[..., :4].min() == 9 and shown[..., 4:].max() == 0
