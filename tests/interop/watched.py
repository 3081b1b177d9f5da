"""What trackers must have logged of a search, and readers of what they have."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import jaxhp as hp

Logged = dict[int, dict[str, list[tuple[int, float]]]]  # trial to name to epoch and value, in the order of the log


def curves_of(trials: hp.Trials) -> Logged:
    """What a log must have of the curves, in the order of epochs."""
    found: Logged = {}
    for trial in trials:
        named = {"error/train": trial.curve["train_error"], "error/valid": trial.curve["valid_error"]}
        found[trial.trial_id] = {name: list(enumerate(curve.tolist(), 1)) for name, curve in named.items()}
        assert {len(curve) for curve in named.values()} == {trial.epochs}
    return found


def check(logged: Logged, trials: hp.Trials) -> None:
    """Compare trial for trial, curve for curve, number for number; each is there once."""
    scores = {trial: dict(names.pop("score", [])) for trial, names in logged.items()}
    expected = curves_of(trials)
    assert sorted(logged) == sorted(expected)
    for trial, names in expected.items():
        assert sorted(logged[trial]) == sorted(names)
        for name, curve in names.items():
            np.testing.assert_array_equal(np.asarray(logged[trial][name]), np.asarray(curve), f"{trial} {name}")
    for trial in trials:
        if np.isfinite(trial.score):
            assert max(scores[trial.trial_id]) == trial.epochs
            assert scores[trial.trial_id][trial.epochs] == trial.score


def of_csv(path: Path) -> tuple[Logged, dict[int, dict[str, str]]]:
    """The curves in a file, and the configs beside them."""
    found: Logged = {}
    configs = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            trial = int(row["trial_id"])
            found.setdefault(trial, {}).setdefault(row["name"], []).append((int(row["epoch"]), float(row["value"])))
            configs[trial] = {n.removeprefix("config."): v for n, v in row.items() if n.startswith("config.")}
    return found, configs


def of_tensorboard(folder: Path) -> Logged:
    """The scalars of every trial's folder, as TensorBoard itself reads them."""
    found: Logged = {}
    for one in sorted(folder.glob("trial_*")):
        log = EventAccumulator(str(one), size_guidance={"scalars": 0}, purge_orphaned_data=False).Reload()
        scalars = {tag: [(s.step, s.value) for s in log.Scalars(tag)] for tag in log.Tags()["scalars"]}
        found[int(one.name.removeprefix("trial_"))] = scalars
    return found
