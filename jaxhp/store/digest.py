"""One number for what a search found, equal for equal searches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from jaxhp.trials import Status, Trials
from jaxhp.values import Json

ABOUT = ("environment", "experiment", "extended")  # of a manifest: where it ran, who began it, not what was searched
GROUPS = "groups"  # of a manifest as it is read: what the ledger knows of static groups that were asked for


def digest(trials: Trials, finals: Mapping[int, np.ndarray]) -> str:
    """SHA-256, 64 hexadecimal digits, of the canonical content: what was tried and what was measured.

    For every finished trial in the order of trial ids: the JSON list `[trial_id, config, status, epochs, diverged_at,
    parent]` with floats of the config as hexadecimal (`float.hex`), keys sorted; then, as little-endian float32 with
    one pattern for NaN, the score, the score of each replicate, and each curve after its name, in the order of names.
    Then for each finalist, in the order of trial ids, `final<trial_id>` and its scores on fresh replicates.

    Times, rounds, events, the environment and trials still running do not enter. So a search has the same digest
    however it was cut into step calls, waves, devices and interruptions; and another one if any config, score, curve
    or status differs in one bit.
    """
    total = hashlib.sha256()
    for trial in trials[np.argsort(trials.trial_id)]:
        if trial.status is Status.RUNNING:
            continue
        config = {n: v.hex() if isinstance(v, float) else v for n, v in trial.config.items()}
        facts = [trial.trial_id, config, str(trial.status), trial.epochs, trial.diverged_at, trial.parent]
        total.update(json.dumps(facts, sort_keys=True).encode())
        total.update(_canonical([trial.score, *trial.replicate_scores]))
        for name in sorted(trial.curve):
            total.update(name.encode() + _canonical(trial.curve[name]))
    for trial_id in sorted(finals):
        total.update(b"final" + str(trial_id).encode() + _canonical(finals[trial_id]))
    return total.hexdigest()


def manifest_digest(manifest: Json) -> str:
    """SHA-256 of what a manifest says was searched; where it ran and who started it do not enter.

    >>> manifest_digest({"seed": 1, "environment": {}}) == manifest_digest({"seed": 1})
    True
    """
    searched = {name: value for name, value in manifest.items() if name not in (*ABOUT, GROUPS)}
    plain = json.loads(json.dumps(searched))  # as it is read back
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _canonical(values: ArrayLike) -> bytes:
    array = np.array(values, "<f4")
    array[np.isnan(array)] = np.nan
    return array.tobytes()
