# SPDX-License-Identifier: Apache-2.0
"""One photo of the power board, with or without a defect, and its twin: the very same photo without the defect."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.base.renderer.board.camera import Scene, draw_pose, draw_scene, expose, move, render_scene
from seas_aug.base.renderer.board.defects import BOARD_DEFECTS, Site
from seas_aug.base.renderer.board.part import make_layout
from seas_aug.base.renderer.noise import Field
from seas_aug.errors import SeasError

_SHORTEST, _LONGEST = 20, 60  # pixels along the longer side of a defect's box, at scale 1
_TRIES = 80


@dataclass(frozen=True)
class BoardSettings:
    """How the board is rendered.

    Args:
        width: pixels across. The part fills the picture but for a margin; a larger picture has more tracks.
        height: pixels down.
        scale: size of defects, tracks and pads; at 1 defects are 20 to 60 pixels long.

    Raises:
        SeasError: a number is out of range.
    """

    width: int = 1536
    height: int = 1024
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.scale <= 8:
            message = f"scale of the rendered board is {self.scale}; give 0.5 to 8."
            raise SeasError(message)
        least = round(192 * self.scale)
        for name, pixels in (("width", self.width), ("height", self.height)):
            if not least <= pixels <= 8192:
                message = f"{name} of the rendered board is {pixels}; give {least} to 8192 pixels."
                raise SeasError(message)


@dataclass(frozen=True)
class Photo:
    """A photo of the board.

    Attributes:
        image: RGB, uint8 ``[H, W, 3]``.
        mask: uint8 ``[H, W]``, 1 where the defect is; all 0 without one.
        twin: the same photo without the defect, uint8 ``[H, W, 3]``: same pose, light and sensor noise. Further than
            2 pixels from the mask it equals ``image``.
        support: uint8 ``[H, W]``, 1 where the part is; its holes are not.
        places: where each type may lie, uint8 ``[H, W]`` of 0 and 1.
        anomaly_type: type of the defect, or None.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    twin: NDArray[np.uint8]
    support: NDArray[np.uint8]
    places: dict[str, NDArray[np.uint8]]
    anomaly_type: str | None

    @property
    def allowed(self) -> NDArray[np.uint8]:
        """Where the photo's own type may lie, uint8 ``[H, W]`` of 0 and 1; all 0 without a defect."""
        return np.zeros_like(self.mask) if self.anomaly_type is None else self.places[self.anomaly_type]


def render_photo(rng: np.random.Generator, settings: BoardSettings, anomaly_type: str | None = None) -> Photo:
    """Render one photo.

    Args:
        rng: source of pose (a few degrees, a few pixels), light, surface, sensor noise and defect. Equal generators
            give the same part in the same photo whatever the type, so that ``image`` without a defect is the ``twin``
            of every type.
        settings: size of the picture and of what it shows.
        anomaly_type: key of ``BOARD_DEFECTS``, or None for a normal photo.

    Raises:
        SeasError: no such type, or it found no place that shows it.
    """
    if anomaly_type is not None and anomaly_type not in BOARD_DEFECTS:
        message = f"{anomaly_type} is no defect of the rendered board; choose one of {', '.join(BOARD_DEFECTS)}."
        raise SeasError(message)
    layout = make_layout(settings.width, settings.height, settings.scale)
    shape = (settings.height, settings.width)
    pose = draw_pose(rng, shape, settings.scale)
    scene = draw_scene(rng, layout, pose, settings.scale)
    places = {name: move(place, pose, cv2.INTER_NEAREST) for name, place in layout.places.items()}
    exposure, amount = rng.uniform(0.95, 1.05), rng.uniform(0.8, 1.25)
    noise = rng.standard_normal((*shape, 3), np.float32)
    noise *= np.float32(0.0062 * amount)
    twin = expose(render_scene(scene), exposure, noise)
    image, mask = twin, np.zeros(shape, np.uint8)
    if anomaly_type is not None:
        kind = BOARD_DEFECTS[anomaly_type]
        tracks = _move_segments(layout.segments, pose) if kind.on_track else None
        rows, columns, patch, small = _best_defect(rng, settings.scale, anomaly_type, scene, places[kind.place], tracks)
        image = twin.copy()
        # Soft edges end 2 pixels outside the mask: what is further away is not the defect's.
        near = cv2.dilate(small, np.ones((5, 5), np.uint8)) > 0
        image[rows, columns][near] = expose(patch, exposure, noise[rows, columns])[near]
        mask[rows, columns] = small
    return Photo(
        image=image,
        mask=mask,
        twin=twin,
        support=(scene.part > 0.5).astype(np.uint8),
        places={name: places[kind.place] for name, kind in BOARD_DEFECTS.items()},
        anomaly_type=anomaly_type,
    )


