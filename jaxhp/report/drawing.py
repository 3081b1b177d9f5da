"""Pictures as SVG, without scripts. Colours come from the style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxhp.report.markup import Markup, element, joined
from jaxhp.report.picture import Bar, Box, Crosses, Interval, Line, Mark, Marker, Picture, Row, Rows, Spans
from jaxhp.report.scales import Axis, thinned

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FLOOR = 340, 210, 56, 12, 10, 172  # of a frame, in the picture's own units
_STRIP = 16  # below the horizontal axis, above its numbers, for what diverged


def draw(picture: Picture | Rows) -> Markup:
    """Draw a picture."""
    return _frame(picture) if isinstance(picture, Picture) else _rows(picture)


def _frame(picture: Picture) -> Markup:
    x, y, strip = picture.x, picture.y, _STRIP if picture.strip else 0
    rules = [*_rules(x, y, strip), element("path", d=f"M{LEFT} {TOP}V{FLOOR + strip}H{WIDTH - RIGHT}", class_="axis")]
    if picture.label_x:
        middle = (LEFT + WIDTH - RIGHT) / 2
        rules.append(element("text", short(picture.label_x, 44), x=middle, y=HEIGHT + strip - 6, class_="label"))
    if picture.label_y:
        turned = f"translate(11 {n((TOP + FLOOR) / 2)}) rotate(-90)"
        rules.append(element("text", short(picture.label_y, 24), transform=turned, class_="label"))
    marks = (_mark(mark, x, y) for mark in picture.marks)
    under = element("text", "diverged", x=LEFT - 6, y=FLOOR + 8, dy="0.32em", class_="tick end bad") if strip else None
    height = HEIGHT + strip - (0 if picture.label_x else 14)
    return svg(joined(*rules, *marks, under), WIDTH, height, picture.told)


def _rules(x: Axis, y: Axis, strip: int) -> Iterator[Markup]:
    for marked, label in thinned(y, 8):
        at = n(float(_up(y.at(marked))))
        yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid")
        yield element("text", label, x=LEFT - 6, y=at, class_="tick end", dy="0.32em")
    for marked, label in thinned(x, 7):
        at = float(_across(x.at(marked)))
        yield element("line", x1=n(at), x2=n(at), y1=FLOOR + strip, y2=FLOOR + strip + 4, class_="axis")
        right, anchor = (WIDTH, "end") if at > WIDTH - 24 and len(label) > 3 else (n(at), "middle")
        yield element("text", short(label, 12), x=right, y=FLOOR + strip + 16, class_="tick", text_anchor=anchor)


def _rows(of: Rows) -> Markup:
    bars = any(isinstance(mark, Bar) for row in of.rows for mark in row.marks)
    left, top, step = (122, 4, 30) if bars else (78, 8, 32)
    floor = top + step * len(of.rows)
    place, marks = _scale(of.x, left, top, floor)
    for number, row in enumerate(of.rows):
        at = top + step * (number + 0.5)
        title = element("title", row.name) if bars else None
        where = {"x": left - (8 if bars else 10), "y": n(at), "dy": "0.32em"}
        marks.append(element("text", short(row.name, 16), title, class_="tick end strong", **where))
        marks += _row(row, place, left, at)
    if of.label_x:
        marks.append(element("text", short(of.label_x, 44), x=n((left + WIDTH) / 2), y=floor + 31, class_="label"))
    return svg(joined(*marks), WIDTH, floor + (37 if of.label_x else 20), of.told)


def _row(row: Row, place: Callable[[float], float], left: float, at: float) -> Iterator[Markup]:
    bars = [mark for mark in row.marks if isinstance(mark, Bar)]
    for bar, y in zip(bars, (at - 10, at) if len(bars) == 2 else (at - 5,), strict=False):
        told, width = element("title", bar.told), n(max(place(bar.value) - left, 0.5))
        yield element("rect", told, x=left, y=n(y), width=width, height=9, class_=f"bar {bar.kind}")
        low, high = (place(bar.value + side * bar.stderr) for side in (-1, 1))
        yield element("path", d=f"M{n(low)} {n(y + 4.5)}H{n(high)}", class_="error")
    for mark in row.marks:
        if not isinstance(mark, Interval):
            continue
        if math.isfinite(mark.low) and math.isfinite(mark.high):
            d = f"M{n(place(mark.low))} {n(at)}H{n(place(mark.high))}m0 -5v10M{n(place(mark.low))} {n(at - 5)}v10"
            yield element("path", d=d, class_=f"interval {mark.kind}")
        told = element("title", mark.told)
        yield element("circle", told, cx=n(place(mark.value)), cy=n(at), r=5, class_=f"mark {mark.kind}")


def _scale(x: Axis, left: float, top: float, floor: float) -> tuple[Callable[[float], float], list[Markup]]:
    """Lay out a picture with names on its left.

    Args:
      x: the horizontal axis.
      left, top, floor: where it begins, in the picture's own units.

    Returns:
      Where a value lies, as a function, and the vertical rules.
    """

    def place(value: float) -> float:
        return left + float(x.at(value)) * (WIDTH - RIGHT - 8 - left)

    rules = []
    for marked, label in thinned(x, 6):
        at = n(place(marked))
        rules.append(element("line", x1=at, x2=at, y1=top, y2=floor, class_="grid"))
        rules.append(element("text", label, x=at, y=floor + 14, class_="tick", text_anchor="middle"))
    return place, rules


def bar(share: float) -> Markup:
    """Draw a probability as a small bar."""
    track, filled = (
        element("rect", width=n(60 * w), height=8, rx=2, class_=c) for w, c in ((1, "track"), (share, "bar top"))
    )
    return svg(joined(track, filled), 60, 8, None, class_="inline")


def svg(content: Markup, width: float, height: float, told: str | None, class_: str | None = None) -> Markup:
    """Make the picture of its content; with `told` None it only repeats what stands beside it."""
    role = {"role": "img", "aria_label": told} if told is not None else {"aria_hidden": "true"}
    return element("svg", content, viewBox=f"0 0 {width} {n(height)}", class_=class_, **role)


def _across(fraction: Any) -> Any:
    """Return the distance from the left of what lies at a fraction of the horizontal axis."""
    return LEFT + fraction * (WIDTH - LEFT - RIGHT)


def _up(fraction: Any) -> Any:
    """Return the distance from the top of what lies at a fraction of the vertical axis."""
    return FLOOR - fraction * (FLOOR - TOP)


def _mark(mark: Mark, x: Axis, y: Axis) -> Markup | None:
    """Draw a mark; None where there is nothing of it."""
    if isinstance(mark, Crosses):
        d = "".join(f"M{n(at - 2.5)} {n(FLOOR + 5.5)}l5 5m0 -5l-5 5" for at in _across(x.at(mark.x)).tolist())
        return element("path", d=d, class_="crosses") if d else None
    if isinstance(mark, Spans):
        (h, left, right), (v, low, high) = _across(x.at(mark.x)).tolist(), _up(y.at(mark.y)).tolist()
        return element(
            "path", d=f"M{n(h)} {n(low)}V{n(high)}M{n(left)} {n(v)}H{n(right)}", class_=f"interval {mark.kind}"
        )
    if isinstance(mark, Box):
        return _box(mark, x, y)
    right, height = _across(x.at(mark.x)), _up(y.at(mark.y))
    if isinstance(mark, Line):
        return element("path", d=_path(right, height), class_=f"line {mark.kind}")
    if isinstance(mark, Marker):
        told = element("title", mark.told)
        return element("circle", told, cx=n(float(right)), cy=n(float(height)), r=mark.size, class_=mark.kind)
    known = np.isfinite(height)  # one path takes a tenth of the bytes of circles
    pairs = zip(right[known].tolist(), height[known].tolist(), strict=True)
    d = "".join(f"M{n(h)} {n(v)}h0" for h, v in pairs)
    return element("path", d=d, class_=f"dots {mark.kind}") if d else None


def _path(right: np.ndarray, height: np.ndarray) -> str:
    d, pen_down = [], False
    known = np.isfinite(height)
    for x, y, there in zip(right.tolist(), height.tolist(), known.tolist(), strict=True):
        if there:
            d.append(f"{'L' if pen_down else 'M'}{n(x)} {n(y)}")
        pen_down = there
    if known.sum() == 1:
        d.append("h0")
    return "".join(d)


def _box(mark: Box, x: Axis, y: Axis) -> Markup:
    middle, half = float(_across(x.at(mark.x))), mark.half * (WIDTH - LEFT - RIGHT) / (x.high - x.low)
    low, quarter, median, three, high = _up(y.at(mark.quantiles)).tolist()
    return element(
        "g",
        element("title", mark.told),
        element("path", d=f"M{n(middle)} {n(low)}V{n(high)}", class_="whisker"),
        element("path", d=f"M{n(middle - half)} {n(quarter)}h{n(2 * half)}V{n(three)}h{n(-2 * half)}Z", class_="box"),
        element("path", d=f"M{n(middle - half)} {n(median)}h{n(2 * half)}", class_="median"),
    )


def short(text: str, most: int) -> str:
    """Cut text to so many characters.

    >>> short("weight_decay", 8)
    'weight_…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def n(value: float) -> str:
    """Write a coordinate, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")
