"""Arrays that are spread over devices, taken apart and put together without moving anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


def split(tree: Any, devices: Sequence[Any]) -> list[Any]:
    """Of arrays [N, D, ...] that lie on D devices, each device's part [N, 1, ...], without copying.

    Donating a part donates its share of the whole.
    """
    leaves, structure = jax.tree.flatten(tree)
    held = [{shard.device: shard.data for shard in leaf.addressable_shards} for leaf in leaves]
    return [jax.tree.unflatten(structure, [parts[device] for parts in held]) for device in devices]


def join(parts: Sequence[Any], sharding: Any) -> Any:
    """The inverse of `split`."""

    def whole(*leaves: jax.Array) -> jax.Array:
        n, _, *rest = leaves[0].shape
        return jax.make_array_from_single_device_arrays((n, len(leaves), *rest), sharding, list(leaves))

    return jax.tree.map(whole, *parts)


def members_at(leaf: jax.Array, slots: np.ndarray) -> np.ndarray:
    """Of an array [N, D, T, ...] that lies on D devices, the members at flat slots i32[n, R], as [n, R, ...].

    Nothing but these is copied: NumPy's view of the whole would be a second one, kept as long as the array.
    """
    n, d, t = np.unravel_index(slots, leaf.shape[:3])
    found = np.empty((*slots.shape, *leaf.shape[3:]), leaf.dtype)
    for shard in leaf.addressable_shards:
        here = d == (shard.index[1].start or 0)
        part = np.asarray(shard.data) if shard.device.platform == "cpu" else shard.data  # the former is no copy
        found[here] = np.asarray(part[n[here], 0, t[here]])
    return found
