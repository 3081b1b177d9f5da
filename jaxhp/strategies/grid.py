"""The full grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, PRNGKeyArray

from jaxhp.strategies.history import History
from jaxhp.strategies.sampler import Blind, positive
from jaxhp.values import Error


@dataclass(frozen=True, init=False)
class Grid(Blind):
    """Every combination of evenly spaced values, ends included, the last dimension fastest.

    `Grid(shape=(5, 3))` has 15 points for a space of two parameters; a dimension with one value stands at 0.5. As
    many values as a `Choice` has choices give each of them once. `population` splits the grid into rounds; the last
    takes what is left. Asking beyond the last point raises a ValueError.
    """

    rounds: int = field(default=1, init=False)
    shape: tuple[int, ...] = ()

    def __init__(self, shape: tuple[int, ...], population: int | None = None):
        if isinstance(shape, (int, np.integer)) or not len(tuple(shape)):
            raise Error(f"Grid shape: expected the number of values of each dimension, got {shape!r}")
        counts = tuple(positive(self, "shape", count) for count in shape)
        total = math.prod(counts)
        rows = total if population is None else positive(self, "population", population)
        full, rest = divmod(total, rows)
        object.__setattr__(self, "shape", counts)
        object.__setattr__(self, "population", (rows,) * full + (rest,) * bool(rest))
        object.__setattr__(self, "rounds", full + bool(rest))

    def init(self, key: PRNGKeyArray, dim: int, epochs: int = 1) -> History:
        """Make the state before the first ask.

        Args:
          key: draws nothing.
          dim: D, the axes of the unit cube.
          epochs: the full budget of a trial.

        Raises:
          Error: the grid has another number of dimensions.
        """
        if dim != len(self.shape):
            raise Error(f"Grid shape: expected one count for each of {dim} dimensions, got {self.shape}")
        return super().init(key, dim, epochs)

    def points(self, history: History, size: int) -> Float32[Array, "{size} D"]:
        """Go on with the grid: its next `size` points, f32[size, D].

        Raises:
          Error: all points were asked for.
        """
        if history.asked >= math.prod(self.shape):
            raise Error(f"Grid: expected an ask within its {math.prod(self.shape)} points, all were asked for")
        steps = np.unravel_index(np.arange(history.asked, history.asked + size), self.shape)
        axes = [np.linspace(0, 1, count) if count > 1 else np.array([0.5]) for count in self.shape]
        columns = [axis[step] for axis, step in zip(axes, steps, strict=True)]
        return jnp.asarray(np.stack(columns, axis=1).astype(np.float32))
