"""A parameter whose values are a list."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jaxhp.space.parameters import Parameter, number, register
from jaxhp.values import Error, Value, same_value, value_of


@register
@dataclass(frozen=True)
class Choice(Parameter):
    """Search one of a few values: strings, numbers, booleans, None, or tuples of these.

    Static by default: trials are grouped by it, and each group is compiled once. With `static=False` the values must be
    numbers, and stay data of one compiled program. With `ordered=True` they are given from small to large, and the
    report says where the best lie at an end of the list.
    """

    values: Sequence[Value]  # a tuple of them, once made
    static: bool = True
    ordered: bool = False
    when: Mapping[str, object] | None = None

    def __post_init__(self):
        given = self.values.tolist() if isinstance(self.values, np.ndarray) else self.values
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise Error(f"Choice: expected a list of values, got {given!r}")
        values = tuple(value_of("Choice", value) for value in given)
        object.__setattr__(self, "values", values)
        if not values:
            raise Error("Choice: expected at least one value, got none")
        if not self.static:
            for value in values:
                number("Choice(static=False) value", value)
        for index, value in enumerate(values):
            if value in values[:index]:
                twin = values[values.index(value)]
                what = "" if repr(value) == repr(twin) else f", of which {twin!r} and {value!r} are equal in Python"
                raise Error(f"Choice: expected distinct values, got {list(values)!r}{what}")

    @property
    def dtype(self) -> type[np.generic]:
        return np.int32 if all(isinstance(value, int) for value in self.values) else np.float32

    @property
    def scale(self) -> Literal["category"]:
        return "category"

    def _index(self, value: Value) -> int:
        for index, known in enumerate(self.values):
            if same_value(known, value):
                return index
        raise Error(f"{self}: expected one of {list(self.values)!r}, got {value!r}")

    def value(self, u: float) -> Value:
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def unit(self, value: Value) -> float:
        return (self._index(value) + 0.5) / len(self.values)

    def given(self, value: Value) -> Value:
        return self.values[self._index(value)]

    def bounds(self) -> None:
        return None

    def categories(self) -> tuple[Value, ...]:
        return tuple(self.values)

    def ends(self) -> tuple[float, float] | None:
        if not self.ordered or len(self.values) < 2:
            return None
        return 0.5 / len(self.values), 1 - 0.5 / len(self.values)

    def cells(self, most: int | None = None) -> np.ndarray:
        return (np.arange(len(self.values)) + 0.5) / len(self.values)

    def widened(self, side: int) -> Choice:
        """Make the same with one more value: the last step or, where all are equal, the last factor goes on.

        Raises:
          Error: the values are not two or more numbers in an order.
        """
        numbers = [v for v in self.values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if not self.ordered or len(numbers) < max(2, len(self.values)):
            raise Error(f"widened: expected a list of numbers in an order, got {self}")
        last, before = (numbers[-1], numbers[-2]) if side > 0 else (numbers[0], numbers[1])
        factors = {round(b / a, 9) for a, b in itertools.pairwise(numbers) if a}
        more = last * last / before if len(factors) == 1 and len(numbers) > 2 else 2 * last - before
        more = round(more) if all(isinstance(v, int) for v in numbers) and more == round(more) else more
        if more in self.values:
            return self
        return replace(self, values=(*self.values, more) if side > 0 else (more, *self.values))
