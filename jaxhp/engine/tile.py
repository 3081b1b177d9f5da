"""One tile from epoch to epoch: its members' weights, minibatches, updates and measurements. Nothing else is mapped.

This is the only module that maps over members. Its functions are pure: of `TileRules`, which are compiled in, and of
arrays. Members stand in tiles (see `layout.py`): arrays have the shape [N, D, T, ...] for D devices with N tiles of T
members each. A tile is trained from its first to its last epoch before the next one starts: its weights stay in the
cache. Which tiles are filled and which epochs are wanted is data, so one program serves all rounds of a search.

The order of operations is part of what a seed means: XLA rounds another order otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Int32, PyTree

from jaxhp.engine.carry import axes, carry, mapped, stacked
from jaxhp.engine.examples import Examples
from jaxhp.engine.measure import Whole, influences, measure, of_samples
from jaxhp.engine.streams import Keys, key_of
from jaxhp.engine.tiling import Places, Tiling
from jaxhp.tasks.clock import Clock, call
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.task import AnyTask, Member, Shapes, clock_shapes, create, params_of, shown, update
from jaxhp.tasks.whole_set import bias, found
from jaxhp.values import Config


class State(NamedTuple):
    """Every member of a population. Leaves are [N, D, T, ...], of a single tile [T, ...]."""

    member: Member
    curve: Float32[Array, "*tiles T E 2 M"]  # train and valid metrics after each epoch
    spread: Float32[Array, "*tiles T"]  # variance of the metric over validation examples, last epoch; of a loop's mean
    diverged_at: Int32[Array, "*tiles T"]  # epoch from 1, 0 if it did not


class TileRules(NamedTuple):
    """What is compiled into the training of a tile."""

    task: AnyTask
    static: Config  # the part of a config that is compiled in
    first_layers: Member  # of bool, see `carry.first_layers`
    paired: bool  # whether the trials of a replicate share initial weights' key, minibatch order and noise
    tile: int  # T
    metric: int  # the column of a curve that is the score
    means: tuple[str, ...]  # columns of `evaluate` whose means are metrics, in the order of their names
    columns: tuple[str, ...]  # those that metrics of the whole set read
    rows_at_once: int  # examples that a tile is evaluated on at once
    steps: int  # of an epoch
    epochs: int  # of the full budget

    def clock(self, epochs: jax.Array | int, steps: jax.Array | int = 0, *, whole: int = 0) -> Clock:
        """Returns what the task's functions ask for, after `epochs + whole` whole epochs and `steps` of the next."""
        if not clock_shapes(self.task):
            return {}
        epoch = jnp.asarray(epochs, jnp.int32) + whole
        return {"step": epoch * self.steps + steps, "steps": jnp.int32(self.epochs * self.steps), "epoch": epoch}

    def full(self, config: dict[str, Array | np.ndarray]) -> Config:
        """Returns a whole config: the static part, and this traced one."""
        return self.static | config

    @property
    def moved(self) -> Member:
        """Returns which leaves are carried as matrices: of bool, those of first layers that share a minibatch."""
        return self.first_layers if self.paired else jax.tree.map(lambda _: False, self.first_layers)

    @property
    def shared(self) -> int | None:
        """Returns the mapped axis of keys and minibatches, None where all members of a tile share them."""
        return None if self.paired else 0


class _Given(NamedTuple):
    """What the epochs of one tile have in common."""

    config: dict[str, Array | np.ndarray]  # traced parameters, leaves [T]
    examples: Examples
    fold: jax.Array | np.ndarray  # i32[]
    n_train: jax.Array | np.ndarray  # i32[], training examples of the fold
    order: jax.Array  # key[] or key[T], of the minibatches
    noise: jax.Array  # key[] or key[T], of the loss
    evaluation: jax.Array | None  # key[] or key[T], of a loop


def fresh_tiles(rules: TileRules, state: State, places: Places, filled: jax.Array, root: jax.Array) -> State:
    """Makes the members of those filled tiles of one device that start at epoch 0, in place.

    Args:
      rules: of the population.
      state, places: the device's part, leaves [N, 1, T, ...] or [N, 1].
      filled: i32[], tiles that have members.
      root: the key that all random numbers come from.
    """

    def make(tile: State, place: Places) -> State:
        return lax.cond(place.start == 0, lambda: _fresh(rules, tile, place, root), lambda: tile)

    return _each_tile(make, state, places, filled)


