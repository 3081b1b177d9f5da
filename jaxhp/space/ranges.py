"""Parameters whose values are numbers of a range."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jaxhp.space.parameters import Parameter, check_inside, check_range, number, register
from jaxhp.values import Error, Value, check_int

_TAIL = 2.0**-25  # the probability beyond an end of a Normal that has no bound there


def _share(part: float, whole: float) -> float:
    """Return part / whole, in [0, 1]; the middle of nothing."""
    return min(max(part / whole, 0.0), 1.0) if whole else 0.5


@register
@dataclass(frozen=True)
class Uniform(Parameter):
    """Search a float in [low, high], every part of the range alike.

    With `step`, one of low, low + step, ..., high. Where low is high, there is one value.
    """

    low: float
    high: float
    step: float | None = None
    when: Mapping[str, object] | None = None

    def __post_init__(self):
        for name in ("low", "high"):
            object.__setattr__(self, name, number(f"Uniform {name}", getattr(self, name)))
        check_range("Uniform", self.low, self.high)
        if 0 < self.high - self.low < 1e-5 * max(abs(self.low), abs(self.high)):
            raise Error(f"Uniform: the range is too narrow for float32, got low={self.low!r}, high={self.high!r}")
        if self.step is not None:
            object.__setattr__(self, "step", number("Uniform step", self.step))
            if not self.step > 0 or self._count > 2**20:
                raise Error(f"Uniform step: expected a positive one, at most 2**20 of them, got {self.step!r}")
            if abs(self.low + (self._count - 1) * self.step - self.high) > 1e-6 * self.step:
                told = f"low={self.low:g}, high={self.high:g}, step={self.step:g}"
                raise Error(f"Uniform step: expected a whole number of steps from low to high, got {told}")

    @property
    def _count(self) -> int:
        """Count its values, where it has a step."""
        assert self.step is not None
        return round((self.high - self.low) / self.step) + 1

    def _stepped(self, k: int) -> float:
        assert self.step is not None
        return self.high if k == self._count - 1 else float(f"{self.low + k * self.step:.12g}")

    def value(self, u: float) -> float:
        if self.step is not None:
            return self._stepped(min(int(u * self._count), self._count - 1))
        return min(max(self.low + u * (self.high - self.low), self.low), self.high)

    def unit(self, value: Value) -> float:
        inside = check_inside(self, value, self.low, self.high)
        if self.step is None:
            return _share(inside - self.low, self.high - self.low)
        k = min(max(round((inside - self.low) / self.step), 0), self._count - 1)
        if abs(self._stepped(k) - inside) > 1e-6 * self.step:
            raise Error(f"{self}: expected low plus a whole number of steps, got {value!r}")
        return (k + 0.5) / self._count

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def cells(self, most: int | None = None) -> np.ndarray | None:
        count = 1 if self.low == self.high else None if self.step is None else self._count
        if count is None or (most is not None and count > most):
            return None
        return (np.arange(count) + 0.5) / count

    def widened(self, side: int) -> Uniform:
        step = (self.high - self.low) / 2
        if self.step is not None:
            step = max(1, (self._count - 1) // 2) * self.step
            low = self.low - step if self.low < 0 or self.low >= step else self.low % self.step
            return replace(self, high=self.high + step) if side > 0 else replace(self, low=float(f"{low:.12g}"))
        if side > 0:
            return replace(self, high=self.high + step if self.high > 0 else min(self.high + step, 0.0))
        return replace(self, low=self.low - step if self.low < 0 else max(self.low - step, 0.0))


@register
@dataclass(frozen=True)
class LogUniform(Parameter):
    """Search a float in [low, high], positive, every factor of ten alike: its logarithm is uniform."""

    low: float
    high: float
    when: Mapping[str, object] | None = None

    @property
    def scale(self) -> Literal["log"]:
        return "log"

    def __post_init__(self):
        for name in ("low", "high"):
            object.__setattr__(self, name, number(f"LogUniform {name}", getattr(self, name)))
        check_range("LogUniform", self.low, self.high)
        if self.low < 1.2e-38:
            raise Error(f"LogUniform: expected low > 0 (and normal in float32), got low={self.low!r}")
        if 1 < self.high / self.low < 1 + 1e-5:
            raise Error(f"LogUniform: the range is too narrow for float32, got low={self.low!r}, high={self.high!r}")

    def value(self, u: float) -> float:
        return min(max(self.low ** (1 - u) * self.high**u, self.low), self.high)

    def unit(self, value: Value) -> float:
        inside = check_inside(self, value, self.low, self.high)
        return _share(math.log(inside / self.low), math.log(self.high / self.low))

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def cells(self, most: int | None = None) -> np.ndarray | None:
        return np.asarray([0.5]) if self.low == self.high else None

    def widened(self, side: int) -> LogUniform:
        factor = math.sqrt(self.high / self.low)
        return replace(self, high=self.high * factor) if side > 0 else replace(self, low=self.low / factor)


@register
@dataclass(frozen=True)
class IntUniform(Parameter):
    """Search an integer in low..high, both included; with `log=True` on a log scale. Traced, as int32.

    With `step`, one of low, low + step, ..., high.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1
    when: Mapping[str, object] | None = None

    @property
    def dtype(self) -> type[np.generic]:
        return np.int32

    @property
    def scale(self) -> Literal["linear", "log"]:
        return "log" if self.log else "linear"

    def __post_init__(self):
        for name in ("low", "high"):
            object.__setattr__(self, name, check_int(f"IntUniform {name}", getattr(self, name)))
        object.__setattr__(self, "step", check_int("IntUniform step", self.step, 1))
        if max(abs(self.low), abs(self.high)) >= 2**31 or self.high - self.low > 2**20 * self.step:
            raise Error(f"IntUniform: expected int32 bounds at most 2**20 apart, got low={self.low}, high={self.high}")
        check_range("IntUniform", self.low, self.high)
        if self.log and self.low < 1:
            raise Error(f"IntUniform: expected low >= 1 with log=True, got low={self.low}")
        if self.log and self.step > 1:
            raise Error(f"IntUniform: expected no step with log=True, got step={self.step}")
        if (self.high - self.low) % self.step:
            told = f"low={self.low}, high={self.high}, step={self.step}"
            raise Error(f"IntUniform step: expected a whole number of steps from low to high, got {told}")

    @property
    def _edges(self) -> tuple[float, float]:
        """Give the outer edges of the first and the last cell, in steps."""
        return self.low // self.step - 0.5, self.high // self.step + 0.5

    def _edge(self, value: float) -> float:
        """Where the cell boundary at `value`, in steps, lies in the unit interval."""
        low, high = self._edges
        return math.log(value / low) / math.log(high / low) if self.log else (value - low) / (high - low)

    def value(self, u: float) -> int:
        low, high = self._edges
        real = low * math.exp(u * math.log(high / low)) if self.log else low + u * (high - low)
        return min(max(math.floor(real + 0.5) * self.step + self.low % self.step, self.low), self.high)

    def unit(self, value: Value) -> float:
        inside = check_inside(self, value, self.low, self.high)
        if inside != int(inside) or not self.low <= inside <= self.high or (int(inside) - self.low) % self.step:
            steps = f", {self.step} apart," if self.step > 1 else ""
            raise Error(f"{self}: expected an integer in [{self.low}, {self.high}]{steps}, got {value!r}")
        step = int(inside) // self.step
        return (self._edge(step - 0.5) + self._edge(step + 0.5)) / 2

    def bounds(self) -> tuple[int, int]:
        return self.low, self.high

    def cells(self, most: int | None = None) -> np.ndarray | None:
        if most is not None and (self.high - self.low) // self.step >= most:
            return None
        return np.asarray([self.unit(value) for value in range(self.low, self.high + 1, self.step)])

    def widened(self, side: int) -> IntUniform:
        if self.log:
            factor = math.sqrt(self.high / self.low)
            low, high = max(1, math.floor(self.low / factor)), math.ceil(self.high * factor)
        else:
            step = max(1, (self.high - self.low) // 2 // self.step) * self.step
            lowest = self.low % self.step  # of those that are not negative
            low, high = self.low - step if self.low < 0 else max(lowest, self.low - step), self.high + step
        return replace(self, high=high) if side > 0 else replace(self, low=low)


@register
@dataclass(frozen=True)
class Normal(Parameter):
    """Search a float that is normally distributed, cut off at `low` and `high` where these are given.

    Where a side has no bound, values up to 5.4 standard deviations from the mean are proposed.
    """

    mean: float
    sd: float
    low: float | None = None
    high: float | None = None
    when: Mapping[str, object] | None = None

    def __post_init__(self):
        for name in ("mean", "sd", "low", "high"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, number(f"Normal {name}", getattr(self, name)))
        if not self.sd > 0:
            raise Error(f"Normal sd: expected a positive number, got {self.sd!r}")
        check_range("Normal", *self.bounds())
        first, last = self._shares
        if last - first < 1e-4:
            raise Error(f"Normal: expected a range that holds a ten-thousandth of the distribution, got {self}")

    @property
    def _distribution(self) -> statistics.NormalDist:
        return statistics.NormalDist(self.mean, self.sd)

    @property
    def _shares(self) -> tuple[float, float]:
        """Give the probabilities below the ends."""
        below, above = _TAIL, 1 - _TAIL
        if self.low is not None:
            below = max(below, self._distribution.cdf(self.low))
        if self.high is not None:
            above = min(above, self._distribution.cdf(self.high))
        return below, above

    def value(self, u: float) -> float:
        first, last = self._shares
        low, high = self.bounds()
        return min(max(self._distribution.inv_cdf(first + u * (last - first)), low), high)

    def unit(self, value: Value) -> float:
        low = -3e38 if self.low is None else self.low
        high = 3e38 if self.high is None else self.high
        first, last = self._shares
        return _share(self._distribution.cdf(check_inside(self, value, low, high)) - first, last - first)

    def bounds(self) -> tuple[float, float]:
        least = self._distribution.inv_cdf(_TAIL)
        low = least if self.low is None else self.low
        return low, 2 * self.mean - least if self.high is None else self.high

    def ends(self) -> tuple[float, float] | None:
        first, last = self._shares
        return (0.0, 1.0) if first > _TAIL and last < 1 - _TAIL else None

    def widened(self, side: int) -> Normal:
        if self.low is None or self.high is None:
            raise Error(f"widened: expected a parameter with a range, got {self}")
        step = (self.high - self.low) / 2
        return replace(self, high=self.high + step) if side > 0 else replace(self, low=self.low - step)
