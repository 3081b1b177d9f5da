"""Where the tiles of a population lie: in arrays [N, D, T, ...], N tiles of T members on each of D devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import PyTree

from jaxhp.engine.runtime import Device
from jaxhp.values import Error


class Capacity(NamedTuple):
    """The only shape of the step."""

    tile: int  # T, members of a tile
    tiles: int  # tiles at most, over all devices
    trials: int  # P, rows at most
    replicates: int  # R, replicates of a row at most
    epochs: int  # E, epochs at most


class Tiling(NamedTuple):
    """A capacity on some devices."""

    capacity: Capacity
    devices: Sequence[Device]

    @property
    def shape(self) -> tuple[int, int]:
        """Returns (N, D)."""
        return -(-self.capacity.tiles // len(self.devices)), len(self.devices)

    @property
    def replicated(self) -> NamedSharding:
        """Makes the sharding of arrays that every device has a copy of."""
        return NamedSharding(self._mesh, PartitionSpec())

    @property
    def sharded(self) -> NamedSharding:
        """Makes the sharding of arrays [N, D, ...]."""
        return NamedSharding(self._mesh, PartitionSpec(None, "device"))

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.asarray(self.devices), ("device",), axis_types=(AxisType.Auto,))

    def abstract(self, one: PyTree[jax.ShapeDtypeStruct]) -> PyTree[jax.ShapeDtypeStruct]:
        """Returns shapes [N, D, T, ...] of all members, given a pytree of those [...] of one."""
        n, d = self.shape
        t, sharding = self.capacity.tile, self.sharded
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct((n, d, t, *s.shape), s.dtype, sharding=sharding), one)

    def tiled(self, values: np.ndarray, dtype: DTypeLike = np.int32) -> np.ndarray:
        """Lays facts of the first k tiles, [k, ...] in their order, out as [N, D, ...]; of the others they are 0.

        Raises:
          Error: there are more tiles than fit.
        """
        n, d = self.shape
        if len(values) > n * d:
            raise Error(f"layout: expected at most {n * d} tiles, got {len(values)}")
        full = np.zeros((n * d, *np.shape(values)[1:]), dtype)
        full[: len(values)] = values
        return full.reshape(n, d, *np.shape(values)[1:])
