"""Axes: where a value lies between the ends, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jaxhp.space.parameters import Parameter

_WIDE = 50.0  # losses that span such a factor are drawn on a log scale


@dataclass(frozen=True)
class Axis:
    """Mark values on an interval, `low` < `high`."""

    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]  # value and label

    def at(self, values: ArrayLike) -> np.ndarray:
        """Place values from 0 (low) to 1 (high); what is beyond an end is put there, NaN stays NaN."""
        numbers = np.asarray(values, np.float64)
        low, high = self.low, self.high
        if self.log:
            numbers, low, high = np.log(np.maximum(numbers, low)), math.log(low), math.log(high)
        return np.clip((numbers - low) / (high - low), 0.0, 1.0)


def axis(low: float, high: float, *, log: bool = False, whole: bool = False) -> Axis:
    """Lay an axis with round numbers marked; with `whole` only integers.

    >>> axis(1e-6, 1e-2, log=True).ticks[0], [label for _, label in axis(0.0, 1.0).ticks]
    ((1e-06, '1e-06'), ['0', '0.2', '0.4', '0.6', '0.8', '1'])
    """
    low, high = max(low, -1e300), min(high, 1e300)
    if not high - low > 1e-6 * max(abs(low), abs(high)):  # as good as one value: labels could not tell its ends apart
        low, high = low - max(abs(low), 1e-6) / 20, high + max(abs(high), 1e-6) / 20
    marked = _decades(low, high) if log else []
    if len(marked) < 2:
        marked = _round_numbers(low, high)
    shown = [value for value in marked if not whole or value == round(value)]
    return Axis(low, high, log, tuple((value, f"{value:.6g}") for value in shown))


def thinned(of: Axis, most: int) -> list[tuple[float, str]]:
    """Return at most so many of an axis's marked values, with their labels."""
    return list(of.ticks[:: max(1, -(-len(of.ticks) // most))])


def _decades(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first) / 5))
    decades = [float(f"1e{exponent}") for exponent in range(first, last + 1, step)]
    if len(decades) >= 3:
        return decades
    return [m * float(f"1e{e}") for e in range(first - 1, last + 1) for m in (1, 2, 5) if low <= m * 10.0**e <= high]


def _round_numbers(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    slack = (high - low) * 1e-9
    first, last = math.ceil((low - slack) / step), math.floor((high + slack) / step)
    return [0.0 if k == 0 else float(f"{k * step:.12g}") for k in range(first, last + 1)]


def score_axis(values: Iterable[float], mode: str | None) -> Axis:
    """Lay an axis for scores. A few that lie far off on the bad side do not push the others together.

    Args:
      mode: "max" or "min", which side is the better one; None where nobody knows.
    """
    known = np.asarray([value for value in values if math.isfinite(value)], np.float64)
    if not len(known):
        return axis(0.0, 1.0)
    low, high = float(known.min()), float(known.max())
    if mode != "max" and low > 0 and high / low > _WIDE:
        return axis(low, high, log=True)
    near, far = np.quantile(known, [0.05, 0.95]).tolist()
    spread = far - near
    if spread > 0 and high - low > 4 * spread:
        low = low if mode == "min" else max(low, near - spread)
        high = high if mode == "max" else min(high, far + spread)
    margin = 0.04 * (high - low)
    return axis(low - margin, high + margin)


def parameter_axis(parameter: Parameter) -> Axis:
    """Lay an axis over a parameter's range, in its own units; values without an order lie at 0, 1, 2, ..."""
    bounds = parameter.bounds()
    if bounds is None:
        categories = parameter.categories()
        ticks = tuple((float(i), str(v)) for i, v in enumerate(categories))
        return Axis(-0.5, len(categories) - 0.5, False, ticks)
    low, high = map(float, bounds)
    return axis(low, high, log=parameter.scale == "log", whole=issubclass(parameter.dtype, np.integer))
