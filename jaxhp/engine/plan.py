"""What a search will need, worked out before anything runs: tile, waves, memory and floating-point operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import ceil, inf

import jax

from jaxhp.engine.layout import most_of_a_group, tiles_needed
from jaxhp.engine.rate import compile_seconds
from jaxhp.engine.runtime import Device
from jaxhp.engine.sizes import default_tile, member_bytes, memory_limit, rows_at_once, tree_bytes
from jaxhp.engine.spec import Spec
from jaxhp.tasks.traces import traces
from jaxhp.trials import Rung
from jaxhp.values import Config, Json
from jaxhp.words import plain

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
      epoch_flops: floating-point operations of one member in one epoch, see `Traces`.
      compile_seconds: about how long its step takes to compile, see `rate.compile_seconds`.
    """

    static: Config
    tile: int
    rows: int
    waves: int
    state_bytes: int
    peak_bytes: int
    epoch_flops: float
    compile_seconds: float


@dataclass(frozen=True)
class Plan:
    """The groups of a search, and the totals.

    Attributes:
      device: kind of the devices.
      devices: how many.
      rungs: (trials, epochs) of every ask.
      replicates: members of a trial.
      finals: (trials, replicates) of the finals, or None.
      no_finals: why there are none, "" where there are.
      member_epochs: epochs of training in all, finals included, if no trial continues another.
      slot_epochs: the same of all slots of the tiles that are trained, padding included, if trials and finalists fall
        to each group alike.
      flops: floating-point operations of `slot_epochs`.
      expect: tells how long these take without workers, see `seconds`; None where a loop is trained, most of whose
        operations may be others.
      groups: what each static group needs, or some of many, with every value of every static choice; those are
        compiled that a trial is asked for in.
      of_groups: how many groups there are.
      workers: that train at the same time, with such devices each; 0: this process alone.
      moved_bytes: that a member moves at most, between workers and their store, in a rung that others follow: there
        and, to another worker, back.
    """

    device: str
    devices: int
    rungs: list[tuple[int, int]]
    replicates: int
    finals: tuple[int, int] | None
    no_finals: str
    member_epochs: int
    slot_epochs: float
    flops: float
    expect: Callable[[], float] | None
    groups: list[GroupPlan]
    of_groups: int
    workers: int = 0
    moved_bytes: int = 0

    @cached_property
    def seconds(self) -> float | None:
        """Tells about how long the training takes, compilation apart; see `rate.expected_seconds`.

        The machine is measured when this is first asked for, which takes as long as a small search needs to begin.
        """
        return None if self.expect is None else self.expect() / max(self.workers, 1)

    @property
    def peak_bytes(self) -> int:
        """Counts the bytes that the process needs at most: on accelerators, of their memory alone."""
        return max(group.peak_bytes for group in self.groups) + (_PROCESS_BYTES if self.device == "cpu" else 0)

    @property
    def compile_seconds(self) -> float:
        """Adds up what compiling takes: of every group, or of the dearest ones where fewer trials begin."""
        before = [inf, *(epochs for _, epochs in self.rungs)]
        fresh = sum(trials for (trials, epochs), last in zip(self.rungs, before, strict=False) if epochs <= last)
        hit = min(self.of_groups, fresh)
        known = sorted((group.compile_seconds for group in self.groups), reverse=True)
        dearest = known[: ceil(hit * len(known) / self.of_groups)]
        return hit * sum(dearest) / len(dearest)

    def to_json(self) -> Json:
        """Returns the plan as dicts, lists and numbers."""
        known = asdict(replace(self, expect=None)) | {"seconds": self.seconds, "compile_seconds": self.compile_seconds}
        return {name: value for name, value in known.items() if name != "expect"}

    def __str__(self) -> str:
        rungs = ", ".join(f"{trials} trials x {epochs} epochs" for trials, epochs in self.rungs)
        finals = f"{self.finals[0]} trials x {self.finals[1]} replicates" if self.finals else f"none: {self.no_finals}"
        training = ", less than a second of training"
        if self.seconds is None:
            training = " of matrix products; how long a loop takes is not known before it runs"
        elif self.seconds >= 1:
            training = f", about {self.seconds:.0f} s of training"
        count = f"{self.of_groups} group{'s' if self.of_groups > 1 else ''}"
        lines = [
            f"device      {self.devices} x {self.device}" + (f" on {self.workers} workers" if self.workers else ""),
            f"rungs       {rungs}" + (f", {self.replicates} replicates a trial" if self.replicates > 1 else ""),
            f"finals      {finals}",
            f"work        {self.member_epochs:,} member-epochs, {self.slot_epochs:,.0f} with the padding of tiles, "
            f"{self.flops / 1e12:.3g} TFLOP{training}",
            f"compiling   about {self.compile_seconds:.0f} s for {count}, none for what earlier processes have kept",
            f"memory      {_size(self.peak_bytes)} at most",
        ]
        if self.workers:
            lines.append(f"moves       {_size(self.moved_bytes)} at most, a member and rung that others follow")
        for group in self.groups:
            name = ", ".join(f"{k}={v}" for k, v in group.static.items()) or "all trials"
            lines.append(
                f"group       {name}: tile {group.tile}, {group.rows} trials at once, {group.waves} wave(s), "
                f"state {_size(group.state_bytes)}, peak {_size(group.peak_bytes)}, "
                f"{group.epoch_flops / 1e6:.4g} MFLOP a member and epoch"
            )
        if len(self.groups) < self.of_groups:
            lines.append(f"and {self.of_groups - len(self.groups)} groups with other combinations of these values")
        return "\n".join(map(plain, lines))


