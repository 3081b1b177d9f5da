"""How large things are and may be: members, tiles, what is evaluated at once, and the memory that is free."""

from __future__ import annotations

import os
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import PyTree

from jaxhp.engine.layout import tiles_needed
from jaxhp.engine.runtime import Device
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.task import AnyTask, Shapes

_CPU_TILE_BYTES = 12 * 2**20  # what a core works on at once: found by measurement, see experiments/benchmarks/peak.py
_ACCELERATOR_TILE = 1024  # members at most
# Of weights and activations, so that kernels take longer than to be launched. On an H200 twice as much was 4% (the
# book's network) to 12% (a CNN) faster, and half as much a fifth slower.
_ACCELERATOR_TILE_BYTES = 2**28
# What a tile takes besides its members, in bytes of weights and activations that take as long: kernels are launched,
# however few members they are for. On an H200 a step took 128 + 2.0 T microseconds for T of the book's networks (256,
# 645 and 2,365 for 64, 256 and 1,024), and 640 + 36 T for T CNNs.
_ACCELERATOR_LAUNCH_BYTES = 2**26
_ACCELERATOR_EVALUATED_BYTES = 2 * 2**30  # what the activations of a tile may take while it is evaluated


def tree_bytes(tree: PyTree) -> int:
    """Counts the bytes of a pytree of arrays or shapes."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def member_bytes(shapes: Shapes, epochs: int) -> int:
    """Counts the bytes of one member between steps: weights, optimizer state and a curve of E = `epochs` epochs."""
    return tree_bytes(shapes.member) + (epochs * 2 * len(shapes.metrics) + 2) * 4


def default_tile(shapes: Shapes, device: Device, rounds: Sequence[tuple[int, int]] = ()) -> int:
    """Chooses the members of a tile, T: of the task, the optimizer, the kind of device and the search's rounds alone.

    On a CPU, the largest power of two up to 16 whose weights, optimizer state and activations, with the gradients of
    both, fit a core's share of the cache, whatever the rounds (larger tiles are no faster, and leave cores idle in
    small rounds); on an accelerator, the largest up to 1024 whose weights and activations are not more than it needs to
    be kept busy, or a smaller one where that trains the rounds sooner, since padding costs as much as members.

    Args:
      shapes: of the group.
      device: whose `platform` is "cpu", "gpu" or "tpu".
      rounds: (trials, epochs that each of them is trained) of every round.
    """
    weights = tree_bytes(getattr(shapes.member.variables, "params", shapes.member.variables))
    if device.platform == "cpu":
        return _power_of_two(_CPU_TILE_BYTES / (tree_bytes(shapes.member) + weights + 2 * shapes.activations), 16)
    member = max(weights + shapes.activations, 1)
    busy = _power_of_two(_ACCELERATOR_TILE_BYTES / member, _ACCELERATOR_TILE)

    def work(tile: int) -> int:
        each = _ACCELERATOR_LAUNCH_BYTES + tile * member
        return sum(tiles_needed(trials, 1, tile) * epochs for trials, epochs in rounds) * each

    return min((busy >> halved for halved in range(busy.bit_length())), key=work)


def _power_of_two(fit: float, most: int) -> int:
    return 2 ** int(np.log2(np.clip(fit, 1, most)))


def overhead(tile: int, device: Device) -> float:
    """Returns how many members could be trained in the time that each tile costs beside its members'.

    On two cores, networks of a layer or two of 16 to 64 units took 2.1 times as long in tiles of 1 as in tiles of 16,
    and 1.3 to 1.8 times in tiles of 2: about one member. An accelerator is busy with a quarter of its default tile.

    Args:
      tile: `default_tile` for this device.
    """
    return 1.0 if device.platform == "cpu" else tile / 4


def rows_at_once(task: AnyTask, shapes: Shapes, tile: int, device: Device) -> int:
    """Chooses how many examples a tile is evaluated on at once.

    From a minibatch to 1024, as many as fit a CPU core's cache, or a small part of an accelerator's memory; one of a
    `Loop`, which has no more.

    Args:
      task, shapes: of the group.
      tile: T, its members.
      device: whose `platform` is "cpu", "gpu" or "tpu".
    """
    if isinstance(task, Loop):
        return 1
    room = _CPU_TILE_BYTES if device.platform == "cpu" else _ACCELERATOR_EVALUATED_BYTES
    fit = task.batch_size * room // max(tile * shapes.activations, 1)
    return int(np.clip(fit, min(task.batch_size, 1024), 1024))


def memory_limit(devices: Sequence[Device]) -> int:
    """Measures the bytes that a search may fill: most of what the devices (of CPU devices: the host) have free."""
    if devices[0].platform == "cpu":
        return host_memory_limit()
    stats = devices[0].memory_stats() or {}
    return int(0.9 * (stats.get("bytes_limit", 8 * 2**30) - stats.get("bytes_in_use", 0)) * len(devices))


def host_memory_limit() -> int:
    """Measures the bytes that this process may take: most of what the host has free."""
    with open("/proc/meminfo") if os.path.exists("/proc/meminfo") else open(os.devnull) as file:
        found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
    return int(0.7 * found.get("MemAvailable", 8 * 2**30))
