"""Whether a metric is one of each example: rows are evaluated with one other row, and among many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.compiling import jit
from jaxhp.data.fingerprints import fingerprint
from jaxhp.tasks.apart import apart
from jaxhp.tasks.clock import START, call
from jaxhp.tasks.fingerprint import but_sizes
from jaxhp.tasks.task import AnyTask, Shapes
from jaxhp.tasks.whole_set import Half, check_weights
from jaxhp.trials import Error

_ROWS = 64  # at most
_COUNTS = 61, 59  # of rows, for a proof; other sizes are seldom the same
_TRIES = 3  # networks with random weights
_TOLERANCE = 0.05  # rounding is far less, also in bfloat16
_SHARE = 0.5  # of the rows: where rounding decides, as between two classes, few of them change
_passed: set[tuple[str, str]] = set()  # programs but for sizes, and rows, that need no second look


def check_rows(task: AnyTask, shapes: Shapes, static: Mapping[str, Any], traced: Mapping[str, Any]) -> None:
    """Refuses a column whose value for a row depends on the other rows, as a score of the batch does.

    Such a value would be averaged over the parts in which examples are evaluated, and be none of the whole. Metrics of
    the whole set are tried on the same rows, see `check_weights`. Nothing is tried where the program of `evaluate`
    proves it, see `apart`, and of tasks that differ in sizes alone, such as the width of a layer, one is.

    Args:
      task: with functions that fit together.
      shapes: what `check` found.
      static: the part of a config that is compiled in.
      traced: name to dtype of the part that is data.

    Raises:
      Error: it does, for most rows; or as `check_weights`.
    """
    n = min(task.n_valid, _ROWS)
    if n < 3:
        return
    picked = np.linspace(0, task.n_valid - 1, n).astype(np.int64)
    rows = jax.tree.map(lambda leaf: np.asarray(leaf[picked]), task.valid)
    config = {name: np.asarray(0.5 if dtype.kind == "f" else 1, dtype) for name, dtype in traced.items()}

    def evaluated(variables: Any, batch: Any, config: Any) -> dict[str, jax.Array]:
        return dict(call(task.evaluate, variables, batch, dict(static) | config, clock=START))

    def both(variables: Any, rows: Any, config: Any) -> tuple[Any, Any]:
        def evaluate(batch: Any) -> dict[str, jax.Array]:
            return evaluated(variables, batch, config)

        def in_pair(i: jax.Array) -> dict[str, jax.Array]:
            pair = jnp.stack([i, (i + 1) % n])
            return jax.tree.map(lambda value: value[0], evaluate(jax.tree.map(lambda leaf: leaf[pair], rows)))

        return jax.lax.map(in_pair, jnp.arange(n)), evaluate(rows)

    whole = {name: metric for name, metric in task.metrics.items() if not isinstance(metric, Half)}
    if not whole and _proven(evaluated, shapes.member.variables, rows, config):
        return
    known = _known(task, jax.make_jaxpr(evaluated, return_shape=True)(shapes.member.variables, rows, config), rows)
    if known in _passed:
        return
    compiled, networks = jit(both), []
    for seed in range(_TRIES):
        in_pairs, among = jax.device_get(compiled(_random(shapes.member.variables, seed), rows, config))
        for name in sorted(among):
            if _differ(np.asarray(in_pairs[name], float), np.asarray(among[name], float)):
                raise Error(
                    f"Task evaluate: expected one value an example, which does not depend on the other examples, for "
                    f"{name!r}; got {_first(in_pairs[name])} for an example with one other and {_first(among[name])} "
                    f"for it among {n}; a metric of the whole set belongs into Task(metrics={{...: hp.Metric(...)}})"
                )
        networks.append(among)
    if whole:
        check_weights(whole, *networks)
    _passed.add(known)


def _proven(evaluated: Callable[..., Any], variables: Any, rows: Any, config: Any) -> bool:
    """Tells whether rows are apart in a program which has no constant that depends on how many they are."""

    def program(n: int) -> Any:
        batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((n, *leaf.shape[1:]), leaf.dtype), rows)
        return jax.make_jaxpr(evaluated)(variables, batch, config)

    leaves = [len(jax.tree.leaves(part)) for part in (variables, rows, config)]
    one = program(_COUNTS[0])
    if not apart(one, np.repeat([False, True, False], leaves).tolist()):
        return False
    return but_sizes([one]) == but_sizes([program(_COUNTS[1])])


def _known(task: AnyTask, traced: tuple[Any, Any], rows: Any) -> tuple[str, str]:
    """Returns what tells a check from others: of `evaluate`, traced for these rows, and of metrics."""
    evaluate, columns = traced
    weight = jax.ShapeDtypeStruct((len(jax.tree.leaves(rows)[0]),), jnp.float32)
    metrics = [jax.make_jaxpr(task.metrics[name].fn)(columns, weight) for name in sorted(task.metrics)]
    return but_sizes([evaluate, *metrics]), fingerprint(rows)


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    scale = np.fmax(np.abs(a), np.abs(b))
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b) > _TOLERANCE * scale
    return bool(np.mean(apart | (np.isnan(a) != np.isnan(b))) > _SHARE)


def _first(values: np.ndarray) -> str:
    return f"{float(np.ravel(values)[0]):.4g}"


def _random(variables: Any, seed: int) -> Any:
    """Makes weights of usual sizes: no program of the task's own is compiled for them."""
    draws = np.random.default_rng(seed)

    def leaf(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        if not jnp.issubdtype(shape.dtype, jnp.floating):
            return np.zeros(shape.shape, shape.dtype)
        if len(shape.shape) < 2:
            return np.asarray(draws.uniform(0.5, 1.5, shape.shape), shape.dtype)
        size = np.sqrt(max(int(np.prod(shape.shape)) / shape.shape[-1], 1))
        return np.asarray(draws.normal(size=shape.shape) * 2 / size, shape.dtype)

    return jax.tree.map(leaf, variables)
