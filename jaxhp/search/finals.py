"""The finals of a search: the finalists are trained on fresh replicates, and the choice is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.engine.events import FinalsBegan, Warned
from jaxhp.engine.work import Emit, Executor, Job, Outcome
from jaxhp.search.loop import Course
from jaxhp.selection.budgets import at_full_budget, latest
from jaxhp.selection.contest import Played, contest, neighbourhoods, survivors
from jaxhp.selection.verdict import Finals
from jaxhp.store.ledger import Ledger
from jaxhp.trials import Trial, rank


class Setting(NamedTuple):
    """What the finals know of a search."""

    course: Course
    finals: Finals
    metric: str
    fold: np.ndarray | None  # i32[n], the fold of each example that is validated


def run_finals(
    of: Setting, trials: Sequence[Trial], executor: Executor, ledger: Ledger, emit: Emit, stop: Callable[[], None]
) -> None:
    """Choose one of the trials (see `contest`) and record how in the ledger.

    Fresh replicates have the ids that follow those of the search. Their number is a whole multiple of the folds, so
    that replicate r stays in fold r % K.

    Args:
      stop: raises Stopped where a signal asked for it; called after every part that is recorded.
    """
    ranked = rank(trials, of.course.mode)
    finalists = survivors(ranked, of.finals.top)
    if not finalists:
        emit(Warned("no finals: every trial diverged"))
        return
    emit(FinalsBegan(finalists, of.course.epochs))
    unit = np.stack([of.course.space.unit(t.config) for t in ranked])
    scores = at_full_budget(ranked, of.metric, of.course.rungs)
    near = neighbourhoods(unit, latest(scores)[0], range(len(finalists)), of.course.mode)
    fresh: dict[int, list[np.ndarray]] = {t.trial_id: [] for t in finalists}

    def play(who: Sequence[int], replicates: range) -> Played:
        playing = [finalists[p] for p in who]
        ids = range(of.course.members + replicates.start, of.course.members + replicates.stop)
        parts = _train(of, playing, ids, executor, ledger, emit, stop)
        for row, trial in enumerate(playing):
            fresh[trial.trial_id] += [part.replicate_scores[row] for part in parts]
        valid = np.concatenate([part.valid for part in parts if part.valid is not None], 1)
        held_out = [part.held_out for part in parts if part.held_out is not None]
        return Played(valid, np.concatenate(held_out, 1) if held_out else None)

    verdict = contest(
        finalists,
        {t.trial_id: float(value) for t, value in zip(finalists, near, strict=True)},
        of.finals,
        play,
        mode=of.course.mode,
        scores=scores,
        fold=of.fold,
    )
    most = of.finals.members(1 if of.fold is None else int(of.fold.max()) + 1)
    played = {trial: _padded(np.concatenate(parts), most) for trial, parts in fresh.items()}
    ledger.record_finals(played, json.dumps(verdict.to_json()))


def _train(
    of: Setting,
    trials: list[Trial],
    replicates: range,
    executor: Executor,
    ledger: Ledger,
    emit: Emit,
    stop: Callable[[], None],
) -> list[Outcome]:
    """Train finalists in the populations of the search, with as many replicates at a time as these hold."""
    start = np.zeros(len(trials), np.int32)
    ids = np.asarray([t.trial_id for t in trials], np.int32)
    at_once = executor.at_once(t.config for t in trials)
    parts = []
    for i in range(0, len(replicates), at_once):
        some = replicates[i : i + at_once]
        number = len(of.course.rungs) + some[0]  # the parts of the finals follow the rounds
        label = {"trial_id": ids, "replicate": np.asarray(some, np.int32)}
        known = ledger.part(number)
        if known and all(np.array_equal(known.pop(name), value) for name, value in label.items()):
            parts.append(Outcome(**known))
            continue
        job = Job(number, ids, [t.config for t in trials], start - 1, start, of.course.epochs, some, outcomes=True)
        outcome = executor.train(job, emit)
        measured = {name: value for name, value in outcome._asdict().items() if value is not None}
        ledger.record_part(number, label | measured)
        stop()
        parts.append(outcome)
    return parts


def _padded(scores: np.ndarray, length: int) -> np.ndarray:
    """Pad with NaN for the replicates that a finalist did not take part in."""
    return np.pad(scores, (0, length - len(scores)), constant_values=np.nan)
