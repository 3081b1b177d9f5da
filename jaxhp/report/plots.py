"""The pictures of the page: curves, the front, scores by hyperparameter and by round, intervals, importance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxhp import words
from jaxhp.objectives import Objectives
from jaxhp.report.picture import (
    Bar,
    Box,
    Crosses,
    Dots,
    Interval,
    Line,
    Mark,
    Marker,
    Picture,
    Row,
    Rows,
    Spans,
)
from jaxhp.report.pieces import score, value
from jaxhp.report.scales import Axis, axis, parameter_axis, score_axis
from jaxhp.selection.importance import Importance, Share
from jaxhp.selection.verdict import Measured
from jaxhp.space.parameters import Parameter
from jaxhp.space.space import Space
from jaxhp.trials import Status, Trial, Trials

_CURVE_POINTS = 150  # of a learning curve that are drawn
_NAMED = 20  # of the best trials, whose points say which they are


def learning_curves(trial: Trial, metric: str, y: Axis) -> Picture:
    """Show a trial's curves over epochs, validation solid, training dashed."""
    x = axis(1.0, float(max(trial.epochs, 2)), whole=True)
    lines = [drawn for part in ("train", "valid") if (drawn := _line(trial, part, metric, part)) is not None]
    told = f"{metric} of trial {trial.trial_id} over {trial.epochs} epochs, {score(trial.score, trial.stderr)} at last"
    return Picture(x, y, lines, told)


def front_runners(trials: Trials, chosen: Trial | None, metric: str, top: int) -> list[Trial]:
    """Return the best trials that have a curve, the chosen one before the others."""
    having = [t for t in (chosen, *trials[:top]) if t is not None and len(_curve(t, "valid", metric))]
    return list({trial.trial_id: trial for trial in having}.values())


def best_curves(trials: Sequence[Trial], metric: str, mode: str | None) -> Picture:
    """Show the curves of several trials on the same axes, the first of them in front, its training dashed."""
    first, *others = trials
    drawn = [(trial, "valid", "other") for trial in reversed(others)] + [
        (first, "train", "train"),
        (first, "valid", "valid"),
    ]
    lines = [line for trial, part, kind in drawn if (line := _line(trial, part, metric, kind)) is not None]
    y = curves_axis([first, *others], metric, mode)
    x = axis(1.0, float(max([2, *(len(line.x) and int(line.x[-1]) for line in lines)])), whole=True)
    told = f"{metric} over epochs of {len(others) + 1} trials, trial {first.trial_id} in front"
    return Picture(x, y, lines, told, "epoch", metric)


def _line(trial: Trial, part: str, metric: str, kind: str) -> Line | None:
    curve = _curve(trial, part, metric)
    if not len(curve):
        return None
    shown = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), _CURVE_POINTS)).round().astype(int))
    return Line(shown + 1.0, curve[shown], kind)


def curves_axis(trials: Sequence[Trial], metric: str, mode: str | None) -> Axis:
    """Lay one axis for the curves of all, so that they can be compared."""
    curves = [curve for trial in trials for part in ("train", "valid") if len(curve := _curve(trial, part, metric))]
    return score_axis(np.concatenate(curves).tolist() if curves else (), mode)


def _curve(trial: Trial, part: str, metric: str) -> np.ndarray:
    return np.asarray(trial.curve.get(f"{part}_{metric}", ()), np.float64)


def score_by_parameter(
    trials: Sequence[Trial], name: str, parameter: Parameter, metric: str, y: Axis, chosen: int | None
) -> Picture:
    """Show a point a trial; a cross in the strip below for one that diverged.

    Args:
      trials: best first; the first few say which they are.
      chosen: the id of the chosen trial, which gets a ring; None if there is none.
    """
    having = [trial for trial in trials if name in trial.config]
    x = np.asarray([_place(parameter, trial.config[name], trial.trial_id) for trial in having], np.float64)
    scores = np.asarray([trial.score for trial in having], np.float64)
    diverged = np.asarray([trial.status is Status.DIVERGED for trial in having], bool)
    stopped = np.asarray([trial.status is Status.STOPPED for trial in having], bool)
    known = ~np.isnan(scores) & ~diverged
    marks: list[Mark] = [
        Dots(x[known & stopped], scores[known & stopped], "stopped"),
        Dots(x[known & ~stopped], scores[known & ~stopped], "complete"),
        Crosses(x[diverged]),
    ]
    best = {trial.trial_id: place for place, trial in enumerate(trials[:_NAMED], 1)}
    for trial, at, there in reversed(list(zip(having, x.tolist(), known.tolist(), strict=True))):
        ring = trial.trial_id == chosen
        if there and (trial.trial_id in best or ring):
            place = f"Best-{best[trial.trial_id]}, " if trial.trial_id in best else ""
            reached = f"{metric} {score(trial.score, trial.stderr)}"
            text = f"{place}trial {trial.trial_id}: {reached}, {name} {value(trial.config[name])}"
            kind = f"point{' chosen' if ring else ' stopped' if trial.status is Status.STOPPED else ''}"
            marks.append(Marker(at, trial.score, kind, 6 if ring else 4, text + (", chosen" if ring else "")))
    told = f"{metric} by {name}: {int(known.sum())} trials, and {int(diverged.sum())} that diverged"
    return Picture(parameter_axis(parameter), y, marks, told, name, metric)


