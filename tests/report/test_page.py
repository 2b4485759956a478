# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from jinja2 import UndefinedError

from seas_aug.report.page import png_uri, render_template, strip_uri


def test_a_strip_holds_its_pictures_side_by_side_with_a_white_gap() -> None:
    red, blue = np.zeros((5, 7, 3), np.uint8), np.zeros((5, 6, 3), np.uint8)
    red[..., 0], blue[..., 2] = 200, 100

    head, _, data = strip_uri([red, blue]).partition(",")
    found = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(found[:, :7], red)
    assert (found[:, 7:11] == 255).all()
    np.testing.assert_array_equal(found[:, 11:], blue)


def test_the_address_of_a_png_is_the_file() -> None:
    assert base64.b64decode(png_uri(b"\x89PNG\xff").partition(",")[2]) == b"\x89PNG\xff"


def test_a_page_that_lacks_a_value_is_refused() -> None:
    with pytest.raises(UndefinedError, match=r"is undefined|has no attribute"):
        render_template("demo.html", settings={})
