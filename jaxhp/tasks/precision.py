"""Mixed precision: weights are kept in float32, and what is computed of them is in bfloat16.

The functions of a task get weights and examples of floating point in bfloat16, so that products, activations and
gradients are; a gradient reaches the optimizer in the dtype of its weight. State (running means) stays as it is, and so
do losses and what is measured: float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, jaxprs_in_params
from jax.typing import DTypeLike
from jaxtyping import PyTree

from jaxhp.tasks.clock import asking, call
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.task import AnyTask, Shapes, Variables, batch_shapes, clock_shapes, params_of, with_params
from jaxhp.values import Config, Error


def in_dtype(task: AnyTask) -> AnyTask:
    """Returns a task whose functions compute in its `dtype`; the task itself where that is None."""
    if isinstance(task, Loop) or task.dtype is None:
        return task
    dtype = jnp.dtype(task.dtype)

    def loss(variables: PyTree, batch: PyTree, key: jax.Array, config: Config, **clock: Any) -> Any:
        found = call(task.loss, _lower(variables, dtype), _cast(batch, dtype), key, config, clock=clock)
        if not isinstance(variables, Variables):
            return _wide(found)
        return (_wide(found[0]), found[1]) if isinstance(found, tuple) and len(found) == 2 else found

    def evaluate(variables: PyTree, batch: PyTree, config: Config, **clock: Any) -> Any:
        found = call(task.evaluate, _lower(variables, dtype), _cast(batch, dtype), config, clock=clock)
        return {name: _wide(value) for name, value in found.items()} if isinstance(found, Mapping) else found

    def predict(variables: PyTree, batch: PyTree, config: Config) -> Any:
        assert task.predict is not None
        return _wide(task.predict(_lower(variables, dtype), _cast(batch, dtype), config))

    functions = {"loss": asking(task.loss, loss), "evaluate": asking(task.evaluate, evaluate)}
    return replace(task, **functions, predict=task.predict and predict, dtype=None)


def _lower(variables: PyTree, dtype: DTypeLike) -> PyTree:
    return with_params(variables, _cast(params_of(variables), dtype))


def _cast(tree: PyTree, dtype: DTypeLike) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def _wide(value: Any) -> Any:
    floating = hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating)
    return value.astype(jnp.float32) if floating else value


def check_products(task: AnyTask, shapes: Shapes, config: Config, dtype: str | None) -> None:
    """Refuses a task none of whose products is computed in the dtype that was asked for.

    Args:
      task: of `in_dtype`.
      shapes: what `check` found.
      config: its traced values are `jax.ShapeDtypeStruct`, its static ones plain values.
      dtype: the one asked for; None: any will do.

    Raises:
      Error: examples that are turned into float32, say, make all of them float32.
    """
    if isinstance(task, Loop) or dtype is None:
        return
    traced = {n: v for n, v in config.items() if isinstance(v, jax.ShapeDtypeStruct)}
    found = jax.make_jaxpr(lambda v, b, k, c, t: call(task.loss, v, b, k, config | c, clock=t))(
        shapes.member.variables,
        batch_shapes(task.train, task.batch_size),
        jax.eval_shape(lambda: jax.random.key(0)),
        traced,
        clock_shapes(task),
    )
    dtypes = set(_products(found.jaxpr))
    if dtypes and jnp.dtype(dtype) not in dtypes:
        got = ", ".join(sorted(map(str, dtypes)))
        raise Error(
            f"Task dtype: expected products of {jnp.dtype(dtype).name}, got only {got}; "
            "turn examples into the dtype of the weights, as in batch['x'].astype(params['w'].dtype)"
        )


def _products(jaxpr: Jaxpr) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield jnp.result_type(*(atom.aval.dtype for atom in equation.invars))  # type: ignore[attr-defined]
        for inner in jaxprs_in_params(equation.params):
            yield from _products(inner)
