"""Trials as threads through one axis of every parameter and one of the score, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jaxhp.report.drawing import n, short, svg
from jaxhp.report.markup import Markup, element, joined
from jaxhp.report.scales import Axis, thinned

_STEP, _LEFT, _RIGHT, _TOP, _FLOOR = 128, 56, 52, 26, 226  # in the picture's own units


def parallel(axes: Mapping[str, Axis], places: np.ndarray, kinds: Sequence[str], told: Sequence[str]) -> Markup:
    """Draw threads.

    Args:
      axes: by name, from left to right.
      places: f64[N, D], where each trial lies on each, from 0 to 1; NaN where it has none, which breaks its thread.
      kinds: of each trial "other", which are drawn as one, or another class of lines, in front of these.
      told: what each says that is pointed at.
    """
    across = [_LEFT + _STEP * place for place in range(len(axes))]
    rules = [_axis(name, of, at) for (name, of), at in zip(axes.items(), across, strict=True)]
    drawn = [_thread(row, across) for row in places]
    others = "".join(d for d, kind in zip(drawn, kinds, strict=True) if kind == "other")
    front = [
        element("path", element("title", text), d=d, class_=f"line {kind}")
        for d, kind, text in zip(drawn, kinds, told, strict=True)
        if kind != "other" and d
    ]
    lines = [element("path", d=others, class_="line faint")] if others else []
    what = f"{len(drawn)} trials through {', '.join(axes)}"
    width = across[-1] + _RIGHT
    return svg(joined(*lines, *reversed(front), *rules), width, _FLOOR + 12, what, class_="threads")


def _axis(name: str, of: Axis, at: float) -> Markup:
    line = element("path", d=f"M{at} {_TOP}V{_FLOOR}", class_="axis")
    title = element("text", short(name, 16), element("title", name), x=at, y=_TOP - 12, class_="label")
    ticks = [
        element("text", short(label, 8), x=at - 5, y=n(_up(float(of.at(value)))), dy="0.32em", class_="tick end")
        for value, label in thinned(of, 6)
    ]
    return joined(line, title, *ticks)


def _thread(row: np.ndarray, across: Sequence[float]) -> str:
    d, pen_down = [], False
    for x, place in zip(across, row.tolist(), strict=True):
        if known := np.isfinite(place):
            d.append(f"{'L' if pen_down else 'M'}{x} {n(_up(place))}")
        pen_down = bool(known)
    return "".join(d)


def _up(fraction: float) -> float:
    return _FLOOR - fraction * (_FLOOR - _TOP)
