"""Trials as an Optuna study, for its dashboard, its plots and its samplers.

A trial has the parameters of its config with the distributions of the space, the validation curve as intermediate
values, and as user attributes what Optuna has no word for. A finished trial is COMPLETE, one that was given up at a
rung PRUNED with its last score, one that diverged FAIL; those still in training are left out. Trials stand in the order
of their ids. Of several objectives the study has as many directions, and a trial its vector of values (FAIL where one
is not known) but no intermediate ones, which Optuna keeps for one objective alone. Of constraints a trial has what
Optuna's samplers ask for: by how much it breaks each, 0 where it keeps it. The study is a copy: the ledger stays the
record. While it is written it says so in the attribute `jaxhp`; one that was left so by a kill is made again.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import optuna
from sqlalchemy.pool import NullPool

from jaxhp.interop.optuna_spaces import of_config, params
from jaxhp.objectives import Objectives
from jaxhp.report.result import Result
from jaxhp.space import Space
from jaxhp.store.files import located, refuse_link
from jaxhp.trials import Status, Trial, Trials
from jaxhp.values import Error

_STATE = "jaxhp"  # the attribute of a study that says whether it is whole


def write(result: Result, place: str | Path) -> int:
    """Make a study in a storage, named as the run directory.

    Where a trial's user attribute `parent` is set, it inherited that trial's weights, and its parameters, which are the
    last that it was trained with, did not make its value alone.

    Args:
      place: the path of an SQLite file, made where there is none, or the URL of a storage such as
        "postgresql://...".

    Returns:
      How many trials were written.

    Raises:
      Error: the storage has a study of this name, or cannot be used.
    """
    name = result.directory.absolute().name if result.directory is not None else "jaxhp"
    name = name.encode(errors="surrogateescape").decode(errors="replace")  # a file's name may be any bytes
    finished = sorted((t for t in result.trials if t.status is not Status.RUNNING), key=lambda trial: trial.trial_id)
    of = result.objectives
    directions: list[Literal["maximize", "minimize"]] = ["maximize" if m == "max" else "minimize" for m in of.modes]
    with _quiet(), _opened(place) as storage:
        try:
            study = _begun(storage, name, directions)
        except optuna.exceptions.DuplicatedStudyError:
            raise Error(f"out: {place} has a study named {name!r} already; delete it or choose another") from None
        study.set_user_attr("metric", result.metric)
        if not of.plain:
            study.set_user_attr("objectives", of.to_json())
            study.set_user_attr("front", sorted(result.front.trial_id.tolist()))
        study.set_user_attr("chosen_trial_id", result.best.trial_id)
        study.set_user_attr("estimate", result.estimate._asdict() if result.estimate else None)
        assert result.space is not None
        study.set_user_attr("fixed", result.space.fixed)
        for trial in finished:
            study.add_trial(_trial(trial, result.space, of))
        study.set_user_attr(_STATE, "whole")
    return len(finished)


@contextmanager
def _opened(place: str | Path) -> Iterator[optuna.storages.RDBStorage]:
    """The storage at a URL, or in a file, whose name SQLAlchemy is not asked to parse."""
    if isinstance(place, str) and "://" in place:
        url, options = place, {}
    else:
        path = located(place, "out")
        refuse_link(path)
        url, options = "sqlite://", {"creator": lambda: sqlite3.connect(path), "poolclass": NullPool}
    try:
        storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
    except Exception as error:  # of one of many database drivers
        raise Error(f"out: expected a storage of Optuna, got {place}: {str(error).splitlines()[0]}") from error
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _begun(
    storage: optuna.storages.RDBStorage, name: str, directions: list[Literal["maximize", "minimize"]]
) -> optuna.Study:
    """A new study, in the place of one that a kill left behind half-written.

    Raises:
      DuplicatedStudyError: there is a whole one, or somebody else's.
    """
    try:
        study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    except optuna.exceptions.DuplicatedStudyError:
        before = optuna.load_study(storage=storage, study_name=name)
        just_made = not before.user_attrs and not before.trials
        if not just_made and before.user_attrs.get(_STATE) != "half-written":
            raise
        optuna.delete_study(storage=storage, study_name=name)
        study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    study.set_user_attr(_STATE, "half-written")
    return study


def _trial(trial: Trial, space: Space, of: Objectives) -> optuna.trial.FrozenTrial:
    curve = trial.curve.get(f"valid_{of.names[0]}", ()) if len(of.names) == 1 else ()
    values = [float(of.values(Trials.of([trial]), name)[0]) for name in of.names[1:]]
    values = [trial.score, *values] if trial.status is not Status.DIVERGED else [math.nan]
    known = all(map(math.isfinite, values))
    bounds = [float(bound.excess(of.values(Trials.of([trial]), name))[0]) for name, bound in of.constraints.items()]
    state = _STATES[trial.status] if known or len(of.names) == 1 else "FAIL"  # of several objectives all, or none
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[state],
        values=values if known else None,
        system_attrs={"constraints": [min(over, 1e300) for over in bounds]} if bounds else None,
        params=params(space, trial.config),
        distributions=of_config(space, trial.config),
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


@contextmanager
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
