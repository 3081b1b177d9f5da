"""How a trial came to be trained: with which config up to which epoch.

A trial that inherited another's weights (population based training) was not trained with its config alone. What stands
beside its score has to be trained as it was: with its ancestors' configs, each up to where its heir was born.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.trials import Trials
from jaxhp.values import Config, Error


class Stretch(NamedTuple):
    """A part of a training.

    Attributes:
      trial_id: whose config it is.
      config: that it is trained with.
      upto: the epoch at which it ends, counted from the fresh start; it begins where the one before ended.
    """

    trial_id: int
    config: Config
    upto: int


def stretches(trials: Trials, trial_id: int, budgets: Sequence[int], epochs: int) -> tuple[Stretch, ...]:
    """Return the parts of a trial's training, the earliest first: one if it inherited no weights.

    A trial that was born in round r inherited what its parent was at the end of round r - 1.

    Args:
      trials: it, and all of its ancestors.
      trial_id: which.
      budgets: the epochs that each round of the search reached.
      epochs: up to which it is trained.

    Raises:
      Error: an ancestor is missing, or is no older than its heir.
    """
    found: list[Stretch] = []
    while True:
        row = np.flatnonzero(trials.trial_id == trial_id)
        if not len(row):
            raise Error(f"trials: expected trial {trial_id}, whose weights another inherited, got none of that id")
        trial = trials[int(row[0])]
        found.append(Stretch(trial_id, trial.config, epochs))
        if trial.parent is None:
            break
        if not 0 < trial.round <= len(budgets) or trial.parent >= trial_id:
            raise Error(f"trials: expected a parent older than trial {trial_id}, got {trial.parent}")
        trial_id, epochs = trial.parent, min(epochs, budgets[trial.round - 1])
    found.reverse()
    begun = [0, *(stretch.upto for stretch in found)]
    return tuple(stretch for stretch, start in zip(found, begun, strict=False) if stretch.upto > start)
