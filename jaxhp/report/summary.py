"""What a search found, or why that cannot be said, in lines of a name and a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from jaxhp import words
from jaxhp.objectives import AtMost as AtMost
from jaxhp.objectives import Objectives
from jaxhp.report.stage import Ruin, Stage
from jaxhp.report.table import show_config, show_value
from jaxhp.report.telling import plural
from jaxhp.report.tested import Tested
from jaxhp.selection.stretches import Stretch
from jaxhp.selection.verdict import Estimate, Measured
from jaxhp.space import LogUniform as LogUniform
from jaxhp.space import Parameter, Space
from jaxhp.trials import Trial, Trials
from jaxhp.values import Error

NO_FINALS = "no finals were run"


class Findings(NamedTuple):
    """What a result knows that is told in its summary; see `Result`."""

    metric: str
    objectives: Objectives
    front: Trials
    measured: Sequence[Measured]
    stage: Stage
    ruin: Ruin | None
    decided: bool
    saved: bool | None  # whether a checkpoint holds the best trial of a search that is not decided; None: no directory
    best: Trial
    history: Sequence[Stretch]  # how the best was trained
    raw_best: Trial
    estimate: Estimate | None
    finalists: bool  # whether there were any
    edges: Mapping[str, int]  # of parameters of `space`
    space: Space | None
    tests: Sequence[Tested]
    opened: int


def lines(of: Findings) -> list[tuple[str, str]]:
    """Say what was chosen and what its score means; of an unfinished search, how far it is and the best yet."""
    status = [] if of.stage.finished else [("status", str(of.stage))]
    return [*status, *_choice(of), *_front(of), *_edges(of), *_tests(of)]


def _choice(of: Findings) -> Iterator[tuple[str, str]]:
    trial = f"trial {of.best.trial_id}: {show_config(of.best.config)}"
    if of.ruin is not None:
        yield from _nothing(of.ruin, finished=of.stage.finished)
    elif of.decided:
        yield "chosen", trial
        yield from _schedule(of.history)
        yield "estimate", _estimate(of)
        yield "raw best", raw_best(of.metric, of.raw_best)
    elif not of.stage.done:
        yield "best yet", "none: no round is finished"
    else:
        yield "best yet", trial
        yield from _schedule(of.history)
        yield "score", raw_best(of.metric, of.best)
        if of.saved is not None:
            where = "a checkpoint has it" if of.saved else "not saved yet"
            yield "network", f"{where}; best.safetensors is written when the search ends"


def _front(of: Findings) -> Iterator[tuple[str, str]]:
    """Say what the front is, and what fresh replicates say of its points; that no trial keeps the constraints."""
    objectives = of.objectives
    if of.ruin is not None or objectives.plain or not of.stage.done:
        return
    if not len(of.front):
        yield "front", f"empty: no trial keeps {constraints(objectives)}; the best of all is the one nearest to it"
    elif len(objectives.names) > 1:
        kept = f" that keep {constraints(objectives)}" if objectives.constraints else ""
        yield (
            "front",
            (
                f"{plural(len(of.front), 'trial')}{kept}, none better than another in all of "
                f"{', '.join(objectives.names)}; chosen is the best in {objectives.names[0]}"
            ),
        )
    for one in of.measured:
        yield "measured", f"trial {one.trial_id}: {estimates(one)} ({one.replicates} fresh replicates)"


def constraints(of: Objectives) -> str:
    """Write what a trial has to keep.

    >>> constraints(Objectives(("a",), ("max",), {"latency": AtMost(2.0)}))
    'latency at most 2'
    """
    return ", ".join(f"{name} {bound.word} {bound.value:g}" for name, bound in of.constraints.items())


def estimates(of: Measured) -> str:
    """Write the means of a trial on fresh replicates, each with its 95% interval."""
    return ", ".join(f"{name} {with_interval(e)}" for name, e in of.estimates.items())


def with_interval(e: Estimate) -> str:
    """Write a mean with its 95% interval, unless it is known exactly."""
    mean, low, high = words.interval(e.mean, e.low, e.high)
    return f"{mean} [{low}, {high}]" if e.low < e.high else mean


def _schedule(history: Sequence[Stretch]) -> Iterator[tuple[str, str]]:
    if len(history) > 1:
        yield "schedule", schedule(history)


def schedule(history: Sequence[Stretch]) -> str:
    """Say which values a training had, and up to which epoch, of every parameter that changed.

    >>> schedule([Stretch(0, {"lr": 0.1, "m": 0.9}, 3), Stretch(4, {"lr": 0.05, "m": 0.9}, 9)])
    'lr 0.1000 to epoch 3, then 0.0500'
    """
    told = []
    for name in dict.fromkeys(name for stretch in history for name in stretch.config):
        values = [show_value(stretch.config[name]) if name in stretch.config else "none" for stretch in history]
        last = [at for at, value in enumerate(values) if values[at + 1 : at + 2] != [value]]
        if len(last) > 1:
            ends = [f"{values[at]} to epoch {history[at].upto}" for at in last[:-1]]
            told.append(f"{name} {', then '.join([*ends, values[last[-1]]])}")
    return "; ".join(told) or "one config"


def _nothing(ruin: Ruin, *, finished: bool) -> Iterator[tuple[str, str]]:
    first, last = ruin.epochs
    when = f"in epoch {first}" if first == last else f"in epochs {first} to {last}"
    name, which = ("chosen", "every trial") if finished else ("best yet", "every trial so far")
    yield name, f"none: {which} diverged, {plural(ruin.diverged, 'trial')} {when}"
    yield "longest", f"trial {ruin.latest.trial_id}, diverged in epoch {last}: {show_config(ruin.latest.config)}"
    ranges = [
        f"{name} {show_value(low)} to {show_value(high)}" for name, (low, high) in ruin.tried.items() if low < high
    ]
    yield "tried", f"{', '.join(ranges) or 'one value of every number'}; search elsewhere, or mend the task"


def _estimate(of: Findings) -> str:
    e = of.estimate
    if e is None:
        why = "every candidate diverged on a fresh replicate" if of.finalists else of.stage.no_finals or NO_FINALS
        return f"none, so nothing corrects the choice: {why}"
    return f"{of.metric} {words.bounded(e.mean, e.low, e.high)} ({e.basis})"


def raw_best(metric: str, trial: Trial) -> str:
    """Say how good the first of the ranking is, and that this is too good to be true."""
    reached = f"{metric} {words.number(trial.score, trial.stderr)} (trial {trial.trial_id})"
    when = (
        f"{trial.epochs} epochs" if trial.epoch != "best" else f"any of {trial.epochs} epochs, here {trial.scored_at}"
    )
    return f"{reached}: the best score at {when}, biased by the choice"


def _edges(of: Findings) -> Iterator[tuple[str, str]]:
    for name, side in of.edges.items():
        assert of.space is not None
        yield "edge", f"{name}: {edge(of.space.parameters[name], side)}"


def edge(parameter: Parameter, side: int) -> str:
    """Say at which end of a parameter the best lie, and what to do; `side` as in `Result.edges`.

    >>> edge(LogUniform(1e-6, 1e-2), 1)
    'the best lie at the upper end of its range; search beyond it, such as in LogUniform(1e-06, 1)'
    """
    if parameter.categories():
        which, beyond = ("last", "after") if side > 0 else ("first", "before")
        told = f"the best lie at the {which} of its values; add a value {beyond} it"
    else:
        told = f"the best lie at the {'upper' if side > 0 else 'lower'} end of its range; search beyond it"
    try:
        wider = parameter.widened(side)
    except Error:  # nobody but the user knows what comes after the values of a list
        return told
    return told if wider == parameter else f"{told}, such as in {wider}"


def _tests(of: Findings) -> Iterator[tuple[str, str]]:
    for test in of.tests:
        opening = "" if test.opening == 1 else f"; opening {test.opening}: no longer a test"
        found = words.bounded(test.mean, test.low, test.high)
        how = f"(trial {test.trial_id}, {len(test.scores)} seeds, trained on train and validation data{opening})"
        yield "test", f"{of.metric} {found} {how}"
    if of.opened > len(of.tests):
        yield "test", f"opened {of.opened} times, {of.opened - len(of.tests)} without a result"
