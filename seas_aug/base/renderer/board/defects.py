# SPDX-License-Identifier: Apache-2.0
"""Defects of the power board. Each changes only what lies where its type may lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from seas_aug.base.renderer.noise import Field, blob, polyline, spectral_noise, stroke

_STAINS = ((0.74, 0.48, 0.26), (0.46, 0.40, 0.36), (0.80, 0.66, 0.36))  # rust, burnt, oil


@dataclass(frozen=True)
class Site:
    """The surroundings ``[h, w]`` of the place that a defect is to have.

    Attributes:
        scale: size of defects; 1 makes them 20 to 60 pixels long.
        centre: the place, x and y in pixels.
        track: direction x, y and width of the track there in pixels; zeros for types that need no track.
        allowed: where the type may lie, 0 or 1.
        copper: coverage with copper in [0, 1].
    """

    scale: float
    centre: tuple[float, float]
    track: tuple[float, float, float]
    allowed: Field
    copper: Field

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the surroundings."""
        return self.allowed.shape[0], self.allowed.shape[1]


@dataclass(frozen=True)
class Change:
    """What a defect does to its surroundings ``[h, w]``.

    Attributes:
        cover: how much of a pixel it covers, in [0, 1]; the mask is where that exceeds a half.
        gain: factor on the picture where it covers, ``[h, w, 3]`` or what broadcasts to that.
        glare: brightness added where it covers, in the same way.
        copper: added to the coverage with copper, in [-1, 1].
        height: added to the relief, in pixels.
    """

    cover: Field
    gain: Field | float = 1.0
    glare: Field | float = 0.0
    copper: Field | float = 0.0
    height: Field | float = 0.0


def _pit(rng: np.random.Generator, site: Site) -> Change:
    """One to three dark casting pores, deeper in the middle."""
    count = int(rng.choice([1, 1, 1, 2, 3]))
    radius = site.scale * np.exp(rng.uniform(np.log(9), np.log(25))) / count**0.6
    cover = np.zeros(site.shape, np.float32)
    x, y = site.centre
    for _ in range(count):
        cover = np.maximum(cover, blob(rng, site.shape, (x, y), radius * rng.uniform(0.75, 1.1), 0.32))
        turn, step = rng.uniform(0, 2 * np.pi), radius * rng.uniform(1.3, 2.2)
        x, y = x + step * np.cos(turn), y + step * np.sin(turn)
    cover = cover * site.allowed
    deep = _depth(cover, rng.uniform(2.5, 5) * site.scale)
    floor, rough = rng.uniform(0.06, 0.42), 1 + 0.2 * spectral_noise(rng, site.shape, 1.3)
    gain = np.clip((1 - deep) * 0.35 + floor * rough, 0, 0.95)
    return Change(cover, gain[..., None], height=-_depth(cover, 9 * site.scale) * rng.uniform(3, 9) * site.scale)


def _scratch(rng: np.random.Generator, site: Site) -> Change:
    """One to four nearly parallel bright lines, at least two pixels wide."""
    heading, length = rng.uniform(0, 2 * np.pi), site.scale * rng.uniform(22, 58)
    cover = np.zeros(site.shape, np.float32)
    for _ in range(int(rng.choice([1, 1, 2, 3, 4]))):
        own = length * rng.uniform(0.6, 1)
        across = rng.normal(0, 5, 2) * site.scale
        begin = (
            site.centre[0] - np.cos(heading) * own / 2 + across[0],
            site.centre[1] - np.sin(heading) * own / 2 + across[1],
        )
        path = polyline(rng, begin, own, heading + rng.normal(0, 0.09), 0.025)
        widest = site.scale * rng.uniform(2.0, 4.0)
        taper = np.sin(np.linspace(0.1, np.pi - 0.1, len(path))) * rng.uniform(0.8, 1.2, len(path))
        cover = np.maximum(cover, stroke(site.shape, path, np.maximum(2.0, widest * taper)))
    cover = cover * site.allowed
    uneven = 1 + 0.3 * spectral_noise(rng, site.shape, 1.3)[..., None]
    glare = (rng.uniform(0.12, 0.5) * np.clip(uneven, 0.4, 1.6)).astype(np.float32)
    return Change(cover, rng.uniform(0.8, 1.05), glare, height=-cover * rng.uniform(0, 1.2))


