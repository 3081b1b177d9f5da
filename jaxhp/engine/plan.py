"""What a search will need, worked out before anything runs: tile, waves, memory and floating-point operations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from jaxhp.engine.layout import tiles_needed
from jaxhp.tasks.flops import epoch_flops
from jaxhp.tasks.task import Shapes, Task
from jaxhp.trials import Rung

_CPU_TILE_BYTES = 12 * 2**20  # what a core works on at once: found by measurement, see experiments/benchmarks/peak.py
_ACCELERATOR_TILE = 1024  # members at most
# Of weights and activations, so that kernels take longer than to be launched. On an H200 twice as much was 4% (the
# book's network) to 12% (a CNN) faster, and half as much a fifth slower; but small rounds train a whole tile too.
_ACCELERATOR_TILE_BYTES = 2**28
_ACCELERATOR_EVALUATED_BYTES = 2 * 2**30  # what the activations of a tile may take while it is evaluated
_PROCESS_BYTES = 3 * 2**29  # the interpreter, JAX and what compiling needs, on a CPU


@dataclass(frozen=True)
class GroupPlan:
    """One static group of a search: one population, compiled once.

    Attributes:
      static: the static part of its configs.
      tile: members of a tile.
      rows: trials that are trained at once, at most.
      waves: how often the largest round is split so that it fits the memory.
      state_bytes: weights, optimizer state and curves of the members that are trained at once.
      peak_bytes: what a round needs at most, over all devices.
      epoch_flops: floating-point operations of one member in one epoch, see `flops.epoch_flops`.
    """

    static: dict[str, Any]
    tile: int
    rows: int
    waves: int
    state_bytes: int
    peak_bytes: int
    epoch_flops: float


@dataclass(frozen=True)
class Plan:
    """The groups of a search, and the totals.

    Attributes:
      device: kind of the devices.
      devices: how many.
      rungs: (trials, epochs) of every ask.
      replicates: members of a trial.
      finals: (trials, replicates) of the finals, or None.
      member_epochs: epochs of training in all, finals included, if no trial continues another.
      flops: floating-point operations in all: `member_epochs` of the costliest group.
      seconds: about how long these take, compilation apart; see `rate.expected_seconds`.
    """

    device: str
    devices: int
    rungs: list[tuple[int, int]]
    replicates: int
    finals: tuple[int, int] | None
    member_epochs: int
    flops: float
    seconds: float
    groups: list[GroupPlan]

    @property
    def peak_bytes(self) -> int:
        """What the process needs at most: on accelerators, of their memory alone."""
        return max(group.peak_bytes for group in self.groups) + (_PROCESS_BYTES if self.device == "cpu" else 0)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        rungs = ", ".join(f"{trials} trials x {epochs} epochs" for trials, epochs in self.rungs)
        lines = [
            f"device      {self.devices} x {self.device}",
            f"rungs       {rungs}" + (f", {self.replicates} replicates a trial" if self.replicates > 1 else ""),
            f"finals      {f'{self.finals[0]} trials x {self.finals[1]} replicates' if self.finals else 'none'}",
            f"work        {self.member_epochs:,} member-epochs, {self.flops / 1e12:.3g} TFLOP at most, "
            f"about {self.seconds:.0f} s",
            f"memory      {_size(self.peak_bytes)} at most",
        ]
        for group in self.groups:
            name = ", ".join(f"{k}={v}" for k, v in group.static.items()) or "all trials"
            lines.append(
                f"group       {name}: tile {group.tile}, {group.rows} trials at once, {group.waves} wave(s), "
                f"state {_size(group.state_bytes)}, peak {_size(group.peak_bytes)}, "
                f"{group.epoch_flops / 1e6:.4g} MFLOP a member and epoch"
            )
        return "\n".join(lines)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"


def tree_bytes(tree: Any) -> int:
    """Bytes of a pytree of arrays or shapes."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def member_bytes(shapes: Shapes, epochs: int) -> int:
    """Bytes of one member between steps: weights, optimizer state and curve."""
    return tree_bytes(shapes.member) + (epochs * 2 * len(shapes.metrics) + 2) * 4


