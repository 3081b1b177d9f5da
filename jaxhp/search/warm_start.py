"""From one search to the next: configs to include, and trials to learn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.space import Space
from jaxhp.trials import Error, Status, Trial, Value, signed


class Recalled(NamedTuple):
    """What earlier trials tell a strategy.

    Attributes:
      unit: f32[N, D], their points in the space.
      score: f32[N], higher is better, NaN is diverged.
      left_out: how many others have no point in this space, or were given up before their full budget.
    """

    unit: np.ndarray
    score: np.ndarray
    left_out: int


def included(space: Space, configs: Sequence[Mapping[str, Value]], room: int) -> np.ndarray:
    """f32[K, D], the points of configs that a search is to try first.

    Raises:
      Error: a config is not of this space, or there are more than `room`.
    """
    for config in configs:
        if not isinstance(config, Mapping):
            raise Error(f"include: expected a list of configs, got {config!r} in it")
    if len(configs) > room:
        raise Error(f"include: expected at most {room} configs, the first round's trials, got {len(configs)}")
    try:
        points = [space.unit(config) for config in configs]
    except Error as error:
        raise Error(f"include: {error}") from error
    return np.asarray(points, np.float32).reshape(len(points), space.dim)


def recalled(space: Space, trials: Iterable[Trial], mode: str) -> Recalled:
    """What trials of an earlier search, whose space may have been another, say about this one."""
    points, scores, left_out = [], [], 0
    for trial in trials:
        if not isinstance(trial, Trial):
            raise Error(f"warm_start: expected trials, such as those of Result.load(dir).trials, got {trial!r}")
        point = _point(space, trial)
        if point is None:
            left_out += 1
        else:
            points.append(point)
            scores.append(np.nan if trial.status is Status.DIVERGED else trial.score)
    unit = np.asarray(points, np.float32).reshape(len(points), space.dim)
    return Recalled(unit, signed(np.asarray(scores, np.float32), mode), left_out)


def _point(space: Space, trial: Trial) -> np.ndarray | None:
    if trial.status not in (Status.COMPLETE, Status.DIVERGED):
        return None
    try:
        return space.unit(trial.config)
    except Error:
        return None
