# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seas_aug.artifact.record import RECORD, Record, read_record, write_record
from seas_aug.errors import SeasError

BEGUN = Record(
    "0.2+1", "aa", {"seed": 0, "masks": {"lr": 0.1, "steps": [1, 2]}}, {"few-shot masks": "m", "normals": "n"}
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"settings": {"seed": 0, "masks": {"lr": 0.1, "steps": (1, 2)}}}, None),
        ({"data": {"few-shot masks": "x", "normals": "n"}}, "other few-shot masks than there are now"),
        ({"data": {}}, "other few-shot masks and normals than there are now"),
        ({"model": "bb"}, "other settings (model aa instead of bb)"),
        ({"settings": {"seed": 1, "masks": BEGUN.settings["masks"]}}, "other settings (seed 0 instead of 1)"),
        (
            {"settings": {"masks": {"lr": 0.2, "steps": [1, 2]}}},
            "other settings (masks.lr 0.1 instead of 0.2, seed 0 instead of None)",
        ),
        ({"code": "0.2+2"}, "another version of seas-aug (0.2+1, this is 0.2+2)"),
    ],
)
def test_difference(changed, said):
    assert BEGUN.difference(dataclasses.replace(BEGUN, **changed)) == said


def test_version_0_1_wrote_no_version():
    assert "another version of seas-aug (0.1, this is" in Record("", "a", {}).difference(Record("0.2+1", "a", {}))


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4))
def test_comes_back_as_it_was_written(tmp_path_factory, settings):
    folder = tmp_path_factory.mktemp("record")
    record = Record("1", "a", settings, {"images": "b"})
    write_record(folder, record)
    assert read_record(folder) == record and record.difference(read_record(folder)) is None


def test_none_and_damaged(tmp_path):
    assert read_record(tmp_path) is None
    for text in ("{", "[]", "{}", '{"code": 1, "model": 2, "settings": 3, "data": {}}'):
        (tmp_path / RECORD).write_text(text)
        with pytest.raises(SeasError, match="damaged"):
            read_record(tmp_path)
