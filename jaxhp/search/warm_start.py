"""From one search to the next: configs to include, and trials to learn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.space import Space
from jaxhp.trials import Status, Trial, signed
from jaxhp.values import Config, Error, Value


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


class Included(NamedTuple):
    """What a person asked for.

    Attributes:
      unit: f32[K, D], the points of the configs, rounded.
      configs: [K], exactly as they were given.
    """

    unit: np.ndarray
    configs: tuple[Config, ...]

    @property
    def exact(self) -> dict[bytes, Config]:
        """Return the configs by the bytes of their points."""
        return {point.tobytes(): config for point, config in zip(self.unit, self.configs, strict=True)}


def included(space: Space, configs: Sequence[Mapping[str, Value]], room: int) -> Included:
    """Return the configs that a search is to try first.

    Raises:
      Error: a config is not of this space, is given twice, or there are more than `room`.
    """
    for config in configs:
        if not isinstance(config, Mapping):
            raise Error(f"include: expected a list of configs, got {config!r} in it")
    if len(configs) > room:
        raise Error(f"include: expected at most {room} configs, the first round's trials, got {len(configs)}")
    try:
        points = [space.unit(config) for config in configs]
        given = tuple(space.given(config) for config in configs)
    except Error as error:
        raise Error(f"include: {error}") from error
    for config in given:
        if not space.allows(config):
            raise Error(f"include: expected configs that the space's where= lets pass, got {config}")
    found = Included(np.asarray(points, np.float32).reshape(len(points), space.dim), given)
    if len(found.exact) < len(given):
        twins = [c for p, c in zip(points, given, strict=True) if found.exact[p.tobytes()] is not c]
        raise Error(f"include: expected configs that differ by more than rounding, got {twins[0]} again")
    return found


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
