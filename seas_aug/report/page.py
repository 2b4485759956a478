# SPDX-License-Identifier: Apache-2.0
"""What all report pages share: their templates, and pictures inside the page itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seas_aug.report.closeup import jpeg_of
from seas_aug.report.contact_sheet import Picture

_TEMPLATES = Path(__file__).parent / "templates"
_GAP = 4  # white pixels between two pictures


def render_template(name: str, **values: Any) -> str:
    """Return a page as one HTML text.

    In its template ``{{ pictures|strip }}`` is what :func:`strip_uri` returns, ``{{ picture|photo }}`` what
    :func:`photo_uri` does.

    Args:
        name: file name in ``seas_aug/report/templates``.
        values: everything that the template names; one that is missing is an error of jinja2.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["strip"] = strip_uri
    environment.filters["photo"] = photo_uri
    return str(environment.get_template(name).render(**values))


def strip_uri(pictures: Sequence[Picture]) -> str:
    """Return pictures side by side as the address of a PNG that lies in the address itself.

    Args:
        pictures: one or more of the same height, each uint8 ``[H, W, 3]``, RGB.
    """
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)][:-1]
    return png_uri(cv2.imencode(".png", np.hstack(parts)[..., ::-1])[1].tobytes())


def photo_uri(picture: Picture) -> str:
    """Return a large picture, uint8 ``[H, W, 3]``, RGB, as the address of a JPEG that lies in the address itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_of(picture)).decode("ascii")


def png_uri(png: bytes) -> str:
    """Return a PNG file as an address that holds the file itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
