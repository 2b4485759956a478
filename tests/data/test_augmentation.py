# SPDX-License-Identifier: Apache-2.0
import torch
from hypothesis import given
from hypothesis import strategies as st

from seas_aug.data.augmentation import Augmentation, apply_augmentation, draw_augmentation, undo_augmentation

_augmentations = st.builds(Augmentation, st.integers(0, 3), st.sampled_from(["none", "horizontal", "vertical"]))
_shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))


@given(_augmentations, _shapes)
def test_undo(augmentation, shape):
    tensor = torch.randn(shape)
    assert torch.equal(undo_augmentation(apply_augmentation(tensor, augmentation), augmentation), tensor)


@given(_augmentations, _shapes)
def test_image_and_mask_agree(augmentation, shape):
    image = torch.rand(shape)
    assert torch.equal(apply_augmentation(image, augmentation) > 0.5, apply_augmentation(image > 0.5, augmentation))


@given(_augmentations, _augmentations)
def test_code_names_the_picture(one, two):
    tensor = torch.arange(9).reshape(1, 3, 3)
    same = torch.equal(apply_augmentation(tensor, one), apply_augmentation(tensor, two))
    assert same == (one.code == two.code)
    again = Augmentation.from_code(one.code)
    assert again.code == one.code and torch.equal(apply_augmentation(tensor, again), apply_augmentation(tensor, one))


def test_directions():
    tensor = torch.tensor([[1, 2], [3, 4]])
    assert apply_augmentation(tensor, Augmentation(1)).tolist() == [[2, 4], [1, 3]]
    assert apply_augmentation(tensor, Augmentation(0, "horizontal")).tolist() == [[2, 1], [4, 3]]
    assert apply_augmentation(tensor, Augmentation(0, "vertical")).tolist() == [[3, 4], [1, 2]]


def test_all_twelve_are_drawn_and_switches_are_independent():
    generator = torch.Generator().manual_seed(0)
    assert len({draw_augmentation(generator, True, True) for _ in range(300)}) == 12
    both = [draw_augmentation(generator.manual_seed(5), True, True) for _ in range(9)]
    turns = [draw_augmentation(generator.manual_seed(5), True, False) for _ in range(9)]
    assert [a.quarter_turns for a in both] == [a.quarter_turns for a in turns]
    assert {draw_augmentation(generator, False, False) for _ in range(50)} == {Augmentation()}
