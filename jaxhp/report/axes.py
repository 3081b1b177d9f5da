"""Pictures of a result for scripts and notebooks: `result.plot.curves()` and others, each one Axes of matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from jaxhp.objectives import Objectives
from jaxhp.report import painting, plots
from jaxhp.report.rounds import round_scores
from jaxhp.report.scales import parameter_axis, score_axis
from jaxhp.report.stage import Stage
from jaxhp.selection.importance import Importance, Marginal, importance
from jaxhp.selection.verdict import Estimate, Finalist, Measured
from jaxhp.space.parameters import Parameter
from jaxhp.space.space import Space
from jaxhp.trials import Status, Trial, Trials
from jaxhp.values import Error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAN = float("nan")
_SIGNS = {
    "complete": "trained to the end",
    "point": "trained to the end",
    "stopped": "given up at a rung",
    "crosses": "diverged",
    "point chosen": "chosen",
}


class Drawn(Protocol):
    """What is read of a `Result`."""

    @property
    def trials(self) -> Trials: ...
    @property
    def front(self) -> Trials: ...
    @property
    def best(self) -> Trial: ...
    @property
    def raw_best(self) -> Trial: ...
    @property
    def decided(self) -> bool: ...
    @property
    def metric(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def objectives(self) -> Objectives: ...
    @property
    def space(self) -> Space | None: ...
    @property
    def stage(self) -> Stage: ...
    @property
    def finals(self) -> Mapping[int, np.ndarray]: ...
    @property
    def finalists(self) -> Sequence[Finalist]: ...
    @property
    def measured(self) -> Sequence[Measured]: ...
    @property
    def estimate(self) -> Estimate | None: ...
    def whole(self, what: str) -> Trials: ...


class Plots:
    """Pictures of a result: every method draws one and returns its Axes.

    `ax` is where it is drawn; None makes a figure with `matplotlib.pyplot`. `metric` is any that was recorded; None is
    the one that ranks. What cannot be drawn raises Error with one line: a search without finals has no finalists.

    `result.plot.slices("lr").figure.savefig("lr.png")` is one in a file.
    """

    def __init__(self, of: Drawn):
        self._of = of

    def __repr__(self) -> str:
        return f"<plots: {', '.join(name for name in vars(Plots) if name[0] != '_')}>"

    def curves(self, top: int = 10, *, metric: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw learning curves on validation data of the `top` trials; the chosen one in front, with its training."""
        of, name = self._of, self._metric("curves", metric)
        having = plots.front_runners(of.trials, of.best if of.decided else None, name, max(top, 1))
        if not having:
            raise Error(f"curves: expected a result with learning curves of {name}, got one without")
        first, *others = having
        which = "chosen" if of.decided and first.trial_id == of.best.trial_id else "best"
        end = f", diverged in epoch {first.diverged_at}" if first.diverged_at else ""
        lost = sum(trial.diverged_at > 0 for trial in others)
        says = {
            "valid": f"{which}: trial {first.trial_id}{end}",
            "train": "its training",
            "other": f"{len(others)} other best" + (f", {lost} diverged" if lost else ""),
        }
        ax = _axes(ax)
        painting.paint(plots.best_curves(having, name, self._mode(name)), ax, says)
        return ax

    def slices(self, *names: str, metric: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw the metric against each of these parameters, or all, a point a trial.

        Several are panels within the Axes that are returned, `ax.child_axes`.
        """
        name, space = self._metric("slices", metric), self._space("slices")
        names = self._names("slices", names) or tuple(space.parameters)
        trials = self._scored("slices", name)
        y = score_axis(trials.score.tolist(), self._mode(name))
        chosen = self._of.best.trial_id if self._of.decided else None
        rows = list(trials)
        drawn = [plots.score_by_parameter(rows, n, space.parameters[n], name, y, chosen) for n in names]
        if len(drawn) == 1:
            ax = _axes(ax)
            painting.paint(drawn[0], ax, _SIGNS)
            return ax
        ax, panels = _panels(ax, len(drawn))
        for picture, (panel, leftmost) in zip(drawn, panels, strict=True):
            named = picture if leftmost else picture._replace(label_y="")
            painting.paint(named, panel, narrow=True, strip=any(one.strip for one in drawn))
            panel.tick_params("y", labelleft=leftmost)
        painting.explain(ax, _SIGNS, [panel for panel, _ in panels])
        return ax

    def contour(self, *names: str, metric: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw the mean of the metric over two parameters, with the trials; by default the two that matter most.

        It is `result.importance().marginal(x, y)`: a fit to all trials, the mean over all other parameters.
        """
        of, name, space = self._of, self._metric("contour", metric), self._space("contour")
        names = self._names("contour", names)
        if len(names) not in (0, 2) or len(set(names)) < len(names) or len(space.parameters) < 2:
            known = ", ".join(space.parameters)
            raise Error(f"contour: expected two parameters of {known}, got {', '.join(names) or 'none'}")
        found = self._importance("contour", name)
        x, y = names or sorted(found.score, key=lambda n: -max(found.score[n].share, found.top[n].share))[:2]
        trials, mode = self._scored("contour", name), self._mode(name)
        chosen = of.best.trial_id if of.decided else None
        ax = _axes(ax)
        _surface(ax, found.marginal(x, y), [space.parameters[n] for n in (x, y)], name, mode)
        painting.paint(plots.trials_by_two(list(trials), (x, y), space, chosen), ax, _SIGNS | {"trial": "a trial"})
        ax.grid(visible=False)
        return ax

    def parallel(self, *names: str, metric: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw a line a trial through its values of these parameters, or all, to the metric, in the metric's colour."""
        name, space = self._metric("parallel", metric), self._space("parallel")
        names = self._names("parallel", names) or tuple(space.parameters)
        trials = self._scored("parallel", name)
        ax = _axes(ax, max(5.2, 0.9 * (len(names) + 1)), 3.7)
        parameters = {n: space.parameters[n] for n in names}
        scale = score_axis(trials.score.tolist(), self._mode(name))
        painting.parallel(ax, *plots.threads(list(trials), parameters), trials.score, name, scale, self._mode(name))
        return ax

    def rungs(self, *, metric: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw how the scores of each round, or rung, went: middle half, 10% to 90%, best, and the best so far."""
        of, name = self._of, self._metric("rungs", metric)
        mode = self._known_mode("rungs", name)
        of.whole("rungs")
        if not of.stage.rungs or f"valid_{name}" not in of.trials.curve:
            raise Error(f"rungs: expected a result with its rounds and learning curves of {name}, got one without")
        rounds = round_scores(of.trials, of.stage.rungs, name, mode)
        if not any(np.isfinite(scores).any() for _, scores in rounds):
            raise Error("rungs: expected a finished round with a score, got none")
        ax = _axes(ax)
        lost = sum(int((~np.isfinite(scores)).sum()) for _, scores in rounds)
        says = {"best": "best so far" + (f"; {lost} diverged" if lost else ""), "box": "middle half, 10% to 90%"}
        picture = plots.progress(rounds, name, mode)
        named = tuple(
            (at, f"{at:.0f} ({epochs})") for (at, _), (epochs, _) in zip(picture.x.ticks, rounds, strict=True)
        )
        picture = picture._replace(x=replace(picture.x, ticks=named), label_x="round (epochs)")
        painting.paint(picture, ax, says)
        return ax

    def importance(self, *, metric: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw what each parameter's share is in the variance of the metric, see `Result.importance`."""
        found = self._importance("importance", self._metric("importance", metric))
        ax = _axes(ax)
        says = {"top": "of being among the best tenth", "score": "of the score anywhere in the space"}
        painting.paint(plots.importance_bars(found)._replace(label_x="share of the variance"), ax, says)
        return ax

    def finalists(self, *, metric: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw what the finals found of each finalist on fresh replicates, beside the estimate and the raw best."""
        of = self._of
        rows, says = self._measured(metric) if of.measured else self._finalists(metric)
        drawn = [row for row in rows if math.isfinite(row[2])]
        if not drawn:
            raise Error(f"finalists: expected a search with finals, got one without: {of.stage.no_finals or of.stage}")
        ax = _axes(ax)
        painting.paint(plots.worth(drawn, metric or of.metric), ax, says)
        return ax

    def front(self, *names: str, ax: Axes | None = None) -> Axes:
        """Draw trials by two objectives, the first two where none are named, and those that no other beats."""
        of = self._of
        names = names or of.objectives.names[:2]
        if len(of.objectives.names) < 2:
            raise Error(f"front: expected a search with several objectives, got one with {of.metric!r:.80} alone")
        if len(names) != 2 or not set(names) <= set(of.objectives.names):
            known = ", ".join(of.objectives.names)
            raise Error(f"front: expected two objectives of {known}, got {', '.join(names)}")
        chosen = of.best.trial_id if of.decided else None
        ax = _axes(ax)
        says = {"complete": "a trial", "stopped": "breaks a constraint", "point front": "on the front"}
        says |= {"point chosen": "chosen", "tested": "95% on fresh replicates"}
        pair = (names[0], names[1])
        painting.paint(plots.front(of.trials, of.front, of.objectives, pair, of.measured, chosen), ax, says)
        return ax

    def _finalists(self, metric: str | None) -> tuple[list[tuple[str, str, float, float, float]], Mapping[str, str]]:
        of = self._of
        if metric not in (None, of.metric):
            raise Error(f"finalists: expected a metric that the finals measured ({of.metric}), got {metric!r}")
        rows = []
        for one in of.finalists:
            scores = np.asarray(of.finals[one.trial_id], np.float64)
            error = float(np.std(scores, ddof=1)) / len(scores) ** 0.5 if len(scores) > 1 else _NAN
            mean, chosen = float(np.mean(scores)), of.decided and one.trial_id == of.best.trial_id
            rows.append((f"trial {one.trial_id}", "chosen" if chosen else "finalist", mean, mean - error, mean + error))
        if rows and of.estimate is not None:
            rows.append(("estimate", "honest", *of.estimate[:3]))
        if rows:
            rows.append(("raw best", "biased", of.raw_best.score, _NAN, _NAN))
        says = {"finalist": "mean ± standard error", "chosen": "of the chosen", "honest": "its estimate, 95% interval"}
        return rows, says | {"biased": "best in the search, biased"}

    def _measured(self, metric: str | None) -> tuple[list[tuple[str, str, float, float, float]], Mapping[str, str]]:
        of, name = self._of, metric or self._of.metric
        if name not in of.measured[0].estimates:
            known = ", ".join(of.measured[0].estimates)
            raise Error(f"finalists: expected a metric that the finals measured ({known}), got {name!r}")
        rows = []
        for one in of.measured:
            chosen = of.decided and one.trial_id == of.best.trial_id
            rows.append((f"trial {one.trial_id}", "chosen" if chosen else "finalist", *one.estimates[name][:3]))
        return rows, {"finalist": "mean, 95% interval", "chosen": "of the chosen"}

    def _metric(self, who: str, metric: str | None) -> str:
        if metric is None or metric == self._of.metric:
            return self._of.metric
        known = [name.removeprefix("valid_") for name in self._of.trials.curve if name.startswith("valid_")]
        if metric not in known:
            listed = ", ".join(dict.fromkeys([self._of.metric, *known]))
            raise Error(f"{who}: expected a metric that was recorded ({listed}), got {metric!r}")
        return metric

    def _mode(self, metric: str) -> str | None:
        """Return which is better of a metric; None where nobody said."""
        return dict(zip(self._of.objectives.names, self._of.objectives.modes, strict=True)).get(metric)

    def _known_mode(self, who: str, metric: str) -> str:
        mode = self._mode(metric)
        if mode is None:
            known = ", ".join(self._of.objectives.names)
            raise Error(f"{who}: expected a metric of which is known what is better ({known}), got {metric!r}")
        return mode

    def _space(self, who: str) -> Space:
        if self._of.space is None:
            raise Error(f"{who}: expected a result with its space, got one without")
        return self._of.space

    def _names(self, who: str, names: tuple[str, ...]) -> tuple[str, ...]:
        space = self._space(who)
        for name in names:
            if name not in space.parameters:
                raise Error(f"{who}: expected a parameter of {', '.join(space.parameters)}, got {name!r}")
        return names

    def _scored(self, who: str, metric: str) -> Trials:
        """Return the finished trials, with the metric as their scores."""
        trials = self._of.trials[~self._of.trials.having(Status.RUNNING)]
        if not len(trials):
            raise Error(f"{who}: expected a finished trial, got none")
        if metric == self._of.metric:
            return trials
        values = self._of.objectives.values(trials, metric)
        return replace(trials, score=values, stderr=np.full(len(trials), np.nan, np.float32))

    def _importance(self, who: str, metric: str) -> Importance:
        mode, space = self._known_mode(who, metric), self._space(who)
        self._of.whole(who)
        try:
            return importance(space, self._scored(who, metric), mode, metric)
        except Error as error:
            raise Error(str(error).replace("importance:", f"{who}:", 1)) from None


class Pictures:
    """The attribute of a result that has its pictures, see `Plots`."""

    def __get__(self, of: Drawn, owner: type | None = None) -> Plots:
        return Plots(of)


def _axes(ax: Any, width: float = 5.2, height: float = 3.7) -> Axes:
    """Return the Axes to draw on, new ones where none are given."""
    from matplotlib.axes import Axes

    if ax is None:
        import matplotlib.pyplot as plt

        return plt.subplots(figsize=(width, height), layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise Error(f"ax: expected matplotlib's Axes or None, got {type(ax).__name__}")
    return ax


def _panels(ax: Axes | None, count: int) -> tuple[Axes, list[tuple[Axes, bool]]]:
    """Divide Axes into panels; return them, and of each panel whether it is the leftmost of its row."""
    columns = 2 if count in (2, 4) else 3
    rows = -(-count // columns)
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure(figsize=(0.7 + 2.6 * columns, 0.4 + 2.5 * rows)).add_axes((0.0, 0.0, 1.0, 1.0))
    ax = _axes(ax)
    ax.set_axis_off()
    place, inch = ax.get_window_extent(), ax.figure.dpi
    width, height = place.width / inch, place.height / inch
    left, top, across, up = 0.7 / width, 0.3 / height, 0.42 / width, 0.62 / height
    w = max((1 - left - across * columns) / columns, 0.02)
    h = max((1 - top) / rows - up, 0.02)
    panels = []
    for number in range(count):
        row, column = divmod(number, columns)
        corner = (left + column * (w + across), 1 - top - row * (h + up) - h)
        panels.append((ax.inset_axes((*corner, w, h)), column == 0))
    return ax, panels


def _surface(ax: Axes, found: Marginal, parameters: Sequence[Parameter], metric: str, mode: str | None) -> None:
    """Fill the plane of two parameters by a marginal; a value without neighbours fills a stripe of its own."""
    mean, places = found.mean, []
    for side, (parameter, values) in enumerate(zip(parameters, found.values, strict=True)):
        axis = parameter_axis(parameter)
        if parameter.scale == "category":
            mean = np.repeat(mean, 2, side)
            places.append((np.arange(len(values))[:, None] + [-0.499, 0.499]).ravel())
        elif len(values) == 1:
            mean = np.repeat(mean, 2, side)
            places.append(np.asarray([axis.low, axis.high]))
        else:
            places.append(np.asarray(values, np.float64))
    for side, parameter in zip("xy", parameters, strict=True):
        painting.lay(ax, side, parameter_axis(parameter))
    painting.surface(ax, places[0], places[1], mean, metric, mode)
