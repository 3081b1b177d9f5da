"""How much arithmetic training takes: the floating-point operations of its matrix products and convolutions.

They are read off the traced functions, so that a figure does not depend on the device or on what its compiler tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Jaxpr, Var, jaxprs_in_params
from jaxtyping import PyTree

from jaxhp.tasks.clock import Clock, call
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.task import AnyTask, Member, Shapes, batch_shapes, clock_shapes, curve_examples, evaluated_on, update
from jaxhp.trials import ceil_div
from jaxhp.values import Config


def epoch_flops(task: AnyTask, shapes: Shapes, config: Config) -> float:
    """Of one member in one epoch: its steps, and the evaluation of both parts; of a `Loop`, one call of each function.

    Args:
      config: name to a value that is compiled in, or to the `jax.ShapeDtypeStruct` of one that is data.
    """
    traced = {n: v for n, v in config.items() if isinstance(v, jax.ShapeDtypeStruct)}
    static = {n: v for n, v in config.items() if n not in traced}
    key, clock = jax.eval_shape(lambda: jax.random.key(0)), clock_shapes(task)
    batch, seen_batch = batch_shapes(task.train, task.batch_size), evaluated_on(task, 100)

    def one(member: Member, batch: PyTree, key: jax.Array, config: Config, clock: Clock) -> PyTree:
        return update(task, member, batch, key, static | config, clock)

    def evaluate(member: Member, batch: PyTree, config: Config, clock: Clock) -> PyTree:
        return call(task.evaluate, member.variables, batch, static | config, clock=clock)

    step = product_flops(one, shapes.member, batch, key, traced, clock)
    seen = product_flops(evaluate, shapes.member, seen_batch, traced, clock)
    if isinstance(task, Loop):
        return step + seen
    n_seen = curve_examples(task, task.n_train, task.n_valid) + task.n_valid
    return step * ceil_div(task.n_train, task.batch_size) + seen / 100 * n_seen


def equations(task: AnyTask, shapes: Shapes, config: Config) -> int:
    """Count the operations that are compiled for a member: initial weights, a step and an evaluation.

    Args:
      config: as in `epoch_flops`.
    """
    traced = {n: v for n, v in config.items() if isinstance(v, jax.ShapeDtypeStruct)}
    static = {n: v for n, v in config.items() if n not in traced}
    key, clock = jax.eval_shape(lambda: jax.random.key(0)), clock_shapes(task)
    batch, seen = batch_shapes(task.train, task.batch_size), evaluated_on(task, 100)

    def count(jaxpr: Jaxpr) -> int:
        return sum(1 + sum(map(count, jaxprs_in_params(eqn.params))) for eqn in jaxpr.eqns)

    programs = (
        jax.make_jaxpr(lambda k, c, t: call(task.init, k, static | c, clock=t))(key, traced, clock),
        jax.make_jaxpr(lambda m, b, k, c, t: update(task, m, b, k, static | c, t))(
            shapes.member, batch, key, traced, clock
        ),
        jax.make_jaxpr(lambda m, b, c, t: call(task.evaluate, m.variables, b, static | c, clock=t))(
            shapes.member, seen, traced, clock
        ),
    )
    return sum(count(program.jaxpr) for program in programs)


def product_flops(function: Callable[..., PyTree], *args: PyTree) -> float:
    """Of a function of these shapes; the body of a loop whose length is data counts once.

    What no result needs, such as the gradient by the images, is not computed and does not count.
    """

    def count(jaxpr: Jaxpr) -> float:
        total, needed = 0.0, {v for v in jaxpr.outvars if isinstance(v, Var)}
        for eqn in reversed(jaxpr.eqns):
            if needed.isdisjoint(eqn.outvars):
                continue
            needed.update(v for v in eqn.invars if isinstance(v, Var))
            sources: list[Any] = [v.aval for v in eqn.invars]
            results: list[Any] = [v.aval for v in eqn.outvars]
            if eqn.primitive.name == "dot_general":
                (contracted, _), _ = eqn.params["dimension_numbers"]
                depth = 1
                for axis in contracted:
                    depth *= sources[0].shape[axis]
                total += 2.0 * results[0].size * depth
            elif eqn.primitive.name == "conv_general_dilated":
                spec = eqn.params["dimension_numbers"].rhs_spec
                kernel = sources[1]
                total += 2.0 * results[0].size * kernel.size / kernel.shape[spec[0]]
            times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
            total += sum(times * count(inner) for inner in jaxprs_in_params(eqn.params))
        return total

    return count(jax.make_jaxpr(function)(*args).jaxpr)
