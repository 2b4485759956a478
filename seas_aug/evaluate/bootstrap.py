# SPDX-License-Identifier: Apache-2.0
"""How sure a difference between two sources is: a paired bootstrap over test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# From image weights [draws, N] to a figure [draws].
Figure = Callable[[NDArray[np.int64]], Floats]


@dataclass(frozen=True)
class Interval:
    """A mean with its interval.

    Args:
        mean: the measured value.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    def as_points(self) -> dict[str, float]:
        """Return ``mean``, ``low`` and ``high`` times 100, rounded to hundredths."""
        return {name: round(100 * getattr(self, name), 2) for name in ("mean", "low", "high")}


@dataclass(frozen=True)
class Comparison:
    """What was measured on the test images of a category with a source and with its baseline.

    Args:
        groups: group of each test image, ``[N]``.
        networks: of each network, the figures of the source's seeds and of the baseline's seeds.
    """

    groups: Sequence[Any]
    networks: Sequence[tuple[Sequence[Figure], Sequence[Figure]]]


def draw_weights(groups: Sequence[Any], draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw images with replacement, whole groups at a time.

    Args:
        groups: group of each image; images of one group show the same part and are not independent.
        draws: how many samples.
        rng: source of randomness.

    Returns:
        How often each image is in each sample, int64 ``[draws, N]``.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    chosen = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return np.asarray(chosen[:, member.reshape(-1)], np.int64)


def paired_gain(comparisons: Mapping[str, Comparison], draws: int = 2000, seed: int = 0) -> Interval:
    """Return the mean gain over a baseline, over categories, networks and seeds, with its 95 % interval.

    Each sample draws the test images of every category anew, the same ones for all its networks and for both sources,
    and as many seeds as there are, for each source by itself, since two trainings with the same seed have nothing else
    in common.

    Args:
        comparisons: one per category.
        draws: samples.
        seed: seed of the samples.

    Returns:
        The gain, in the unit of the figure.

    Raises:
        ValueError: there is no category, or one without a network.
    """
    if not comparisons or not all(one.networks for one in comparisons.values()):
        raise ValueError(f"comparisons of {sorted(comparisons)}; expected one or more, each with a network")
    rng = np.random.default_rng(seed)
    gains, samples = [], []
    for _, one in sorted(comparisons.items()):
        once = np.ones((1, len(one.groups)), np.int64)
        weights = draw_weights(one.groups, draws, rng)
        gains.append(np.mean([float(_mean_over(a, once)[0] - _mean_over(b, once)[0]) for a, b in one.networks]))
        samples += [
            np.mean([_resampled(a, weights, rng) - _resampled(b, weights, rng) for a, b in one.networks], axis=0)
        ]
    low, high = np.nanquantile(np.mean(samples, axis=0), [0.025, 0.975])
    return Interval(float(np.mean(gains)), float(low), float(high))


def _mean_over(figures: Sequence[Figure], weights: NDArray[np.int64]) -> Floats:
    return np.asarray(np.mean([figure(weights) for figure in figures], axis=0))


def _resampled(figures: Sequence[Figure], weights: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    values = np.stack([figure(weights) for figure in figures])  # [seeds, draws]
    seeds = rng.integers(0, len(values), size=values.shape)
    return np.asarray(np.take_along_axis(values, seeds, axis=0).mean(0))
