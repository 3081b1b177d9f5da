"""The sections of the page about how a search went: where it looked, who went on, what it cost, how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import numpy as np

from jaxhp.report import plots
from jaxhp.report.drawing import bar, draw
from jaxhp.report.markup import Markup, element, joined
from jaxhp.report.parallel import parallel
from jaxhp.report.pieces import legend, pairs, score, section, table
from jaxhp.report.reading import RunRecord
from jaxhp.report.rounds import round_scores
from jaxhp.report.scales import score_axis
from jaxhp.report.telling import duration, plural
from jaxhp.trials import Status

_THREADS = 300  # drawn, the best of all
_NAMED = 10  # of them, in front
_VERSIONS = ("jaxhp", "jaxlib", "jax", "optax", "numpy", "python")


def narrowed(run: RunRecord) -> Markup | None:
    """Make the section of where each round looked; None where there is but one, or no range of numbers."""
    trials = run.result.trials
    numbers = np.unique(trials.round)
    ranges = {name: p for name, p in run.parameters.items() if p.scale != "category"}
    if len(numbers) < 2 or not ranges:
        return None
    by_round = [(int(number) + 1, trials[trials.round == number]) for number in numbers]
    figures = []
    for name, parameter in ranges.items():
        values = [(number, [t.config[name] for t in some if name in t.config]) for number, some in by_round]
        figures.append(element("figure", draw(plots.ranges(values, name, parameter))))
    lead = "Of the new trials of each round. Boxes: the middle half; whiskers: 10% to 90%; the axis is the whole range."
    return section("Where it looked", lead, element("div", *figures, class_="pictures"))


def threads(run: RunRecord) -> Markup | None:
    """Make the section of parallel coordinates; None where there are fewer than two parameters or trials."""
    result = run.result
    done = result.trials[result.trials.healthy()]
    shown = done[:_THREADS]
    if len(run.parameters) < 2 or len(shown) < 2:
        return None
    axes, places = plots.threads(shown, run.parameters)
    y = score_axis(shown.score.tolist(), result.mode)
    axes[result.metric if result.metric not in axes else f"{result.metric} (score)"] = y
    places = np.concatenate([places, y.at(shown.score)[:, None]], 1)
    ids = shown.trial_id.tolist()
    chosen = [i == run.chosen for i in ids]
    kinds = ["train" if own else "valid" if at < _NAMED else "other" for at, own in enumerate(chosen)]
    told = [f"trial {i}: {result.metric} {score(value)}" for i, value in zip(ids, shown.score.tolist(), strict=True)]
    signs = [("line valid", f"the best {min(_NAMED, len(shown))}"), ("line faint", "other trials")]
    signs += [("line train", "chosen")] if any(chosen) else []
    lead = "Each trial is a thread through its values to its score."
    lead += f" Drawn are the best {len(shown):,} of {len(done):,}." if len(done) > len(shown) else ""
    picture = element(
        "div", parallel(axes, places, kinds, told), class_="scroll", tabindex=0, role="region", aria_label="All values"
    )
    return section("All values together", lead, legend(*signs), picture)


def rungs(run: RunRecord) -> Markup | None:
    """Make the section of who went on from rung to rung; None where nobody was given up."""
    result = run.result
    if not result.trials.having(Status.STOPPED).any():
        return None
    found = round_scores(result.trials, result.stage.rungs or _asked(run), result.metric, result.mode)
    rows = []
    for at, (epochs, scores) in enumerate(found):
        following = found[at + 1] if at + 1 < len(found) else None
        on = len(following[1]) if following is not None and following[0] > epochs else None
        known = scores[np.isfinite(scores)]
        best = (known.max() if result.mode == "max" else known.min()) if len(known) else float("nan")
        share = None if on is None else joined(f"{on:,} of {len(scores):,}", bar(min(on / max(len(scores), 1), 1.0)))
        rows.append([epochs, len(scores), share, score(float(best)), len(scores) - len(known) or None])
    names = ("epochs", "trials", "went on", f"best {result.metric}", "diverged")
    return section("Rungs", "At each budget trials are compared, and the best go on.", table(names, rows, "Rungs"))


def _asked(run: RunRecord) -> list[tuple[int, int]]:
    return [(len(asked.trials), asked.epochs) for asked in run.rounds]


def cost(run: RunRecord) -> Markup:
    """Make the section of what the search cost, and how to run it again."""
    spent, planned = run.spent, run.summary.get("planned")
    entries = []
    for name, what in (("wall_s", "time in all"), ("step_s", "training"), ("compile_s", "compiling")):
        if name in spent:
            entries.append((what, duration(spent[name])))
    if "epochs_trained" in spent:
        entries.append(("trained", plural(round(spent["epochs_trained"]), "member-epoch")))
    measured = run.summary.get("measured")
    if isinstance(planned, Mapping) and isinstance(measured, Mapping):
        flops, of = measured.get("flops"), planned.get("flops")
        if isinstance(flops, int | float) and isinstance(of, int | float) and of > 0:
            entries.append(("work", f"{flops / 1e12:.3g} TFLOP, {100 * flops / of:.0f}% of the plan"))
    argv = run.told("argv")
    again = [("command", shlex.join(map(str, argv)))] if isinstance(argv, list) else []
    again += [("seed", str(run.manifest["seed"]))] if run.manifest.get("seed") is not None else []
    versions = [f"{name} {run.told(name)}" for name in _VERSIONS if run.told(name) is not None]
    again += [("versions", ", ".join(versions))] if versions else []
    again.append(("digest", run.result.digest))
    parts = (("Spent", entries), ("Run it again", again))
    columns = (element("div", element("h3", name), pairs(some)) for name, some in parts if some)
    return section("Cost, and how to run it again", None, element("div", *columns, class_="two small"))
