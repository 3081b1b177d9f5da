"""Pictures on matplotlib's Axes, in colours that those who see red and green alike can tell apart (Okabe and Ito's)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.cells import cell_len

from jaxhp.report.picture import Bar, Box, Crosses, Dots, Interval, Line, Mark, Marker, Picture, Rows, Spans
from jaxhp.report.scales import Axis, thinned
from jaxhp.words import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, RED, GREEN, ORANGE, GREY, SOFT = "#0072B2", "#A01830", "#009E73", "#D55E00", "#6B7280", "#BFD9EA"
_LINES: Mapping[str, dict[str, Any]] = {
    "valid": {"color": BLUE, "lw": 2.2, "zorder": 4},
    "train": {"color": ORANGE, "lw": 1.6, "ls": "--", "zorder": 3},
    "other": {"color": BLUE, "lw": 0.9, "alpha": 0.35},
    "best": {"color": GREEN, "lw": 1.8},
}
_DOTS: Mapping[str, dict[str, Any]] = {
    "complete": {"color": BLUE, "alpha": 0.5, "s": 16},
    "stopped": {"color": GREY, "alpha": 0.5, "s": 16, "marker": "v"},
    "best": {"color": GREEN, "s": 30},
    "crosses": {"color": RED, "alpha": 0.8, "s": 18, "marker": "x", "linewidths": 1.1},
    "trial": {"color": "black", "edgecolor": "white", "s": 20, "linewidths": 0.7, "alpha": 0.9},
}
_RING = {"color": "white", "edgecolor": ORANGE, "linewidth": 2.2}
_POINTS: Mapping[str, dict[str, Any]] = {
    "point": {"color": BLUE},
    "point stopped": {"color": GREY, "marker": "v"},
    "point front": {"color": GREEN},
    "point chosen": _RING,
}
_INTERVALS = {"honest": BLUE, "tested": GREEN, "biased": ORANGE, "chosen": ORANGE, "finalist": GREY}
_BARS = {"top": BLUE, "score": ORANGE}


def text(given: object, most: int) -> str:
    """Write a name or a value so that it acts on nothing, cut to so many columns, of which a wide character takes two.

    >>> text("weight_decay", 8), text("学習率", 5)
    ('weight_…', '学習…')
    """
    written = plain(given)
    if cell_len(written) <= most:
        return written
    wide = 0
    return "".join(c for c in written[:most] if (wide := wide + cell_len(c)) < most) + "…"


def paint(
    picture: Picture | Rows,
    ax: Axes,
    says: Mapping[str, str] | None = None,
    *,
    narrow: bool = False,
    strip: bool | None = None,
) -> None:
    """Draw a picture, with a legend above it of the kinds of marks in it that `says` explains.

    Args:
      narrow: whether there is room for few words only.
      strip: whether there is room for what diverged; None: where something has.
    """
    if isinstance(picture, Rows):
        _paint_rows(picture, ax)
    else:
        lay(ax, "x", picture.x, 4 if narrow else 7)
        lay(ax, "y", picture.y, 4 if narrow else 7)
        label(ax, text(picture.label_x, 22 if narrow else 34), text(picture.label_y, 18 if narrow else 24))
        for mark in picture.marks:
            _paint(mark, picture, ax)
        if picture.strip if strip is None else strip:
            _open_strip(picture, ax)
    explain(ax, says or {})


def lay(ax: Axes, side: str, axis: Axis, most: int = 7) -> None:
    """Set an axis of Axes, "x" or "y": ends, scale, and which values are written."""
    marked = thinned(axis, most)
    places, labels = [at for at, _ in marked], [text(label, 12) for _, label in marked]
    scale, ends, ticks = (getattr(ax, f"set_{side}{what}") for what in ("scale", "lim", "ticks"))
    scale("log" if axis.log else "linear")
    ends(axis.low, axis.high)
    ticks([], minor=True)
    ticks(places, labels, parse_math=False, fontsize=9)
    if side == "x" and max(map(len, labels), default=0) * len(labels) > 44:
        ax.tick_params("x", rotation=30)


def label(ax: Axes, x: str, y: str) -> None:
    """Name the axes and draw the frame that all pictures have."""
    ax.set_xlabel(x, parse_math=False, fontsize=10)
    ax.set_ylabel(y, parse_math=False, fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.2)
    ax.set_axisbelow(True)


def _paint(mark: Mark, picture: Picture, ax: Axes) -> None:
    """Draw a mark; what is beyond an end of an axis lies at that end."""

    def inside(x: Any, y: Any) -> tuple[Any, Any]:
        return np.clip(x, picture.x.low, picture.x.high), np.clip(y, picture.y.low, picture.y.high)

    if isinstance(mark, Line):
        alone = "o" if np.isfinite(mark.y).sum() == 1 else None
        ax.plot(*inside(mark.x, mark.y), label=mark.kind, solid_capstyle="round", marker=alone, **_LINES[mark.kind])
    elif isinstance(mark, Dots):
        known = np.isfinite(mark.y)
        if known.any():
            look = {"linewidths": 0, "label": mark.kind, "clip_on": False} | _DOTS[mark.kind]
            ax.scatter(*inside(np.asarray(mark.x)[known], np.asarray(mark.y)[known]), **look)
    elif isinstance(mark, Marker):
        look = {"label": mark.kind, "zorder": 6 if "chosen" in mark.kind else 5} | _POINTS[mark.kind]
        ax.scatter(*inside([mark.x], [mark.y]), s=1.8 * mark.size**2, clip_on=False, **look)
    elif isinstance(mark, Spans):
        (x, *across), (y, *along) = mark.x, mark.y
        ax.plot(*inside(across, [y, y]), color=_INTERVALS[mark.kind], lw=2, label=mark.kind)
        ax.plot(*inside([x, x], along), color=_INTERVALS[mark.kind], lw=2)
    elif isinstance(mark, Box):
        low, quarter, median, three, high = inside(0, mark.quantiles)[1].tolist()
        ends = [mark.x - mark.half, mark.x + mark.half]
        ax.plot([mark.x, mark.x], [low, high], color=BLUE, lw=1)
        ax.fill_between(ends, quarter, three, facecolor=SOFT, edgecolor=BLUE, zorder=2)
        ax.plot(ends, [median, median], color=BLUE, lw=2.2, solid_capstyle="butt", label="box")


def _open_strip(picture: Picture, ax: Axes) -> None:
    """Make room below the values for crosses: trials that diverged, and have none."""
    y = picture.y

    def below(share: float) -> float:
        return y.low * (y.low / y.high) ** share if y.log else y.low - share * (y.high - y.low)

    ax.set_ylim(below(0.1), y.high)
    ax.axhline(below(0.02), color=GREY, lw=0.6, alpha=0.6)
    for mark in picture.marks:
        if isinstance(mark, Crosses):
            x = np.clip(mark.x, picture.x.low, picture.x.high)
            ax.scatter(x, np.full(len(x), below(0.06)), marker="x", color=RED, s=18, lw=1.1, alpha=0.8, label="crosses")


def _paint_rows(of: Rows, ax: Axes) -> None:
    names = [text(row.name, 18) for row in of.rows]
    label(ax, text(of.label_x, 34), "")
    lay(ax, "x", of.x)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_yticks(range(len(names)), names, parse_math=False, fontsize=9)
    ax.grid(visible=False, axis="y")
    for place, row in enumerate(of.rows):
        bars = [mark for mark in row.marks if isinstance(mark, Bar)]
        for bar, shift in zip(bars, _shifts(len(bars)), strict=True):
            look = {"color": _BARS[bar.kind], "label": bar.kind, "height": 0.32}
            ax.barh(place + shift, bar.value, xerr=bar.stderr, error_kw={"lw": 1, "capsize": 2}, **look)
        for mark in row.marks:
            if isinstance(mark, Interval):
                _interval(mark, place, ax)


def surface(ax: Axes, x: np.ndarray, y: np.ndarray, mean: np.ndarray, metric: str, mode: str | None) -> None:
    """Fill the plane by numbers f64[n, m] at f64[n] and f64[m], the lighter the better, and say what they are."""
    levels = np.linspace(mean.min(), mean.max(), 11) if np.ptp(mean) > 0 else mean.min() + np.linspace(-1, 1, 11) * 1e-6
    filled = ax.contourf(x, y, mean.T, levels=levels, cmap=_colors(mode), alpha=0.85, zorder=0)
    bar = ax.figure.colorbar(filled, ax=ax, ticks=levels[::2], format="%.3g")
    bar.ax.tick_params(labelsize=8)
    bar.set_label(text(f"mean {metric}", 24), parse_math=False, fontsize=10)


def parallel(
    ax: Axes,
    axes: Mapping[str, Axis],
    places: np.ndarray,
    scores: np.ndarray,
    metric: str,
    scale: Axis,
    mode: str | None,
) -> None:
    """Draw trials as lines through axes beside each other, the last of which is their score.

    Args:
      axes: of parameters, by name.
      places: f64[N, D], where trials lie on them, from 0 to 1; a line is broken where one is not known.
      scores: f[N]; the best are drawn last and widest, those that are not known ("diverged") dotted and not to the end.
      metric, scale, mode: of the scores.
    """
    from matplotlib import colormaps

    whole = np.concatenate([places, scale.at(scores)[:, None]], 1)
    colors = colormaps[_colors(mode)](whole[:, -1])
    good = np.where(np.isnan(scores), -np.inf, -scores if mode == "min" else scores)
    for rank, row in enumerate(np.argsort(good, kind="stable").tolist()):
        known = np.isfinite(scores[row])
        look = {"color": colors[row], "lw": 1.0 + (rank >= len(good) - 5), "alpha": 0.75, "label": "complete"}
        if not known:
            look = {"color": RED, "lw": 0.8, "ls": ":", "alpha": 0.6, "label": "crosses"}
        ax.plot(range(whole.shape[1]), whole[row], marker="." if len(axes) < 3 else None, **look)
    named = [*axes.items(), (metric, scale)]
    for at, (_, axis) in enumerate(named):
        ax.axvline(at, color=GREY, lw=0.8, zorder=3)
        for marked, label in thinned(axis, 5):
            style = {"fontsize": 8.5, "va": "center", "parse_math": False, "zorder": 6, "clip_on": False}
            box = {"boxstyle": "round,pad=0.1", "fc": ax.get_facecolor(), "ec": "none", "alpha": 0.75}
            ax.text(at + 0.03, float(axis.at(marked)), text(label, 10), bbox=box, **style)
    ax.set_xlim(-0.1, len(named) - 1 + 0.45)
    ax.set_ylim(-0.04, 1.04)
    most = max(10, 56 // len(named))
    ax.set_xticks(range(len(named)), [text(name, most) for name, _ in named], parse_math=False, fontsize=9)
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    explain(ax, {"complete": "a trial, the lighter the better", "crosses": "diverged"})


def _colors(mode: str | None) -> str:
    return "viridis_r" if mode == "min" else "viridis"


def _shifts(count: int) -> Sequence[float]:
    return [0.34 * (number - (count - 1) / 2) for number in range(count)]


def _interval(mark: Interval, place: float, ax: Axes) -> None:
    color = _INTERVALS[mark.kind]
    if math.isfinite(mark.low) and math.isfinite(mark.high):
        ax.plot([mark.low, mark.high], [place, place], color=color, lw=2.2, marker="|", ms=9)
    ring: dict[str, Any] = (
        {"color": "white", "edgecolor": color, "linewidth": 2.2} if mark.kind == "biased" else {"color": color}
    )
    ax.scatter([mark.value], [place], s=44, zorder=5, clip_on=False, label=mark.kind, **ring)


def explain(ax: Axes, says: Mapping[str, str], panels: Sequence[Axes] = ()) -> None:
    """Make a legend above Axes: what each kind of mark in them, or in panels of theirs, means; one alone needs none."""
    known: dict[str, Any] = {}
    for panel in panels or [ax]:
        handles, kinds = panel.get_legend_handles_labels()
        known = dict(zip(kinds, handles, strict=True)) | known
    shown = {told: known[kind] for kind, told in says.items() if kind in known}
    if len(shown) < 2:
        return
    legend = ax.legend(
        list(shown.values()),
        [text(told, 44) for told in shown],
        loc="upper left" if panels else "lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=4 if panels else max(1, 74 // (max(map(len, shown)) + 7)),
        fontsize=8,
        frameon=False,
        columnspacing=1.2,
        handlelength=1.6,
        borderaxespad=0.2,
    )
    for entry in legend.get_texts():
        entry.set_parse_math(False)