def _size(count: float) -> str:
    """Writes a number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"


def plan_group(
    spec: Spec,
    *,
    tile: int | None,
    rungs: tuple[Rung, ...],
    replicates: int,
    epochs: int,
    devices: Sequence[Device],
    memory: int | None,
    groups: int = 1,
) -> GroupPlan:
    """Chooses tile and waves for one static group, whose finals are trained in the tiles of the search.

    Args:
      spec: the group.
      tile: members of a tile; None: `default_tile`.
      rungs: of the search.
      replicates: R, members of a trial.
      epochs: E, epochs of a member at most.
      devices: that train.
      memory: bytes at most; None: `memory_limit`.
      groups: of the search; where there are several, those trials are planned for at once that may fall to one.

    Raises:
      MemoryError: even one tile with its replicates does not fit.
    """
    task, shapes = spec.task, spec.shapes
    tile = tile or default_tile(shapes, devices[0])
    trials = most_of_a_group(max(rung.trials for rung in rungs), groups)
    tile_bytes = tile * member_bytes(shapes, epochs)
    held = 1 if task.stream is None else 2  # epochs of training data
    data_bytes = held * tree_bytes(task.train) + tree_bytes(task.valid)
    leaves = [tree_bytes(leaf) for leaf in jax.tree.leaves(shapes.member)]
    largest_leaf = max(leaves, default=0) / max(member_bytes(shapes, epochs), 1)
    # Per device: the data, and a tile being worked on with its gradients and activations, in several forms at once (as
    # compiled for an H100: 5 times in training, 3 in evaluation). While members move, one leaf exists twice.
    forms = max(6, 3 * rows_at_once(task, shapes, tile, devices[0]) / task.batch_size)
    seen = tile * tree_bytes(dict(shapes.columns)) * max(task.n_train, task.n_valid)  # by metrics of the whole set
    fixed = len(devices) * (data_bytes + 3 * tile_bytes + int(forms * tile * shapes.activations) + 2 * seen)
    limit = memory if memory is not None else memory_limit(devices)
    fit = int((limit - fixed) / (tile_bytes * (1 + largest_leaf)))
    if fit < replicates:
        raise MemoryError(
            f"plan: one tile of {tile} members with {replicates} replicates needs "
            f"{_size(fixed + replicates * tile_bytes)}, but only {_size(limit)} of memory are free; "
            "use a smaller tile, fewer replicates or a smaller network"
        )
    tiles = min(tiles_needed(trials, replicates, tile), fit)
    rows = min(trials, tiles // replicates * tile)
    found = traces(task, shapes, spec.abstract)
    return GroupPlan(
        static=spec.static,
        tile=tile,
        rows=rows,
        waves=-(-trials // rows),
        state_bytes=tiles * tile_bytes,
        peak_bytes=int(fixed + tiles * tile_bytes * (1 + largest_leaf)),
        epoch_flops=found.epoch_flops,
        compile_seconds=compile_seconds(found.equations),
    )
