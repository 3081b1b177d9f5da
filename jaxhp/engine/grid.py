"""Where the tiles of a population lie: the shapes of a state and of what it is trained for, spread over devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxhp.engine.layout import Layout
from jaxhp.engine.spec import Spec
from jaxhp.engine.tile import Places, State


class Capacity(NamedTuple):
    """The only shape of the step."""

    tile: int  # T, members of a tile
    tiles: int  # tiles at most, over all devices
    trials: int  # P, rows at most
    replicates: int  # R, replicates of a row at most
    epochs: int  # E, epochs at most


class Grid(NamedTuple):
    """Where the tiles of a population lie: arrays are [N, D, T, ...], spread over D devices."""

    spec: Spec
    capacity: Capacity
    devices: Sequence[Any]

    @property
    def shape(self) -> tuple[int, int]:
        """Returns (N, D)."""
        return -(-self.capacity.tiles // len(self.devices)), len(self.devices)

    def sharding(self, *axes: str | None) -> NamedSharding:
        """Makes the sharding of arrays whose axis "device" counts the devices; without one they are replicated."""
        mesh = Mesh(np.asarray(self.devices), ("device",), axis_types=(AxisType.Auto,))
        return NamedSharding(mesh, PartitionSpec(*axes))

    def abstract_state(self) -> State:
        """Returns shapes of a state, [N, D, T, ...]."""
        shapes, (n, d), t = self.spec.shapes, self.shape, self.capacity.tile
        curve = jax.ShapeDtypeStruct((self.capacity.epochs, 2, len(shapes.metrics)), jnp.float32)
        spread, diverged_at = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)
        one, spec = State(shapes.member, curve, spread, diverged_at), self.sharding(None, "device")
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct((n, d, t, *s.shape), s.dtype, sharding=spec), one)

    def places(self, configs: Mapping[str, Any], trials: Any, layout: Layout, start: Any, stop: Any) -> Places:
        """Brings what tiles are trained for into the shape of the step; tiles that are not filled get zeros.

        Args:
          configs: name to [P], the traced part of every row's config.
          trials: i32[P], trial ids.
          layout: of these rows.
          start, stop: epochs, scalars or i32[tiles].

        Returns:
          leaves [N, D] or [N, D, T].

        Raises:
          ValueError: the layout has more tiles than fit.
        """
        n, d = self.shape
        if layout.tiles > n * d:
            raise ValueError(f"layout: expected at most {n * d} tiles, got {layout.tiles}")

        def tiled(values: Any, dtype: Any = np.int32) -> np.ndarray:
            full = np.zeros((n * d, *np.shape(values)[1:]), dtype)
            full[: layout.tiles] = values
            return full.reshape(n, d, *np.shape(values)[1:])

        row = np.maximum(layout.row, 0)  # padding trains a copy of the first row, which nobody reads
        start, stop = (tiled(np.broadcast_to(epoch, layout.tiles)) for epoch in (start, stop))
        config = {name: tiled(np.asarray(configs[name])[row], dtype) for name, dtype in self.spec.traced.items()}
        return Places(tiled(layout.replicate), start, stop, tiled(np.asarray(trials)[row]), config)
