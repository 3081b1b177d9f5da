"""The pictures of the page: curves, the front, scores by hyperparameter and by round, intervals, importance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxhp import words
from jaxhp.objectives import Objectives
from jaxhp.report.drawing import FLOOR, LEFT, WIDTH, across, crosses, dots, frame, line, n, scale, short, svg, up
from jaxhp.report.markup import Markup, element, joined
from jaxhp.report.pieces import score, value
from jaxhp.report.scales import Axis, axis, parameter_axis, score_axis
from jaxhp.selection.importance import Importance, Share
from jaxhp.selection.verdict import Measured
from jaxhp.space import Parameter
from jaxhp.trials import Status, Trial, Trials

_CURVE_POINTS = 150  # of a learning curve that are drawn
_NAMED = 20  # of the best trials, whose points say which they are


def learning_curves(trial: Trial, metric: str, y: Axis) -> Markup:
    """Draw a trial's curves over epochs, validation solid, training dashed."""
    x = axis(1.0, float(max(trial.epochs, 2)), whole=True)
    lines = []
    for part in ("train", "valid"):
        curve = _curve(trial, part, metric)
        if len(curve):
            shown = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), _CURVE_POINTS)).round().astype(int))
            lines.append(line(x.at(shown + 1.0), y.at(curve[shown]), part))
    told = f"{metric} of trial {trial.trial_id} over {trial.epochs} epochs, {score(trial.score, trial.stderr)} at last"
    return frame(x, y, joined(*lines), told=told)


def curves_axis(trials: Sequence[Trial], metric: str, mode: str) -> Axis:
    """Lay one axis for the curves of all, so that they can be compared."""
    curves = [curve for trial in trials for part in ("train", "valid") if len(curve := _curve(trial, part, metric))]
    return score_axis(np.concatenate(curves).tolist() if curves else (), mode)


def _curve(trial: Trial, part: str, metric: str) -> np.ndarray:
    return np.asarray(trial.curve.get(f"{part}_{metric}", ()), np.float64)


def score_by_parameter(
    trials: Sequence[Trial], name: str, parameter: Parameter, metric: str, y: Axis, chosen: int | None
) -> Markup:
    """Draw a point a trial; a cross in the strip below for one that diverged.

    Args:
      trials: best first; the first few say which they are.
      chosen: the id of the chosen trial, which gets a ring; None if there is none.
    """
    x = parameter_axis(parameter)
    having = [trial for trial in trials if name in trial.config]
    right = across(x.at([_place(parameter, trial.config[name], trial.trial_id) for trial in having]))
    height = up(y.at([trial.score for trial in having]))
    diverged = np.asarray([trial.status is Status.DIVERGED for trial in having], bool)
    stopped = np.asarray([trial.status is Status.STOPPED for trial in having], bool)
    known = np.isfinite(height) & ~diverged
    marks = [
        dots(right[known & stopped], height[known & stopped], "stopped"),
        dots(right[known & ~stopped], height[known & ~stopped], "complete"),
        crosses(right[diverged], FLOOR + 8),
    ]
    best = {trial.trial_id: place for place, trial in enumerate(trials[:_NAMED], 1)}
    for trial, h, v, there in reversed(list(zip(having, right.tolist(), height.tolist(), known.tolist(), strict=True))):
        ring = trial.trial_id == chosen
        if there and (trial.trial_id in best or ring):
            place = f"Best-{best[trial.trial_id]}, " if trial.trial_id in best else ""
            reached = f"{metric} {score(trial.score, trial.stderr)}"
            text = f"{place}trial {trial.trial_id}: {reached}, {name} {value(trial.config[name])}"
            title = element("title", text + (", chosen" if ring else ""))
            kind = f"point{' chosen' if ring else ' stopped' if trial.status is Status.STOPPED else ''}"
            marks.append(element("circle", title, cx=n(h), cy=n(v), r=6 if ring else 4, class_=kind))
    if diverged.any():
        marks.append(element("text", "diverged", x=LEFT - 6, y=FLOOR + 8, dy="0.32em", class_="tick end bad"))
    told = f"{metric} by {name}: {int(known.sum())} trials, and {int(diverged.sum())} that diverged"
    strip = 16 if diverged.any() else 0
    return frame(x, y, joined(*marks), told=told, label_x=name, label_y=metric, strip=strip)


