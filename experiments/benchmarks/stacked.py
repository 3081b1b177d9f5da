"""A population of networks of one task, ready to be trained again and again by its compiled step."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxhp.engine import population
from jaxhp.engine.layout import arrange, tiles_needed
from jaxhp.engine.population import Capacity
from jaxhp.engine.sizes import default_tile
from jaxhp.search.groups import spec_of
from jaxhp.tasks.task import Task


class Stacked:
    """As many networks as there are configs, on all devices, as a search would train them.

    Args:
      configs: name to f32[P].
      tile: by default the one that a search would take.
    """

    def __init__(self, task: Task, configs: dict[str, np.ndarray], epochs: int, tile: int | None = None):
        self.configs = {name: np.asarray(values, np.float32) for name, values in configs.items()}
        self.count, self.epochs = len(next(iter(self.configs.values()))), epochs
        spec = spec_of(task, {}, dict.fromkeys(configs, np.float32))
        self.shapes = spec.shapes
        self.tile = tile or default_tile(self.shapes, jax.local_devices()[0], [(self.count, epochs)])
        sizes = Capacity(self.tile, tiles_needed(self.count, 1, self.tile), self.count, 1, epochs)
        self.population = population.compile(spec, sizes)
        self._state = self.population.init()

    def run(self, count: int | None = None) -> Any:
        """Trains every network, or the first `count`, from fresh weights; returns what the step tells."""
        count = count or self.count
        trials, layout = np.arange(count, dtype=np.int32), arrange(np.zeros(count), [0], self.tile)
        configs = {name: values[:count] for name, values in self.configs.items()}
        self._state, ranked = self.population.step(self._state, configs, trials, layout, 0, self.epochs)
        return jax.block_until_ready(ranked)
