"""One hyperparameter: a range or a list of values, mapped to and from the unit interval.

What a parameter is, one asks of it (`scale`, `dtype`, `bounds`, `categories`, `ends`, `cells`), so that nothing outside
this file depends on its kind. A new kind is one class: a frozen dataclass below `@register` whose fields are numbers,
strings, booleans or tuples of these, the last one `when`. It has `value` and `unit`; `bounds` and `widened`, or where
values have no order `categories` and `cells`; and what else differs from a float on a linear scale. Its checks raise
ValueError or TypeError with one line. For `hp.Name`, name it in `jaxhp/space/__init__.py` and `jaxhp/__init__.py` too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar

import numpy as np

from jaxhp.values import Error, Json, Value, decoded, encoded

Kind = TypeVar("Kind", bound="type[Parameter]")
_ROUNDING = 2.0**-23  # relative
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


def number(name: str, value: object) -> float:
    """Check that a value is a finite number, of Python's or NumPy's kinds.

    Args:
      name: what the messages call it.
      value: anything.

    Returns:
      The value as a Python float.

    Raises:
      Error: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise Error(f"{name}: expected a number, got {value!r}")
    if (isinstance(value, int) and value.bit_length() > 1000) or not math.isfinite(value):
        raise Error(f"{name}: expected a finite number, got {value!r:.40}")
    return float(value)


def check_range(kind: str, low: float, high: float) -> None:
    """Check the ends of a range.

    Raises:
      Error: low > high, or one is beyond float32.
    """
    if low > high:
        raise Error(f"{kind}: expected low <= high, got low={low:g}, high={high:g}")
    if abs(high) > 3e38 or abs(low) > 3e38:
        raise Error(f"{kind}: expected bounds within float32, got low={low:g}, high={high:g}")


def check_inside(parameter: Parameter, value: Value, low: float, high: float) -> float:
    """Check that a value is a number in [low, high]; a bound that went through float32 is still the bound.

    Returns:
      The value as a Python float.

    Raises:
      Error: it is something else.
    """
    known = number(str(parameter), value)
    if not low - _ROUNDING * abs(low) <= known <= high + _ROUNDING * abs(high):
        raise Error(f"{parameter}: expected a value in [{low:g}, {high:g}], got {value!r}")
    return known


class Parameter:
    """Describe one hyperparameter.

    Attributes:
      static: whether trials are grouped by its value, each group compiled once. A static one has `cells`.
      when: under which values of other parameters this one exists; None if it always does. See `Space`.
    """

    static: bool = False
    when: Mapping[str, object] | None = None

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

    def given(self, value: Value) -> Value:
        """Return a value of the parameter as it is trained and recorded: the same number, in the parameter's type.

        Raises:
          Error: this is not a value of the parameter.
        """
        self.unit(value)
        known = number(str(self), value)
        return int(known) if issubclass(self.dtype, np.integer) else known

    def bounds(self) -> tuple[float, float] | None:
        """Give the ends of its range, low <= high, in the user's units; None where values have none."""
        raise NotImplementedError

    def categories(self) -> tuple[Value, ...]:
        """List its values, in the order of `cells`, where they are a list and no range; none where they are one."""
        return ()

    def ends(self) -> tuple[float, float] | None:
        """Give the positions in [0, 1] of the ends of its range; None where there is nothing beyond an end."""
        bounds = self.bounds()
        return None if bounds is None or bounds[0] == bounds[1] else (self.unit(bounds[0]), self.unit(bounds[1]))

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
        entries = {k: _plain(v) for k, v in entries.items() if v is not None}
        return {"kind": type(self).__name__} | entries

    @staticmethod
    def from_json(record: Mapping[str, Value]) -> Parameter:
        """Make the parameter, of any registered kind, that `to_json` describes.

        Raises:
          KeyError, TypeError, ValueError: it describes none.
        """
        entry: Json = {name: _made(value) for name, value in record.items()}
        return KINDS[entry.pop("kind")](**entry)

    def __str__(self) -> str:
        shown = []
        for f in fields(self):  # type: ignore[arg-type]
            if (given := getattr(self, f.name)) != f.default:
                given = list(given) if isinstance(given, tuple) else given
                text = f"{given:g}" if isinstance(given, float) else repr(given)
                shown.append(text if f.default is MISSING else f"{f.name}={text}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _plain(field: Any) -> object:
    """Return a field of a parameter as JSON: a tuple of values, a `when`, or one value."""
    if isinstance(field, Mapping):
        return {owner: _plain_entry(wanted) for owner, wanted in field.items()}
    return [encoded(value) for value in field] if isinstance(field, tuple) else encoded(field)


def _plain_entry(wanted: Any) -> object:
    """Return an entry of a `when` as JSON: a range, several values, or one."""
    if isinstance(wanted, range):
        return {"range": [wanted.start, wanted.stop, wanted.step]}
    return [encoded(value) for value in wanted] if isinstance(wanted, list) else encoded(wanted)


def _made(field: Any) -> object:
    """Return the field of which `_plain` made this."""
    if isinstance(field, Mapping) and "range" in field and isinstance(field["range"], list):
        return range(*field["range"])
    if isinstance(field, Mapping) and "tuple" not in field:
        return {name: _made(value) for name, value in field.items()}
    return [decoded(value) for value in field] if isinstance(field, list) else decoded(field)
