"""The search loop: ask, train, record, tell.

Everything that a round does follows from the seed and the ledger, so a search that was cut off is resumed by running
it again on its directory: finished rounds are told to the strategy as they were recorded, and the rest is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxhp.compiling import on_host
from jaxhp.engine.events import RoundBegan, RoundFinished, RoundSkipped, Warned
from jaxhp.engine.streams import Keys, key_of
from jaxhp.engine.work import Emit, Executor, Outcome
from jaxhp.search.included import Included
from jaxhp.search.lineage import Lineage
from jaxhp.space.space import Space
from jaxhp.store.ledger import Ledger, Round
from jaxhp.strategies.base import Strategy, Tell, include
from jaxhp.trials import STATUSES, Proposal, Rung, Status, Trials, joined, signed
from jaxhp.values import Config, Error

Spent = Callable[[], Mapping[str, float]]


class Course(NamedTuple):
    """What the loop knows of a search."""

    space: Space
    strategy: Strategy
    rungs: tuple[Rung, ...]
    epochs: int  # the full budget
    seed: int
    members: int  # of a trial
    metric: str
    mode: str
    epoch: str  # which score of its curve a trial has, the "last" or the "best"
    knows: Callable[[Ledger, Sequence[Config]], None]  # records what the groups of configs are
    metrics: Callable[[Config], tuple[str, ...]]  # names of a config's metrics, in the order of a curve's columns
    allows: Callable[[Config], bool]  # whether a config may be tried
    pool: Callable[[int], np.ndarray]  # points among which a round finds others for those that were tried before
    included: Included  # what a person asked for in the first round
    recalled: tuple[np.ndarray, ...]  # f32[N, D] and f32[N], points and signed scores of an earlier search; of several
    # objectives or with constraints f32[N, D], f32[N, K] and f32[N], points, scores and violations
    tell: Tell | None = None  # tells the strategy a round where it wants more than scores
    otherwise: str = ""  # what to say once where other points are asked for than were recorded; "": what round it is


def run_rounds(
    course: Course,
    ledger: Ledger,
    lineage: Lineage,
    executor: Executor,
    spent: Spent,
    emit: Emit,
    enough: Callable[[int], bool] = lambda _: False,
) -> None:
    """Run every round of a search that is not recorded yet.

    Args:
      enough: whether to end before a round; asked where it has not begun, before its points are and after that.
      lineage: empty; knows every round in the end.
      spent: gives what all runs of the search have cost so far.
      emit: told of every round; an observer may raise Stopped there.

    Raises:
      Stopped: a signal asked for it; everything up to there is recorded.
      Error: the space's `where` forbids what was recorded.
    """
    state = begin(course)
    for number, rung in enumerate(course.rungs):
        recorded = ledger.round(number)
        if recorded is None and enough(number):
            return
        proposal, state = ask(course, state, first=number == 0)
        asked = lineage.identify(number, rung.epochs, proposal, partial(course.pool, number))
        if recorded is None and enough(number):
            return
        asked = asked if recorded is None else _recorded(course, asked, recorded, emit)
        lineage.ask(asked)
        if asked.scores is None:
            asked = train_round(course, ledger, lineage, executor, spent, asked, emit)
        else:
            lineage.finish(asked)
            emit(RoundSkipped(number, rung.trials * rung.epochs * course.members))
        state = _told(course, state, proposal._replace(unit=asked.unit, parent=asked.parent), asked, ledger)


def begin(course: Course) -> PyTree:
    """Return the strategy's state before the first round, told what an earlier search found."""
    strategy: Any = course.strategy  # not every one has `recall`
    with on_host():
        key = key_of(jax.random.key(course.seed), Keys.CONFIGS, 0)
        state = strategy.init(key, course.space.dim, course.epochs)
        unit, *known = course.recalled
        if not len(unit):
            return state
        if len(known) == 1:
            return strategy.recall(state, unit, *known)
        return strategy.tell_objectives(state, Proposal(unit, np.full(len(unit), -1), course.epochs), *known)


def ask(course: Course, state: PyTree, *, first: bool) -> tuple[Proposal, PyTree]:
    """Return the next proposal and the state past it; the first has what a person asked for in it."""
    with on_host():
        proposal, state = course.strategy.ask(state)
        points = course.included.unit
        return (include(proposal, points) if first and len(points) else proposal), state


def _told(course: Course, state: PyTree, proposal: Proposal, asked: Round, ledger: Ledger) -> PyTree:
    """Return the strategy's state that knows a round, as it was recorded."""
    assert asked.scores is not None
    with on_host():
        if course.tell is None:
            return course.strategy.tell(state, proposal, jnp.asarray(signed(asked.scores, course.mode)))
        found = ledger.measured(asked.number).ranked_by(course.metric, course.mode, course.epochs, course.epoch)
        return course.tell(state, proposal, found)