def train_tiles(
    rules: TileRules, state: State, places: Places, filled: jax.Array, examples: Examples, root: jax.Array
) -> State:
    """Trains the filled tiles of one device, one after another, in place.

    Args:
      rules: of the population.
      state, places: the device's part, leaves [N, 1, T, ...] or [N, 1].
      filled: i32[], tiles that have members.
      examples: the device's copy.
      root: the key that all random numbers come from.

    Returns:
      the state after each tile's last epoch.
    """

    return _each_tile(lambda tile, place: train_tile(rules, tile, place, examples, root), state, places, filled)


def _each_tile(function: Callable[[State, Places], State], state: State, places: Places, filled: jax.Array) -> State:
    """Replaces the filled tiles of one device by what a function makes of them, one after another."""

    def body(i, state):
        def pick(leaf):
            return lax.dynamic_index_in_dim(leaf, i, 0, keepdims=False)[0]

        tile = function(jax.tree.map(pick, state), jax.tree.map(pick, places))
        return jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, b[None], i, 0), state, tile)

    return lax.fori_loop(0, filled, body, state)


def train_tile(rules: TileRules, tile: State, place: Places, examples: Examples, root: jax.Array) -> State:
    """Trains T members of one replicate from epoch `start` to `stop`.

    Args:
      rules: of the population.
      tile: leaves [T, ...].
      place: of the tile, leaves [] or [T].
      examples: the device's copy.
      root: the key that all random numbers come from.

    Returns:
      the tile after its last epoch, leaves [T, ...].
    """
    fold = place.replicate % len(examples.train_count)
    count = examples.train_count[fold]
    tile = tile._replace(member=carry(tile.member, rules.moved))
    order, noise = (_key(rules, place, root, stream) for stream in (Keys.ORDER, Keys.NOISE))
    evaluation = _key(rules, place, root, Keys.EVALUATE) if isinstance(rules.task, Loop) else None
    given = _Given(place.config, examples, fold, count, order, noise, evaluation)
    tile = lax.fori_loop(place.start, place.stop, partial(_epoch, rules, given), tile)
    return tile._replace(member=stacked(tile.member, rules.moved, rules.tile))


def tile_outcomes(
    rules: TileRules,
    metric: str,
    member: Member,
    config: dict[str, Array | np.ndarray],
    i: jax.Array,
    data: PyTree[Array],
    rows: jax.Array,
    count: jax.Array,
    epochs: jax.Array,
) -> tuple[jax.Array, jax.Array | None]:
    """Evaluates one tile of a device on some examples.

    Args:
      rules: of the population.
      metric: of the task.
      member: the device's part, leaves [N, 1, T, ...].
      config: traced parameters of the tile, leaves [T].
      i: i32[], which of the N tiles.
      data: examples, leaves [n, ...].
      rows: i32[B], which of the examples; all of them where the metric is one of the whole set.
      count: i32[], how many of these are no padding.
      epochs: i32[], that the members were trained for.

    Returns:
      f32[T, B], the metric of each example; of a metric of the whole set, itself plus each one's influence, and how
      much too high it is on average, f32[T].
    """

    def one(member: Member, batch: PyTree[Array], config: dict[str, Array | np.ndarray]) -> Mapping[str, jax.Array]:
        whole, clock = rules.full(config), rules.clock(epochs)
        return call(rules.task.evaluate, shown(rules.task, member, whole, clock), batch, whole, clock=clock)

    def ranked(member: Member, batch: PyTree[Array], config: dict[str, Array | np.ndarray]) -> jax.Array:
        return one(member, batch, config)[metric].astype(jnp.float32)

    tile = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, i, 0, keepdims=False)[0], member)
    whole = _whole(rules)
    if whole is None or metric not in whole.names:
        return jax.vmap(ranked, (0, None, 0))(tile, jax.tree.map(lambda a: a[rows], data), config), None
    evaluate = lambda batch: jax.vmap(one, (0, None, 0))(tile, batch, config)  # noqa: E731
    return influences(evaluate, metric, whole, data, rows, count, rules.rows_at_once)


def _key(rules: TileRules, place: Places, root: jax.Array, stream: Keys) -> jax.Array:
    """Makes one key for the replicate, or key[T] if every trial has its own."""
    replicate = key_of(root, stream, place.replicate)
    return replicate if rules.paired else jax.vmap(partial(jax.random.fold_in, replicate))(place.trial)


