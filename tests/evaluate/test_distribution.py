# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
import torch

from seas_aug.evaluate.distribution import cluster_diversity, kernel_distance, standardise


def test_standardise_makes_the_real_ones_of_mean_0_and_spread_1() -> None:
    torch.manual_seed(0)
    real = torch.randn(40, 5) * torch.tensor([1.0, 10, 0.5, 3, 2]) + 4
    done = standardise(real, real)
    assert done.mean(dim=0).abs().max() < 1e-4
    assert (done.std(dim=0, unbiased=False) - 1).abs().max() < 1e-4


def test_what_all_real_ones_share_is_no_scale() -> None:
    real = torch.ones(10, 1)
    assert standardise(torch.tensor([[2.0]]), real).item() == pytest.approx(4)


def test_kernel_distance_against_sums_written_out() -> None:
    torch.manual_seed(0)
    real, other = torch.randn(6, 4), torch.randn(6, 4) + 0.7

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        return (float(x @ y) / 4 + 1) ** 3

    a, b = standardise(real, real), standardise(other, real)
    within = [np.mean([kernel(x, y) for x, y in itertools.permutations(list(s), 2)]) for s in (a, b)]
    across = np.mean([kernel(x, y) for x, y in itertools.product(list(a), list(b))])
    assert kernel_distance(real, other) == pytest.approx(sum(within) - 2 * across, rel=1e-3)


def test_kernel_distance_grows_with_the_shift_and_is_reproducible() -> None:
    torch.manual_seed(0)
    real, same = torch.randn(80, 8), torch.randn(90, 8)
    values = [kernel_distance(real, same + shift) for shift in (0.0, 0.5, 1.0)]
    assert abs(values[0]) < 0.2 < values[1] < values[2]
    state = torch.random.get_rng_state()
    assert kernel_distance(real, same + 0.5) == values[1]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_one_image_is_too_few() -> None:
    with pytest.raises(ValueError, match="1 real and 3 generated"):
        kernel_distance(torch.zeros(1, 2), torch.zeros(3, 2))


def test_diversity_against_pairs_written_out() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [10.0, 10.0], [99.0, 99.0]])
    images = torch.cat([torch.randn(3, 2), torch.randn(4, 2) + 10, torch.tensor([[98.0, 98.0]])])
    expected = []
    for group in (images[:3], images[3:7]):  # the third few-shot image has one image only: no pair
        pairs = itertools.combinations(group, 2)
        expected.append(np.mean([float(((x - y) ** 2).mean().sqrt()) for x, y in pairs]))
    assert cluster_diversity(images, centres) == pytest.approx(float(np.mean(expected)), rel=1e-5)


def test_copies_have_no_diversity() -> None:
    assert cluster_diversity(torch.ones(5, 3), torch.zeros(2, 3)) == 0
    assert cluster_diversity(torch.ones(1, 3), torch.zeros(2, 3)) == 0
