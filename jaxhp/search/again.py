"""Trials trained again as the search trained them: their numbers, and their networks, have the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from jaxhp.engine.work import Executor, Outcome
from jaxhp.keys import keyed
from jaxhp.search.ancestry import steps_of
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
    steps = list(steps_of(histories, 0, replicates))
    for number, (job, done) in enumerate(steps, 1):
        outcome = executor.train(job._replace(keep=keep or number < len(steps)), lambda event: None)
        if done:
            yield Ended([*done], job.stop, outcome.rows(np.asarray([*done.values()], int)))


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
