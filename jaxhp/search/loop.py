"""The search loop: ask, train, record, tell.

Everything that a round does follows from the seed and the ledger, so a search that was cut off is resumed by running
it again on its directory: finished rounds are told to the strategy as they were recorded, and the rest is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.engine.events import RoundBegan, RoundFinished, RoundSkipped, Warned
from jaxhp.engine.runtime import on_host
from jaxhp.engine.streams import Keys, key_of
from jaxhp.engine.work import Emit, Executor, Outcome
from jaxhp.search.lineage import Lineage
from jaxhp.space import Space
from jaxhp.store import Ledger, Round
from jaxhp.strategies.base import Strategy, include
from jaxhp.trials import STATUSES, Config, Rung, Status, Trials, signed

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
    metrics: Callable[[Config], tuple[str, ...]]  # names of a config's metrics, in the order of a curve's columns
    included: np.ndarray  # f32[K, D], points of the first round that a person asked for
    recalled: tuple[np.ndarray, np.ndarray]  # f32[N, D] and f32[N], points and signed scores of an earlier search


def run_rounds(course: Course, ledger: Ledger, lineage: Lineage, executor: Executor, spent: Spent, emit: Emit) -> None:
    """Run every round of a search that is not recorded yet.

    Args:
      lineage: empty; knows every round in the end.
      spent: gives what all runs of the search have cost so far.
      emit: told of every round; an observer may raise Stopped there.

    Raises:
      Stopped: a signal asked for it; everything up to there is recorded.
    """
    state = begin(course)
    for number, rung in enumerate(course.rungs):
        proposal, state = ask(course, state, first=number == 0)
        asked = lineage.identify(number, rung.epochs, proposal)
        recorded = ledger.round(number)
        asked = asked if recorded is None else _recorded(asked, recorded, emit)
        lineage.ask(asked)
        if asked.scores is None:
            asked = train_round(course, ledger, lineage, executor, spent, asked, emit)
        else:
            lineage.finish(asked)
            emit(RoundSkipped(number, rung.trials * rung.epochs * course.members))
        assert asked.scores is not None
        with on_host():
            told = proposal._replace(unit=asked.unit, parent=asked.parent)
            state = course.strategy.tell(state, told, jnp.asarray(signed(asked.scores, course.mode)))


def begin(course: Course) -> Any:
    """Return the strategy's state before the first round, told what an earlier search found."""
    strategy: Any = course.strategy  # not every one has `recall`
    with on_host():
        key = key_of(jax.random.key(course.seed), Keys.CONFIGS, 0)
        state = strategy.init(key, course.space.dim, course.epochs)
        return strategy.recall(state, *course.recalled) if len(course.recalled[1]) else state


def ask(course: Course, state: Any, *, first: bool) -> tuple[Any, Any]:
    """Return the next proposal and the state past it; the first has what a person asked for in it."""
    with on_host():
        proposal, state = course.strategy.ask(state)
        return (include(proposal, course.included) if first and len(course.included) else proposal), state


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
    ledger.begin(asked, drafts)
    emit(RoundBegan(asked.number, len(course.rungs), asked.epochs, drafts))
    began = time.perf_counter()
    outcome = executor.train(job, emit)
    trials = _measured(course, drafts, outcome, job.stop)
    ledger.finish(asked.number, trials, outcome.score, time.perf_counter() - began, spent())
    asked = asked._replace(scores=outcome.score)
    lineage.finish(asked)
    emit(RoundFinished(asked.number, trials, keep))
    return asked


def _recorded(asked: Round, recorded: Round, emit: Emit) -> Round:
    """Return what was recorded: it counts, also where the strategy would ask for something else by now."""
    if not all(np.array_equal(a, b) for a, b in zip(asked[1:5], recorded[1:5], strict=True)):
        number = asked.number + 1
        emit(Warned(f"round {number}: other points are asked for now than were recorded; the recorded count"))
    return recorded


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
    return measured.ranked_by(course.metric, course.mode, course.epochs)
