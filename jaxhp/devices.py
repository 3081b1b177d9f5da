"""One JAX device a CPU core, arranged before the backend starts.

A CPU is fastest here when every core trains tiles of its own. JAX can split a host into several CPU devices, but
only before its backend starts; importing this module asks for one device a core.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import jax


def cpu_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def split_host() -> None:
    """Ask for one CPU device a core, unless the user asked for a number; warn where it is too late."""
    if "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    if jax.config.values["jax_num_cpu_devices"] > 0:
        return
    try:
        jax.config.update("jax_num_cpu_devices", cpu_cores())
    except RuntimeError:
        if jax.default_backend() == "cpu" and jax.local_device_count() < cpu_cores():
            warnings.warn(
                f"jaxhp: JAX had started before jaxhp was imported, so training uses {jax.local_device_count()} of "
                f"{cpu_cores()} CPU cores; import jaxhp before the first JAX call, or set JAX_NUM_CPU_DEVICES",
                stacklevel=2,
            )


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