def default_tile(shapes: Shapes, device: Any) -> int:
    """Members of a tile: a function of the task, the optimizer and the kind of device alone.

    On a CPU, the largest power of two up to 16 whose weights, optimizer state and activations, with the gradients of
    both, fit a core's share of the cache (larger tiles are no faster, and leave cores idle in small rounds); on an
    accelerator, the largest up to 1024 whose weights and activations are not more than it needs to be kept busy.
    """
    weights = tree_bytes(getattr(shapes.member.variables, "params", shapes.member.variables))
    if device.platform == "cpu":
        fit, most = _CPU_TILE_BYTES / (tree_bytes(shapes.member) + weights + 2 * shapes.activations), 16
    else:
        fit, most = _ACCELERATOR_TILE_BYTES / (weights + shapes.activations), _ACCELERATOR_TILE
    return 2 ** int(np.log2(np.clip(fit, 1, most)))


def rows_at_once(task: Task, shapes: Shapes, tile: int, device: Any) -> int:
    """Examples that a tile is evaluated on at once: from a minibatch to 1024, as many as fit a CPU core's cache, or a
    small part of an accelerator's memory."""
    room = _CPU_TILE_BYTES if device.platform == "cpu" else _ACCELERATOR_EVALUATED_BYTES
    fit = task.batch_size * room // max(tile * shapes.activations, 1)
    return int(np.clip(fit, min(task.batch_size, 1024), 1024))


def memory_limit(devices: list[Any]) -> int:
    """Bytes that a search may fill: most of what the devices (or, for CPU devices, the host) have free."""
    if devices[0].platform == "cpu":
        return host_memory_limit()
    stats = devices[0].memory_stats() or {}
    return int(0.9 * (stats.get("bytes_limit", 8 * 2**30) - stats.get("bytes_in_use", 0)) * len(devices))


def host_memory_limit() -> int:
    """Bytes that this process may take: most of what the host has free."""
    with open("/proc/meminfo") if os.path.exists("/proc/meminfo") else open(os.devnull) as file:
        found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
    return int(0.7 * found.get("MemAvailable", 8 * 2**30))


def plan_group(
    task: Task,
    shapes: Shapes,
    config: Mapping[str, Any],
    *,
    static: dict[str, Any],
    tile: int | None,
    rungs: tuple[Rung, ...],
    replicates: int,
    finals: tuple[int, int] | None,
    epochs: int,
    devices: list[Any],
    memory: int | None,
) -> GroupPlan:
    """Chooses tile and waves for one static group; raises MemoryError where even one tile does not fit."""
    tile = tile or default_tile(shapes, devices[0])
    trials = max(rung.trials for rung in rungs)
    widths = [replicates] + ([finals[1]] if finals else [])
    counts = [trials] + ([finals[0]] if finals else [])
    needed = max(tiles_needed(c, w, tile) for c, w in zip(counts, widths, strict=True))
    tile_bytes = tile * member_bytes(shapes, epochs)
    held = 1 if task.stream is None else 2  # epochs of training data
    data_bytes = held * tree_bytes(task.train) + tree_bytes(task.valid)
    largest_leaf = max((tree_bytes(leaf) for leaf in jax.tree.leaves(shapes.member)), default=0) / max(
        member_bytes(shapes, epochs), 1
    )
    # Per device: the data, and a tile being worked on with its gradients and activations, in several forms at once (as
    # compiled for an H100: 5 times in training, 3 in evaluation). While members move, one leaf exists twice.
    forms = max(6, 3 * rows_at_once(task, shapes, tile, devices[0]) / task.batch_size)
    fixed = len(devices) * (data_bytes + 3 * tile_bytes + int(forms * tile * shapes.activations))
    limit = memory if memory is not None else memory_limit(devices)
    fit = int((limit - fixed) / (tile_bytes * (1 + largest_leaf)))
    narrowest = max(widths)
    if fit < narrowest:
        raise MemoryError(
            f"plan: one tile of {tile} members with {narrowest} replicates needs "
            f"{_size(fixed + narrowest * tile_bytes)}, but only {_size(limit)} of memory are free; "
            "use a smaller tile, fewer replicates or a smaller network"
        )
    tiles = min(needed, fit)
    rows = min(trials, tiles // replicates * tile)
    return GroupPlan(
        static=static,
        tile=tile,
        rows=rows,
        waves=-(-trials // rows),
        state_bytes=tiles * tile_bytes,
        peak_bytes=int(fixed + tiles * tile_bytes * (1 + largest_leaf)),
        epoch_flops=epoch_flops(task, shapes, config),
    )
