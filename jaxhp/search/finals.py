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
from jaxhp.selection.stretches import Stretch, stretches
from jaxhp.selection.verdict import Finals
from jaxhp.store.ledger import Ledger
from jaxhp.tasks.halves import name_of_half
from jaxhp.trials import Trial, rank
from jaxhp.values import Config


class Setting(NamedTuple):
    """What the finals know of a search."""

    course: Course
    finals: Finals
    metric: str
    fold: np.ndarray | None  # i32[n], the fold of each example that is validated
    examples: bool  # whether trials are measured on examples, see `Groups`


def run_finals(
    of: Setting, trials: Sequence[Trial], executor: Executor, ledger: Ledger, emit: Emit, stop: Callable[[], None]
) -> None:
    """Choose one of the trials (see `contest`) and record how in the ledger.

    Fresh replicates have the ids that follow those of the search. Their number is a whole multiple of the folds, so
    that replicate r stays in fold r % K. Who inherited weights in the search is trained by way of its ancestors again.
    Where the best epoch counts, a finalist is measured at the one that it had in the search.

    Args:
      stop: raises Stopped where a signal asked for it; called after every part that is recorded.
    """
    course = of.course
    ranked = rank(trials, course.mode).ranked_by(of.metric, course.mode, course.epochs, course.epoch)
    finalists = survivors(ranked, of.finals.top)
    if not finalists:
        emit(Warned("no finals: every trial diverged"))
        return
    read = {t.trial_id: t.measured_at for t in finalists}
    epochs = max(read.values())
    emit(FinalsBegan(finalists, epochs))
    unit = np.stack([of.course.space.unit(t.config) for t in ranked])
    scores = at_full_budget(ranked, of.metric, of.course.rungs)
    near = neighbourhoods(unit, latest(scores)[0], range(len(finalists)), of.course.mode)
    fresh: dict[int, list[np.ndarray]] = {t.trial_id: [] for t in finalists}
    budgets = [rung.epochs for rung in of.course.rungs]
    histories = {t.trial_id: stretches(ranked, t.trial_id, budgets, epochs) for t in finalists}

    luck_of_epochs = course.epoch == "best" and of.examples

    def play(who: Sequence[int], replicates: range) -> Played:
        playing = [finalists[p].trial_id for p in who]
        ids = range(of.course.members + replicates.start, of.course.members + replicates.stop)
        at = np.asarray([read[trial] for trial in playing], np.int32) if of.course.epoch == "best" else None
        parts = _train(of, [histories[trial] for trial in playing], at, ids, executor, ledger, emit, stop)
        for row, trial in enumerate(playing):
            fresh[trial] += [part.replicate_scores[row] for part in parts]
        valid = np.concatenate([part.valid for part in parts if part.valid is not None], 1)
        held_out = [part.held_out for part in parts if part.held_out is not None]
        configs = [histories[trial][-1].config for trial in playing]
        luck = _luck(of, configs, parts) if luck_of_epochs else None
        return Played(valid, np.concatenate(held_out, 1) if held_out else None, luck)

    verdict = contest(
        finalists,
        {t.trial_id: float(value) for t, value in zip(finalists, near, strict=True)},
        of.finals,
        play,
        mode=of.course.mode,
        scores=scores,
        fold=of.fold,
        curves=ranked.curve[f"valid_{of.metric}"] if luck_of_epochs else None,
        examples=of.examples,
    )
    executor.forget()  # these members have the names of the search's, which are of other replicates
    most = of.finals.members(1 if of.fold is None else int(of.fold.max()) + 1)
    played = {trial: _padded(np.concatenate(parts), most) for trial, parts in fresh.items()}
    ledger.record_finals(played, json.dumps(verdict.to_json()))


def _luck(of: Setting, configs: Sequence[Config], parts: Sequence[Outcome]) -> np.ndarray:
    """Return f64[P, E], what every other example shows more than all do, after each epoch; the last that was trained
    stands for those after it."""
    epochs = int(np.isfinite(parts[0].curve[0, :, 1, 0]).sum())

    def of_row(row: int, config: Config) -> np.ndarray:
        names = of.course.metrics(config)
        whole, half = (names.index(name) for name in (of.metric, name_of_half(of.metric)))
        shown = [part.curve[row, :epochs, 1] for part in parts]
        return np.mean([columns[:, half] - columns[:, whole] for columns in shown], 0)

    found = np.stack([of_row(row, config) for row, config in enumerate(configs)])
    return np.pad(np.nan_to_num(found), ((0, 0), (0, parts[0].curve.shape[1] - epochs)), "edge")


def _train(
    of: Setting,
    histories: list[tuple[Stretch, ...]],
    read: np.ndarray | None,
    replicates: range,
    executor: Executor,
    ledger: Ledger,
    emit: Emit,
    stop: Callable[[], None],
) -> list[Outcome]:
    """Train finalists in the populations of the search, with as many replicates at a time as these hold.

    Args:
      histories: how each finalist is trained.
      read: see `Job`.
    """
    ids = np.asarray([history[-1].trial_id for history in histories], np.int32)
    at_once = executor.at_once(history[-1].config for history in histories)
    parts = []
    for i in range(0, len(replicates), at_once):
        some = replicates[i : i + at_once]
        number = len(of.course.rungs) + some[0]  # the parts of the finals follow the rounds
        label = {"trial_id": ids, "replicate": np.asarray(some, np.int32)}
        known = ledger.part(number)
        if known and all(np.array_equal(known.pop(name), value) for name, value in label.items()):
            parts.append(Outcome(**known))
            continue
        outcome = executor.train(job_of(histories, number, some)._replace(read=read), emit)
        measured = {name: value for name, value in outcome._asdict().items() if value is not None}
        ledger.record_part(number, label | measured)
        stop()
        parts.append(outcome)
    return parts


def job_of(histories: Sequence[tuple[Stretch, ...]], number: int, replicates: Sequence[int]) -> Job:
    """Return what trains finalists as they were trained, by way of their ancestors, which they share.

    Args:
      histories: of each finalist; all end at the same epoch.
      number, replicates: of the job.
    """
    jobs: list[Job] = []
    begun, before = 0, [-1] * len(histories)
    for end in sorted({stretch.upto for history in histories for stretch in history}):
        now = [next(stretch for stretch in history if stretch.upto >= end) for history in histories]
        origin = {stretch.trial_id: ancestor for stretch, ancestor in zip(now, before, strict=True)}
        config = {stretch.trial_id: stretch.config for stretch in now}
        ids, origins = np.asarray([*origin], np.int32), np.asarray([*origin.values()], np.int32)
        start = np.full(len(ids), begun, np.int32)
        jobs.append(Job(number, ids, [*config.values()], origins, start, end, replicates, keep=True))
        begun, before = end, [stretch.trial_id for stretch in now]
    return jobs[-1]._replace(keep=False, outcomes=True, before=tuple(jobs[:-1]))


def _padded(scores: np.ndarray, length: int) -> np.ndarray:
    """Pad with NaN for the replicates that a finalist did not take part in."""
    return np.pad(scores, (0, length - len(scores)), constant_values=np.nan)
