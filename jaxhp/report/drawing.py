"""SVG pictures without scripts: frames with two axes, lines and dots. Colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxhp.report.markup import Markup, element, joined
from jaxhp.report.scales import Axis

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FLOOR = 340, 210, 56, 12, 10, 172  # of a frame, in the picture's own units


def frame(
    x: Axis, y: Axis, marks: Markup, *, told: str, label_x: str = "", label_y: str = "", strip: int = 0
) -> Markup:
    """Draw a picture with two axes.

    Args:
      x, y: the axes.
      marks: what is drawn between them, placed by `across` and `up`.
      told: what the picture shows, for those who do not see it.
      label_x, label_y: names of the axes; "" for none.
      strip: units below the horizontal axis, above its numbers, that are left free.
    """
    rules = [*_rules(x, y, strip), element("path", d=f"M{LEFT} {TOP}V{FLOOR + strip}H{WIDTH - RIGHT}", class_="axis")]
    if label_x:
        middle = (LEFT + WIDTH - RIGHT) / 2
        rules.append(element("text", short(label_x, 44), x=middle, y=HEIGHT + strip - 6, class_="label"))
    if label_y:
        turned = f"translate(11 {n((TOP + FLOOR) / 2)}) rotate(-90)"
        rules.append(element("text", short(label_y, 24), transform=turned, class_="label"))
    return svg(joined(*rules, marks), WIDTH, HEIGHT + strip - (0 if label_x else 14), told)


def _rules(x: Axis, y: Axis, strip: int) -> Iterator[Markup]:
    for marked, label in thinned(y, 8):
        at = n(up(y.at(marked)))
        yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid")
        yield element("text", label, x=LEFT - 6, y=at, class_="tick end", dy="0.32em")
    for marked, label in thinned(x, 7):
        at = across(x.at(marked))
        yield element("line", x1=n(at), x2=n(at), y1=FLOOR + strip, y2=FLOOR + strip + 4, class_="axis")
        right, anchor = (WIDTH, "end") if at > WIDTH - 24 and len(label) > 3 else (n(at), "middle")
        yield element("text", short(label, 12), x=right, y=FLOOR + strip + 16, class_="tick", text_anchor=anchor)


def scale(x: Axis, left: float, top: float, floor: float) -> tuple[Callable[[float], float], list[Markup]]:
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


def svg(content: Markup, width: float, height: float, told: str | None, class_: str | None = None) -> Markup:
    """Make the picture of its content; with `told` None it only repeats what stands beside it."""
    role = {"role": "img", "aria_label": told} if told is not None else {"aria_hidden": "true"}
    return element("svg", content, viewBox=f"0 0 {width} {n(height)}", class_=class_, **role)


def across(fraction: Any) -> Any:
    """Return the distance from the left of what lies at a fraction of the horizontal axis."""
    return LEFT + fraction * (WIDTH - LEFT - RIGHT)


def up(fraction: Any) -> Any:
    """Return the distance from the top of what lies at a fraction of the vertical axis."""
    return FLOOR - fraction * (FLOOR - TOP)


def line(right: np.ndarray, height: np.ndarray, kind: str) -> Markup:
    """Draw a line through points f64[n], fractions of the axes, broken where one is not known; one alone is a dot."""
    d, pen_down = [], False
    known = np.isfinite(height)
    for x, y, there in zip(across(right).tolist(), up(height).tolist(), known.tolist(), strict=True):
        if there:
            d.append(f"{'L' if pen_down else 'M'}{n(x)} {n(y)}")
        pen_down = there
    if known.sum() == 1:
        d.append("h0")
    return element("path", d="".join(d), class_=f"line {kind}")


def dots(right: np.ndarray, height: np.ndarray, kind: str) -> Markup | None:
    """Draw round dots as one path, which takes a tenth of the bytes of circles; None where there are none."""
    known = np.isfinite(height)
    pairs = zip(right[known].tolist(), height[known].tolist(), strict=True)
    d = "".join(f"M{n(x)} {n(y)}h0" for x, y in pairs)
    return element("path", d=d, class_=f"dots {kind}") if d else None


def crosses(right: np.ndarray, height: float) -> Markup | None:
    """Draw small crosses in a row; None where there are none."""
    d = "".join(f"M{n(x - 2.5)} {n(height - 2.5)}l5 5m0 -5l-5 5" for x in right.tolist())
    return element("path", d=d, class_="crosses") if d else None


def thinned(of: Axis, most: int) -> list[tuple[float, str]]:
    """Return at most so many of an axis's marked values, with their labels."""
    return list(of.ticks[:: max(1, -(-len(of.ticks) // most))])


def short(text: str, most: int) -> str:
    """Cut text to so many characters.

    >>> short("weight_decay", 8)
    'weight_…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def n(value: float) -> str:
    """Write a coordinate, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")
