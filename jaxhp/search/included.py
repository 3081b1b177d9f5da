"""Configs that a person asked for, trained and recorded exactly as they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.space.space import Space
from jaxhp.values import Config, Error, Value


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
      Error: one is not of this space, is given twice, or there are more than `room`.
    """
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
    exact = found.exact
    if len(exact) < len(given):
        twins = [c for p, c in zip(points, given, strict=True) if exact[p.tobytes()] is not c]
        raise Error(f"include: expected configs that differ by more than rounding, got {twins[0]} again")
    return found
