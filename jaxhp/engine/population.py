"""The compiled step of one static group, which trains, evaluates and ranks the stacked networks of all its trials.

Executables and shapes, but no trials: the networks are a `State` that callers hand in and get back. Tiles, epochs,
configs and ids are data of the step, so one executable serves every round, rung and resume of a search.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxhp.compiling import on_host
from jaxhp.data.folds import Folding
from jaxhp.engine.carry import first_layers
from jaxhp.engine.examples import Examples, Feed, examples_of
from jaxhp.engine.layout import Layout
from jaxhp.engine.programs import Program, lowered_on
from jaxhp.engine.runtime import Device, compiler_options, join, keep_compiled, once_options, split
from jaxhp.engine.scores import Ranked, ranking
from jaxhp.engine.sizes import member_bytes, rows_at_once
from jaxhp.engine.spec import Spec
from jaxhp.engine.tile import (
    State,
    TileRules,
    abstract_state,
    fresh_tiles,
    tile_outcomes,
    train_tiles,
)
from jaxhp.engine.tiling import Capacity, Places, Tiling, places_of
from jaxhp.tasks.clock import call
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.rows import check_rows
from jaxhp.tasks.task import AnyTask, Member, batch_shapes, clock_shapes, compared_by, curve_examples


class Programs(NamedTuple):
    """What is compiled."""

    fresh: Program  # makes initial weights
    step: Program
    rank: Callable[..., Ranked]
    gather: Callable[..., jax.Array]
    outcomes: Mapping[str, Callable[..., tuple[jax.Array, jax.Array | None]]]  # by metric that the task is ranked by
    traced: Counter[str]  # how often each function was traced so far


@dataclass(frozen=True, eq=False)
class Population:
    """The compiled step of one static group on some devices. `compile` makes it.

    Attributes:
      spec: the group.
      tiling: the shape of the step, and the devices.
      rules: what is compiled into the training of a tile.
      examples: what all members train and are evaluated on, in host memory.
      feed: the same, on every device.
      programs: the executables.
    """

    spec: Spec
    tiling: Tiling
    rules: TileRules
    examples: Examples
    feed: Feed
    programs: Programs

    def init(self) -> State:
        """Makes an empty state: `step` makes every member's weights when its tile starts at epoch 0."""
        make = jax.jit(
            lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), self.abstract_state()),
            out_shardings=self.tiling.sharded,
        )
        return make()

    def take(self, state: State, source: np.ndarray) -> State:
        """Moves members: slot i becomes a copy of slot `source[i]`, or stays undefined where that is -1.

        Args:
          state: donated.
          source: i32[slots filled], flat slots of the present layout in the order of the next one.

        Returns:
          the state with the members where the next layout says.
        """
        slots = np.zeros(self.shape[0] * self.shape[1] * self.capacity.tile, np.int32)
        slots[: len(source)] = np.maximum(source, 0)
        # One leaf at a time and donated, so that never more than one leaf exists twice.
        leaves, structure = jax.tree.flatten(state)
        index = jax.device_put(slots, self.tiling.replicated)
        del state
        gather = self.programs.gather
        return jax.tree.unflatten(structure, [gather(leaves.pop(0), index) for _ in range(len(leaves))])

    def step(
        self,
        state: State,
        configs: Mapping[str, np.ndarray],
        trials: np.ndarray,
        layout: Layout,
        start: int | np.ndarray,
        stop: int | np.ndarray,
    ) -> tuple[State, Ranked]:
        """Trains the members of a layout, evaluates them after every epoch and ranks their trials.

        Args:
          state: donated.
          configs: name to [P], the traced part of every row's config.
          trials: i32[P], trial ids.
          layout: of these rows; at most as large as the capacity.
          start, stop: train from this epoch to that one, counted from the fresh start; scalars or i32[tiles].

        Returns:
          the state afterwards, and what was measured of the rows, padded to the capacity's.
        """
        places = places_of(self.spec.traced, self.tiling, configs, trials, layout, start, stop)
        filled = np.bincount(np.arange(layout.tiles) % self.shape[1], minlength=self.shape[1]).astype(np.int32)
        parts = split(state, self.tiling.devices)
        del state
        first, last = places.start.flat[: layout.tiles].min(), places.stop.flat[: layout.tiles].max()  # type: ignore[union-attr]
        if first == 0:
            for device, fresh in enumerate(self.programs.fresh.on_each()[: layout.tiles]):  # the others have no tile
                root = self.feed.copies[device][1]
                parts[device] = fresh(parts[device], places.part(device), filled[device], root)
        for begin, end, copies in self.feed.spans(int(first), int(last)):
            epochs = {name: np.clip(getattr(places, name), begin, end) for name in ("start", "stop")}
            jax.block_until_ready(parts)  # so that a stream is not brought here faster than it is used
            for device, train in enumerate(self.programs.step.on_each()[: layout.tiles]):
                mine = places._replace(**epochs).part(device)
                parts[device] = train(parts[device], mine, filled[device], *copies[device])
        state = join(parts, self.tiling.sharded)
        slots = np.full((self.capacity.trials, self.capacity.replicates), -1, np.int32)
        slots[: layout.slots.shape[0], : layout.slots.shape[1]] = layout.slots
        return state, self.programs.rank(*jax.device_put(state[1:], self.tiling.devices[0]), places.stop, slots)

    def outcomes(
        self,
        state: State,
        configs: Mapping[str, np.ndarray],
        layout: Layout,
        epochs: int,
        data: PyTree = None,
        metric: str | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Evaluates a metric of every member on every example, as the members are now.

        Args:
          state: not donated.
          configs, layout: as in the last `step`.
          epochs: that the members were trained for.
          data: a pytree like `task.valid`; None: the validation data.
          metric: one of `compared_by(task).measured`; None: the one that is the score.

        Returns:
          f32[P, R, n] for the n examples of `data`, of `task.valid`, or with folds those of train and valid together
          that any fold validates; NaN where an example is not in the replicate's fold, and for members that diverged.
          Of a loop f32[P, R, 1], the metric after these epochs.
          And how much too high a metric of the whole set is on average of so few examples, f32[P, R]; None of a mean.
        """
        if isinstance(self.task, Loop):
            curve = np.asarray(state.curve).reshape(-1, *state.curve.shape[3:])
            return curve[layout.slots, epochs - 1, 1, self.rules.metric][..., None], None
        rows, counts = self.examples.valid_rows, self.examples.valid_count
        if data is not None:
            n = len(jax.tree.leaves(data)[0])
            rows, counts = np.arange(n, dtype=np.int32)[None], np.asarray([n])
            copies = [jax.device_put(data, device) for device in self.tiling.devices]
        else:
            copies = [held.train if held.valid is None else held.valid for held, _ in self.feed.copies]
        name = metric or self.task.metric
        by_member, bias = self._by_member(name, state, configs, layout, copies, rows, counts, epochs)
        diverged = np.asarray(state.diverged_at).reshape(-1)[layout.slots] > 0
        found = np.full((*layout.slots.shape, int(counts.sum())), np.nan, np.float32)
        seen = np.sort(np.concatenate([some[:count] for some, count in zip(rows, counts, strict=True)]))
        replicate = layout.replicate[layout.slots[0] // self.capacity.tile]  # of each column
        for column, fold in enumerate(replicate % len(rows)):
            values = by_member[layout.slots[:, column], : counts[fold]]
            at = np.searchsorted(seen, rows[fold, : counts[fold]])
            found[:, column, at] = np.where(diverged[:, [column]], np.nan, values)
        return found, None if bias is None else bias[layout.slots]

    def _by_member(
        self,
        metric: str,
        state: State,
        configs: Mapping[str, np.ndarray],
        layout: Layout,
        copies: list[PyTree[Array]],
        rows: jax.Array | np.ndarray,
        counts: jax.Array | np.ndarray,
        epochs: int,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Evaluates the members of filled tiles on the rows of their folds.

        Args:
          copies: the examples on each device.
          rows: i32[F, n], of each fold.
          counts: i32[F], how many of them are no padding.

        Returns:
          f32[N * D * T, n or more], undefined for tiles that are not filled and behind n; and of a metric of the whole
          set its bias, f32[N * D * T].
        """
        places = places_of(self.spec.traced, self.tiling, configs, np.zeros(len(layout.slots)), layout, 0, 0)
        at_once = rows.shape[1] if metric in self.task.metrics else self.rules.rows_at_once
        size = -(-rows.shape[1] // -(-rows.shape[1] // at_once))
        padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % size)))
        deep, devices = self.shape
        found = np.empty((deep, devices, self.capacity.tile, padded.shape[1]), np.float32)
        bias = np.zeros(found.shape[:3], np.float32) if metric in self.task.metrics else None
        members = split(state.member, self.tiling.devices)
        for i, at in itertools.product(range(-(-layout.tiles // devices)), range(0, padded.shape[1], size)):
            parts = [
                self.programs.outcomes[metric](
                    members[device],
                    jax.tree.map(lambda leaf, n=i, d=device: leaf[n, d], places.config),
                    np.int32(i),
                    copies[device],
                    padded[places.replicate[i, device] % len(rows), at : at + size],
                    np.int32(counts[places.replicate[i, device] % len(rows)]),
                    np.int32(epochs),
                )
                for device in range(devices)
            ]
            for device, (values, off) in enumerate(jax.device_get(parts)):
                found[i, device, :, at : at + size] = values
                if bias is not None:
                    bias[i, device] = off
        return found.reshape(-1, padded.shape[1]), None if bias is None else bias.reshape(-1)

    def rows_for(self, replicates: int) -> int:
        """Counts the trials with so many replicates that fit at once."""
        tiles = self.shape[0] * self.shape[1]
        return min(tiles // replicates * self.capacity.tile, self.capacity.trials)

    @property
    def replicates_at_most(self) -> int:
        """Counts the replicates of a tile of trials that fit at once."""
        return min(self.shape[0] * self.shape[1], self.capacity.replicates)

    @property
    def member_bytes(self) -> int:
        """Counts the bytes of one member's part of a state."""
        return member_bytes(self.spec.shapes, self.capacity.epochs)

    def abstract_state(self) -> State:
        """Returns shapes of a state, [N, D, T, ...]."""
        return abstract_state(self.spec.shapes, self.tiling)

    @property
    def task(self) -> AnyTask:
        """Returns what a member is."""
        return self.spec.task

    @property
    def capacity(self) -> Capacity:
        """Returns the only shape of the step."""
        return self.tiling.capacity

    @property
    def shape(self) -> tuple[int, int]:
        """Returns (N, D), how many tiles are on how many devices."""
        return self.tiling.shape

    @property
    def compilations(self) -> int:
        """Counts how often the step was traced and compiled so far."""
        return self.programs.traced["step"]

    @property
    def compile_s(self) -> float:
        """Waits for the programs, and returns the seconds that the slowest took."""
        return max(self.programs.fresh.seconds, self.programs.step.seconds)

    def ready(self) -> None:
        """Waits until what `step` needs is compiled.

        Raises:
          jax.errors.JaxRuntimeError: it does not compile.
        """
        self.programs.fresh.on_each()
        self.programs.step.on_each()


def compile(
    spec: Spec,
    capacity: Capacity,
    *,
    seed: int = 0,
    paired: bool = True,
    folds: Folding | None = None,
    epoch: str = "last",
    devices: Sequence[Device] | None = None,
) -> Population:
    """Compiles the step of one static group, and what makes its members: XLA is at it when this returns.

    Args:
      spec: the group.
      capacity: the shape of the step.
      seed: root of all random numbers.
      paired: whether the trials of a replicate share initial weights' key, minibatch order and noise.
      folds: of train and valid together; a member of replicate r is trained and validated as fold r % F has it.
        None: all train on `task.train`.
      epoch: which score of its curve a trial has, the "last" or the "best".
      devices: defaults to all local devices.

    Returns:
      the population, as yet without networks.

    Raises:
      Error: a metric of the task is not one of each example.
    """
    tiling = Tiling(capacity, devices or jax.local_devices())
    examples = examples_of(spec.task.train, spec.task.valid, partial(curve_examples, spec.task), folds)
    feed = Feed(examples, jax.random.key(seed), spec.task.stream, tiling.devices, capacity.epochs)
    rules = _rules(spec, tiling, examples, paired)
    options = compiler_options(tiling.devices[0])
    traced: Counter[str] = Counter()
    keep_compiled(tiling.devices[0])
    fresh, step = _started(spec, tiling, rules, feed, traced)
    with on_host():  # while XLA is at it
        check_rows(spec.task, spec.shapes, spec.static, spec.traced)
    n_valid = int(examples.valid_count[0])
    return Population(
        spec,
        tiling,
        rules,
        examples,
        feed,
        Programs(
            fresh,
            step,
            ranking(rules.metric, spec.task.mode, n_valid, epoch, tuple(options.items())),
            jax.jit(_gather, donate_argnums=0, out_shardings=tiling.sharded),
            {
                name: jax.jit(partial(tile_outcomes, rules, name), compiler_options=options)
                for name in compared_by(spec.task).measured
            },
            traced,
        ),
    )


def _rules(spec: Spec, tiling: Tiling, examples: Examples, paired: bool) -> TileRules:
    """Collects what is compiled into the training of a tile."""
    task, shapes, static, traced = spec[:4]
    tile = tiling.capacity.tile
    first: Member = jax.tree.map(lambda _: False, shapes.member)
    if not isinstance(task, Loop):
        layers = first_layers(
            lambda v, b, k, c: call(task.loss, v, b, k, static | c[0], clock=c[1]),
            shapes.member.variables,
            batch_shapes(examples.train, task.batch_size),
            jax.eval_shape(lambda: jax.random.key(0)),
            ({name: jax.ShapeDtypeStruct((), dtype) for name, dtype in traced.items()}, clock_shapes(task)),
            shapes.member.opt_state,
        )
        first = Member(*layers)
    metric = shapes.metrics.index(task.metric)
    at_once = rows_at_once(task, shapes, tile, tiling.devices[0])
    steps = -(-examples.train_rows.shape[1] // task.batch_size)
    read = tuple(shapes.columns)
    return TileRules(
        task, static, first, paired, tile, metric, shapes.means, read, at_once, steps, tiling.capacity.epochs
    )


def _started(spec: Spec, tiling: Tiling, rules: TileRules, feed: Feed, traced: Counter[str]) -> tuple[Program, Program]:
    """Begins to compile what makes the members of each device, and their step.

    On all devices they are one program, traced once, that knows nothing of other devices: a program partitioned over
    several is optimised in another order than one for a single device, and rounds otherwise.

    Args:
      traced: counts under "fresh" and "step" how often these are traced.
    """

    def fresh(state: State, places: Places, filled: jax.Array, root: jax.Array) -> State:
        traced["fresh"] += 1  # runs when it is traced, and only then
        return fresh_tiles(rules, state, places, filled, root)

    def step(state: State, places: Places, filled: jax.Array, examples: Examples, root: jax.Array) -> State:
        traced["step"] += 1
        return train_tiles(rules, state, places, filled, examples, root)

    t, none = tiling.capacity.tile, np.zeros(0, np.int32)
    layout = Layout(np.zeros((0, t), np.int32), none, none, np.zeros((0, 0), np.int32))
    places = places_of(spec.traced, tiling, dict.fromkeys(spec.traced, none), np.zeros(1), layout, 0, 0)
    lowering = partial(lowered_on, abstract_state(spec.shapes, tiling), places, np.int32(0))
    devices = tiling.devices
    examples, root = feed.abstract
    stepping = Program(lowering((examples, root), step), devices, compiler_options(devices[0]))
    return Program(lowering((root,), fresh), devices, once_options(devices[0])), stepping


def _gather(leaf: jax.Array, source: jax.Array) -> jax.Array:
    """Copies the members at flat slots `source` i32[N * D * T] of a leaf [N, D, T, ...], in their order."""
    flat = leaf.reshape(-1, *leaf.shape[3:])
    return flat.at[source].get(mode="promise_in_bounds").reshape(leaf.shape)
