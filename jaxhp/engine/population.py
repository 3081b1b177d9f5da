"""The stacked networks of all trials, and the one compiled step that trains, evaluates and ranks them.

This is the only module that maps over members. Members stand in tiles (see `layout.py`): arrays have the shape
[N, D, T, ...] for D devices with N tiles of T members each. The step loops over the tiles that are filled and the
epochs that are wanted, both of which are data, so one executable serves every round, rung and resume of a search.
A tile is trained from its first to its last epoch before the next one starts: its weights stay in the cache.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxhp.engine.cache import keep_compiled
from jaxhp.engine.carry import axes, carry, first_layers, mapped, stacked
from jaxhp.engine.determinism import compiler_options
from jaxhp.engine.devices import join, split
from jaxhp.engine.examples import Examples, examples_of
from jaxhp.engine.feed import Feed
from jaxhp.engine.layout import Layout
from jaxhp.engine.plan import member_bytes, rows_at_once
from jaxhp.engine.scores import Ranked, rank_trials
from jaxhp.tasks.task import Member, Shapes, Task, batch_shapes, create, update

INIT, ORDER, NOISE = 1, 2, 3  # streams of random numbers: initial weights, minibatch order, the loss's key


class State(NamedTuple):
    """Every member of a population. Leaves are [N, D, T, ...]."""

    member: Member
    curve: Any  # f32[N, D, T, E, 2, M], train and valid metrics after each epoch
    spread: Any  # f32[N, D, T], variance of the metric over validation examples, last epoch
    diverged_at: Any  # i32[N, D, T], epoch from 1, 0 if it did not


class Places(NamedTuple):
    """A `Layout` and what it is trained for, as data of the step."""

    replicate: Any  # i32[N, D]
    start: Any  # i32[N, D]
    stop: Any  # i32[N, D]
    trial: Any  # i32[N, D, T]
    config: Any  # traced parameters, leaves [N, D, T]


class Capacity(NamedTuple):
    """The only shape of the step."""

    tile: int  # T, members of a tile
    tiles: int  # tiles at most, over all devices
    trials: int  # P, rows at most
    replicates: int  # R, replicates of a row at most
    epochs: int  # E, epochs at most


class Population:
    """Members of one static group of a search, on all local devices.

    Args:
      task: what a member is.
      shapes: what `task.check` found.
      static: the part of the config that is compiled in.
      traced: names and dtypes of the part that is data.
      capacity: shapes of the compiled step.
      seed: root of all random numbers.
      paired: whether the trials of a replicate share initial weights' key, minibatch order and noise.
      folds: i32[n_train + n_valid], the fold that each example of train and valid together is validated in; a
        member of replicate r trains on all folds but r % F. None: all train on `task.train`.
      devices: defaults to all local devices.
    """

    def __init__(
        self,
        task: Task,
        shapes: Shapes,
        static: dict[str, Any],
        traced: dict[str, Any],
        capacity: Capacity,
        *,
        seed: int = 0,
        paired: bool = True,
        folds: np.ndarray | None = None,
        devices: list[Any] | None = None,
    ):
        self.task, self.shapes, self.static, self.capacity, self.paired = task, shapes, static, capacity, paired
        self.metric = shapes.metrics.index(task.metric)
        self.devices = devices or jax.local_devices()
        self.shape = (-(-capacity.tiles // len(self.devices)), len(self.devices))
        self.traced = {name: np.dtype(dtype) for name, dtype in traced.items()}
        mesh = Mesh(np.asarray(self.devices), ("device",), axis_types=(AxisType.Auto,))
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._sharded = NamedSharding(mesh, PartitionSpec(None, "device"))
        self.examples = examples_of(task, folds)
        self._feed = Feed(self.examples, jax.random.key(seed), task.stream, self.devices, capacity.epochs)
        self.first_layers = first_layers(
            lambda v, b, k, c: task.loss(v, b, k, static | c),
            shapes.member.variables,
            batch_shapes(self.examples.train, task.batch_size),
            jax.eval_shape(lambda: jax.random.key(0)),
            {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in self.traced.items()},
            shapes.member.opt_state,
        )
        self.rows_at_once = rows_at_once(task, shapes, capacity.tile, self.devices[0])
        self._options = compiler_options(self.devices[0])
        self.compilations = 0
        self.compile_s = 0.0
        self._trains = self._compile()
        self._rank = jax.jit(
            partial(rank_trials, metric=self.metric, mode=task.mode, n_valid=int(self.examples.valid_count[0])),
            compiler_options=self._options,
        )
        self._gather = jax.jit(_gather, donate_argnums=0, out_shardings=self._sharded)
        self._outcomes = jax.jit(partial(_outcomes, task, static), compiler_options=self._options)

    def init(self) -> State:
        """An empty population: every member's weights are made by the step when its tile starts at epoch 0."""
        make = jax.jit(
            lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), self.abstract_state()),
            out_shardings=self._sharded,
        )
        return make()

    def take(self, state: State, source: np.ndarray) -> State:
        """Moves members: slot i becomes a copy of slot `source[i]`, or stays undefined where that is -1.

        Args:
          source: i32[slots filled], flat slots of the present layout in the order of the next one.
        """
        slots = np.zeros(self.shape[0] * self.shape[1] * self.capacity.tile, np.int32)
        slots[: len(source)] = np.maximum(source, 0)
        # One leaf at a time and donated, so that never more than one leaf exists twice.
        leaves, structure = jax.tree.flatten(state)
        index = jax.device_put(slots, self._replicated)
        del state
        return jax.tree.unflatten(structure, [self._gather(leaves.pop(0), index) for _ in range(len(leaves))])

    def step(
        self, state: State, configs: dict[str, np.ndarray], trials: np.ndarray, layout: Layout, start: Any, stop: Any
    ) -> tuple[State, Ranked]:
        """Trains the members of a layout, evaluates them after every epoch and ranks their trials.

        Args:
          state: donated.
          configs: name to [P], the traced part of every row's config.
          trials: i32[P], trial ids.
          layout: of these rows; at most as large as the capacity.
          start, stop: train from this epoch to that one, counted from the fresh start; scalars or i32[tiles].
        """
        places = self._place(configs, trials, layout, start, stop)
        filled = np.bincount(np.arange(layout.tiles) % len(self.devices), minlength=len(self.devices)).astype(np.int32)
        parts = split(state, self.devices)
        del state
        first, last = places.start.flat[: layout.tiles].min(), places.stop.flat[: layout.tiles].max()
        for begin, end, copies in self._feed.spans(int(first), int(last)):
            epochs = {name: np.clip(getattr(places, name), begin, end) for name in ("start", "stop")}
            jax.block_until_ready(parts)  # so that a stream is not brought here faster than it is used
            for device, train in enumerate(self._trains):
                mine = jax.tree.map(lambda leaf, at=device: leaf[:, at : at + 1], places._replace(**epochs))
                parts[device] = train(parts[device], mine, filled[device], *copies[device])
        state = join(parts, self._sharded)
        slots = np.full((self.capacity.trials, self.capacity.replicates), -1, np.int32)
        slots[: layout.slots.shape[0], : layout.slots.shape[1]] = layout.slots
        return state, self._rank(*jax.device_put(state[1:], self.devices[0]), places.stop, slots)

    def outcomes(self, state: State, configs: dict[str, np.ndarray], layout: Layout, data: Any = None) -> np.ndarray:
        """The task's metric of every member on every example, as the members are now.

        Args:
          state: not donated.
          configs, layout: as in the last `step`.
          data: a pytree like `task.valid`; None: the validation data.

        Returns:
          f32[P, R, n] for the n examples of `data`, of `task.valid`, or with folds of train and valid together; NaN
          where an example is not in the replicate's fold, and for members that diverged.
        """
        rows, counts = self.examples.valid_rows, self.examples.valid_count
        if data is not None:
            n = len(jax.tree.leaves(data)[0])
            rows, counts = np.arange(n, dtype=np.int32)[None], np.asarray([n])
            copies = [jax.device_put(data, device) for device in self.devices]
        else:
            copies = [held.train if held.valid is None else held.valid for held, _ in self._feed.copies]
        places = self._place(configs, np.zeros(len(layout.slots)), layout, 0, 0)
        size = -(-rows.shape[1] // -(-rows.shape[1] // self.rows_at_once))
        padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % size)))
        deep, devices = self.shape
        by_member = np.empty((deep, devices, self.capacity.tile, padded.shape[1]), np.float32)
        members = split(state.member, self.devices)
        for i, at in itertools.product(range(-(-layout.tiles // devices)), range(0, padded.shape[1], size)):
            parts = [
                self._outcomes(
                    members[device],
                    jax.tree.map(lambda leaf, n=i, d=device: leaf[n, d], places.config),
                    np.int32(i),
                    copies[device],
                    padded[places.replicate[i, device] % len(rows), at : at + size],
                )
                for device in range(devices)
            ]
            by_member[i, :, :, at : at + size] = jax.device_get(parts)
        by_member = by_member.reshape(-1, padded.shape[1])
        diverged = np.asarray(state.diverged_at).reshape(-1)[layout.slots] > 0
        found = np.full((*layout.slots.shape, int(counts.sum())), np.nan, np.float32)
        replicate = layout.replicate[layout.slots[0] // self.capacity.tile]  # of each column
        for column, fold in enumerate(replicate % len(rows)):
            values = by_member[layout.slots[:, column], : counts[fold]]
            found[:, column, rows[fold, : counts[fold]]] = np.where(diverged[:, [column]], np.nan, values)
        return found

    def _place(self, configs, trials, layout, start, stop) -> Places:
        n, d = self.shape
        if layout.tiles > n * d:
            raise ValueError(f"layout: expected at most {n * d} tiles, got {layout.tiles}")

        def tiled(values: Any, dtype: Any = np.int32) -> np.ndarray:
            full = np.zeros((n * d, *np.shape(values)[1:]), dtype)
            full[: layout.tiles] = values
            return full.reshape(n, d, *np.shape(values)[1:])

        row = np.maximum(layout.row, 0)  # padding trains a copy of the first row, which nobody reads
        start, stop = (tiled(np.broadcast_to(epoch, layout.tiles)) for epoch in (start, stop))
        config = {name: tiled(np.asarray(configs[name])[row], dtype) for name, dtype in self.traced.items()}
        return Places(tiled(layout.replicate), start, stop, tiled(np.asarray(trials)[row]), config)

    def rows_for(self, replicates: int) -> int:
        """Trials with so many replicates that fit at once."""
        tiles = self.shape[0] * self.shape[1]
        return min(tiles // replicates * self.capacity.tile, self.capacity.trials)

    @property
    def replicates_at_most(self) -> int:
        """Replicates of a tile of trials that fit at once."""
        return min(self.shape[0] * self.shape[1], self.capacity.replicates)

    @property
    def member_bytes(self) -> int:
        """Bytes of one member's part of a state."""
        return member_bytes(self.shapes, self.capacity.epochs)

    def abstract_state(self) -> State:
        """Shapes of a state."""
        n, d, t = *self.shape, self.capacity.tile
        curve = jax.ShapeDtypeStruct((self.capacity.epochs, 2, len(self.shapes.metrics)), jnp.float32)
        one = State(
            self.shapes.member,
            curve,
            jax.ShapeDtypeStruct((), jnp.float32),
            jax.ShapeDtypeStruct((), jnp.int32),
        )
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct((n, d, t, *s.shape), s.dtype, sharding=self._sharded), one)

    def _compile(self) -> list[Any]:
        """The step of each device. They are one program, traced once, that knows nothing of other devices: a program
        partitioned over several is optimised in another order than one for a single device, and rounds otherwise."""

        def step(state: State, places: Places, filled: jax.Array, examples: Examples, root: jax.Array) -> State:
            self.compilations += 1  # runs when the step is traced, and only then
            return _train_tiles(self, state, places, filled, examples, root)

        t, none = self.capacity.tile, np.zeros(0, np.int32)
        layout = Layout(np.zeros((0, t), np.int32), none, none, np.zeros((0, 0), np.int32))
        places = self._place(dict.fromkeys(self.traced, none), np.zeros(1), layout, 0, 0)
        jitted = jax.jit(step, donate_argnums=0)

        def lowered(device: Any) -> Any:
            def here(s: Any, shape: Any = None) -> jax.ShapeDtypeStruct:
                return jax.ShapeDtypeStruct(shape or s.shape, s.dtype, sharding=SingleDeviceSharding(device))

            def mine(s: Any) -> jax.ShapeDtypeStruct:
                return here(s, (s.shape[0], 1, *s.shape[2:]))

            state, facts = jax.tree.map(mine, self.abstract_state()), jax.tree.map(mine, places)
            return jitted.lower(state, facts, here(np.int32(0)), *jax.tree.map(here, self._feed.abstract))

        keep_compiled(self.devices[0])
        began = time.perf_counter()
        programs = [lowered(device) for device in self.devices]
        with ThreadPoolExecutor(len(programs)) as pool:
            compiled = list(pool.map(lambda program: program.compile(self._options), programs))
        self.compile_s = time.perf_counter() - began
        return compiled


def _gather(leaf: jax.Array, source: jax.Array) -> jax.Array:
    flat = leaf.reshape(-1, *leaf.shape[3:])
    return flat.at[source].get(mode="promise_in_bounds").reshape(leaf.shape)


def _train_tiles(population: Population, state: State, places: Places, filled, examples: Examples, root) -> State:
    """Runs on each device: its filled tiles one after another, in place."""

    def body(i, state):
        def pick(leaf):
            return lax.dynamic_index_in_dim(leaf, i, 0, keepdims=False)[0]

        tile = _train_tile(population, jax.tree.map(pick, state), jax.tree.map(pick, places), examples, root)
        return jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, b[None], i, 0), state, tile)

    return lax.fori_loop(0, filled, body, state)


def _train_tile(population: Population, tile: State, place: Places, examples: Examples, root) -> State:
    """T members of one replicate from epoch `start` to `stop`; `place` is that of the tile, without [N, D]."""
    task, paired, config = population.task, population.paired, place.config
    fold = place.replicate % len(examples.train_count)
    count = examples.train_count[fold]
    held_out = examples.train if examples.valid is None else examples.valid
    steps = -(-examples.train_rows.shape[1] // task.batch_size)
    shared = None if paired else 0  # the mapped axis of keys and batches

    def key(stream: int) -> jax.Array:
        """One key for the replicate, or key[T] if every trial has its own."""
        replicate = jax.random.fold_in(jax.random.fold_in(root, stream), place.replicate)
        return replicate if paired else jax.vmap(partial(jax.random.fold_in, replicate))(place.trial)

    def each(function):
        return function if paired else jax.vmap(function)

    def full(config):
        return population.static | config

    def fresh() -> State:
        make = jax.vmap(lambda k, c: create(task, k, full(c)), in_axes=(shared, 0), axis_size=population.capacity.tile)
        return State(
            make(key(INIT), config),
            jnp.full_like(tile.curve, jnp.nan),
            jnp.zeros_like(tile.spread),
            jnp.zeros_like(tile.diverged_at),
        )

    tile = lax.cond(place.start == 0, fresh, lambda: tile)
    first = population.first_layers if paired else jax.tree.map(lambda _: False, population.first_layers)
    tile = tile._replace(member=carry(tile.member, first))
    order_key, noise_key = key(ORDER), key(NOISE)
    tile_size = population.capacity.tile
    where = axes(first)
    update_each = jax.vmap(lambda m, b, k, c: update(task, m, b, k, full(c)), in_axes=(where, shared, shared, 0))
    evaluate_each = jax.vmap(lambda m, b, c: task.evaluate(m.variables, b, full(c)), in_axes=(where, None, 0))

    def advance(member: Member, batch: Any, key: jax.Array) -> Member:
        return carry(update_each(mapped(member, first, tile_size), batch, key, config)[0], first)

    def evaluate(member: Member, batch: Any) -> Mapping[str, jax.Array]:
        return evaluate_each(mapped(member, first, tile_size), batch, config)

    def shuffle(key: jax.Array) -> jax.Array:
        """A permutation of the fold's examples: a stable sort of random numbers, with padding at the end."""
        bits = jax.random.bits(key, (examples.train_rows.shape[1],)) >> 1
        ranks = jnp.arange(len(bits), dtype=jnp.int32)
        _, shuffled = lax.sort((jnp.where(ranks < count, bits, jnp.uint32(2**32 - 1)), ranks), num_keys=1)
        return examples.train_rows[fold][shuffled]

    def epoch(e, tile: State) -> State:
        at = lambda k: jax.random.fold_in(k, e)  # noqa: E731
        order = each(lambda k: shuffle(at(k)))(order_key)
        noise = each(at)(noise_key)

        def one(i, member: Member) -> Member:
            rows = jnp.take(order, (i * task.batch_size + jnp.arange(task.batch_size)) % count, axis=-1)
            batch = jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), examples.train)
            return advance(member, batch, each(lambda k: jax.random.fold_in(k, i))(noise))

        member = lax.fori_loop(0, steps, one, tile.member)
        n_train = min(task.train_examples or examples.train_rows.shape[1], examples.train_rows.shape[1])
        measure = partial(_measure, evaluate, member, at_once=population.rows_at_once)
        train, _ = measure(examples.train, examples.train_rows[fold][:n_train], jnp.minimum(count, n_train))
        valid, spread = measure(held_out, examples.valid_rows[fold], examples.valid_count[fold])
        healthy = jnp.isfinite(train).all(-1) & jnp.isfinite(valid).all(-1) & (tile.diverged_at == 0)
        row = jnp.where(healthy[:, None, None], jnp.stack([train, valid], 1), jnp.nan)
        diverged_at = jnp.where(healthy | (tile.diverged_at > 0), tile.diverged_at, e + 1)
        curve = lax.dynamic_update_index_in_dim(tile.curve, row, e, 1)
        return State(member, curve, spread[:, population.metric], diverged_at)

    tile = lax.fori_loop(place.start, place.stop, epoch, tile)
    return tile._replace(member=stacked(tile.member, first, tile_size))


def _measure(evaluate, member: Member, data: Any, rows: jax.Array, count: jax.Array, at_once: int):
    """Mean and variance over examples of every metric: (f32[T, M], f32[T, M])."""
    chunks = -(-len(rows) // at_once)
    size = -(-len(rows) // chunks)
    rows = jnp.pad(rows, (0, chunks * size - len(rows)))

    def chunk(c, sums):
        at = c * size + jnp.arange(size)
        batch = jax.tree.map(lambda a: a.at[rows[at]].get(mode="promise_in_bounds"), data)
        metrics = evaluate(member, batch)
        values = jnp.stack([metrics[name].astype(jnp.float32) for name in sorted(metrics)], -1)  # [T, B, M]
        values = jnp.where((at < count)[:, None], values, 0.0)
        return sums[0] + values.sum(1), sums[1] + (values * values).sum(1)

    shape = jax.eval_shape(lambda: chunk(0, (0.0, 0.0)))
    total, squares = lax.fori_loop(0, chunks, chunk, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape))
    share = 1 / count.astype(jnp.float32)  # XLA turns divisions by a scalar into this in some programs, not in all
    mean = total * share
    return mean, jnp.maximum(squares * share - mean * mean, 0.0)


def _outcomes(task: Task, static: dict[str, Any], member: Member, config, i, data: Any, rows) -> jax.Array:
    """f32[T, B], the metric of the i-th tile of a device on rows i32[B] of `data`."""

    def one(member: Member, batch: Any, config) -> jax.Array:
        return task.evaluate(member.variables, batch, static | config)[task.metric].astype(jnp.float32)

    tile = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, i, 0, keepdims=False)[0], member)
    return jax.vmap(one, (0, None, 0))(tile, jax.tree.map(lambda a: a[rows], data), config)
