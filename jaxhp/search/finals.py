"""The finals of a search: the finalists are trained on fresh replicates, and the choice is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.engine.events import FinalsBegan, Warned
from jaxhp.engine.work import Emit, Executor, Job, Outcome
from jaxhp.objectives import Objectives, spread
from jaxhp.search.ancestry import steps_of
from jaxhp.search.loop import Course
from jaxhp.selection.along_front import measured
from jaxhp.selection.along_front import verdict as front_verdict
from jaxhp.selection.budgets import at_full_budget, latest
from jaxhp.selection.contest import Play, Played, contest, nearest, neighbourhoods, survivors
from jaxhp.selection.stretches import Stretch, stretches
from jaxhp.selection.verdict import Finals, Measured, Verdict
from jaxhp.store.ledger import Ledger
from jaxhp.tasks.halves import name_of_half
from jaxhp.trials import Trial, Trials
from jaxhp.values import Config


class Setting(NamedTuple):
    """What the finals know of a search."""

    course: Course
    finals: Finals
    objectives: Objectives
    fold: np.ndarray | None  # i32[n], the fold of each example that is validated
    examples: bool  # whether trials are measured on examples, see `Groups`

    @property
    def several(self) -> bool:
        """Whether there are several objectives, so that there is a front."""
        return len(self.objectives.names) > 1


class _Fresh(NamedTuple):
    """What fresh replicates of one trial gave, part by part."""

    scores: list[np.ndarray]  # f32[R]
    first: list[np.ndarray]  # f32[R, n or h], the metric that is the score
    others: list[np.ndarray]  # f32[R, K, n or h], see `Outcome`
    bias: list[np.ndarray]  # f32[R, 1 + K], likewise


def run_finals(
    of: Setting, trials: Trials, executor: Executor, ledger: Ledger, emit: Emit, stop: Callable[[], None]
) -> None:
    """Choose one of the trials (see `contest`) and record how in the ledger; of several objectives, measure the front.

    Fresh replicates have the ids that follow those of the search. Their number is a whole multiple of the folds, so
    that replicate r stays in fold r % K. Who inherited weights in the search is trained by way of its ancestors again.
    Where the best epoch counts, a finalist is measured at the one that it had in the search.

    Args:
      stop: raises Stopped where a signal asked for it; called after every part that is recorded.
    """
    course = of.course
    known = trials.ranked_by(course.metric, course.mode, course.epochs, course.epoch)
    ranked, finalists = _finalists(of, known)
    if not finalists:
        diverged = not known.healthy().any()
        emit(Warned(f"no finals: {'every trial diverged' if diverged else 'no trial keeps all constraints'}"))
        return
    read = {t.trial_id: t.measured_at for t in finalists}
    epochs = max(read.values())
    emit(FinalsBegan(finalists, epochs))
    budgets = [rung.epochs for rung in course.rungs]
    histories = {t.trial_id: stretches(known, t.trial_id, budgets, epochs) for t in finalists}
    fresh = {t.trial_id: _Fresh([], [], [], []) for t in finalists}
    most = of.finals.members(1 if of.fold is None else int(of.fold.max()) + 1)

    luck_of_epochs = course.epoch == "best" and of.examples and not of.several

    def play(who: Sequence[int], replicates: range) -> Played:
        playing = [finalists[p].trial_id for p in who]
        ids = range(course.members + replicates.start, course.members + replicates.stop)
        at = np.asarray([read[trial] for trial in playing], np.int32) if course.epoch == "best" else None
        parts = _train(of, [histories[trial] for trial in playing], at, ids, executor, ledger, emit, stop)
        for row, trial in enumerate(playing):
            fresh[trial].scores.extend(part.replicate_scores[row] for part in parts)
            fresh[trial].first.extend(_counting(part)[row] for part in parts)
            fresh[trial].others.extend(part.others[row] for part in parts if part.others is not None)
            fresh[trial].bias.extend(part.bias[row] for part in parts if part.bias is not None)
        valid = np.concatenate([part.valid for part in parts if part.valid is not None], 1)
        held_out = [part.held_out for part in parts if part.held_out is not None]
        configs = [histories[trial][-1].config for trial in playing]
        luck = _luck(course, epochs, configs, parts) if luck_of_epochs else None
        bias = [part.bias[:, :, 0] for part in parts if part.bias is not None]
        held = np.concatenate(held_out, 1) if held_out else None
        return Played(valid, held, luck, np.concatenate(bias, 1) if bias else None)

    if of.several:
        play(range(len(finalists)), range(most))
        verdict = front_verdict([_measured(of, t, fresh, len(known)) for t in finalists], course.metric)
    else:
        verdict = _contest(of, ranked, finalists, play, luck_of_epochs=luck_of_epochs)
        found = [_measured(of, t, fresh, len(known)) for t in finalists if of.objectives.constraints]
        estimate = verdict.estimate and verdict.estimate._replace(n_tried=len(known))
        verdict = verdict._replace(estimate=estimate, measured=tuple(found))
    executor.forget()  # these members have the names of the search's, which are of other replicates
    played = {trial: _padded(np.concatenate(parts.scores), most) for trial, parts in fresh.items()}
    ledger.record_finals(played, json.dumps(verdict.to_json()))


def _luck(course: Course, epochs: int, configs: Sequence[Config], parts: Sequence[Outcome]) -> np.ndarray:
    """Return f64[P, E], what every other example shows more than all do, after each epoch.

    The last of the `epochs` that were trained stands for those after it.
    """

    def of_row(row: int, config: Config) -> np.ndarray:
        names = course.metrics(config)
        whole, half = (names.index(name) for name in (course.metric, name_of_half(course.metric)))
        shown = [part.curve[row, :epochs, 1] for part in parts]
        return np.mean([columns[:, half] - columns[:, whole] for columns in shown], 0)

    found = np.stack([of_row(row, config) for row, config in enumerate(configs)])
    return np.pad(np.nan_to_num(found), ((0, 0), (0, parts[0].curve.shape[1] - epochs)), "edge")


def _finalists(of: Setting, trials: Trials) -> tuple[Trials, list[Trial]]:
    """Return the trials that may be chosen, best first, and the finalists among them, in that order."""
    if of.several:
        front = trials[of.objectives.front(trials)]
        chosen = front[spread(of.objectives.scores(front), of.finals.top)]
        return front, list(chosen)
    ranked = of.objectives.ranked(trials)
    ranked = ranked[(of.objectives.violation(ranked) == 0) | ~ranked.healthy()]
    return ranked, survivors(ranked, of.finals.top)


def _contest(of: Setting, ranked: Trials, finalists: list[Trial], play: Play, *, luck_of_epochs: bool) -> Verdict:
    """Choose one of the finalists, which are the first of the ranking.

    Args:
      luck_of_epochs: whether `play` tells of it.
    """
    course = of.course
    unit = np.stack([course.space.unit(t.config) for t in ranked])
    scores = at_full_budget(ranked, course.metric, course.rungs)
    rows = range(len(finalists))
    around = nearest(unit, rows)
    near = neighbourhoods(latest(scores)[0], around, rows, course.mode)
    by_id = {t.trial_id: float(value) for t, value in zip(finalists, near, strict=True)}
    return contest(
        finalists,
        by_id,
        of.finals,
        play,
        mode=course.mode,
        scores=scores,
        around=around,
        fold=of.fold,
        curves=ranked.curve[f"valid_{course.metric}"] if luck_of_epochs else None,
        examples=of.examples,
    )


def _counting(part: Outcome) -> np.ndarray:
    """Return the outcomes f32[P, R, n or h] that estimates are of: held out if there are such."""
    found = part.valid if part.held_out is None else part.held_out
    assert found is not None
    return found


def _measured(of: Setting, trial: Trial, fresh: Mapping[int, _Fresh], n_tried: int) -> Measured:
    """Return what fresh replicates gave of a trial: of the score too, unless finalists were chosen by it."""
    parts, names = fresh[trial.trial_id], of.objectives.measured
    outcomes = {names[0]: np.concatenate(parts.first)} if of.several else {}
    if parts.others:
        outcomes |= dict(zip(names[1:], np.concatenate(parts.others).swapaxes(0, 1), strict=True))
    off = dict(zip(names, np.concatenate(parts.bias).T, strict=True)) if parts.bias else {}
    return measured(trial.trial_id, outcomes, off, of.fold, held_out=of.finals.holdout is not None, n_tried=n_tried)


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
    *before, last = [step.job for step in steps_of(histories, number, replicates)]
    return last._replace(keep=False, outcomes=True, before=tuple(before))


def _padded(scores: np.ndarray, length: int) -> np.ndarray:
    """Pad with NaN for the replicates that a finalist did not take part in."""
    return np.pad(scores, (0, length - len(scores)), constant_values=np.nan)
