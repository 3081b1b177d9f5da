"""Trials as an Optuna study, for its dashboard, its plots and its samplers.

A trial has the parameters of its config with the distributions of the space, the validation curve as intermediate
values, and as user attributes what Optuna has no word for. A finished trial is COMPLETE, one that was given up at a
rung PRUNED with its last score, one that diverged FAIL; those still in training are left out. Trials stand in the order
of their ids. The study is a copy: the ledger stays the record.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import optuna
from optuna import distributions
from optuna.distributions import BaseDistribution

from jaxhp.report.result import Result
from jaxhp.space import Parameter, Space
from jaxhp.trials import Status, Trial
from jaxhp.values import Error


def write(result: Result, place: str) -> int:
    """Make a study in a storage, named as the run directory.

    Args:
      place: the path of an SQLite file, made where there is none, or the URL of a storage such as
        "postgresql://...".

    Returns:
      How many trials were written.

    Raises:
      Error: the storage has a study of this name, or cannot be used.
    """
    name = result.directory.absolute().name if result.directory is not None else "jaxhp"
    if "://" not in place and Path(place).is_symlink():
        raise Error(f"out: expected a file or the URL of a storage, got {place}, a link")
    url = place if "://" in place else f"sqlite:///{Path(place).absolute()}"
    finished = sorted((t for t in result.trials if t.status is not Status.RUNNING), key=lambda trial: trial.trial_id)
    with _quiet(), ExitStack() as opened:
        direction = "maximize" if result.mode == "max" else "minimize"
        try:
            storage = optuna.storages.RDBStorage(url)
            opened.callback(storage.engine.dispose)
            opened.callback(storage.remove_session)
            study = optuna.create_study(storage=storage, study_name=name, direction=direction)
        except optuna.exceptions.DuplicatedStudyError:
            raise Error(f"out: {place} has a study named {name!r} already; delete it or choose another") from None
        except Exception as error:  # of one of many database drivers
            raise Error(f"out: expected a storage of Optuna, got {place}: {str(error).splitlines()[0]}") from error
        assert result.space is not None
        study.set_user_attr("metric", result.metric)
        study.set_user_attr("chosen_trial_id", result.best.trial_id)
        study.set_user_attr("estimate", result.estimate._asdict() if result.estimate else None)
        study.set_user_attr("fixed", result.space.fixed)
        for trial in finished:
            study.add_trial(_trial(trial, result.space, result.metric))
    return len(finished)


def _trial(trial: Trial, space: Space, metric: str) -> optuna.trial.FrozenTrial:
    known = {name: parameter for name, parameter in space.parameters.items() if name in trial.config}
    curve = trial.curve.get(f"valid_{metric}", ())
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[_STATES[trial.status]],
        value=trial.score if trial.status is not Status.DIVERGED and math.isfinite(trial.score) else None,
        params={name: trial.config[name] for name in known},
        distributions={name: _distribution(parameter) for name, parameter in known.items()},
        intermediate_values={epoch: float(value) for epoch, value in enumerate(curve, 1)},
        user_attrs={
            "trial_id": trial.trial_id,
            "round": trial.round,
            "epochs": trial.epochs,
            "stderr": trial.stderr if math.isfinite(trial.stderr) else None,
            "diverged_at": trial.diverged_at or None,
            "parent": trial.parent,
        },
    )


_STATES = {Status.COMPLETE: "COMPLETE", Status.STOPPED: "PRUNED", Status.DIVERGED: "FAIL"}


def _distribution(parameter: Parameter) -> BaseDistribution:
    bounds, log = parameter.bounds(), parameter.scale == "log"
    if bounds is None:
        return distributions.CategoricalDistribution(parameter.categories())  # type: ignore[arg-type]
    low, high = bounds
    if issubclass(parameter.dtype, np.integer):
        return distributions.IntDistribution(int(low), int(high), log=log)
    return distributions.FloatDistribution(low, high, log=log)


@contextmanager
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
