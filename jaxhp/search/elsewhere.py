"""Where to search instead of a point that was tried before, or that the space's `where` forbids.

A strategy knows the unit cube, and not which of its points are one config: the cells of integers and choices, and
whatever a parameter that does not exist would have been. So it may ask for the same config again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np

from jaxhp.compiling import on_host
from jaxhp.engine.streams import Keys, key_of
from jaxhp.space.space import Space
from jaxhp.trials import Rung
from jaxhp.values import Config

_LISTED = 4096  # a space of at most so many points is known point by point
_DRAWN = 1024  # points to choose among in another


def pool(space: Space, allows: Callable[[Config], bool], seed: int, rungs: Sequence[Rung], number: int) -> np.ndarray:
    """Return the points among which a round of a search finds others for those that were tried before."""
    with on_host():
        key = key_of(jax.random.key(seed), Keys.ELSEWHERE, number)
    return elsewhere(space, allows, key, rungs[number].trials)


def elsewhere(space: Space, allows: Callable[[Config], bool], key: jax.Array, population: int) -> np.ndarray:
    """Return the points to choose among, f32[K, D], as they are trained, each of them another config that is allowed.

    Args:
      allows: whether a config may be tried.
      key: of what is drawn, where the space has too many points for a list of all.
      population: P, how many may be needed.
    """
    points = space.points(_LISTED)
    if points is None:
        with on_host():
            drawn = np.asarray(jax.random.uniform(key, (max(4 * population, _DRAWN), space.dim)))
        points = np.stack([space.unit(config) for config in space.configs(drawn)])
    found = _distinct(points, space, allows)
    if not len(found):  # `where` lets so few pass that none of those may be tried
        found = _distinct(np.asarray([space.unit(config) for config in space.allowed()]), space, allows)
    return found


def _distinct(points: np.ndarray, space: Space, allows: Callable[[Config], bool]) -> np.ndarray:
    """Return the points whose configs are allowed, each once."""
    found = {point.tobytes(): point for point in points if allows(space.config(point))}
    return np.stack(list(found.values())) if found else points[:0]
