"""What a task's functions trace to, read off one trace of each: which programs they are, how much work, how long."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import numpy as np

from jaxhp.tasks.clock import call
from jaxhp.tasks.fingerprint import program
from jaxhp.tasks.flops import equations, products
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.task import (
    AnyTask,
    Shapes,
    batch_shapes,
    clock_shapes,
    create,
    curve_examples,
    evaluated_on,
    shown,
    update,
)
from jaxhp.trials import ceil_div
from jaxhp.values import Config

_SEEN = 100  # examples of an evaluation whose work is counted, so many that what is computed once counts little


class Traces(NamedTuple):
    """What is known of a task with the configs of a static group.

    Attributes:
      program: SHA-256, 64 hexadecimal digits, of initialisation, one training step and evaluation, by `program`.
      epoch_flops: floating-point operations of the products of one member in one epoch: its steps, and the evaluation
        of both parts; of a `Loop`, one call of each function.
      equations: operations that are compiled for a member: a fresh one, a step and an evaluation.
    """

    program: str
    epoch_flops: float
    equations: int


_known: WeakKeyDictionary[AnyTask, dict[str, Traces]] = WeakKeyDictionary()  # by the config


def traces(task: AnyTask, shapes: Shapes, config: Config) -> Traces:
    """Return what is known of a task, which is traced where that was not done before in this process.

    Args:
      shapes: what `task.check` found.
      config: its traced values are `jax.ShapeDtypeStruct`, its static ones plain values.
    """
    known = _known.get(task, {}).get(repr(config))
    return traced_anew(task, shapes, config) if known is None else known


def traced_anew(task: AnyTask, shapes: Shapes, config: Config) -> Traces:
    """Trace a task as it is now: what its functions read from around them may be another since they were traced."""
    found = _known.setdefault(task, {})[repr(config)] = _traces(task, shapes, config)
    return found


def _traces(task: AnyTask, shapes: Shapes, config: Config) -> Traces:
    traced = {n: v for n, v in config.items() if isinstance(v, jax.ShapeDtypeStruct)}
    static = {n: v for n, v in config.items() if n not in traced}
    key, clock = jax.eval_shape(lambda: jax.random.key(0)), clock_shapes(task)

    def evaluation(examples: int) -> tuple[Any, Any]:
        of = jax.make_jaxpr(lambda v, b, c, t: call(task.evaluate, v, b, static | c, clock=t), return_shape=True)
        return of(shapes.member.variables, evaluated_on(task, examples), traced, clock)

    fresh = jax.make_jaxpr(lambda k, c, t: create(task, k, static | c, t))(key, traced, clock)
    step = jax.make_jaxpr(lambda m, b, k, c, t: update(task, m, b, k, static | c, t))(
        shapes.member, batch_shapes(task.train, task.batch_size), key, traced, clock
    )
    few, columns = evaluation(7)
    seen = few if isinstance(task, Loop) else evaluation(_SEEN)[0]
    programs = [fresh, step, few]
    if task.averaged is not None:
        average = jax.make_jaxpr(lambda m, c, t: shown(task, m, static | c, t))
        programs.append(average(shapes.member, traced, clock))
    weight = jax.ShapeDtypeStruct((7,), np.float32)
    programs += [jax.make_jaxpr(task.metrics[name].fn)(dict(columns), weight) for name in sorted(task.metrics)]
    of_step, of_seen = products(step.jaxpr), products(seen.jaxpr)
    if isinstance(task, Loop):
        flops = of_step + of_seen
    else:
        n_seen = curve_examples(task, task.n_train, task.n_valid) + task.n_valid
        flops = of_step * ceil_div(task.n_train, task.batch_size) + of_seen / _SEEN * n_seen
    return Traces(program(programs), flops, sum(equations(one.jaxpr) for one in (fresh, step, seen)))
