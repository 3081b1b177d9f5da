"""Where members wait whose population does not fit the devices at once: weights and optimizer state on the host."""

from __future__ import annotations

import tempfile
from typing import Any

import jax
import numpy as np

from jaxhp.engine.devices import members_at
from jaxhp.engine.layout import Layout
from jaxhp.engine.population import Population
from jaxhp.engine.sizes import host_memory_limit
from jaxhp.engine.tile import State


class Shelf:
    """Rows times replicates of one population, in memory, or in a temporary file where memory is too small.

    Args:
      population: whose members wait.
      rows, replicates: how many.
      leaves: the members themselves, [rows, replicates, ...] for each leaf of a `State`; None: none yet.
    """

    def __init__(self, population: Population, rows: int, replicates: int, leaves: list[np.ndarray] | None = None):
        self.population = population
        if leaves is not None:
            self.leaves = leaves
            return
        per_member = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[3:], s.dtype), population.abstract_state())
        wanted = rows * replicates * population.member_bytes
        self._files: list[Any] = []
        in_memory = wanted < 0.3 * host_memory_limit()

        def place(shape: jax.ShapeDtypeStruct) -> np.ndarray:
            whole = (rows, replicates, *shape.shape)
            if in_memory:
                return np.empty(whole, shape.dtype)
            self._files.append(tempfile.TemporaryFile())  # noqa: SIM115, closed with the shelf
            return np.memmap(self._files[-1], shape.dtype, "w+", shape=whole)

        self.leaves: list[np.ndarray] = jax.tree.leaves(jax.tree.map(place, per_member))

    def put(self, rows: np.ndarray, layout: Layout, state: State) -> None:
        """Keeps the members of `layout`, whose rows are `rows` of the shelf."""
        for kept, leaf in zip(self.leaves, jax.tree.leaves(state), strict=True):
            kept[rows] = members_at(leaf, layout.slots)

    def get(self, origin: np.ndarray, layout: Layout) -> State:
        """A state with the members of `layout` taken from rows `origin` of the shelf; -1 stays undefined."""
        there = np.flatnonzero(origin >= 0)

        def bring(shape: jax.ShapeDtypeStruct, kept: np.ndarray) -> jax.Array:
            flat = np.zeros((np.prod(shape.shape[:3]), *shape.shape[3:]), kept.dtype)
            flat[layout.slots[there]] = kept[origin[there]]
            return jax.device_put(flat.reshape(shape.shape), shape.sharding)

        shapes, structure = jax.tree.flatten(self.population.abstract_state())
        return jax.tree.unflatten(structure, [bring(*pair) for pair in zip(shapes, self.leaves, strict=True)])