def _each_key(rules: TileRules, function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Returns a function of one key as one of the tile's keys: of one that is shared, or of key[T]."""
    return function if rules.paired else jax.vmap(function)


def _fresh(rules: TileRules, tile: State, place: Places, root: jax.Array) -> State:
    """Makes a tile like `tile` of members that nobody has trained, leaves [T, ...]."""
    make = jax.vmap(
        lambda key, config: create(rules.task, key, rules.full(config), rules.clock(0)),
        in_axes=(rules.shared, 0),
        axis_size=rules.tile,
    )
    return State(
        make(_key(rules, place, root, Keys.INIT), place.config),
        jnp.full_like(tile.curve, jnp.nan),
        jnp.zeros_like(tile.spread),
        jnp.zeros_like(tile.diverged_at),
    )


def _epoch(rules: TileRules, given: _Given, e: jax.Array, tile: State) -> State:
    """Trains a tile for one epoch and measures it.

    Args:
      e: i32[], the epoch from 0.
      tile: leaves [T, ...]; its member as `carry` has it.

    Returns:
      the tile, with row e of its curve filled: NaN where a metric is not finite, and for members that have diverged,
      whose score is not finite or whose weights have a NaN.
    """
    member = _pass(rules, given, e, tile.member)
    seen = _shown(rules, given, e, member)
    train, valid, spread = _measured(rules, given, e, seen)
    finite = jnp.isfinite(valid if train is None else jnp.where(jnp.isfinite(train), valid, train))
    healthy = finite[:, rules.metric] & _sound(rules, member.variables) & (tile.diverged_at == 0)
    if rules.task.averaged is not None:
        healthy &= _sound(rules, seen.variables)
    row = jnp.stack([jnp.full_like(valid, jnp.nan) if train is None else train, valid], 1)
    row = jnp.where(healthy[:, None, None] & jnp.isfinite(row), row, jnp.nan)
    diverged_at = jnp.where(healthy | (tile.diverged_at > 0), tile.diverged_at, e + 1)
    curve = lax.dynamic_update_index_in_dim(tile.curve, row, e, 1)
    return State(member, curve, spread[:, rules.metric], diverged_at)


def _measured(
    rules: TileRules, given: _Given, e: jax.Array, seen: Member
) -> tuple[jax.Array | None, jax.Array, jax.Array]:
    """Measures the members that are shown after epoch e.

    Returns:
      f32[T, M], the metrics on training examples, None where they are not asked for; the same on validation examples;
      and their variance over these, of a loop that of their means.
    """
    if given.evaluation is not None:
        keys = _each_key(rules, lambda key: jax.random.fold_in(key, e))(given.evaluation)
        return None, *of_samples(_evaluate(rules, given, e, seen, keys))
    examples, fold = given.examples, given.fold
    evaluate = partial(_evaluate, rules, given, e, seen)
    at_most = examples.curve_rows.shape[1]
    held_out = examples.train if examples.valid is None else examples.valid
    measured = partial(measure, evaluate, rules.means, _whole(rules), at_once=rules.rows_at_once)
    train = None
    if at_most > 0:
        train, _ = measured(examples.train, examples.curve_rows[fold], jnp.minimum(given.n_train, at_most))
    return train, *measured(held_out, examples.valid_rows[fold], examples.valid_count[fold])


def _shown(rules: TileRules, given: _Given, e: jax.Array, member: Member) -> Member:
    """Returns the members, as `carry` has them after epoch e, with the variables that are evaluated."""
    if rules.task.averaged is None:
        return member
    each = jax.vmap(
        lambda member, config, clock: shown(rules.task, member, rules.full(config), clock),
        in_axes=(axes(rules.moved), 0, None),
        axis_size=rules.tile,
    )
    found = each(mapped(member, rules.moved, rules.tile), given.config, rules.clock(e, whole=1))
    return member._replace(variables=carry(found, rules.moved.variables))


def _sound(rules: TileRules, variables: PyTree) -> jax.Array:
    """Tells which of the members, as `carry` has them, have no NaN among their weights: bool[T].

    A metric need not show it: the accuracy of a network that gives NaN is that of class 0. What NaN means in the state
    of a loop, the loop knows, so there the metric decides.
    """
    if isinstance(rules.task, Loop):
        return jnp.ones(rules.tile, bool)
    moved = rules.moved.variables
    each = jax.vmap(_no_nan, in_axes=(axes(moved),), axis_size=rules.tile)
    return each(mapped(variables, moved, rules.tile))


def _no_nan(variables: PyTree) -> jax.Array:
    leaves = jax.tree.leaves(params_of(variables))
    found = [jnp.isnan(leaf).any() for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return ~jnp.any(jnp.asarray(found)) if found else jnp.asarray(True)


def _pass(rules: TileRules, given: _Given, e: jax.Array, member: Member) -> Member:
    """Updates the members, as `carry` has them, by every minibatch of epoch e once."""
    task, examples, count = rules.task, given.examples, given.n_train

    def in_epoch(key: jax.Array) -> jax.Array:
        return jax.random.fold_in(key, e)

    order = _each_key(rules, lambda key: _shuffle(in_epoch(key), examples.train_rows, given.fold, count))(given.order)
    noise = _each_key(rules, in_epoch)(given.noise)
    update_each = jax.vmap(
        lambda member, batch, key, config, clock: update(task, member, batch, key, rules.full(config), clock),
        in_axes=(axes(rules.moved), rules.shared, rules.shared, 0, None),
    )

    def one(i: jax.Array, member: Member) -> Member:
        rows = jnp.take(order, (i * task.batch_size + jnp.arange(task.batch_size)) % count, axis=-1)
        batch = jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), examples.train)
        keys = _each_key(rules, lambda key: jax.random.fold_in(key, i))(noise)
        clock = rules.clock(e, i)
        updated, _ = update_each(mapped(member, rules.moved, rules.tile), batch, keys, given.config, clock)
        return carry(updated, rules.moved)

    return lax.fori_loop(0, rules.steps, one, member)


