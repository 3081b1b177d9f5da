"""Where the tiles of a population lie: in arrays [N, D, T, ...], N tiles of T members on each of D devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Int32, PyTree

from jaxhp.engine.layout import Layout
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


class Places(NamedTuple):
    """A `Layout` and what it is trained for, as data of the step; of a single tile, without [N, D]."""

    replicate: Int32[Array | np.ndarray, "*tiles"]
    start: Int32[Array | np.ndarray, "*tiles"]
    stop: Int32[Array | np.ndarray, "*tiles"]
    trial: Int32[Array | np.ndarray, "*tiles T"]
    config: dict[str, Array | np.ndarray]  # traced parameters, leaves [N, D, T]

    def part(self, device: int) -> Places:
        """Returns one device's part, leaves [N, 1] or [N, 1, T]."""
        return jax.tree.map(lambda leaf: leaf[:, device : device + 1], self)


def places_of(
    traced: Mapping[str, np.dtype],
    tiling: Tiling,
    configs: Mapping[str, np.ndarray],
    trials: np.ndarray,
    layout: Layout,
    start: int | np.ndarray,
    stop: int | np.ndarray,
) -> Places:
    """Brings what tiles are trained for into the shape of the step.

    Args:
      traced: names and dtypes of the part of a config that is data.
      configs: name to [P], the traced part of every row's config.
      trials: i32[P], trial ids.
      layout: of these rows.
      start, stop: epochs, scalars or i32[tiles].

    Returns:
      leaves [N, D] or [N, D, T].

    Raises:
      Error: the layout has more tiles than fit.
    """
    row = np.maximum(layout.row, 0)  # padding trains a copy of the first row, which nobody reads
    return Places(
        tiling.tiled(layout.replicate),
        tiling.tiled(np.broadcast_to(start, layout.tiles)),
        tiling.tiled(np.broadcast_to(stop, layout.tiles)),
        tiling.tiled(np.asarray(trials)[row]),
        {name: tiling.tiled(np.asarray(configs[name])[row], dtype) for name, dtype in traced.items()},
    )