def _open(rng: np.random.Generator, site: Site) -> Change:
    """A piece of a track that is not there, from edge to edge, with ragged ends."""
    right, down, wide = site.track
    half = site.scale * np.exp(rng.uniform(np.log(8), np.log(56))) / 2
    across = np.linspace(-wide / 2 - 3, wide / 2 + 3, 9)
    slant = rng.normal(0, 0.45, (2, 1)) * across
    ends = np.asarray([[-half], [half]]) + slant + rng.normal(0, 0.13, (2, 9)) * wide
    local = np.concatenate([np.stack([ends[0], across], axis=1), np.stack([ends[1], across], axis=1)[::-1]])
    x = site.centre[0] + local[:, 0] * right - local[:, 1] * down
    y = site.centre[1] + local[:, 0] * down + local[:, 1] * right
    gap = np.zeros(site.shape, np.uint8)
    cv2.fillPoly(gap, [np.round(np.stack([x, y], axis=1) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    missing = _rounded(gap.astype(np.float32) / 255, rng.uniform(1.0, 2.2) * site.scale)
    # Two pixels beyond the track's outline, else a thread of copper stays along its soft edge.
    reach = cv2.dilate(site.allowed, np.ones((5, 5), np.uint8))
    burnt, etched = rng.uniform(0.8, 1.15), rng.choice([1.0, rng.uniform(0.65, 1.0)])  # a thin film may be left
    return Change(missing * site.allowed, burnt, copper=-missing * reach * site.copper * etched)


def _spur(rng: np.random.Generator, site: Site) -> Change:
    """Copper that grew out of a track's edge; it comes near the next track and does not touch it."""
    right, down, wide = site.track
    side = rng.choice([-1.0, 1.0])
    edge = (site.centre[0] - down * side * wide / 2, site.centre[1] + right * side * wide / 2)
    if rng.random() < 0.4:
        away = np.arctan2(right * side, -down * side) + rng.uniform(-0.9, 0.9)
        begin = (edge[0] - 3 * np.cos(away), edge[1] - 3 * np.sin(away))
        path = polyline(rng, begin, site.scale * rng.uniform(18, 42), away, 0.12)
        widths = np.linspace(rng.uniform(8, 18), rng.uniform(4, 9), len(path)) * site.scale
        grown = stroke(site.shape, path, widths)
    else:
        radius = site.scale * np.exp(rng.uniform(np.log(9), np.log(28)))
        grown = blob(rng, site.shape, edge, radius, 0.3)
    y, x = np.mgrid[0 : site.shape[0], 0 : site.shape[1]]
    outwards = (-(x - site.centre[0]) * down + (y - site.centre[1]) * right) * side > 0
    grown = _rounded(grown, rng.uniform(0.8, 1.6) * site.scale)
    added = _attached(grown * site.allowed * outwards, site)
    # The rim between track and spur is half copper already: filled up, so that no line remains between them.
    joined = cv2.dilate(added, np.ones((5, 5), np.uint8)) * (site.copper > 0.02)
    copper = np.minimum(np.maximum(added, joined), 1 - site.copper)
    tarnished = rng.choice([1.0, rng.uniform(0.5, 1.0)])
    return Change(added, tarnished, copper=copper, height=rng.uniform(0, 0.25) * added)


def _stain(rng: np.random.Generator, site: Site) -> Change:
    """A discoloration through which the texture shows, weaker towards its rim."""
    radius = site.scale * np.exp(rng.uniform(np.log(11), np.log(27)))
    cover = blob(rng, site.shape, site.centre, radius, 0.35) * site.allowed
    inner = _depth(cover, radius * rng.uniform(0.4, 0.9))
    if rng.random() < 0.3:  # dried up: strongest near its rim
        inner = np.sin(np.pi * np.clip(0.15 + inner, 0, 1)) * 0.6 + 0.4
    cloudy = (0.25 + 0.75 * inner) * np.clip(1 + 0.2 * spectral_noise(rng, site.shape, 1.3), 0.3, 1.7)
    if rng.random() < 0.3:  # residue of flux is pale
        return Change(cover, 0.9, rng.uniform(0.10, 0.28) * cloudy[..., None] * np.asarray([1, 0.97, 0.88], np.float32))
    colour = np.asarray(_STAINS[int(rng.integers(len(_STAINS)))], np.float32)
    gain = 1 + (colour - 1) * np.clip(rng.uniform(0.5, 1.25) * cloudy, 0, 1.2)[..., None]
    return Change(cover, gain.astype(np.float32))


def _depth(cover: Field, rim: float) -> Field:
    """Return 0 at the outline of a shape, rising smoothly to 1 at ``rim`` pixels inside it."""
    inside = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    share = np.clip(inside / max(rim, 1.0), 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)


def _rounded(cover: Field, radius: float) -> Field:
    """Return a shape without its sharp corners, as etching leaves it."""
    return np.clip((cv2.GaussianBlur(cover, (0, 0), radius) - 0.5) * 4 + 0.5, 0, 1)


def _attached(grown: Field, site: Site) -> Field:
    """Return what hangs on the own track and keeps a distance from all other copper."""
    count, labels = cv2.connectedComponents((site.copper > 0.5).astype(np.uint8))
    row, column = (int(np.clip(round(site.centre[i]), 0, site.shape[1 - i] - 1)) for i in (1, 0))
    own = labels[row, column]
    if count < 2 or own == 0:
        return np.zeros_like(grown)
    others = ((labels > 0) & (labels != own)).astype(np.uint8)
    clear = 2 * round(3 * site.scale) + 1
    grown = grown * (1 - cv2.dilate(others, np.ones((clear, clear), np.uint8)))
    pieces, parts = cv2.connectedComponents((grown > 0.5).astype(np.uint8))
    at_track = cv2.dilate((labels == own).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    kept = [part for part in range(1, pieces) if (at_track & (parts == part)).any()]
    near = cv2.dilate(np.isin(parts, kept).astype(np.uint8), np.ones((3, 3), np.uint8))
    return (grown * near).astype(np.float32)


@dataclass(frozen=True)
class BoardDefect:
    """One type of defect.

    Attributes:
        draw: makes one at a site.
        place: where it may lie, a name of :attr:`~.part.Layout.places`.
        on_track: its site is on the middle line of a track.
        smallest: pixels that its mask has at least, at scale 1.
        change: mean change inside the mask at least, in [0, 1].
    """

    draw: Callable[[np.random.Generator, Site], Change]
    place: str
    on_track: bool
    smallest: int
    change: float


BOARD_DEFECTS: dict[str, BoardDefect] = {
    "open": BoardDefect(_open, "tracks", on_track=True, smallest=90, change=0.10),
    "pit": BoardDefect(_pit, "metal", on_track=False, smallest=140, change=0.12),
    "scratch": BoardDefect(_scratch, "part", on_track=False, smallest=60, change=0.10),
    "spur": BoardDefect(_spur, "beside tracks", on_track=True, smallest=110, change=0.10),
    "stain": BoardDefect(_stain, "part", on_track=False, smallest=250, change=0.075),
}