def train_round(
    course: Course,
    ledger: Ledger,
    lineage: Lineage,
    executor: Executor,
    spent: Spent,
    asked: Round,
    emit: Emit,
) -> Round:
    """Train a round and record it; return it with its scores."""
    later = course.rungs[asked.number + 1 :]
    keep = bool(later) and later[0].epochs > asked.epochs
    job = lineage.job(asked, range(course.members), keep=keep)
    drafts = lineage.drafts(job)
    if course.epoch == "best" and (drafts.parent >= 0).any():
        raise Error(f"epoch: expected 'last' with {course.strategy}, which has trials inherit weights, got 'best'")
    new = lineage.unmeasured(asked, keep=keep)
    course.knows(ledger, drafts.configs())
    ledger.begin(asked, drafts)
    emit(RoundBegan(asked.number, len(course.rungs), asked.epochs, drafts))
    _say_copies(asked, new, course, emit)
    began = time.perf_counter()
    trials = drafts[new]
    if len(new):
        trials = _measured(course, trials, executor.train(job.rows(new), emit), job.stop)
    if len(new) < len(drafts):
        trials = _with_copies(trials, drafts, ledger)
    ledger.finish(asked.number, trials, trials.score, time.perf_counter() - began, spent())
    asked = asked._replace(scores=trials.score)
    lineage.finish(asked)
    emit(RoundFinished(asked.number, trials, keep))
    return asked


def _recorded(course: Course, asked: Round, recorded: Round, emit: Emit) -> Round:
    """Return what was recorded: it counts, also where the strategy would ask for something else by now.

    Raises:
      Error: the space's `where` forbids a config of it. So few that a manifest does not show them.
    """
    if not all(np.array_equal(a, b) for a, b in zip(asked[1:5], recorded[1:5], strict=True)):
        number = asked.number + 1
        for config in course.space.configs(recorded.unit):
            if not course.space.allows(config):
                raise Error(
                    f"dir: it holds another search: its space.where lets {config} pass, which was tried in round "
                    f"{number}, and this one's does not. Run this one in another directory"
                )
        text = f"round {number}: other points are asked for now than were recorded; the recorded count"
        emit(Warned(course.otherwise or text))
    return recorded


def _say_copies(asked: Round, new: np.ndarray, course: Course, emit: Emit) -> None:
    """Say how many rows are not trained, because they start fresh where a trial did before."""
    copies = int(np.sum(asked.parent < 0)) - int(np.sum(asked.parent[new] < 0))
    if copies:
        text = f"{copies} of {len(asked.unit)} configs asked for are not trained: none is left that was not tried"
        emit(Warned(f"round {asked.number + 1}: {text}"))
        emit(RoundSkipped(asked.number, copies * asked.epochs * course.members))


def _with_copies(measured: Trials, drafts: Trials, ledger: Ledger) -> Trials:
    """Return the trials of all rows: those that were trained, and for the others what is known of their trials."""
    missing, known = drafts.trial_id[~np.isin(drafts.trial_id, measured.trial_id)], measured
    if len(missing):
        earlier = ledger.trials()
        known = joined([measured, earlier[np.isin(earlier.trial_id, missing)]])
    place = {int(trial): row for row, trial in enumerate(known.trial_id)}
    return known[np.asarray([place[int(trial)] for trial in drafts.trial_id], int)]


def _measured(course: Course, drafts: Trials, outcome: Outcome, epochs: int) -> Trials:
    """Return trials as they were measured after so many epochs."""
    rows_of: dict[tuple[str, ...], list[int]] = {}  # by the names of their metrics
    for row, config in enumerate(drafts.configs()):
        rows_of.setdefault(course.metrics(config), []).append(row)
    curve: dict[str, np.ndarray] = {}
    for names, rows in rows_of.items():
        for part, p in (("train", 0), ("valid", 1)):
            for m, name in enumerate(names):
                values = curve.setdefault(f"{part}_{name}", np.full((len(drafts), epochs), np.nan, np.float32))
                values[rows] = outcome.curve[rows, :epochs, p, m]
    healthy = Status.COMPLETE if epochs >= course.epochs else Status.STOPPED
    places = [STATUSES.index(healthy), STATUSES.index(Status.DIVERGED)]
    measured = replace(
        drafts,
        status=np.asarray(places, np.uint8)[(outcome.diverged_at > 0).astype(int)],
        epochs=np.full(len(drafts), epochs, np.int32),
        score=outcome.score,
        stderr=outcome.stderr,
        replicate_scores=outcome.replicate_scores,
        diverged_at=outcome.diverged_at,
        curve=curve,
    )
    return measured.ranked_by(course.metric, course.mode, course.epochs, course.epoch)
