"""What a picture shows, as records in the units of its axes, drawn as SVG on the page and by matplotlib for scripts.

The kind of a mark is its class in `pictures.css` and its style in `painting.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.report.scales import Axis


class Line(NamedTuple):
    """A line through points f64[n], broken where one is not known; one alone is a dot."""

    x: np.ndarray
    y: np.ndarray
    kind: str


class Dots(NamedTuple):
    """Round dots at f64[n], those that are not known left out."""

    x: np.ndarray
    y: np.ndarray
    kind: str


class Crosses(NamedTuple):
    """What diverged: small crosses at f64[n] in a strip below the horizontal axis."""

    x: np.ndarray


class Marker(NamedTuple):
    """One that says what it is."""

    x: float
    y: float
    kind: str
    size: float  # its radius
    told: str


class Spans(NamedTuple):
    """Intervals [low, high] of x and of y, through each other."""

    x: tuple[float, float, float]  # value, low, high
    y: tuple[float, float, float]
    kind: str


class Box(NamedTuple):
    """The middle half of some numbers, with the tenth and ninetieth percentile."""

    x: float
    half: float  # of its width
    quantiles: tuple[float, float, float, float, float]
    told: str


Mark = Line | Dots | Crosses | Marker | Spans | Box


class Picture(NamedTuple):
    """Marks between two axes.

    Attributes:
      told: what it shows, for those who do not see it.
      label_x, label_y: names of the axes; "" for none.
    """

    x: Axis
    y: Axis
    marks: Sequence[Mark]
    told: str
    label_x: str = ""
    label_y: str = ""

    @property
    def strip(self) -> bool:
        """Tell whether there are marks below the horizontal axis."""
        return any(isinstance(mark, Crosses) and len(mark.x) for mark in self.marks)


class Bar(NamedTuple):
    """A share, with its standard error."""

    value: float
    stderr: float
    kind: str
    told: str


class Interval(NamedTuple):
    """A value with the ends of its interval, NaN where none is known."""

    value: float
    low: float
    high: float
    kind: str
    told: str


class Row(NamedTuple):
    """A name, and what is drawn beside it: bars below each other, or an interval."""

    name: str
    marks: Sequence[Bar | Interval]


class Rows(NamedTuple):
    """Names below each other, on one axis."""

    x: Axis
    rows: Sequence[Row]
    told: str
    label_x: str = ""