def _place(parameter: Parameter, given: Any, trial_id: int) -> float:
    """Return a value on its `parameter_axis`; those of a category are spread so as not to hide one another."""
    if parameter.scale != "category":
        return float(given)
    cell = parameter.unit(given) * len(parameter.categories()) - 0.5
    return cell + 0.6 * ((trial_id * 0.618034) % 1 - 0.5)


def progress(rounds: Sequence[tuple[int, np.ndarray]], metric: str, mode: str) -> Markup:
    """Draw how the scores of rounds went.

    Of each the middle half, the tenth and ninetieth percentile and the best; and the best so far as a line.

    Args:
      rounds: of each its epochs, and its scores f64[P], NaN for diverged.
      metric, mode: of the scores.
    """
    finite = [scores[np.isfinite(scores)] for _, scores in rounds]
    nothing = np.full(5, np.nan)
    spread = [np.quantile(s, [0.1, 0.25, 0.5, 0.75, 0.9]) if len(s) else nothing for s in finite]
    best = np.asarray([(s.max() if mode == "max" else s.min()) if len(s) else np.nan for s in finite])
    y = score_axis(np.concatenate([*spread, best]).tolist(), mode)
    numbers = np.arange(1, len(rounds) + 1)
    x = Axis(0.5, len(rounds) + 0.5, False, tuple((float(number), str(number)) for number in numbers))
    half = min(14.0, 110 / len(rounds))
    marks: list[Markup | None] = []
    for number, quantiles, top in zip(numbers.tolist(), spread, best.tolist(), strict=True):
        if not math.isfinite(top):
            continue
        middle = across(x.at(number))
        low, quarter, median, three, high = (up(y.at(q)) for q in quantiles)
        told = f"round {number}, {rounds[number - 1][0]} epochs: best {score(top)}, median {score(quantiles[2])}"
        box = f"M{n(middle - half)} {n(quarter)}h{n(2 * half)}V{n(three)}h{n(-2 * half)}Z"
        marks.append(
            element(
                "g",
                element("title", told),
                element("path", d=f"M{n(middle)} {n(low)}V{n(high)}", class_="whisker"),
                element("path", d=box, class_="box"),
                element("path", d=f"M{n(middle - half)} {n(median)}h{n(2 * half)}", class_="median"),
            )
        )
    so_far = np.fmax.accumulate(best) if mode == "max" else np.fmin.accumulate(best)
    marks += [line(x.at(numbers), y.at(so_far), "best"), dots(across(x.at(numbers)), up(y.at(best)), "best")]
    told = f"{metric} by round: the best so far ends at {score(so_far[-1])}"
    return frame(x, y, joined(*marks), told=told, label_x="round", label_y=metric)


def front(
    trials: Trials,
    rows: np.ndarray,
    of: Objectives,
    pair: tuple[str, str],
    again: Sequence[Measured],
    chosen: int | None,
) -> Markup:
    """Draw trials by two of their objectives, those on the front by themselves, with what fresh replicates say of them.

    Args:
      trials: all, of which `rows` i64[F] are on the front, in the order of the first objective.
      of: what they are compared by.
      pair: the objectives that are drawn, upwards and to the right.
      again: what the finals measured.
      chosen: the id of the chosen trial, which gets a ring; None if there is none.
    """
    values = [np.asarray(of.values(trials, name), np.float64) for name in pair]
    known = np.isfinite(values[0]) & np.isfinite(values[1])
    axes = []
    for at, name in enumerate(pair):
        more = [number for one in again for number in one.estimates[name][:3]]
        mode = of.modes[of.names.index(name)]
        axes.append(score_axis([*values[at][known].tolist(), *more], mode))
    y, x = axes
    right, height = across(x.at(values[1])), up(y.at(values[0]))
    kept = of.violation(trials) == 0
    marks = [
        dots(right[known & ~kept], height[known & ~kept], "stopped"),
        dots(right[known & kept], height[known & kept], "complete"),
    ]
    if len(of.names) == 2:
        step = np.repeat(rows, 2)  # from each to the next by way of the corner that both beat
        marks.append(line(x.at(values[1][step[:-1]]), y.at(values[0][step[1:]]), "best"))
    for one in again:
        (v, low, high), (h, left, wide) = (one.estimates[name][:3] for name in pair)
        if math.isfinite(v) and math.isfinite(h):
            cx, cy = n(across(x.at(h))), n(up(y.at(v)))
            d = f"M{cx} {n(up(y.at(low)))}V{n(up(y.at(high)))}M{n(across(x.at(left)))} {cy}H{n(across(x.at(wide)))}"
            marks.append(element("path", d=d, class_="interval tested"))
    for row in rows.tolist():
        ring = int(trials.trial_id[row]) == chosen
        told = ", ".join(f"{name} {score(float(of.values(trials, name)[row]))}" for name in of.measured)
        title = element("title", f"trial {trials.trial_id[row]}: {told}" + (", chosen" if ring else ""))
        size, kind = (6, "point chosen") if ring else (4, "point front")
        marks.append(element("circle", title, cx=n(right[row]), cy=n(height[row]), r=size, class_=kind))
    told = f"{pair[0]} by {pair[1]}: {len(rows)} of {int(known.sum())} trials are on the front"
    return frame(x, y, joined(*marks), told=told, label_x=pair[1], label_y=pair[0])


