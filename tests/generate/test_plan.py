# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seas_aug.errors import SeasError
from seas_aug.generate.plan import plan_image, resolve_types, seeds_in_block

KNOWN = ("crack", "hole", "a+b")


def test_types():
    assert resolve_types(None, KNOWN) == [("crack",), ("hole",), ("a+b",)]
    requested = [["hole", "crack"], ["crack"], ["crack", "hole"], ["crack", "crack"], ["a", "b"]]
    assert resolve_types(requested, KNOWN) == [("crack", "hole"), ("crack",), ("a+b",)]


@pytest.mark.parametrize("names", [["dent"], ["crack", "dent"], [""], []])
def test_unknown_type(names):
    with pytest.raises(SeasError, match=r"unknown anomaly type '(dent)?'; expected one of crack, hole"):
        resolve_types([names], KNOWN)


def test_folders_and_seeds():
    plan = [plan_image(names, index, 0, [0, 1]) for names in (("crack",), ("hole", "crack"), ()) for index in range(3)]
    assert [image.folder for image in plan[::3]] == ["crack", "crack+hole", "good"]
    assert plan[3].anomaly_types == ("crack", "hole")
    assert [image.index for image in plan] == [0, 1, 2] * 3
    assert [image.seed for image in plan[:3]] == [image.seed for image in plan[3:6]]
    assert [image.reference for image in plan[:3]] == [image.reference for image in plan[3:6]]
    assert len({image.seed for image in plan}) == 6  # normal images have seeds of their own
    assert all(0 <= image.seed < 2**48 for image in plan)
    assert abs(plan[0].reference - plan[1].reference) == 1


_types = st.sampled_from([("a",), ("b",), ("a", "b"), ("c",), ()])


@given(_types, st.integers(0, 30), st.integers(0, 9), st.lists(st.integers(0, 50), min_size=1, max_size=5, unique=True))
def test_an_image_depends_on_its_index_and_on_being_normal_alone(types, index, seed, references):
    one = plan_image(types, index, seed, references)
    assert one == plan_image(tuple(reversed(types)), index, seed, references)
    assert one.seed == plan_image(types, index, seed, [7]).seed
    assert one.seed != plan_image(types, index, seed + 1, references).seed
    assert one.seed != plan_image(types, index + 1, seed, references).seed
    other = plan_image((*types, "d"), index, seed, references)
    assert (one.seed == other.seed) == bool(types)
    assert one.reference == other.reference or not types
    following = [plan_image(types, index + step, seed, references).reference for step in range(len(references))]
    assert sorted(following) == sorted(references)  # all normals in turn


@given(st.integers(1, 10_000))
def test_more_images_have_more_seeds(num_images):
    assert num_images < seeds_in_block(num_images) <= seeds_in_block(num_images + 1)
