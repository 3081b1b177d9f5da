"""The sections of the page about what was found; None where there is nothing to tell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jaxhp import words
from jaxhp.report import pieces, plots
from jaxhp.report.drawing import bar, draw
from jaxhp.report.markup import Markup, element, joined
from jaxhp.report.pieces import legend, pairs, score, section, table
from jaxhp.report.reading import RunRecord
from jaxhp.report.scales import score_axis
from jaxhp.report.summary import with_interval
from jaxhp.report.table import settings, show_config
from jaxhp.report.telling import plural
from jaxhp.selection.importance import Importance
from jaxhp.trials import Status, Trial
from jaxhp.values import Config

_CURVES = 20  # learning curves drawn
_POINTS = 2000  # of a scatter: the best quarter of them, and a regular sample of the rest
_NAN = float("nan")


def chosen(run: RunRecord) -> Markup:
    """Make the section of the chosen config and what it is worth; or of why none is chosen, and the best so far."""
    best, said = run.result.best, run.result.lines()
    if not run.result.decided:
        name = "Nothing chosen" if run.result.stage.finished else "So far"
        return section(name, None, pairs(said))
    which = f"trial {best.trial_id}, {best.status}, {plural(best.epochs, 'epoch')}"
    config = pairs(settings(best.config).items(), "config")
    columns = (
        joined(element("p", which, class_="soft"), config, _told(said, "schedule")),
        joined(*map(_large, _sentences(said, "estimate")), _told(said, "raw best", "test"), _sealed(run)),
        _worth(run),
    )
    parts = (element("div", part) for part in columns if part is not None)
    notices = (element("p", f"{text}.", class_="notice") for text in _sentences(said, "edge"))
    return section("Chosen", None, element("div", *parts, class_="three"), *notices)


def _searched(run: RunRecord, config: Config) -> str:
    """Write what was searched of a config."""
    return show_config({name: config[name] for name in run.parameters if name in config})


def _sentences(said: Sequence[tuple[str, str]], name: str) -> list[str]:
    """Return what the summary says under a name."""
    return [text for known, text in said if known == name]


def _told(said: Sequence[tuple[str, str]], *names: str) -> Markup:
    """Make paragraphs of what the summary says under some names."""
    return joined(
        *(
            element("p", element("b", f"{name[0].upper()}{name[1:]} "), f"{text}.")
            for name in names
            for text in _sentences(said, name)
        )
    )


def _large(sentence: str) -> Markup:
    """Make a heading of an estimate, with the rest of its sentence small."""
    number, comma, rest = sentence.partition(", ")
    told = (element("span", number, class_="big"), element("span", f"{comma}{rest}.", class_="soft"))
    return element("p", element("b", "Estimate "), *told)


def _sealed(run: RunRecord) -> Markup | None:
    """Say that there are no test data, or that they were never opened; None where the summary says what they gave."""
    if "task" in run.manifest and "data" not in run.manifest:
        return element("p", element("b", "Test data "), "none: it is a loop.")
    return None if run.result.opened else element("p", element("b", "Test data "), "sealed: never opened.")


def _worth(run: RunRecord) -> Markup | None:
    """Draw the estimate, the test and the raw best on one axis; None where there is but one of them."""
    result, e = run.result, run.result.estimate
    rows = [] if e is None else [("estimate", "honest", e.mean, e.low, e.high)]
    for test in result.tests:
        name = f"test {test.opening}" if len(result.tests) > 1 else "test"
        rows.append((name, "tested", test.mean, test.low, test.high))
    rows.append(("raw best", "biased", result.raw_best.score, _NAN, _NAN))
    drawn = [row for row in rows if math.isfinite(row[2])]
    return element("figure", draw(plots.worth(drawn, result.metric))) if len(drawn) > 1 else None


def curves(run: RunRecord) -> Markup | None:
    """Make the section with the learning curves of the best trials, as in the book; None where there are none."""
    metric = run.result.metric
    shown = [trial for trial in run.result.trials if len(trial.curve.get(f"valid_{metric}", ()))][:_CURVES]
    if not shown:
        return None
    y = plots.curves_axis(shown, metric, run.result.mode)

    def figure(place: int, trial: Trial) -> Markup:
        ours = trial.trial_id == run.chosen
        name = joined(element("b", f"Best-{place}"), f" {score(trial.score, trial.stderr)}")
        pill = element("span", "chosen", class_="pill complete") if ours else None
        told = element("figcaption", _searched(run, trial.config), class_="soft")
        return element(
            "figure", element("figcaption", name, " ", pill), draw(plots.learning_curves(trial, metric, y)), told
        )

    figures = (figure(place, trial) for place, trial in enumerate(shown, 1))
    signs = legend(("line valid", "validation"), ("line train", "training"))
    lead = f"{metric[:1].upper()}{metric[1:]} over epochs of the best {len(shown)}, on the same axes."
    return section("Learning curves", lead, signs, element("div", *figures, class_="pictures curves"))


def front(run: RunRecord) -> Markup | None:
    """Make the section of the front, or of there being none; None with one objective and no constraints."""
    result, of = run.result, run.result.objectives
    lead = "".join(f"{text}." for text in _sentences(result.lines(), "front"))
    if not (lead or result.measured):
        return None
    figures = [
        element("figure", draw(plots.front(result.trials, result.front, of, pair, result.measured, run.chosen)))
        for pair in ((of.names[0], name) for name in of.names[1:] if len(result.front))
    ]
    signs = [("dots complete", "a trial"), *([("dots stopped", "breaks a constraint")] if of.constraints else [])]
    signs += [("point front", "on the front"), *([("point chosen", "chosen")] if run.chosen is not None else [])]
    signs += [("line tested", "95% intervals on fresh replicates")] if result.measured else []
    pictures = (legend(*signs), element("div", *figures, class_="pictures")) if figures else ()
    return section("Front", lead, *pictures, *([_again(run)] if result.measured else []))


def _again(run: RunRecord) -> Markup:
    """Make the table of what the finals measured along the front."""
    again = run.result.measured
    names = list(again[0].estimates)
    rows = []
    for one in again:
        rows.append([one.trial_id, one.replicates, *(with_interval(one.estimates[name]) for name in names)])
    kinds = ["chosen" if one.trial_id == run.chosen else None for one in again]
    basis = again[0].estimates[names[0]].basis
    lead = element("p", f"Means on fresh replicates, with 95% intervals: {basis}.", class_="small")
    return joined(lead, table(("trial", "replicates", *names), rows, "Estimates along the front", kinds=kinds))


def scatter(run: RunRecord) -> Markup:
    """Make the section with the score against each hyperparameter."""
    result = run.result
    trials = [trial for trial in result.trials if trial.status is not Status.RUNNING]
    drawn = trials
    lead = "Each trial is a point; the best twenty say which they are when pointed at."
    if len(trials) > _POINTS:
        first = _POINTS // 4
        step = -(-(len(trials) - first) // (_POINTS - first))
        drawn = trials[:first] + trials[first::step]
        lead += f" Drawn are {len(drawn):,} of {len(trials):,}: the best {first} and one in {step} of the others."
    known = [trial.score for trial in trials if math.isfinite(trial.score)]
    y = score_axis(known, result.mode)
    if known and not y.low <= min(known) <= max(known) <= y.high:
        lead += " Worse scores than the axis has room for lie at its edge."
    if any(trial.parent is not None for trial in trials):
        lead += " A trial that inherited weights stands where its last config is, which alone did not make its score."
    figures = (
        element("figure", draw(plots.score_by_parameter(drawn, name, parameter, result.metric, y, run.chosen)))
        for name, parameter in run.parameters.items()
    )
    signs = [("dots complete", "trained to the end")]
    statuses = {trial.status for trial in trials}
    signs += [("dots stopped", "given up at a rung")] if Status.STOPPED in statuses else []
    signs += [("crosses", "diverged")] if Status.DIVERGED in statuses else []
    pictures = element("div", *figures, class_="pictures")
    signs += [("point chosen", "chosen")] if run.chosen is not None else []
    return section("Score by hyperparameter", lead, legend(*signs), pictures)


def progress(run: RunRecord) -> Markup | None:
    """Make the section that goes round by round; None where none is finished."""
    finished = [(r, np.asarray(r.scores, np.float64)) for r in run.rounds if r.scores is not None]
    if not finished:
        return None
    mode = run.result.mode
    picture = draw(plots.progress([(r.epochs, scores) for r, scores in finished], run.result.metric, mode))
    ends = []
    for _, scores in finished:
        known = scores[np.isfinite(scores)]
        best, middle = (
            ((known.max() if mode == "max" else known.min()), np.median(known)) if len(known) else (_NAN, _NAN)
        )
        ends.append((best, middle))
    rows = []
    typical = [_typical(run)] * len(ends)
    columns = (pieces.scores([pair[place] for pair in ends], typical)[0] for place in (0, 1))
    for (asked, scores), best, middle in zip(finished, *columns, strict=True):
        lost = int((~np.isfinite(scores)).sum())
        wall = None if asked.wall_s is None else f"{asked.wall_s:.1f}"
        rows.append([asked.number + 1, len(scores), asked.epochs, best, middle, lost or None, wall])
    shown = table(("round", "trials", "epochs", "best", "median", "diverged", "seconds"), rows, "Rounds")
    if len(rows) > 12:
        shown = element("details", element("summary", f"{len(rows)} rounds"), shown)
    lead = "Boxes: the middle half of a round; whiskers: 10% to 90%; dots: its best; line: the best so far."
    return section("Progress", lead, element("div", element("figure", picture), element("div", shown), class_="two"))


def _typical(run: RunRecord) -> float:
    """Return the error of a score, as it is with most trials."""
    known = run.result.trials.stderr[run.result.trials.healthy()]
    return float(np.median(known)) if len(known) else _NAN


def importance(run: RunRecord) -> Markup:
    """Make the section of what mattered."""
    found = run.importance
    if not isinstance(found, Importance):
        return section("What mattered", f"Not known: {found}.")
    finished = [trial for trial in run.result.trials if trial.status is not Status.RUNNING]
    known = sum(trial.parent is None for trial in finished)
    sample = f", drawn at random from {known:,}" if found.trials < known else ""
    lead = f"Shares of the variance, from {found.trials:,} trials{sample}, at epoch {found.epochs}."
    if known < len(finished):
        lead += f" Left out are {len(finished) - known:,} that inherited weights, whose config alone made no score."
    signs = legend(
        ("bar top", "of what it takes to be among the best tenth"),
        ("bar score", "of the score anywhere in the space, diverged trials counting as the worst"),
    )
    rows = [
        [name, *(f"{share.share:.3f} ± {share.stderr:.3f}" for share in (found.top[name], found.score[name]))]
        for name in sorted(found.score, key=lambda n: -found.score[n].share)
    ]
    numbers = table(("hyperparameter", "best tenth", "score"), rows, "Shares of the variance")
    edges = (
        element(
            "p",
            element("b", "Edge of stability: "),
            f"{edge.told(name)}.",
        )
        for name, edge in found.edges.items()
    )
    picture = element("figure", draw(plots.importance_bars(found)))
    return section("What mattered", lead, signs, element("div", picture, element("div", numbers, *edges), class_="two"))


def finalists(run: RunRecord) -> Markup | None:
    """Make the section of the finals; None where there were none."""
    result = run.result
    if not result.finalists:
        return None
    configs = {trial.trial_id: trial.config for trial in result.trials}
    errors = [f.stderr for f in result.finalists]
    differences = words.column([f.difference for f in result.finalists], errors, sign=True)
    means, _ = pieces.scores([f.mean for f in result.finalists], errors)
    near, _ = pieces.scores([f.neighbourhood for f in result.finalists], errors)
    rows = []
    for f, pair, mean, neighbourhood in zip(result.finalists, differences, means, near, strict=True):
        difference = " ± ".join(pair) if math.isfinite(f.difference) else "diverged"
        share = joined(f"{f.p_best:.2f}", bar(f.p_best))
        config = configs.get(f.trial_id, {})
        told = _searched(run, config)
        candidate = "yes" if f.candidate else "no"
        rows.append([f.trial_id, f.replicates, mean, difference, neighbourhood, candidate, share, told])
    names = ("trial", "replicates", "mean", "difference", "neighbourhood", "candidate", "P(best)", "config")
    kinds = ["chosen" if f.trial_id == run.chosen else None for f in result.finalists]
    lead = (
        f"The best trials ran again on fresh replicates. Differences of {result.metric} are paired, from the best of "
        "them (negative is worse); of the candidates, those within one standard error of it, the one with the best "
        "neighbourhood is chosen."
    )
    return section("Finalists", lead, table(names, rows, "Finalists", kinds=kinds, wide=(7,)))
