# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.losses import da_loss, official_mask, shrink_mask


def shrink_by_loops(mask, size):
    """Maximum over each cell, for sizes that divide the mask's."""
    batch, _, height, width = mask.shape
    result = torch.zeros(batch, size, size)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                row, column = y * size // height, x * size // width
                result[b, row, column] = max(result[b, row, column], mask[b, 0, y, x])
    return result


def fixed_by_loops(maps, mask, normal_tokens):
    total = 0.0
    for side, tokens in maps.items():
        small = shrink_by_loops(mask, side)
        for b in range(len(tokens)):
            if small[b].max() == 0:
                continue
            pictures = []
            for chosen in (tokens[b, normal_tokens:], tokens[b, :normal_tokens]):
                mean = sum(chosen) / len(chosen)
                pictures.append((mean - mean.min()) / (mean.max() - mean.min() + 1e-6))
            anomaly, normal, inside, count = 0.0, 0.0, 0.0, 0
            for y in range(side):
                for x in range(side):
                    anomaly += float(pictures[0][y, x] - small[b, y, x]) ** 2 / side**2
                    if small[b, y, x] > 0.5:
                        inside += float(pictures[1][y, x]) ** 2
                        count += 1
            normal = inside / count
            total += (anomaly + normal) / len(tokens)
    return total


def official_by_loops(maps, mask, normal_tokens):
    """Specification 2.2: one minimum and maximum for the batch, mask through twice the largest side."""
    via = 2 * max(maps)
    between = torch.nn.functional.interpolate(mask, size=(via, via), mode="bilinear")
    total = 0.0
    for side, tokens in maps.items():
        small = shrink_by_loops(between, side)
        pictures = []
        for chosen in (tokens[:, normal_tokens:], tokens[:, :normal_tokens]):
            mean = chosen.mean(1)
            pictures.append((mean - mean.min()) / (mean.max() - mean.min()))
        total += float(((pictures[0] - small) ** 2).mean())
        picked = [
            float(pictures[1][b, y, x] - (1 - small[b, y, x])) ** 2
            for b in range(len(tokens))
            for y in range(side)
            for x in range(side)
            if small[b, y, x] == 1
        ]
        total += sum(picked) / len(picked) if picked else 0.0
    return total


