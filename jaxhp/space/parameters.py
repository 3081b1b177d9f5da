"""One hyperparameter: a range or a list of values, mapped to and from the unit interval.

What a parameter is, one asks of it (`scale`, `dtype`, `bounds`, `categories`, `ends`, `cells`), so that nothing outside
this file depends on its kind. A new kind is one class: a frozen dataclass below `@register` whose fields are numbers,
strings, booleans or tuples of these, the last one `when`. It has `value` and `unit`; `bounds` and `widened`, or where
values have no order `categories` and `cells`; and what else differs from a float on a linear scale. Its checks raise
ValueError or TypeError with one line. For `hp.Name`, name it in `jaxhp/space/__init__.py` and `jaxhp/__init__.py` too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Literal, TypeVar

import numpy as np

from jaxhp.trials import Error, Json, Value

Kind = TypeVar("Kind", bound="type[Parameter]")
KINDS: dict[str, type[Parameter]] = {}  # by name, in the order in which they are registered


def register(kind: Kind) -> Kind:
    """Make a kind of parameter known by the name of its class, so that a space that has one can be read from JSON.

    Args:
      kind: a subclass of `Parameter`, to be a dataclass.

    Returns:
      The same class.

    Raises:
      Error: another kind has this name.
    """
    if kind.__name__ in KINDS:
        raise Error(f"register: expected a kind with a name of its own, got another {kind.__name__}")
    KINDS[kind.__name__] = kind
    return kind


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise Error(f"{name}: expected a number, got {value!r}")
    if (isinstance(value, int) and value.bit_length() > 1000) or not math.isfinite(value):
        raise Error(f"{name}: expected a finite number, got {value!r:.40}")
    return float(value)


class Parameter:
    """Describe one hyperparameter.

    Attributes:
      static: whether trials are grouped by its value, each group compiled once. A static one has `cells`.
      when: maps the names of static parameters to the value under which this one exists; None if it always does.
    """

    static: bool = False
    when: Mapping[str, Value] | None = None

    @property
    def dtype(self) -> type[np.generic]:
        """Tell its type on the device, unless it is static: an integer type if its values are whole numbers."""
        return np.float32

    @property
    def scale(self) -> Literal["linear", "log", "category"]:
        """Tell how values are spaced along the unit interval; "category" where they have no order."""
        return "linear"

    def value(self, u: float) -> Value:
        """Map a position in [0, 1] to the value there, in the user's units."""
        raise NotImplementedError

    def unit(self, value: Value) -> float:
        """Map a value to the position in [0, 1] at which `value` gives it: the middle of its cell, if it has one.

        Raises:
          Error: this is not a value of the parameter.
        """
        raise NotImplementedError

    def bounds(self) -> tuple[float, float] | None:
        """Give the ends of its range, low < high, in the user's units; None where values have no order."""
        raise NotImplementedError

    def categories(self) -> tuple[Value, ...]:
        """List its values where they have no order, in the order of `cells`; none where they have one."""
        return ()

    def ends(self) -> tuple[float, float] | None:
        """Give the positions in [0, 1] of the ends of its range; None where values have no order."""
        bounds = self.bounds()
        return None if bounds is None else (self.unit(bounds[0]), self.unit(bounds[1]))

    def cells(self, most: int | None = None) -> np.ndarray | None:
        """Give the positions of its values, if they are few.

        Args:
          most: with more values than this, one whose values have an order counts as continuous; None: it never does.

        Returns:
          f64[K], the middles of the cells into which its K values part the unit interval, ascending; None for a
          continuous one.
        """
        return None

    def widened(self, side: int) -> Parameter:
        """Make the same with a range half as wide again.

        Args:
          side: where it is wider, -1 (below) or 1 (above).

        Raises:
          Error: it has no range that could be wider.
        """
        raise Error(f"widened: expected a parameter with a range, got {self}")

    def to_json(self) -> Json:
        """Make a JSON object from which `from_json` makes an equal parameter."""
        entries = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        entries = {k: list(v) if isinstance(v, tuple) else v for k, v in entries.items() if v is not None}
        return {"kind": type(self).__name__} | entries

    @staticmethod
    def from_json(record: Json) -> Parameter:
        """Make the parameter, of any registered kind, that `to_json` describes.

        Raises:
          KeyError, TypeError, ValueError: it describes none.
        """
        entry = dict(record)
        return KINDS[entry.pop("kind")](**entry)

    def __str__(self) -> str:
        shown = []
        for f in fields(self):  # type: ignore[arg-type]
            if (given := getattr(self, f.name)) != f.default:
                given = list(given) if isinstance(given, tuple) else given
                text = f"{given:g}" if isinstance(given, float) else repr(given)
                shown.append(text if f.default is MISSING else f"{f.name}={text}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _check_range(self, low: float, high: float) -> None:
        kind = type(self).__name__
        low, high = _number(f"{kind} low", low), _number(f"{kind} high", high)
        if low >= high:
            raise Error(f"{kind}: expected low < high, got low={low:g}, high={high:g}")
        if abs(high) > 3e38 or abs(low) > 3e38:
            raise Error(f"{kind}: expected bounds within float32, got low={low:g}, high={high:g}")

    def _check_inside(self, value: Value, low: float, high: float) -> float:
        number = _number(str(self), value)
        slack = 1e-6 * (high - low)
        if not low - slack <= number <= high + slack:
            raise Error(f"{self}: expected a value in [{low:g}, {high:g}], got {value!r}")
        return min(max(number, low), high)


@register
@dataclass(frozen=True)
class Uniform(Parameter):
    """Search a float in [low, high], every part of the range alike."""

    low: float
    high: float
    when: Mapping[str, Value] | None = None

    def __post_init__(self):
        self._check_range(self.low, self.high)
        if self.high - self.low < 1e-5 * max(abs(self.low), abs(self.high)):
            raise Error(f"Uniform: the range is too narrow for float32, got low={self.low!r}, high={self.high!r}")

    def value(self, u: float) -> float:
        return min(max(self.low + u * (self.high - self.low), self.low), self.high)

    def unit(self, value: Value) -> float:
        return (self._check_inside(value, self.low, self.high) - self.low) / (self.high - self.low)

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def widened(self, side: int) -> Uniform:
        step = (self.high - self.low) / 2
        if side > 0:
            return replace(self, high=self.high + step if self.high > 0 else min(self.high + step, 0.0))
        return replace(self, low=self.low - step if self.low < 0 else max(self.low - step, 0.0))


@register
@dataclass(frozen=True)
class LogUniform(Parameter):
    """Search a float in [low, high], positive, every factor of ten alike: its logarithm is uniform."""

    low: float
    high: float
    when: Mapping[str, Value] | None = None

    @property
    def scale(self) -> Literal["log"]:
        return "log"

    def __post_init__(self):
        self._check_range(self.low, self.high)
        if self.low < 1.2e-38:
            raise Error(f"LogUniform: expected low > 0 (and normal in float32), got low={self.low!r}")
        if self.high / self.low < 1 + 1e-5:
            raise Error(f"LogUniform: the range is too narrow for float32, got low={self.low!r}, high={self.high!r}")

    def value(self, u: float) -> float:
        return min(max(self.low ** (1 - u) * self.high**u, self.low), self.high)

    def unit(self, value: Value) -> float:
        inside = self._check_inside(value, self.low, self.high)
        return math.log(inside / self.low) / math.log(self.high / self.low)

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def widened(self, side: int) -> LogUniform:
        factor = math.sqrt(self.high / self.low)
        return replace(self, high=self.high * factor) if side > 0 else replace(self, low=self.low / factor)


@register
@dataclass(frozen=True)
class IntUniform(Parameter):
    """Search an integer in low..high, both included; with `log=True` on a log scale. Traced, as int32."""

    low: int
    high: int
    log: bool = False
    when: Mapping[str, Value] | None = None

    @property
    def dtype(self) -> type[np.generic]:
        return np.int32

    @property
    def scale(self) -> Literal["linear", "log"]:
        return "log" if self.log else "linear"

    def __post_init__(self):
        for name in ("low", "high"):
            bound = getattr(self, name)
            if isinstance(bound, bool) or not isinstance(bound, (int, np.integer)):
                raise Error(f"IntUniform {name}: expected an integer, got {bound!r}")
        self._check_range(self.low, self.high)
        if self.high - self.low > 2**20 or max(abs(self.low), abs(self.high)) >= 2**31:
            raise Error(f"IntUniform: expected int32 bounds at most 2**20 apart, got low={self.low}, high={self.high}")
        if self.log and self.low < 1:
            raise Error(f"IntUniform: expected low >= 1 with log=True, got low={self.low}")

    def _edge(self, value: float) -> float:
        """Where the cell boundary at `value` lies in the unit interval."""
        low, high = self.low - 0.5, self.high + 0.5
        return math.log(value / low) / math.log(high / low) if self.log else (value - low) / (high - low)

    def value(self, u: float) -> int:
        low, high = self.low - 0.5, self.high + 0.5
        real = low * math.exp(u * math.log(high / low)) if self.log else low + u * (high - low)
        return min(max(math.floor(real + 0.5), self.low), self.high)

    def unit(self, value: Value) -> float:
        inside = self._check_inside(value, self.low, self.high)
        if inside != int(inside):
            raise Error(f"{self}: expected an integer, got {value!r}")
        return (self._edge(inside - 0.5) + self._edge(inside + 0.5)) / 2

    def bounds(self) -> tuple[int, int]:
        return self.low, self.high

    def cells(self, most: int | None = None) -> np.ndarray | None:
        if most is not None and self.high - self.low >= most:
            return None
        return np.asarray([self.unit(value) for value in range(self.low, self.high + 1)])

    def widened(self, side: int) -> IntUniform:
        if self.log:
            factor = math.sqrt(self.high / self.low)
            low, high = max(1, math.floor(self.low / factor)), math.ceil(self.high * factor)
        else:
            step = max(1, (self.high - self.low) // 2)
            low, high = self.low - step if self.low < 0 else max(0, self.low - step), self.high + step
        return replace(self, high=high) if side > 0 else replace(self, low=low)


@register
@dataclass(frozen=True)
class Choice(Parameter):
    """Search one of a few values. Static by default: trials are grouped by it, and each group is compiled once.

    With `static=False` the values must be numbers, and stay data of one compiled program.
    """

    values: tuple[Value, ...]
    static: bool = True
    when: Mapping[str, Value] | None = None

    def __post_init__(self):
        if isinstance(self.values, str) or not isinstance(self.values, Sequence):
            raise Error(f"Choice: expected a list of values, got {self.values!r}")
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise Error("Choice: expected at least one value, got none")
        for value in self.values:
            if not isinstance(value, (str, bool, int, float)):
                raise Error(f"Choice: expected strings, numbers or booleans, got {value!r}")
            if not self.static:
                _number("Choice(static=False) value", value)
        if len({(type(value), value) for value in self.values}) < len(self.values):
            raise Error(f"Choice: expected distinct values, got {list(self.values)!r}")

    @property
    def dtype(self) -> type[np.generic]:
        return np.int32 if all(isinstance(value, int) for value in self.values) else np.float32

    @property
    def scale(self) -> Literal["category"]:
        return "category"

    def value(self, u: float) -> Value:
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def unit(self, value: Value) -> float:
        for index, known in enumerate(self.values):
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                return (index + 0.5) / len(self.values)
        raise Error(f"{self}: expected one of {list(self.values)!r}, got {value!r}")

    def bounds(self) -> None:
        return None

    def categories(self) -> tuple[Value, ...]:
        return self.values

    def cells(self, most: int | None = None) -> np.ndarray:
        return (np.arange(len(self.values)) + 0.5) / len(self.values)
