"""The stacked networks of all trials, and the one compiled step that trains, evaluates and ranks them.

This is the only module that maps over members. Members stand in tiles (see `layout.py`): arrays have the shape
[N, D, T, ...] for D devices with N tiles of T members each. The step loops over the tiles that are filled and the
epochs that are wanted, both of which are data, so one executable serves every round, rung and resume of a search.
A tile is trained from its first to its last epoch before the next one starts: its weights stay in the cache.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxhp.axes import from_axes, member_axes, to_axes
from jaxhp.folds import joined
from jaxhp.layout import Layout
from jaxhp.task import Member, Shapes, Task, create, update

INIT, ORDER, NOISE = 1, 2, 3  # streams of random numbers: initial weights, minibatch order, the loss's key


class State(NamedTuple):
    """Every member of a population. Leaves are [N, D, T, ...]."""

    member: Member
    curve: Any  # f32[N, D, T, E, 2, M], train and valid metrics after each epoch
    spread: Any  # f32[N, D, T], variance of the metric over validation examples, last epoch
    diverged_at: Any  # i32[N, D, T], epoch from 1, 0 if it did not


class Places(NamedTuple):
    """A `Layout` as data of the step."""

    replicate: Any  # i32[N, D]
    start: Any  # i32[N, D]
    stop: Any  # i32[N, D]
    trial: Any  # i32[N, D, T]
    slots: Any  # i32[P, R], -1 for none
    tiles: Any  # i32[D], tiles filled on each device


class Examples(NamedTuple):
    """The data that all members share, on every device, with the rows that each fold trains and validates on."""

    train: Any  # leaves [examples, ...]
    valid: Any  # None with folds: then the rows of both parts are rows of `train`
    train_rows: Any  # i32[F, n], padded to the largest fold
    valid_rows: Any  # i32[F, n]
    train_count: Any  # i32[F]
    valid_count: Any  # i32[F]


class Ranked(NamedTuple):
    """What a step tells of its trials: P rows, of which the first ones are filled."""

    order: Any  # i32[P], rows best first, diverged and empty ones last, ties by row
    score: Any  # f32[P], mean over replicates, NaN if any of them diverged
    stderr: Any  # f32[P]
    replicate_scores: Any  # f32[P, R]
    curve: Any  # f32[P, E, 2, M], mean over replicates
    diverged_at: Any  # i32[P], the first epoch in which a replicate diverged, 0 for none


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
        devices = devices or jax.local_devices()
        self.mesh = Mesh(np.asarray(devices), ("device",), axis_types=(AxisType.Auto,))
        self.shape = (-(-capacity.tiles // len(devices)), len(devices))
        self.traced = {name: np.dtype(dtype) for name, dtype in traced.items()}
        self._replicated = NamedSharding(self.mesh, PartitionSpec())
        self._sharded = NamedSharding(self.mesh, PartitionSpec(None, "device"))
        self.root = jax.device_put(jax.random.key(seed), self._replicated)
        self.examples = jax.device_put(examples_of(task, folds), self._replicated)
        self.axes = member_axes(
            lambda v, b, k, c: task.loss(v, b, k, static | c),
            shapes.member.variables,
            jax.tree.map(lambda a: jax.ShapeDtypeStruct((task.batch_size, *a.shape[1:]), a.dtype), self.examples.train),
            self.root,
            {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in self.traced.items()},
            shapes.member.opt_state,
        )
        self.compilations = 0
        self.compile_s = 0.0
        self._compiled = self._compile()
        self._gather = jax.jit(_gather, donate_argnums=0, out_shardings=self._sharded)
        self._outcomes = jax.jit(partial(_outcomes, self))

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
        places, config = self._place(configs, trials, layout, start, stop)
        return self._compiled(state, config, places, self.examples, self.root)

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
        held_out, rows, counts = self.examples.valid, self.examples.valid_rows, self.examples.valid_count
        if data is not None:
            n = len(jax.tree.leaves(data)[0])
            held_out, rows, counts = jax.device_put(data, self._replicated), np.arange(n)[None], np.asarray([n])
        rows, counts = np.asarray(rows), np.asarray(counts)
        places, config = self._place(configs, np.zeros(len(layout.slots)), layout, 0, 0)
        size = -(-rows.shape[1] // -(-rows.shape[1] // 1024))
        padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % size)))
        deep, devices = self.shape
        by_member = np.empty((deep, devices, self.capacity.tile, padded.shape[1]), np.float32)
        for i in range(-(-layout.tiles // devices)):
            here = padded[places.replicate[i] % len(rows)]  # [D, n]
            for at in range(0, here.shape[1], size):
                part = self._outcomes(
                    i,
                    state.member,
                    config,
                    self.examples.train if held_out is None else held_out,
                    here[:, at : at + size],
                )
                by_member[i, :, :, at : at + size] = part
        by_member = by_member.reshape(-1, padded.shape[1])
        diverged = np.asarray(state.diverged_at).reshape(-1)[layout.slots] > 0
        found = np.full((*layout.slots.shape, int(counts.sum())), np.nan, np.float32)
        replicate = layout.replicate[layout.slots[0] // self.capacity.tile]  # of each column
        for column, fold in enumerate(replicate % len(rows)):
            values = by_member[layout.slots[:, column], : counts[fold]]
            found[:, column, rows[fold, : counts[fold]]] = np.where(diverged[:, [column]], np.nan, values)
        return found

    def _place(self, configs, trials, layout, start, stop) -> tuple[Places, dict[str, np.ndarray]]:
        n, d = self.shape
        if layout.tiles > n * d:
            raise ValueError(f"layout: expected at most {n * d} tiles, got {layout.tiles}")

        def tiled(values: np.ndarray) -> np.ndarray:
            full = np.zeros((n * d, *np.shape(values)[1:]), np.asarray(values).dtype)
            full[: layout.tiles] = values
            return full.reshape(n, d, *np.shape(values)[1:])

        row = np.maximum(layout.row, 0)  # padding trains a copy of the first row, which nobody reads
        slots = np.full((self.capacity.trials, self.capacity.replicates), -1, np.int32)
        slots[: layout.slots.shape[0], : layout.slots.shape[1]] = layout.slots
        facts = [np.broadcast_to(np.asarray(f, np.int32), layout.tiles) for f in (layout.replicate, start, stop)]
        places = Places(
            replicate=tiled(facts[0]),
            start=tiled(facts[1]),
            stop=tiled(facts[2]),
            trial=tiled(np.asarray(trials, np.int32)[row]),
            slots=slots,
            tiles=np.asarray([-(-(layout.tiles - device) // d) for device in range(d)], np.int32),
        )
        return places, {name: tiled(np.asarray(configs[name], dtype)[row]) for name, dtype in self.traced.items()}

    def rows_for(self, replicates: int) -> int:
        """Trials with so many replicates that fit at once."""
        tiles = self.shape[0] * self.shape[1]
        return min(tiles // replicates * self.capacity.tile, self.capacity.trials)

    @property
    def replicates_at_most(self) -> int:
        """Replicates of a tile of trials that fit at once."""
        return min(self.shape[0] * self.shape[1], self.capacity.replicates)

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

    def _compile(self):
        t = self.capacity.tile
        none = np.zeros(0, np.int32)
        layout = Layout(np.zeros((0, t), np.int32), none, none, np.zeros((0, 0), np.int32))
        split, each, whole = PartitionSpec(None, "device"), PartitionSpec("device"), PartitionSpec()
        configs = {name: np.zeros(0, dtype) for name, dtype in self.traced.items()}
        places, config = self._place(configs, np.zeros(1), layout, 0, 0)

        def step(state: State, config, places: Places, examples: Examples, root: jax.Array):
            self.compilations += 1  # runs when the step is traced, and only then
            train = jax.shard_map(
                partial(_train_tiles, self),
                mesh=self.mesh,
                in_specs=(split, split, Places(split, split, split, split, whole, each), whole, whole),
                out_specs=split,
                check_vma=False,
            )
            state = train(state, config, places, examples, root)
            return state, _rank(self, state, places)

        began = time.perf_counter()
        shardings = (jax.tree.map(lambda _: self._sharded, self.abstract_state()), None)
        compiled = (
            jax.jit(step, donate_argnums=0, out_shardings=shardings)
            .lower(self.abstract_state(), config, places, self.examples, self.root)
            .compile()
        )
        self.compile_s = time.perf_counter() - began
        return compiled


def examples_of(task: Task, folds: np.ndarray | None = None) -> Examples:
    """The shared data of a task; with folds, train and valid are one array and every fold has its own rows."""

    def stack(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        width = max(len(r) for r in rows)
        return (
            np.stack([np.pad(r, (0, width - len(r))) for r in rows]).astype(np.int32),
            np.asarray([len(r) for r in rows], np.int32),
        )

    train, valid = task.train, task.valid
    if folds is None:
        train_rows, valid_rows = [np.arange(task.n_train)], [np.arange(task.n_valid)]
    else:
        train, valid = joined(task.train, task.valid), None
        numbers = range(int(folds.max()) + 1)
        train_rows = [np.flatnonzero(folds != f) for f in numbers]
        valid_rows = [np.flatnonzero(folds == f) for f in numbers]
    (train_rows, train_count), (valid_rows, valid_count) = stack(train_rows), stack(valid_rows)
    return Examples(train, valid, train_rows, valid_rows, train_count, valid_count)


def _gather(leaf: jax.Array, source: jax.Array) -> jax.Array:
    flat = leaf.reshape(-1, *leaf.shape[3:])
    return flat.at[source].get(mode="promise_in_bounds").reshape(leaf.shape)


def _train_tiles(population: Population, state: State, config, places: Places, examples: Examples, root) -> State:
    """Runs on each device: its filled tiles one after another, in place."""

    def body(i, state):
        def pick(leaf):
            return lax.dynamic_index_in_dim(leaf, i, 0, keepdims=False)[0]

        replicate, start, stop, trial = (pick(fact) for fact in places[:4])
        place = Places(replicate, start, stop, trial, places.slots, places.tiles)
        tile = _train_tile(population, jax.tree.map(pick, state), jax.tree.map(pick, config), place, examples, root)
        return jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, b[None], i, 0), state, tile)

    return lax.fori_loop(0, places.tiles[0], body, state)


def _train_tile(population: Population, tile: State, config, place: Places, examples: Examples, root) -> State:
    """T members of one replicate from epoch `start` to `stop`."""
    task, paired = population.task, population.paired
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
    axes = population.axes if paired else jax.tree.map(lambda _: 0, population.axes)
    tile = tile._replace(member=to_axes(tile.member, axes))
    order_key, noise_key = key(ORDER), key(NOISE)
    advance = jax.vmap(
        lambda m, b, k, c: update(task, m, b, k, full(c)),
        in_axes=(axes, shared, shared, 0),
        out_axes=(axes, 0),
    )
    evaluate = jax.vmap(lambda m, b, c: task.evaluate(m.variables, b, full(c)), in_axes=(axes, None, 0))

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
            member, _ = advance(member, batch, each(lambda k: jax.random.fold_in(k, i))(noise), config)
            return member

        member = lax.fori_loop(0, steps, one, tile.member)
        n_train = min(task.train_examples or examples.train_rows.shape[1], examples.train_rows.shape[1])
        train, _ = _measure(
            evaluate, member, config, examples.train, examples.train_rows[fold][:n_train], jnp.minimum(count, n_train)
        )
        valid, spread = _measure(
            evaluate, member, config, held_out, examples.valid_rows[fold], examples.valid_count[fold]
        )
        healthy = jnp.isfinite(train).all(-1) & jnp.isfinite(valid).all(-1) & (tile.diverged_at == 0)
        row = jnp.where(healthy[:, None, None], jnp.stack([train, valid], 1), jnp.nan)
        diverged_at = jnp.where(healthy | (tile.diverged_at > 0), tile.diverged_at, e + 1)
        curve = lax.dynamic_update_index_in_dim(tile.curve, row, e, 1)
        return State(member, curve, spread[:, population.metric], diverged_at)

    tile = lax.fori_loop(place.start, place.stop, epoch, tile)
    return tile._replace(member=from_axes(tile.member, axes))


def _measure(evaluate, member: Member, config, data: Any, rows: jax.Array, count: jax.Array):
    """Mean and variance over examples of every metric: (f32[T, M], f32[T, M])."""
    chunks = -(-len(rows) // 1024)
    size = -(-len(rows) // chunks)
    rows = jnp.pad(rows, (0, chunks * size - len(rows)))

    def chunk(c, sums):
        at = c * size + jnp.arange(size)
        batch = jax.tree.map(lambda a: a.at[rows[at]].get(mode="promise_in_bounds"), data)
        metrics = evaluate(member, batch, config)
        values = jnp.stack([metrics[name].astype(jnp.float32) for name in sorted(metrics)], -1)  # [T, B, M]
        values = jnp.where((at < count)[:, None], values, 0.0)
        return sums[0] + values.sum(1), sums[1] + (values * values).sum(1)

    shape = jax.eval_shape(lambda: chunk(0, (0.0, 0.0)))
    total, squares = lax.fori_loop(0, chunks, chunk, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape))
    n = count.astype(jnp.float32)
    mean = total / n
    return mean, jnp.maximum(squares / n - mean * mean, 0.0)


def _outcomes(population: Population, i, member: Member, config, data: Any, rows) -> jax.Array:
    """f32[D, T, B], the metric of the i-th tile of every device on rows i32[D, B] of `data`."""
    task, static = population.task, population.static

    def one(member: Member, batch: Any, config) -> jax.Array:
        return task.evaluate(member.variables, batch, static | config)[task.metric].astype(jnp.float32)

    def mine(i, member, config, data, rows):
        pick = lambda leaf: lax.dynamic_index_in_dim(leaf, i, 0, keepdims=False)[0]  # noqa: E731
        batch = jax.tree.map(lambda a: a[rows[0]], data)
        return jax.vmap(one, (0, None, 0))(jax.tree.map(pick, member), batch, jax.tree.map(pick, config))[None]

    split, whole = PartitionSpec(None, "device"), PartitionSpec()
    specs = (whole, split, split, whole, PartitionSpec("device"))
    mapped = jax.shard_map(
        mine, mesh=population.mesh, in_specs=specs, out_specs=PartitionSpec("device"), check_vma=False
    )
    return mapped(i, member, config, data, rows)


def _rank(population: Population, state: State, places: Places) -> Ranked:
    """Scores of trials from those of their members, in an order of operations that no shape changes."""
    slots, flat = places.slots, lambda leaf: leaf.reshape(-1, *leaf.shape[3:])
    there = slots >= 0
    n = there.sum(1).astype(jnp.float32)
    curve, spread, diverged_at = (flat(leaf)[jnp.maximum(slots, 0)] for leaf in state[1:])
    tile_stop = flat(jnp.broadcast_to(places.stop[..., None], places.trial.shape))
    last = jnp.maximum(tile_stop[jnp.maximum(slots[:, 0], 0)] - 1, 0)
    final = jnp.take_along_axis(curve, last[:, None, None, None, None], axis=2)[:, :, 0, 1, population.metric]

    def mean(values: jax.Array) -> jax.Array:
        """Over replicates, added one after another."""
        total = jnp.zeros_like(values[:, 0])
        for r in range(values.shape[1]):
            here = there[:, r].reshape(-1, *(1,) * (total.ndim - 1))
            total = total + jnp.where(here, values[:, r], 0.0)
        return total / n.reshape(-1, *(1,) * (total.ndim - 1))

    score = mean(final)
    between = mean((final - score[:, None]) ** 2) / jnp.maximum(n - 1, 1)
    examples = jnp.where(places.slots[:, 0] >= 0, spread[:, 0], jnp.nan) / population.examples.valid_count[0].astype(jnp.float32)
    failed = jnp.where(there & (diverged_at > 0), diverged_at, jnp.iinfo(jnp.int32).max).min(1)
    failed = jnp.where(failed == jnp.iinfo(jnp.int32).max, 0, failed)
    score = jnp.where((n > 0) & (failed == 0), score, jnp.nan)
    signed = score if population.task.mode == "max" else -score
    bad = jnp.isnan(signed).astype(jnp.int32)
    rows = jnp.arange(len(slots), dtype=jnp.int32)
    order = lax.sort((bad, jnp.where(bad == 1, 0.0, -signed), rows), num_keys=3)[2]
    return Ranked(
        order=order,
        score=score,
        stderr=jnp.sqrt(jnp.where(n > 1, between, examples)),
        replicate_scores=jnp.where(there, final, jnp.nan),
        curve=mean(curve),
        diverged_at=failed,
    )