def worth(rows: Sequence[tuple[str, str, float, float, float]], metric: str) -> Markup:
    """Draw numbers (name, class, value, low, high) on one axis, each with its interval; NaN ends: none is known."""
    left, top, step = 78, 8, 32
    ends = [number for _, _, *numbers in rows for number in numbers if math.isfinite(number)]
    margin, floor = 0.06 * (max(ends) - min(ends)), top + step * len(rows)
    place, marks = scale(axis(min(ends) - margin, max(ends) + margin), left, top, floor)
    told = []
    for number, (name, kind, middle, low, high) in enumerate(rows):
        told.append(f"{name} {words.interval(middle, low, high)[0]}")
        at = top + step * (number + 0.5)
        marks.append(element("text", name, x=left - 10, y=n(at), dy="0.32em", class_="tick end strong"))
        if math.isfinite(low) and math.isfinite(high):
            d = f"M{n(place(low))} {n(at)}H{n(place(high))}m0 -5v10M{n(place(low))} {n(at - 5)}v10"
            marks.append(element("path", d=d, class_=f"interval {kind}"))
        title = element("title", f"{metric}: {told[-1]}")
        marks.append(element("circle", title, cx=n(place(middle)), cy=n(at), r=5, class_=f"mark {kind}"))
    marks.append(element("text", short(metric, 44), x=n((left + WIDTH) / 2), y=floor + 31, class_="label"))
    return svg(joined(*marks), WIDTH, floor + 37, f"{metric}: {'; '.join(told)}")


def importance_bars(found: Importance) -> Markup:
    """Draw each hyperparameter's two shares, with their standard errors."""
    rows: list[tuple[str, list[tuple[str, Share]]]] = [
        (name, [("top", found.top[name]), ("score", found.score[name])])
        for name in sorted(found.score, key=lambda name: -found.score[name].share)
    ]
    if found.top_pair is not None:
        rows.append((" × ".join(found.top_pair), [("score", found.pairs[found.top_pair])]))
    rows.append(("noise, all else", [("score", found.rest)]))
    left, top, step = 122, 4, 30
    floor = top + step * len(rows)
    place, marks = scale(axis(0.0, 1.0), left, top, floor)
    for number, (name, shares) in enumerate(rows):
        middle = top + step * (number + 0.5)
        where = {"x": left - 8, "y": n(middle), "dy": "0.32em"}
        marks.append(element("text", short(name, 16), element("title", name), class_="tick end strong", **where))
        for (kind, share), y in zip(shares, (middle - 10, middle) if len(shares) == 2 else (middle - 5,), strict=True):
            told = element("title", f"{name}: {share.share:.3f} ± {share.stderr:.3f}")
            width = n(max(place(share.share) - left, 0.5))
            marks.append(element("rect", told, x=left, y=n(y), width=width, height=9, class_=f"bar {kind}"))
            low, high = (place(share.share + side * share.stderr) for side in (-1, 1))
            marks.append(element("path", d=f"M{n(low)} {n(y + 4.5)}H{n(high)}", class_="error"))
    told = ", ".join(f"{name} {found.score[name].share:.2f}" for name in found.score)
    return svg(joined(*marks), WIDTH, floor + 20, f"Share of the variance of the score: {told}")


def bar(share: float) -> Markup:
    """Draw a probability as a small bar."""
    track, filled = (
        element("rect", width=n(60 * w), height=8, rx=2, class_=c) for w, c in ((1, "track"), (share, "bar top"))
    )
    return svg(joined(track, filled), 60, 8, None, class_="inline")
