# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seas_aug.artifact.paths import check_relative, is_folder_name
from seas_aug.errors import SeasError

OUTSIDE = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "C:\\x",
    "C:x",
    "\\\\host\\share\\x",
    "..\\x",
    "a\\..\\..\\x",
    "",
    None,
    3,
    "a\0b",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_outside(path):
    with pytest.raises(SeasError, match=r"manifest\.jsonl: names .* damaged or forged"):
        check_relative(path, "manifest.jsonl")


@given(st.text(max_size=12))
def test_what_is_let_through_stays_below(path):
    try:
        check_relative(path, "m")
    except SeasError:
        return
    assert Path("/folder").joinpath(path).resolve().is_relative_to("/folder")


@pytest.mark.parametrize("name", ["crack", "thread side", "a+b", "0.5 mm", "Kratzer ä", ".hidden"])
def test_folder_names(name):
    assert is_folder_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", " ", "a/b", "../../x", "a\\b", "C:", "a\0", "a\nb"])
def test_no_folder_names(name):
    assert not is_folder_name(name)