def _shuffle(
    key: jax.Array, train_rows: jax.Array | np.ndarray, fold: jax.Array | np.ndarray, count: jax.Array | np.ndarray
) -> jax.Array:
    """Permutes a fold's examples by a stable sort of random numbers, with padding at the end.

    Args:
      train_rows: i32[F, n], the rows of every fold, padded.
      fold: i32[], which fold.
      count: i32[], how many of its rows are no padding.

    Returns:
      i32[n], rows of the training examples.
    """
    bits = jax.random.bits(key, (train_rows.shape[1],)) >> 1
    ranks = jnp.arange(len(bits), dtype=jnp.int32)
    _, shuffled = lax.sort((jnp.where(ranks < count, bits, jnp.uint32(2**32 - 1)), ranks), num_keys=1)
    return train_rows[fold][shuffled]


def _evaluate(
    rules: TileRules, given: _Given, e: jax.Array, member: Member, batch: PyTree[Array]
) -> Mapping[str, jax.Array]:
    """Evaluates the members, as `carry` has them after epoch e, on one minibatch, or with a loop's keys: name to
    [T, B]."""
    on = None if given.evaluation is None else rules.shared
    each = jax.vmap(
        lambda member, batch, config, clock: call(
            rules.task.evaluate, member.variables, batch, rules.full(config), clock=clock
        ),
        in_axes=(axes(rules.moved), on, 0, None),
    )
    return each(mapped(member, rules.moved, rules.tile), batch, given.config, rules.clock(e, whole=1))


def each_member(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Maps a function of one member's variables and traced config, and of data, over members that share the data."""
    return lambda variables, config, data: jax.vmap(function, (0, 0, None))(variables, config, data)


def _whole(rules: TileRules) -> Whole | None:
    """Returns the task's metrics of the whole set, for all members of a tile."""
    if not rules.task.metrics:
        return None
    metrics = rules.task.metrics

    def off(name: str, columns: Mapping[str, jax.Array], weight: jax.Array) -> jax.Array:
        return jax.vmap(partial(bias, metrics[name]), (0, None))(columns, weight)

    return Whole(tuple(metrics), rules.columns, jax.vmap(partial(found, metrics), (0, None)), off)


def abstract_state(shapes: Shapes, tiling: Tiling) -> State:
    """Returns shapes of a state, [N, D, T, ...]."""
    curve = jax.ShapeDtypeStruct((tiling.capacity.epochs, 2, len(shapes.metrics)), jnp.float32)
    spread, diverged_at = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)
    return tiling.abstract(State(shapes.member, curve, spread, diverged_at))  # type: ignore[arg-type]
