# SPDX-License-Identifier: Apache-2.0
"""Holes: what a U-Net of the inpainting layout is told of where and on what it draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.config import HoleConfig
from seas_aug.latents.hole import exact_hole, hidden_latents, make_hole, whole_hole
from seas_aug.latents.random_holes import coarse_hole, draw_holes
from tests.tiny_models import tiny_vae


@st.composite
def shapes(draw):
    """Masks ``[B, 1, 16, 16]`` of rectangles, never empty, and the side of their latents."""
    masks = torch.zeros(draw(st.integers(1, 4)), 1, 16, 16)
    for mask in masks:
        top, left = draw(st.integers(0, 15)), draw(st.integers(0, 15))
        mask[0, top : top + draw(st.integers(1, 9)), left : left + draw(st.integers(1, 9))] = 1
    return masks, draw(st.sampled_from((4, 8)))


@settings(max_examples=60, deadline=None)
@given(shapes(), st.integers(0, 2))
def test_exact_holes_against_a_slow_reference(made, margin):
    masks, side = made
    holes = exact_hole(masks, side, margin).numpy()
    cell = 16 // side
    for mask, hole in zip(masks[:, 0].numpy(), holes[:, 0], strict=True):
        share = mask.reshape(side, cell, side, cell).mean(axis=(1, 3))
        for row, column in np.ndindex(side, side):
            rows, columns = (
                slice(max(0, row - margin), row + margin + 1),
                slice(max(0, column - margin), column + margin + 1),
            )
            expected = 0.5 + 0.5 * share[row, column] if share[rows, columns].any() else 0.0
            assert hole[row, column] == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(shapes(), st.integers(0, 2**31))
def test_every_drawn_hole_holds_its_shape(made, seed):
    masks, side = made
    holes = draw_holes(masks, side, HoleConfig(coarse=0.4, whole=0.2), torch.Generator().manual_seed(seed))
    marked = exact_hole(masks, side) > 0
    assert holes.mask.shape == (len(masks), 1, side, side)
    assert bool((holes.mask[marked] > 0).all())
    assert bool((holes.mask[holes.whole] == 1).all())
    assert not bool((holes.whole & holes.seen).any())


def test_shares_of_the_kinds_of_holes():
    masks = torch.zeros(2000, 1, 16, 16)
    masks[:, :, 6:9, 7:9] = 1
    holes = draw_holes(masks, 16, HoleConfig(coarse=0.4, whole=0.2, seen=0.7), torch.Generator().manual_seed(0))
    told = ((holes.mask > 0) & (holes.mask < 1)).flatten(1).any(1)  # a margin beside the shape
    coarse = ~told & ~holes.whole
    assert float(holes.whole.float().mean()) == pytest.approx(0.2, abs=0.03)
    # A third of the exact holes have no margin, and these cells are covered whole.
    assert float(told.float().mean()) == pytest.approx(0.4 * 2 / 3, abs=0.04)
    assert float(coarse.float().mean()) == pytest.approx(0.4 + 0.4 / 3, abs=0.04)
    assert float(holes.seen[~holes.whole].float().mean()) == pytest.approx(0.7, abs=0.04)


def test_without_a_shape_the_whole_picture_is_the_hole():
    holes = draw_holes(torch.zeros(3, 1, 8, 8), 4, HoleConfig(coarse=0.5, whole=0.0), torch.Generator())
    assert bool(holes.whole.all())
    assert bool((holes.mask == 1).all())


def test_coarse_holes_are_boxes_and_ellipses_wider_than_the_shape():
    inside = torch.zeros(2, 1, 12, 12, dtype=torch.bool)
    inside[:, :, 5:7, 4:8] = True
    spare = torch.tensor([[0.5, 1.0, 0.25, 0.5]] * 2)
    box, ellipse = coarse_hole(inside, spare, torch.tensor([False, True]))[:, 0]
    expected = torch.zeros(12, 12)
    expected[4:9, 3:10] = 1  # 1 and 2 rows more, 1 and 2 columns more
    assert torch.equal(box, expected)
    assert bool((ellipse <= expected).all())
    assert float(ellipse.sum()) < float(expected.sum())
    assert bool((ellipse[5:7, 4:8] == 1).all())


def test_hidden_and_seen_references():
    latents, hidden = torch.randn(2, 4, 8, 8), torch.full((1, 4, 8, 8), 7.0)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 2:4, 2:4] = 0.6
    hole = make_hole(mask, latents, hidden, torch.tensor([True, False]))
    assert torch.equal(hole.reference[0], latents[0])
    assert bool((hole.reference[1, :, 2:4, 2:4] == 7).all())
    outside = hole.inside[1].expand(4, -1, -1) == 0
    assert torch.equal(hole.reference[1][outside], latents[1][outside])
    assert torch.equal(hole.inside, (mask > 0).float())
    assert len(hole.repeat(3)) == 6
    assert torch.equal(hole.rows([1]).reference, hole.reference[1:])


def test_a_whole_hole_shows_nothing():
    hidden = hidden_latents(tiny_vae().eval(), 32)
    hole = whole_hole(hidden, 3)
    assert bool((hole.mask == 1).all())
    assert hole.reference.shape == (3, *hidden.shape[1:])
    assert torch.equal(hole.reference[2], hidden[0])