def _best_defect(
    rng: np.random.Generator, scale: float, name: str, scene: Scene, allowed: NDArray[np.uint8], tracks: Field | None
) -> tuple[slice, slice, Field, NDArray[np.uint8]]:
    """Return where a defect lies, what is seen there ``[h, w, 3]`` and its mask ``[h, w]``."""
    kind = BOARD_DEFECTS[name]
    best: tuple[float, slice, slice, Field, NDArray[np.uint8]] | None = None
    candidates = np.flatnonzero(allowed) if tracks is None else tracks
    for _ in range(_TRIES if len(candidates) else 0):
        centre, track = _draw_place(rng, candidates, allowed.shape[1])
        rows, columns = _around(centre, 76 * scale, allowed.shape)
        local = scene.cut(rows, columns)
        change = kind.draw(
            rng,
            Site(
                scale=scale,
                centre=(centre[0] - columns.start, centre[1] - rows.start),
                track=track,
                allowed=allowed[rows, columns].astype(np.float32),
                copper=local.copper,
            ),
        )
        mask = (change.cover > 0.5).astype(np.uint8) & allowed[rows, columns]
        if not mask.any():
            continue
        patch = render_scene(local, change)
        seen = np.abs(np.clip(patch, 0, 1) - np.clip(render_scene(local), 0, 1)).mean(axis=-1)[mask > 0].mean()
        fitness = min(float(seen) / kind.change, 1.0) + min(float(mask.sum()) / (kind.smallest * scale**2), 1.0)
        extent = max(cv2.boundingRect(mask)[2:]) / scale
        fitness += min(extent / _SHORTEST, 1.0) + min(_LONGEST / extent, 1.0)
        if best is None or fitness > best[0]:
            best = (fitness, rows, columns, patch, mask)
        if fitness >= 4:
            break
    if best is None:
        message = (
            f"a {name} does not fit on a board of {allowed.shape[1]} by {allowed.shape[0]} pixels; render it larger."
        )
        raise SeasError(message)
    return best[1:]


def _draw_place(
    rng: np.random.Generator, candidates: Field, width: int
) -> tuple[tuple[float, float], tuple[float, float, float]]:
    """Return x and y, and the direction and width of the track there.

    Args:
        rng: source of randomness.
        candidates: indices of pixels ``[N]``, which are on no track, or segments of tracks ``[N, 5]``.
        width: pixels across the photo.
    """
    if candidates.ndim == 1:
        index = int(candidates[rng.integers(0, len(candidates))])
        return (float(index % width), float(index // width)), (0.0, 0.0, 0.0)
    lengths = np.hypot(candidates[:, 2] - candidates[:, 0], candidates[:, 3] - candidates[:, 1])
    number = int(rng.choice(len(candidates), p=lengths / lengths.sum()))
    x0, y0, x1, y1, wide = candidates[number].tolist()
    share, length = rng.uniform(0.1, 0.9), float(lengths[number])
    return (x0 + share * (x1 - x0), y0 + share * (y1 - y0)), ((x1 - x0) / length, (y1 - y0) / length, wide)


def _around(centre: tuple[float, float], reach: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    rows, columns = (
        slice(max(int(middle - reach), 0), min(int(middle + reach) + 1, length))
        for middle, length in ((centre[1], shape[0]), (centre[0], shape[1]))
    )
    return rows, columns


def _move_segments(segments: NDArray[np.float64], pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the segments ``[N, 5]`` of the layout are in the photo."""
    ends = segments[:, :4].reshape(-1, 2, 2) @ pose[:, :2].T + pose[:, 2]
    widths = segments[:, 4:] * np.hypot(pose[0, 0], pose[0, 1])
    return np.concatenate([ends.reshape(-1, 4), widths], axis=1)
