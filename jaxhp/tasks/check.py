"""Whether the functions of a task fit together, found on shapes alone before anything runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxhp.keys import KIND, is_key
from jaxhp.tasks.clock import Clock, call
from jaxhp.tasks.liveness import held_bytes
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.predicting import check_predict
from jaxhp.tasks.recorded import Recorded, is_missing
from jaxhp.tasks.task import (
    AnyTask,
    Member,
    Shapes,
    Task,
    Variables,
    apply,
    batch_shapes,
    clock_shapes,
    key_shape,
    params_of,
    with_params,
)
from jaxhp.tasks.whole_set import Metric
from jaxhp.values import Config, Error, check_name


def check(task: AnyTask, config: Config, reads: set[str] | None = None) -> Shapes:
    """Runs every function of the task on shapes alone, and says in one line what does not fit.

    Args:
      config: one config; its traced values are `jax.ShapeDtypeStruct`, its static ones plain values.
      reads: names that were read of it already, by whoever made the task.
    """
    reads = set() if reads is None else reads
    found = _of_loop(task, config, reads) if isinstance(task, Loop) else _of_task(task, config, reads)
    unread = [name for name in config if name not in reads]
    if unread:
        raise Error(
            f"space: expected only parameters that the task reads ({', '.join(sorted(reads)) or 'none'}), "
            f"got also {', '.join(unread)}; where a number in the model or loss stands for it, read "
            f"config[{unread[0]!r}] there"
        )
    return found


def _of_task(task: Task, config: Config, reads: set[str]) -> Shapes:
    shape = partial(_shape, "Task", config, clock_shapes(task), reads)
    key = key_shape()
    variables = shape("init", partial(call, task.init), key)
    _check_keys(variables, "Task init")
    for path, leaf in jax.tree_util.tree_flatten_with_path(params_of(variables))[0]:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            where = jax.tree_util.keystr(path)
            raise Error(f"Task init: expected floating point parameters, got {leaf.dtype} at params{where}")
    if not jax.tree.leaves(params_of(variables)):
        raise Error("Task init: expected a pytree of arrays, got no arrays")

    batch = batch_shapes(task.train, task.batch_size)
    loss = shape("loss", partial(call, task.loss), variables, batch, key)
    if isinstance(variables, Variables):
        if not (isinstance(loss, tuple) and len(loss) == 2):
            raise Error("Task loss: expected (scalar, new_state), since init returned Variables")
        _check_same(loss[1], variables.state, "Task loss: new_state")
        loss = loss[0]
    if not hasattr(loss, "shape") or loss.shape != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise Error(f"Task loss: expected a floating point scalar, got {_describe(loss)}")

    def pullback(
        variables: PyTree, batch: PyTree, key: jax.Array, config: Config, *, clock: Clock
    ) -> Callable[..., tuple[PyTree]]:
        def loss(params: PyTree) -> PyTree:
            return call(task.loss, with_params(variables, params), batch, key, config, clock=clock)

        return jax.vjp(loss, params_of(variables))[1]

    kept = Counter(_sizes(shape("loss", pullback, variables, batch, key))) - Counter(_sizes(params_of(variables)))
    of_batch = 4 * sum(leaf.size for leaf in jax.tree.leaves(batch))  # kept as f32, once for all members
    activations = max(sum(n * math.prod(dims) * dtype.itemsize for (dims, dtype), n in kept.items()) - of_batch, 0)

    columns = shape("evaluate", partial(call, task.evaluate), variables, batch_shapes(task.valid, 7))
    means, read = _metrics(task, columns)
    check_predict(task, shape, variables, read)
    if task.train_examples != 0:
        try:
            of_train = shape("evaluate", partial(call, task.evaluate), variables, batch_shapes(task.train, 7))
            _check_same(of_train, columns, "with examples of valid")
        except Error as error:
            text = "with examples of train, whose curve train_examples=0 turns off"
            raise Error(f"{error} ({text})") from error

    def optimize(params: PyTree, config: Config, *, clock: Clock) -> tuple[PyTree, PyTree, PyTree]:
        optimizer = call(task.optimizer, config, clock=clock)
        if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise TypeError(f"expected an optax.GradientTransformation, got {optimizer!r}")
        state = optimizer.init(params)
        return state, *apply(optimizer, params, state, params, jnp.float32(0))

    try:
        opt_state, stepped, after = shape("optimizer", optimize, params_of(variables))
    except Error as error:
        _refuse_calls_of_loss(error)
        raise
    _check_keys(opt_state, "Task optimizer")
    _check_same(stepped, params_of(variables), "Task optimizer: updated params")
    _check_same(after, opt_state, "Task optimizer: updated state")

    if task.averaged is not None:
        params = params_of(variables)
        average = shape("averaged", partial(call, task.averaged), opt_state, params)
        _check_same(average, params, "Task averaged: params")

    return Shapes(Member(variables, opt_state), tuple(sorted([*means, *task.metrics])), activations, means, read)


def _of_loop(loop: Loop, config: Config, reads: set[str]) -> Shapes:
    clock, key = clock_shapes(loop), key_shape()
    shape = partial(_shape, "Loop", config, clock, reads)
    state = shape("init", partial(call, loop.init), key)
    _check_keys(state, "Loop init")
    if not jax.tree.leaves(state):
        raise Error("Loop init: expected a pytree of arrays, got no arrays")
    after = shape("epoch", partial(call, loop.epoch), state, key)
    _check_same(after, state, "Loop epoch: state")
    found = shape("evaluate", partial(call, loop.evaluate), state, key)
    if not isinstance(found, Mapping) or not found:
        raise Error(f"Loop evaluate: expected a dict of metric name to scalar or f32[B], got {_describe(found)}")
    for name, value in found.items():
        check_name(str(name), "Loop evaluate")
        shaped = hasattr(value, "shape") and len(value.shape) < 2 and 0 not in value.shape
        if not shaped or not (jnp.issubdtype(value.dtype, jnp.number) or value.dtype == bool):
            raise Error(
                f"Loop evaluate: expected a scalar, or one number a sample, f32[B], for {name!r}, got "
                f"{_describe(value)}"
            )
        if jnp.issubdtype(value.dtype, jnp.complexfloating):
            raise Error(f"Loop evaluate: expected real numbers for {name!r}, got {_describe(value)}")
    names = tuple(sorted(found))
    if loop.metric not in names:
        raise Error(f"Loop metric: expected one of {', '.join(names)}, got {loop.metric!r}")
    traced = {name: value for name, value in config.items() if isinstance(value, jax.ShapeDtypeStruct)}

    def held(function: Callable[..., PyTree]) -> int:
        def run(state: PyTree, key: jax.Array, traced: Config, clock: Clock) -> PyTree:
            return call(function, state, key, {**config, **traced}, clock=clock)

        return held_bytes(run, state, key, traced, clock)

    return Shapes(Member(state, ()), names, max(held(loop.epoch), held(loop.evaluate)), names, {})


def _shape(
    kind: str,
    config: Config,
    clock: Clock,
    reads: set[str],
    name: str,
    function: Callable[..., PyTree],
    *args: PyTree,
) -> PyTree:
    """Returns shapes of what a function of the task makes.

    Args:
      kind: "Task" or "Loop", as messages call it.
      config: static values, and a `jax.ShapeDtypeStruct` for each that is data.
      clock: of the task, likewise.
      reads: gets the names that it reads.
      name: what messages call it.
      function: gets `args`, of which these are shapes, the config, and the clock by its name.

    Raises:
      Error: it raised what a function raises that its arguments do not fit.
    """

    def run(config: Config, clock: Clock) -> PyTree:
        traced, times = ({n: v for n, v in of.items() if isinstance(v, jax.ShapeDtypeStruct)} for of in (config, clock))

        def traceable(traced: Config, times: Clock, *args: PyTree) -> PyTree:
            return function(*args, Recorded({**config, **traced}, reads), clock={**clock, **times})

        return jax.eval_shape(traceable, traced, times, *args)

    try:
        return run(config, clock)
    except KeyError as error:
        if is_missing(error, config, reads):
            raise Error(
                f"space: expected the parameter {error.args[0]!r}, which the {kind.lower()}'s {name} reads, got only "
                f"{', '.join(config)}"
            ) from None
        raise Error(f"{kind} {name}: raised KeyError: {error}") from error
    except Error:  # which says already what does not fit
        raise
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        concrete = _concrete(config, clock, run)
        if concrete:
            raise Error(
                f"{kind} {name}: expected functions that take the parameter {concrete} as data, which is traced, got "
                f"one that needs its value in Python ({type(error).__name__}); give a function of the step "
                "(lambda count: ...), hp.nn.dropout or hp.schedules, or make it static: hp.Choice(..., static=True), "
                "in hp.score by a function that makes the task of a config and reads it"
            ) from error
        text = str(error).strip().split("\n")[0]
        raise Error(f"{kind} {name}: raised {type(error).__name__} when called on shapes: {text}") from error


def _concrete(config: Config, clock: Clock, run: Callable[[Config, Clock], PyTree]) -> str:
    """Names the parameters whose values a function needs in Python; "" if it fails with their values too."""
    traced = [name for name, value in config.items() if isinstance(value, jax.ShapeDtypeStruct)]
    tries = [*(([name], []) for name in traced), (traced, []), *(([], [name]) for name in clock)]
    for names, times in tries:
        values = {name: 0.5 if jnp.issubdtype(config[name].dtype, jnp.floating) else 2 for name in names}
        try:
            run({**config, **values}, {**clock, **dict.fromkeys(times, 2)})
        except Exception:  # whatever it is, these are not the cause
            continue
        return ", ".join(map(repr, [*names, *times]))
    return ""


def _metrics(task: Task, columns: PyTree) -> tuple[tuple[str, ...], Mapping[str, jax.ShapeDtypeStruct]]:
    """Refuses columns that are not of each example, and metrics that do not fit them.

    Args:
      columns: what `evaluate` makes of seven examples.

    Returns:
      the names of the columns whose means are metrics, and those that metrics of the whole set read, of one example.
    """
    if not isinstance(columns, Mapping) or not columns:
        raise Error(f"Task evaluate: expected a dict of metric name to f32[B], got {_describe(columns)}")
    read: set[str] = set()
    for name, value in columns.items():
        check_name(str(name), "Task evaluate")
        if not hasattr(value, "shape") or value.shape[:1] != (7,):
            raise Error(
                f"Task evaluate: expected one value an example, f32[B], for {name!r}; with B = 7 got {_describe(value)}"
            )
        if name in task.metrics:
            raise Error(f"Task metrics: expected other names than those of evaluate's columns, got {name!r}")
    for name, metric in task.metrics.items():
        value = _of_columns(name, metric, columns, read)
        if not hasattr(value, "shape") or value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise Error(f"Task metrics {name!r}: expected a floating point scalar, got {_describe(value)}")
    for name, value in columns.items():
        if name not in read and value.shape != (7,):
            raise Error(
                f"Task evaluate: expected one value an example, f32[B], for {name!r}, which no metric reads; with "
                f"B = 7 got {_describe(value)}"
            )
    counting = task.objectives.measured
    means = tuple(sorted(name for name in columns if name not in read or name in counting))
    for name in counting:
        argument = "metric" if name in task.objectives.names else "constraints"
        if name not in (*means, *task.metrics):
            known = ", ".join(sorted({*means, *task.metrics}))
            raise Error(f"Task {argument}: expected one of {known}, got {name!r}")
        if name in means and columns[name].shape != (7,):
            raise Error(
                f"Task {argument}: expected a column of one value an example, f32[B], got {name!r}, which with B = 7 "
                f"is {_describe(columns[name])}"
            )
    return means, {n: jax.ShapeDtypeStruct(columns[n].shape[1:], columns[n].dtype) for n in sorted(read)}


def _of_columns(name: str, metric: Metric, columns: PyTree, read: set[str]) -> PyTree:
    """Returns the shape of a metric of the whole set; `read` gets the names of the columns that it reads."""
    weight = jax.ShapeDtypeStruct((7,), jnp.float32)
    try:
        return jax.eval_shape(lambda columns, weight: metric.fn(Recorded(columns, read), weight), dict(columns), weight)
    except Error as error:
        raise Error(f"Task metrics {name!r}: {error}") from error
    except KeyError as error:
        raise Error(
            f"Task metrics {name!r}: expected evaluate to return the column {error.args[0]!r}, which it reads, got "
            f"only {', '.join(columns)}"
        ) from None
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        text = str(error).strip().split("\n")[0]
        raise Error(f"Task metrics {name!r}: raised {type(error).__name__} when called on shapes: {text}") from error


def _refuse_calls_of_loss(error: Error) -> None:
    """Says plainly what an optimizer's error means that asks for a function."""
    asked = [name for name in ("value_fn", "grad_fn", "obj_fn") if name in str(error) or name in str(error.__cause__)]
    if asked:
        raise Error(
            "Task optimizer: expected one that takes one gradient a step, got one that calls the loss itself "
            f"({asked[0]}), as line searches do; optax.lbfgs does without where linesearch=None"
        ) from error


def _check_keys(tree: PyTree, what: str) -> None:
    """Refuses keys whose random numbers depend on the keys of the members beside."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if is_key(leaf) and leaf.dtype != jax.eval_shape(lambda: jax.random.key(0, impl=KIND)).dtype:
            where = jax.tree_util.keystr(path)
            raise Error(f"{what}: expected keys of {KIND}, got {_describe(leaf)} at {where}")


def _sizes(tree: PyTree) -> list[tuple[tuple[int, ...], np.dtype]]:
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def _describe(value: PyTree) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__


def _check_same(got: PyTree, expected: PyTree, what: str) -> None:
    if jax.tree.structure(got) != jax.tree.structure(expected):
        raise Error(f"{what}: expected the structure {jax.tree.structure(expected)}, got {jax.tree.structure(got)}")
    flat, _ = jax.tree_util.tree_flatten_with_path(expected)
    for (path, want), came in zip(flat, jax.tree.leaves(got), strict=True):
        if (want.shape, want.dtype) != (came.shape, came.dtype):
            where = jax.tree_util.keystr(path)
            raise Error(f"{what}{where}: expected {_describe(want)}, got {_describe(came)}")
