"""Trials as columns of a data frame: a row a trial, or a row an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from jaxhp.trials import ABSENT, STATUSES, Status, Trial, Trials
from jaxhp.values import Error

Columns = dict[str, Any]  # name to one value a row, None or NaN where there is none


def package(name: str, method: str) -> Any:
    """Import a library of data frames.

    Raises:
      Error: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise Error(f"{method}: needs the package {name} ({error}): pip install {name}") from error


def by_trial(trials: Trials, finals: dict[int, np.ndarray], chosen: int | None) -> Columns:
    """Return a row a trial.

    Args:
      trials: in the order of rows.
      finals: a finalist's scores on fresh replicates, by trial.
      chosen: the trial that was; None: none was.
    """
    rows = list(trials)
    found: Columns = {"trial_id": trials.trial_id}
    found |= {f"config.{name}": _plain(column) for name, column in trials.config.items()}
    found |= {"score": trials.score, "stderr": trials.stderr}
    found |= {name: _at(rows, name) for name in trials.curve}
    found |= {f"replicate.{r}": trials.replicate_scores[:, r] for r in range(trials.replicate_scores.shape[1])}
    found["status"] = [str(STATUSES[place]) for place in trials.status]
    found |= {"round": trials.round, "epochs": trials.epochs}
    found["scored_at"] = [t.scored_at for t in rows]
    found["diverged_at"] = [t.diverged_at or None for t in rows]
    found["parent"] = [t.parent for t in rows]
    found["chosen"] = trials.trial_id == chosen
    width = max(map(len, finals.values()), default=0)
    for r in range(width):
        found[f"final.{r}"] = [float(finals[t.trial_id][r]) if _has(finals, t, r) else np.nan for t in rows]
    return found


def by_epoch(trials: Trials) -> Columns:
    """Return a row for each epoch, from 1, of each finished trial, with every metric after it."""
    done = trials[~trials.having(Status.RUNNING)]
    of = np.repeat(np.arange(len(done)), done.epochs)
    epoch = np.concatenate([np.zeros(0, int), *(np.arange(count) for count in done.epochs)]).astype(int)
    return {
        "trial_id": done.trial_id[of],
        "epoch": epoch + 1,
        **{name: values[of, epoch] for name, values in done.curve.items()},
    }


def _has(finals: dict[int, np.ndarray], trial: Trial, replicate: int) -> bool:
    return replicate < len(finals.get(trial.trial_id, ()))


def _at(trials: Sequence[Trial], name: str) -> list[float]:
    """Return the values of a curve at the epochs that scores are of."""
    return [float(t.curve[name][t.scored_at - 1]) if len(t.curve.get(name, ())) else np.nan for t in trials]


def _plain(column: np.ndarray) -> Any:
    """Return a parameter's values; None where it does not exist in a config."""
    return [None if value is ABSENT else value for value in column] if column.dtype == object else column
