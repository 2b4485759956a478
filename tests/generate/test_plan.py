# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seas_aug.errors import SeasError
from seas_aug.generate.plan import batches, plan_images, resolve_types

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
    plan = plan_images([("crack",), ("crack", "hole")], 3, True, 0, 2)
    assert [image.folder for image in plan[::3]] == ["crack", "crack+hole", "good"]
    assert [image.index for image in plan] == [0, 1, 2] * 3
    assert len({image.seed for image in plan}) == 9
    assert all(0 <= image.seed < 2**48 for image in plan)
    assert abs(plan[0].reference - plan[1].reference) == 1


_types = st.lists(st.sampled_from([("a",), ("b",), ("a", "b"), ("c",)]), unique=True)


@given(_types, st.integers(1, 6), st.booleans(), st.integers(0, 9), st.integers(1, 5), st.integers(1, 9))
def test_an_image_does_not_depend_on_the_others(types, num_images, normal, seed, num_references, batch_size):
    plan = plan_images(types, num_images, normal, seed, num_references)
    longer = plan_images([("d",), *reversed(types)], num_images + 3, True, seed, num_references)
    assert set(plan) <= set(longer)
    cut = list(batches(plan, batch_size))
    assert [image for batch in cut for image in batch] == plan
    assert all(len(batch) <= batch_size and len({image.folder for image in batch}) == 1 for batch in cut)
    for folder in {image.folder for image in plan}:
        references = [image.reference for image in plan if image.folder == folder]
        assert len(set(references)) == min(num_images, num_references)  # all normals in turn


def test_bad_numbers():
    with pytest.raises(SeasError, match="num_images is 0"):
        plan_images([("a",)], 0, False, 0, 1)
    with pytest.raises(SeasError, match="batch_size is 0"):
        list(batches([], 0))