def _place(parameter: Parameter, given: Any, trial_id: int) -> float:
    """Return a value on its `parameter_axis`; those of a category are spread so as not to hide one another."""
    if parameter.scale != "category":
        return float(given)
    cell = parameter.unit(given) * len(parameter.categories()) - 0.5
    return cell + 0.6 * ((trial_id * 0.618034) % 1 - 0.5)


def trials_by_two(trials: Sequence[Trial], names: tuple[str, str], space: Space, chosen: int | None) -> Picture:
    """Show where trials lie along two parameters; those that have both.

    Args:
      chosen: the id of the chosen trial, which gets a ring; None if there is none.
    """
    parameters = [space.parameters[name] for name in names]
    having = [trial for trial in trials if all(name in trial.config for name in names)]
    x, y = (
        np.asarray([_place(parameter, trial.config[name], trial.trial_id) for trial in having], np.float64)
        for name, parameter in zip(names, parameters, strict=True)
    )
    diverged = np.asarray([trial.status is Status.DIVERGED for trial in having], bool)
    marks: list[Mark] = [Dots(x[~diverged], y[~diverged], "trial"), Dots(x[diverged], y[diverged], "crosses")]
    for trial, right, height in zip(having, x.tolist(), y.tolist(), strict=True):
        if trial.trial_id == chosen:
            marks.append(Marker(right, height, "point chosen", 6, f"trial {chosen}, chosen"))
    told = f"{len(having)} trials by {names[0]} and {names[1]}, {int(diverged.sum())} of which diverged"
    right, up = map(parameter_axis, parameters)
    return Picture(right, up, marks, told, names[0], names[1])


def threads(trials: Sequence[Trial], parameters: Mapping[str, Parameter]) -> tuple[dict[str, Axis], np.ndarray]:
    """Return the axis of every parameter, and where trials lie on it: f64[N, D] from 0 to 1, NaN where one has none."""
    axes = {name: parameter_axis(parameter) for name, parameter in parameters.items()}
    places = [
        [
            _place(parameters[name], trial.config[name], trial.trial_id) if name in trial.config else math.nan
            for trial in trials
        ]
        for name in axes
    ]
    return axes, np.stack([axes[name].at(column) for name, column in zip(axes, places, strict=True)], 1)


def progress(rounds: Sequence[tuple[int, np.ndarray]], metric: str, mode: str) -> Picture:
    """Show how the scores of rounds went.

    Of each the middle half, the tenth and ninetieth percentile and the best; and the best so far as a line.

    Args:
      rounds: of each its epochs, and its scores f64[P], NaN for diverged.
      metric, mode: of the scores.
    """
    finite = [scores[np.isfinite(scores)] for _, scores in rounds]
    nothing = np.full(5, np.nan)
    spread = [np.quantile(s, [0.1, 0.25, 0.5, 0.75, 0.9]) if len(s) else nothing for s in finite]
    best = np.asarray([(s.max() if mode == "max" else s.min()) if len(s) else np.nan for s in finite])
    numbers = np.arange(1, len(rounds) + 1)
    x = Axis(0.5, len(rounds) + 0.5, False, tuple((float(number), str(number)) for number in numbers))
    half = min(0.05 * len(rounds), 0.4)
    marks: list[Mark] = []
    for number, quantiles, top in zip(numbers.tolist(), spread, best.tolist(), strict=True):
        if math.isfinite(top):
            told = f"round {number}, {rounds[number - 1][0]} epochs: best {score(top)}, median {score(quantiles[2])}"
            marks.append(Box(number, half, tuple(quantiles.tolist()), told))
    so_far = np.fmax.accumulate(best) if mode == "max" else np.fmin.accumulate(best)
    marks += [Line(numbers, so_far, "best"), Dots(numbers, best, "best")]
    told = f"{metric} by round: the best so far ends at {score(so_far[-1])}"
    return Picture(x, score_axis(np.concatenate([*spread, best]).tolist(), mode), marks, told, "round", metric)


