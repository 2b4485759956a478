# SPDX-License-Identifier: Apache-2.0
"""How sure a difference between two networks is: a paired bootstrap over test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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


def paired_gain(
    figures: Mapping[str, tuple[Sequence[Callable[[NDArray[np.int64]], Floats]], Sequence[Any]]],
    baselines: Mapping[str, Sequence[Callable[[NDArray[np.int64]], Floats]]],
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean gain over a baseline, over categories and seeds, with its 95 % interval.

    Each sample draws the test images of every category anew, the same ones for both networks, and as many seeds as
    there are, for each network by itself, since two networks with the same seed have nothing else in common.

    Args:
        figures: per category, a function of image weights ``[draws, N]`` that returns the figure ``[draws]``, for each
            seed, and the group of each image.
        baselines: per category, the baseline's functions.
        draws: samples.
        seed: seed of the samples.

    Returns:
        The gain, in the unit of the figure.

    Raises:
        ValueError: the categories differ.
    """
    if figures.keys() != baselines.keys() or not figures:
        raise ValueError(
            f"figures of {sorted(figures)} and baselines of {sorted(baselines)}; expected the same, one up"
        )
    rng = np.random.default_rng(seed)
    gains, samples = [], []
    for category in sorted(figures):
        own, groups = figures[category]
        other = baselines[category]
        once = np.ones((1, len(groups)), np.int64)
        weights = draw_weights(groups, draws, rng)
        gains.append(float(_mean_over(own, once)[0] - _mean_over(other, once)[0]))
        samples.append(_resampled(own, weights, rng) - _resampled(other, weights, rng))
    low, high = np.nanquantile(np.mean(samples, axis=0), [0.025, 0.975])
    return Interval(float(np.mean(gains)), float(low), float(high))


def _mean_over(functions: Sequence[Callable[[NDArray[np.int64]], Floats]], weights: NDArray[np.int64]) -> Floats:
    return np.asarray(np.mean([function(weights) for function in functions], axis=0))


def _resampled(
    functions: Sequence[Callable[[NDArray[np.int64]], Floats]], weights: NDArray[np.int64], rng: np.random.Generator
) -> Floats:
    values = np.stack([function(weights) for function in functions])  # [seeds, draws]
    seeds = rng.integers(0, len(values), size=values.shape)
    return np.asarray(np.take_along_axis(values, seeds, axis=0).mean(0))
