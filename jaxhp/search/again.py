"""Trials trained again as the search trained them: their numbers, and their networks, have the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from jaxhp.engine.work import Executor, Job, Outcome
from jaxhp.keys import keyed
from jaxhp.search.groups import Groups
from jaxhp.selection.stretches import Stretch, stretches
from jaxhp.trials import Trials


class Ended(NamedTuple):
    """Trainings that have come to their end.

    Attributes:
      places: of them, in the order asked for.
      epoch: at which they end. The executor holds their members until the next are trained.
      outcome: row by row.
    """

    places: list[int]
    epoch: int
    outcome: Outcome


def train_again(
    histories: Sequence[Sequence[Stretch]], executor: Executor, replicates: Sequence[int], *, keep: bool
) -> Iterator[Ended]:
    """Train members as they were trained, those that end early first.

    Args:
      histories: of each, how it was trained.
      replicates: ids of the replicates of each.
      keep: whether the executor is to hold all of those that have just ended.
    """
    left, begun = list(range(len(histories))), 0
    before = [-1] * len(histories)  # the trial whose member each is
    for end in sorted({stretch.upto for history in histories for stretch in history}):
        now = {place: next(s for s in histories[place] if s.upto >= end) for place in left}
        rows = {stretch.trial_id: (before[place], stretch.config) for place, stretch in now.items()}
        ids, origin = np.asarray([*rows], np.int32), np.asarray([parent for parent, _ in rows.values()], np.int32)
        done = [place for place in left if histories[place][-1].upto == end]
        left = [place for place in left if place not in done]
        configs = [config for _, config in rows.values()]
        start = np.full(len(ids), begun, np.int32)
        job = Job(0, ids, configs, origin, start, end, replicates, keep=keep or bool(left))
        outcome = executor.train(job, lambda event: None)
        if done:
            at = {trial: row for row, trial in enumerate(rows)}
            yield Ended(done, end, outcome.rows(np.asarray([at[now[place].trial_id] for place in done], int)))
        begun = end
        for place, stretch in now.items():
            before[place] = stretch.trial_id


def networks(
    groups: Groups, budgets: Sequence[int], executor: Callable[[], Executor], trials: Trials, chosen: Trials
) -> list[PyTree[np.ndarray]]:
    """Train trials again and return their networks, of the first replicate, after the epoch that their scores are of.

    Args:
      groups: of the search.
      budgets: the epochs that each of its rounds reached.
      executor: makes what trains as the search did.
      trials: all of the search.
      chosen: those that are asked for.
    """
    of, trains = list(chosen), executor()
    histories = [stretches(trials, trial.trial_id, budgets, trial.scored_at) for trial in of]
    found: list[PyTree[np.ndarray]] = [None] * len(of)
    for ended in train_again(histories, trains, range(1), keep=True):
        for place in ended.places:
            network = trains.variables(of[place].trial_id, ended.epoch, of[place].config)
            found[place] = keyed(network, groups.spec(of[place].config).made)
    return found