def ranges(rounds: Sequence[tuple[int, Sequence[Any]]], name: str, parameter: Parameter) -> Picture:
    """Show where the values of a parameter lie, round by round.

    Args:
      rounds: of each its number, from 1, and the values of its trials.
    """
    having = [(number, np.asarray(values, np.float64)) for number, values in rounds if len(values)]
    numbers = [number for number, _ in rounds]
    x = Axis(min(numbers) - 0.5, max(numbers) + 0.5, False, tuple((float(k), str(k)) for k in numbers))
    half = min(0.05 * len(numbers), 0.4)
    marks: list[Mark] = []
    for number, values in having:
        spread = np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9], method="nearest").tolist()
        told = f"round {number}: {name} {value(spread[1])} to {value(spread[3])}, median {value(spread[2])}"
        marks.append(Box(number, half, tuple(spread), told))
    return Picture(x, parameter_axis(parameter), marks, f"{name} by round", "round", name)


def front(
    trials: Trials,
    best: Trials,
    of: Objectives,
    pair: tuple[str, str],
    again: Sequence[Measured],
    chosen: int | None,
) -> Picture:
    """Show trials by two of their objectives, those on the front by themselves, with what fresh replicates say of them.

    Args:
      trials: all, of which `best` are on the front, in the order of the first objective.
      of: what they are compared by.
      pair: the objectives that are drawn, upwards and to the right.
      again: what the finals measured.
      chosen: the id of the chosen trial, which gets a ring; None if there is none.
    """
    rows = np.asarray([np.flatnonzero(trials.trial_id == i)[0] for i in best.trial_id.tolist()], int)
    values = [np.asarray(of.values(trials, name), np.float64) for name in pair]
    known = np.isfinite(values[0]) & np.isfinite(values[1])
    axes = []
    for at, name in enumerate(pair):
        more = [number for one in again for number in one.estimates[name][:3]]
        mode = of.modes[of.names.index(name)]
        axes.append(score_axis([*values[at][known].tolist(), *more], mode))
    y, x = axes
    kept = of.violation(trials) == 0
    marks: list[Mark] = [
        Dots(values[1][known & ~kept], values[0][known & ~kept], "stopped"),
        Dots(values[1][known & kept], values[0][known & kept], "complete"),
    ]
    if len(of.names) == 2:
        step = np.repeat(rows, 2)  # from each to the next by way of the corner that both beat
        marks.append(Line(values[1][step[:-1]], values[0][step[1:]], "best"))
    for one in again:
        v, h = (one.estimates[name][:3] for name in pair)
        if math.isfinite(v[0]) and math.isfinite(h[0]):
            marks.append(Spans(h, v, "tested"))
    for row in rows.tolist():
        ring = int(trials.trial_id[row]) == chosen
        told = ", ".join(f"{name} {score(float(of.values(trials, name)[row]))}" for name in of.measured)
        told = f"trial {trials.trial_id[row]}: {told}" + (", chosen" if ring else "")
        size, kind = (6, "point chosen") if ring else (4, "point front")
        marks.append(Marker(float(values[1][row]), float(values[0][row]), kind, size, told))
    told = f"{pair[0]} by {pair[1]}: {len(rows)} of {int(known.sum())} trials are on the front"
    return Picture(x, y, marks, told, pair[1], pair[0])


def worth(rows: Sequence[tuple[str, str, float, float, float]], metric: str) -> Rows:
    """Show numbers (name, class, value, low, high) on one axis, each with its interval; NaN ends: none is known."""
    ends = [number for _, _, *numbers in rows for number in numbers if math.isfinite(number)]
    margin = 0.06 * (max(ends) - min(ends))
    told = [f"{name} {words.interval(*numbers)[0]}" for name, _, *numbers in rows]
    shown = [
        Row(name, [Interval(at, low, high, kind, f"{metric}: {text}")])
        for (name, kind, at, low, high), text in zip(rows, told, strict=True)
    ]
    return Rows(axis(min(ends) - margin, max(ends) + margin), shown, f"{metric}: {'; '.join(told)}", metric)


def importance_bars(found: Importance) -> Rows:
    """Show each hyperparameter's two shares, with their standard errors."""
    rows: list[tuple[str, list[tuple[str, Share]]]] = [
        (name, [("top", found.top[name]), ("score", found.score[name])])
        for name in sorted(found.score, key=lambda name: -found.score[name].share)
    ]
    if found.top_pair is not None:
        rows.append((" × ".join(found.top_pair), [("score", found.pairs[found.top_pair])]))
    rows.append(("noise, all else", [("score", found.rest)]))
    shown = []
    for name, shares in rows:
        bars = [Bar(*share, kind, f"{name}: {share.share:.3f} ± {share.stderr:.3f}") for kind, share in shares]
        shown.append(Row(name, bars))
    told = ", ".join(f"{name} {found.score[name].share:.2f}" for name in found.score)
    return Rows(axis(0.0, 1.0), shown, f"Share of the variance of the score: {told}")
