"""A population of networks of one task, ready to be trained again and again by its compiled step."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxhp.layout import arrange, tiles_needed
from jaxhp.plan import default_tile
from jaxhp.population import Capacity, Population
from jaxhp.task import Task, check


class Stacked:
    """As many networks as there are configs, on all devices, as a search would train them.

    Args:
      configs: name to f32[P].
      capacity: trials that there is room for; by default P.
    """

    def __init__(self, task: Task, configs: dict[str, np.ndarray], epochs: int, capacity: int | None = None):
        self.configs = {name: np.asarray(values, np.float32) for name, values in configs.items()}
        self.count, self.epochs = len(next(iter(self.configs.values()))), epochs
        abstract = {name: jax.ShapeDtypeStruct((), np.dtype(np.float32)) for name in configs}
        self.shapes = check(task, abstract)
        self.tile = default_tile(self.shapes, jax.local_devices()[0])
        room = capacity or self.count
        sizes = Capacity(self.tile, tiles_needed(room, 1, self.tile), room, 1, epochs)
        self.population = Population(task, self.shapes, {}, {n: a.dtype for n, a in abstract.items()}, sizes)
        self._layout = arrange(np.zeros(self.count), [0], self.tile)
        self._state = self.population.init()

    def run(self) -> Any:
        """Trains every network from fresh weights to the last epoch; returns what the step tells."""
        trials = np.arange(self.count, dtype=np.int32)
        self._state, ranked = self.population.step(self._state, self.configs, trials, self._layout, 0, self.epochs)
        return jax.block_until_ready(ranked)
