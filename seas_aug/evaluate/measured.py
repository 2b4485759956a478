# SPDX-License-Identifier: Apache-2.0
"""What a measure of drawing returns: a figure with its interval, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from seas_aug.evaluate.group_bootstrap import Interval


@dataclass(frozen=True)
class Measured:
    """One figure of one product.

    Attributes:
        value: the figure; None where the data cannot carry it.
        low: lower end of its 95 % interval, by a bootstrap over groups.
        high: upper end.
        n: how many windows, pairs or comparisons it rests on.
        by_type: the figure of each type, where it has one.
        extra: what belongs to it, such as the energy beside ``restored``.
        reason: why there is no value.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    by_type: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, rounded to four places; numbers that are not finite become None."""
        plain = {name: _plain(getattr(self, name)) for name in ("value", "low", "high", "n", "by_type")}
        if self.reason is not None:
            plain["reason"] = self.reason
        return {**plain, **{name: _plain(item) for name, item in self.extra.items()}}


def not_measured(reason: str, n: int = 0, **extra: Any) -> Measured:
    """Return a figure that the data cannot carry.

    Args:
        reason: one sentence.
        n: how many windows there were.
        **extra: figures that can be told all the same.
    """
    return Measured(None, None, None, n, extra=extra, reason=reason)


def of_types(
    intervals: Mapping[str, Interval], n: int, worst: Callable[..., str] = min, extra: Mapping[str, Any] | None = None
) -> Measured:
    """Return the figure of the worst type, with that type's own interval.

    The least of several figures, drawn anew in every sample of a bootstrap, would lie below all of them more often than
    not, so that its interval would not hold the value.

    Args:
        intervals: figure of each type.
        n: how many windows they rest on.
        worst: ``min`` where more is better, ``max`` where less is.
        extra: what belongs to it.
    """
    finite = {name: one for name, one in intervals.items() if math.isfinite(one.value)}
    if not finite:
        return not_measured("no type has enough windows", n, **(extra or {}))
    name = worst(finite, key=lambda key: finite[key].value)
    one = finite[name]
    values = {key: entry.value for key, entry in intervals.items()}
    return Measured(one.value, one.low, one.high, n, values, {"worst_type": name, **(extra or {})})


def _plain(value: Any) -> Any:
    if isinstance(value, Measured):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, str, int)) or value is None:
        return value
    number = float(value)
    return round(number, 4) if math.isfinite(number) else None
