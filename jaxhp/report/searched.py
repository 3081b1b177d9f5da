"""The sections of the page about a search: where it looked, all parameters at once, and what it has cost."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from jaxhp.report import plots
from jaxhp.report.drawing import draw
from jaxhp.report.markup import Markup, element
from jaxhp.report.picture import Box, Line, Mark, Picture
from jaxhp.report.pieces import duration, legend, pairs, section, value
from jaxhp.report.reading import RunRecord
from jaxhp.report.scales import Axis, parameter_axis, score_axis
from jaxhp.selection.importance import Importance
from jaxhp.space import Parameter
from jaxhp.trials import Status, Trial

_THREADS = 150  # lines drawn, the best half of them and a regular sample of the rest
_SHOWN = 6  # parameters side by side, at most


def looked(run: RunRecord) -> Markup | None:
    """Make the section of where rounds looked for every parameter, and of all at once; None for a single trial."""
    rounds = sorted({trial.round for trial in run.result.trials})
    best = run.result.best if run.chosen is not None else None
    pictures = [
        by_round(run.result.trials, rounds, name, parameter, best)
        for name, parameter in run.parameters.items()
        if len(rounds) > 1 and any(name in trial.config for trial in run.result.trials)
    ]
    lead = "Boxes: the middle half of the values that a round tried anew; whiskers: 10% to 90%. " if pictures else ""
    together, said = at_once(run)
    if together is None:
        return None
    figures = (element("figure", draw(picture)) for picture in [*pictures, together])
    signs = [("line thread top", "the best tenth"), ("line thread", "others")]
    signs += [("line best", "chosen")] if best is not None else []
    return section("Where it looked", lead + said, legend(*signs), element("div", *figures, class_="pictures"))


def by_round(
    trials: Sequence[Trial], rounds: Sequence[int], name: str, parameter: Parameter, best: Trial | None
) -> Picture:
    """Show the values of a parameter that rounds tried.

    Args:
      rounds: those with new trials, counted from 0.
      best: the chosen trial, whose value is a line; None if there is none.
    """
    marks: list[Mark] = []
    half = min(0.05 * len(rounds), 0.3)
    for at, number in enumerate(rounds, 1):
        new = [trial for trial in trials if trial.round == number and name in trial.config]
        if new:
            places = [plots.where(parameter, trial.config[name], trial.trial_id) for trial in new]
            spread = np.quantile(places, [0.1, 0.25, 0.5, 0.75, 0.9], method="nearest")
            told = f"round {number + 1}: {len(new)} values of {name}"
            marks.append(Box(at, half, tuple(spread.tolist()), told))
    if best is not None and name in best.config:
        at = plots.where(parameter, best.config[name], best.trial_id)
        marks.append(Line(np.asarray([0.5, len(rounds) + 0.5]), np.asarray([at, at]), "best"))
    ticks = tuple((float(at), str(number + 1)) for at, number in enumerate(rounds, 1))
    told = f"values of {name} by round" + (f"; chosen {value(best.config.get(name))}" if best is not None else "")
    return Picture(
        Axis(0.5, len(rounds) + 0.5, False, ticks), parameter_axis(parameter), marks, told, f"{name} by round"
    )


def at_once(run: RunRecord) -> tuple[Picture | None, str]:
    """Show a line a trial through its parameters, those that matter most; and say what is drawn.

    Returns:
      None in the place of the picture for fewer than two trials that have a score.
    """
    shares = run.importance.score if isinstance(run.importance, Importance) else {}
    names = sorted(run.parameters, key=lambda name: -shares[name].share if name in shares else 0.0)[:_SHOWN]
    scored = [trial for trial in run.result.trials if math.isfinite(trial.score)]
    if len(scored) < 2 or not names:
        return None, ""
    step = max(-(-(len(scored) - _THREADS // 2) // (_THREADS // 2)), 1)
    drawn = scored[: _THREADS // 2] + scored[_THREADS // 2 :: step]
    said = "Lines: a trial each, from its parameters, from the low to the high end of their ranges, to its score"
    said += f"; {len(drawn)} of {len(scored):,}" if len(drawn) < len(scored) else ""
    said += f"; the {_SHOWN} of {len(run.parameters)} that matter most" if len(names) < len(run.parameters) else ""
    parameters = {name: run.parameters[name] for name in names}
    return lines(drawn, len(scored), parameters, run.result.metric, run.result.mode, run.chosen), f"{said}."


def lines(
    trials: Sequence[Trial],
    count: int,
    parameters: Mapping[str, Parameter],
    metric: str,
    mode: str,
    chosen: int | None,
) -> Picture:
    """Show trials as lines through their parameters to their score.

    Args:
      trials: best first, the first of `count`.
      chosen: the id of the chosen trial; None if there is none.
    """
    _, places = plots.threads(trials, parameters)
    scores = score_axis([trial.score for trial in trials], mode).at([trial.score for trial in trials])
    heights = np.concatenate([places, np.asarray(scores)[:, None]], 1)
    x = np.arange(heights.shape[1], dtype=float)
    top = max(count // 10, 1)
    kinds = ["best" if t.trial_id == chosen else "thread top" if at < top else "thread" for at, t in enumerate(trials)]
    order = sorted(range(len(trials)), key=lambda at: (["thread", "thread top", "best"].index(kinds[at]), -at))
    names = tuple((float(at), name) for at, name in enumerate([*parameters, metric]))
    across = Axis(-0.15, len(parameters) + 0.15, False, names)
    told = f"{len(trials)} trials through {', '.join(parameters)} to {metric}"
    up = Axis(0.0, 1.0, False, ((0.0, "low"), (1.0, "high")))
    return Picture(across, up, [Line(x, heights[at], kinds[at]) for at in order], told)


def cost(run: RunRecord) -> Markup | None:
    """Make the section of what the search has cost, and of how to run it again; None where neither is known."""
    spent = run.spent
    told = [("in all", duration(spent["wall_s"]))] if "wall_s" in spent else []
    if spent.get("runs", 1) > 1:
        told.append(("runs", f"{spent['runs']:,.0f}"))
    for name, what in (("step_s", "training"), ("compile_s", "compiling")):
        if name in spent:
            told.append((what, duration(spent[name])))
    if spent.get("slot_epochs"):
        told.append(("network-epochs", f"{spent['epochs_trained']:,.0f}"))
        told.append(("padding", f"{1 - spent['epochs_trained'] / spent['slot_epochs']:.0%} of the work"))
    measured, planned = (run.summary.get(name, {}) for name in ("measured", "planned"))
    if measured.get("flops"):
        share = measured["flops"] / planned["flops"] if planned.get("flops") else math.nan
        of = f", {share:.0%} of the plan" if math.isfinite(share) else ""
        told.append(("operations", f"{measured['flops']:.3g}{of}"))
    if measured.get("peak_bytes"):
        told.append(("memory at most", f"{measured['peak_bytes'] / 2**30:.2f} GiB"))
    lost = sum(trial.status is Status.DIVERGED for trial in run.result.trials)
    told += [("diverged", f"{lost:,} of {len(run.result.trials):,} trials")] if lost else []
    columns = [element("div", element("h3", "Cost"), pairs(told))] if told else []
    return section("Cost, and how to run it again", None, element("div", *columns, _again(run), class_="two small"))


def _again(run: RunRecord) -> Markup:
    argv, experiment = run.told("argv"), run.manifest.get("experiment")
    command = " ".join(shlex.quote(str(word)) for word in argv) if isinstance(argv, list) else None
    told = [("command", command)] if command else []
    if isinstance(experiment, Mapping) and experiment.get("file"):
        told.append(("experiment", str(experiment["file"])))
    told.append(("seed", str(run.manifest.get("seed"))))
    versions = [f"{name} {run.told(name)}" for name in ("jaxhp", "jax", "jaxlib", "python") if run.told(name)]
    told.append(("with", ", ".join(versions)))
    told.append(("digest", run.result.digest))
    check = element(
        "p", "Whether it makes the same bits here is told by ", element("code", _verify(run)), ".", class_="small"
    )
    return element("div", element("h3", "To run it again"), pairs(told), check)


def _verify(run: RunRecord) -> str:
    return f"jaxhp verify {shlex.quote(str(run.directory))}"
