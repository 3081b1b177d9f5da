"""One hyperparameter: a range or a list of values, mapped to and from the unit interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if (isinstance(value, int) and value.bit_length() > 1000) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value!r:.40}")
    return float(value)


class Parameter:
    """One hyperparameter. `when` maps the names of static choices to the value under which this one exists."""

    static: bool = False
    when: Mapping[str, Any] | None = None

    @property
    def dtype(self) -> type[np.generic]:
        """What it is on the device, unless it is static."""
        return np.float32

    def value(self, u: float) -> Any:
        """The value at u in [0, 1]."""
        raise NotImplementedError

    def unit(self, value: Any) -> float:
        """The u at which `value` gives this value; the middle of the cell for integers and choices."""
        raise NotImplementedError

    def __str__(self) -> str:
        known = fields(self)  # type: ignore[arg-type]
        entries = {f.name: getattr(self, f.name) for f in known if getattr(self, f.name) != f.default}
        shown = {
            k: f"{v:g}" if isinstance(v, float) else repr(list(v) if k == "values" else v) for k, v in entries.items()
        }
        named = [v if k in ("low", "high", "values") else f"{k}={v}" for k, v in shown.items()]
        return f"{type(self).__name__}({', '.join(named)})"

    def widened(self, side: int) -> Parameter:
        """The same with a range half as wide again, below it (-1) or above it (1)."""
        raise ValueError(f"widened: expected a parameter with a range, got {self}")

    def _check_range(self, low: float, high: float) -> None:
        kind = type(self).__name__
        low, high = _number(f"{kind} low", low), _number(f"{kind} high", high)
        if low >= high:
            raise ValueError(f"{kind}: expected low < high, got low={low:g}, high={high:g}")
        if abs(high) > 3e38 or abs(low) > 3e38:
            raise ValueError(f"{kind}: expected bounds within float32, got low={low:g}, high={high:g}")

    def _check_inside(self, value: Any, low: float, high: float) -> float:
        number = _number(str(self), value)
        slack = 1e-6 * (high - low)
        if not low - slack <= number <= high + slack:
            raise ValueError(f"{self}: expected a value in [{low:g}, {high:g}], got {value!r}")
        return min(max(number, low), high)


@dataclass(frozen=True)
class Uniform(Parameter):
    """A float, uniform in [low, high]."""

    low: float
    high: float
    when: Mapping[str, Any] | None = None

    def __post_init__(self):
        self._check_range(self.low, self.high)
        if self.high - self.low < 1e-5 * max(abs(self.low), abs(self.high)):
            raise ValueError(f"Uniform: the range is too narrow for float32, got low={self.low!r}, high={self.high!r}")

    def value(self, u: float) -> float:
        return min(max(self.low + u * (self.high - self.low), self.low), self.high)

    def unit(self, value: Any) -> float:
        return (self._check_inside(value, self.low, self.high) - self.low) / (self.high - self.low)

    def widened(self, side: int) -> Uniform:
        step = (self.high - self.low) / 2
        if side > 0:
            return replace(self, high=self.high + step if self.high > 0 else min(self.high + step, 0.0))
        return replace(self, low=self.low - step if self.low < 0 else max(self.low - step, 0.0))


@dataclass(frozen=True)
class LogUniform(Parameter):
    """A float whose logarithm is uniform: every factor of ten in [low, high] is as likely as another."""

    low: float
    high: float
    when: Mapping[str, Any] | None = None

    def __post_init__(self):
        self._check_range(self.low, self.high)
        if self.low < 1.2e-38:
            raise ValueError(f"LogUniform: expected low > 0 (and normal in float32), got low={self.low!r}")
        if self.high / self.low < 1 + 1e-5:
            raise ValueError(
                f"LogUniform: the range is too narrow for float32, got low={self.low!r}, high={self.high!r}"
            )

    def value(self, u: float) -> float:
        return min(max(self.low ** (1 - u) * self.high**u, self.low), self.high)

    def unit(self, value: Any) -> float:
        inside = self._check_inside(value, self.low, self.high)
        return math.log(inside / self.low) / math.log(self.high / self.low)

    def widened(self, side: int) -> LogUniform:
        factor = math.sqrt(self.high / self.low)
        return replace(self, high=self.high * factor) if side > 0 else replace(self, low=self.low / factor)


@dataclass(frozen=True)
class IntUniform(Parameter):
    """An integer in low..high, both included; with `log=True` uniform on a log scale. Traced, as int32."""

    low: int
    high: int
    log: bool = False
    when: Mapping[str, Any] | None = None

    @property
    def dtype(self) -> type[np.generic]:
        return np.int32

    def __post_init__(self):
        for name in ("low", "high"):
            bound = getattr(self, name)
            if isinstance(bound, bool) or not isinstance(bound, (int, np.integer)):
                raise TypeError(f"IntUniform {name}: expected an integer, got {bound!r}")
        self._check_range(self.low, self.high)
        if self.high - self.low > 2**20 or max(abs(self.low), abs(self.high)) >= 2**31:
            raise ValueError(
                f"IntUniform: expected int32 bounds at most 2**20 apart, got low={self.low}, high={self.high}"
            )
        if self.log and self.low < 1:
            raise ValueError(f"IntUniform: expected low >= 1 with log=True, got low={self.low}")

    def _edge(self, value: float) -> float:
        """Where the cell boundary at `value` lies in the unit interval."""
        low, high = self.low - 0.5, self.high + 0.5
        return math.log(value / low) / math.log(high / low) if self.log else (value - low) / (high - low)

    def value(self, u: float) -> int:
        low, high = self.low - 0.5, self.high + 0.5
        real = low * math.exp(u * math.log(high / low)) if self.log else low + u * (high - low)
        return min(max(math.floor(real + 0.5), self.low), self.high)

    def unit(self, value: Any) -> float:
        inside = self._check_inside(value, self.low, self.high)
        if inside != int(inside):
            raise ValueError(f"{self}: expected an integer, got {value!r}")
        return (self._edge(inside - 0.5) + self._edge(inside + 0.5)) / 2

    def widened(self, side: int) -> IntUniform:
        if self.log:
            factor = math.sqrt(self.high / self.low)
            low, high = max(1, math.floor(self.low / factor)), math.ceil(self.high * factor)
        else:
            step = max(1, (self.high - self.low) // 2)
            low, high = self.low - step if self.low < 0 else max(0, self.low - step), self.high + step
        return replace(self, high=high) if side > 0 else replace(self, low=low)


@dataclass(frozen=True)
class Choice(Parameter):
    """One of a few values. Static by default: trials are grouped by it, and each group is compiled once.

    With `static=False` the values must be numbers, and stay data of one compiled program.
    """

    values: tuple[Any, ...]
    static: bool = True
    when: Mapping[str, Any] | None = None

    def __post_init__(self):
        if isinstance(self.values, str) or not isinstance(self.values, Sequence):
            raise TypeError(f"Choice: expected a list of values, got {self.values!r}")
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise ValueError("Choice: expected at least one value, got none")
        for value in self.values:
            if not isinstance(value, (str, bool, int, float)):
                raise TypeError(f"Choice: expected strings, numbers or booleans, got {value!r}")
            if not self.static:
                _number("Choice(static=False) value", value)
        if len({(type(value), value) for value in self.values}) < len(self.values):
            raise ValueError(f"Choice: expected distinct values, got {list(self.values)!r}")

    @property
    def dtype(self) -> type[np.generic]:
        return np.int32 if all(isinstance(value, int) for value in self.values) else np.float32

    def value(self, u: float) -> Any:
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def unit(self, value: Any) -> float:
        for index, known in enumerate(self.values):
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                return (index + 0.5) / len(self.values)
        raise ValueError(f"{self}: expected one of {list(self.values)!r}, got {value!r}")