def make_case(seed, batch=2, tokens=5, sides=(8, 4), size=32):
    generator = torch.Generator().manual_seed(seed)
    maps = {r: torch.rand(batch, tokens, r, r, generator=generator) / r**2 for r in sides}
    mask = torch.zeros(batch, 1, size, size)
    for b in range(batch):
        y, x, h, w = (int(torch.randint(0, size // 2, (), generator=generator)) for _ in range(4))
        mask[b, 0, y : y + h, x : x + w] = 1
    return maps, mask


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(2, 6), st.data())
def test_equals_loops(seed, batch, tokens, data):
    normal = data.draw(st.integers(1, tokens - 1))
    maps, mask = make_case(seed, batch, tokens)
    assert float(da_loss(maps, mask, normal)) == pytest.approx(fixed_by_loops(maps, mask, normal), rel=1e-4, abs=1e-6)
    assert float(da_loss(maps, mask, normal, official=True)) == pytest.approx(
        official_by_loops(maps, mask, normal), rel=1e-4, abs=1e-6
    )


def test_partly_marked_cells_count_if_asked_for():
    """A cell of one quarter is pulled to three quarters, not left free."""
    mask = torch.zeros(1, 1, 8, 8)
    mask[0, 0, 2, 2] = 1  # at 4 pixels a side: a cell of one quarter
    small = official_mask(mask, 2, via=4)[0, 0]
    assert small.unique().tolist() == [0.0, 0.25]
    maps = {2: torch.rand(1, 2, 2, 2, generator=torch.Generator().manual_seed(0))}
    found = [float(da_loss(maps, mask, 1, official=True, partly=partly)) for partly in (False, True)]
    picture = maps[2][0, 0]
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    more = ((picture - (1 - small)) ** 2)[small > 0].mean()
    assert float(more) > 0.01
    assert found[1] - found[0] == pytest.approx(float(more), rel=1e-4)


def test_images_are_independent_unless_official():
    maps, mask = make_case(3)
    alone = [da_loss({r: m[i : i + 1] for r, m in maps.items()}, mask[i : i + 1], 1) for i in range(2)]
    torch.testing.assert_close(da_loss(maps, mask, 1), (alone[0] + alone[1]) / 2)
    louder = {r: torch.cat([m[:1], 5 * m[1:]]) for r, m in maps.items()}
    torch.testing.assert_close(da_loss(louder, mask, 1), da_loss(maps, mask, 1), rtol=0.02, atol=0.01)
    assert abs(float(da_loss(louder, mask, 1, True) - da_loss(maps, mask, 1, True))) > 0.05


def perfect_case(size=32):
    mask = torch.zeros(1, 1, size, size)
    mask[0, 0, 8:16, 16:24] = 1
    maps = {}
    for side in (8, 4):
        small = shrink_mask(mask, side)
        maps[side] = torch.cat([1 - small, small, small], dim=1) / side**2
    return maps, mask


def test_perfect_maps_cost_nothing_and_swapped_ones_cost_most():
    maps, mask = perfect_case()
    swapped = {side: tokens.flip(1) for side, tokens in maps.items()}
    assert float(da_loss(maps, mask, 1)) < 1e-6
    assert float(da_loss(swapped, mask, 2)) > 2


def test_outside_of_the_defect_the_normal_tokens_are_free():
    maps, mask = perfect_case()
    free = {side: tokens.clone() for side, tokens in maps.items()}
    for side, tokens in free.items():
        outside = shrink_mask(mask, side)[0, 0] == 0
        tokens[0, 0][outside] *= torch.rand(int(outside.sum()))
    torch.testing.assert_close(da_loss(free, mask, 1), da_loss(maps, mask, 1))


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_never_nan_for_empty_masks_and_flat_maps(official, flat):
    maps, _ = make_case(0)
    maps = {r: (torch.full_like(m, 1 / r**2) if flat else m).requires_grad_(True) for r, m in maps.items()}
    for mask in (torch.zeros(2, 1, 32, 32), torch.ones(2, 1, 32, 32)):
        loss = da_loss(maps, mask, 1, official)
        gradients = torch.autograd.grad(loss, list(maps.values()))
        assert torch.isfinite(loss)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_an_empty_mask_contributes_zero():
    maps, mask = make_case(1)
    mask[1] = 0
    alone = da_loss({r: m[:1] for r, m in maps.items()}, mask[:1], 1)
    torch.testing.assert_close(da_loss(maps, mask, 1), alone / 2)
    assert float(da_loss(maps, torch.zeros_like(mask), 1)) == 0
    assert float(da_loss(maps, torch.zeros_like(mask), 1, official=True)) > 0


def test_gradients_pull_the_anomaly_into_the_mask_and_the_normal_out():
    maps, mask = perfect_case()
    maps = {r: torch.rand(1, 3, r, r).mul(1 / r**2).requires_grad_(True) for r in maps}
    tokens = maps[8]
    gradient = torch.autograd.grad(da_loss(maps, mask, 1), tokens)[0]
    inside = shrink_mask(mask, 8)[0, 0] == 1
    middle = (tokens[0] > tokens[0].amin((1, 2), True)) & (tokens[0] < tokens[0].amax((1, 2), True))
    assert (gradient[0, 0][inside & middle[0]] >= 0).all()
    anomaly = tokens[0, 1:].mean(0)
    free = inside & (anomaly > anomaly.min()) & (anomaly < anomaly.max())
    assert (gradient[0, 1:, free] <= 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 32), st.data())
def test_one_pixel_survives_shrinking(height, width, size, data):
    mask = torch.zeros(1, 1, height, width)
    mask[0, 0, data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))] = 1
    small = shrink_mask(mask, size)
    assert small.shape == (1, 1, size, size)
    assert small.max() == 1
    assert set(small.unique().tolist()) <= {0.0, 1.0}


def test_the_official_mask_loses_a_pixel_and_keeps_soft_edges():
    mask = torch.zeros(1, 1, 512, 512)
    mask[0, 0, 0, 0] = 1
    assert official_mask(mask, 16, via=64).max() == 0
    assert shrink_mask(mask, 16).sum() == 1
    edge = torch.zeros(1, 1, 512, 512)
    edge[0, 0, :260] = 1  # cells of 8 rows: the samples of cell 32 lie at rows 259 and 260
    assert official_mask(edge, 64, via=64)[0, 0, :, 0].tolist() == [1.0] * 32 + [0.5] + [0.0] * 31


def test_wrong_arguments():
    maps, mask = make_case(0)
    with pytest.raises(ValueError, match="at least one map"):
        da_loss({}, mask, 1)
    for normal in (0, 5):
        with pytest.raises(ValueError, match="some of each kind"):
            da_loss(maps, mask, normal)
