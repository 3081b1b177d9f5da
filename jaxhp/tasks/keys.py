"""Typed keys of random numbers in a model's state or an optimizer's: kept as the numbers that they are made of.

The engine moves, stores and compares arrays of numbers. So a task whose `init` or optimizer makes keys gets functions
around its own: these take and return the keys' data, and the task's own functions see keys. A task without keys is left
as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import optax
from jaxtyping import PyTree

from jaxhp.keys import bare, is_key, keyed
from jaxhp.tasks.clock import asking, call
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.task import AnyTask, Shapes, Variables
from jaxhp.values import Config


def stored(task: AnyTask, shapes: Shapes) -> tuple[AnyTask, Shapes]:
    """Returns a task whose members have no keys, with its shapes; the same ones where there are none.

    Args:
      task: with functions that fit together.
      shapes: what `check` found.
    """
    if not any(map(is_key, jax.tree.leaves(shapes.member))):
        return task, shapes
    variables, state = shapes.member
    plain = shapes._replace(member=jax.eval_shape(bare, shapes.member))
    if isinstance(task, Loop):
        parts = {"init": _init(task.init), "epoch": _epoch(task.epoch, variables)}
        return replace(task, **parts, evaluate=_evaluate(task.evaluate, variables)), plain
    functions = {
        "init": _init(task.init),
        "loss": _loss(task.loss, variables),
        "evaluate": _evaluate(task.evaluate, variables),
        "optimizer": _optimizer(task.optimizer, state),
        "predict": None if task.predict is None else _evaluate(task.predict, variables),
        "averaged": None if task.averaged is None else _averaged(task.averaged, state),
    }
    return replace(task, **functions), plain


def _init(init: Callable[..., PyTree]) -> Callable[..., PyTree]:
    return asking(init, lambda key, config, **clock: bare(call(init, key, config, clock=clock)))


def _loss(loss: Callable[..., Any], like: PyTree) -> Callable[..., Any]:
    def found(variables: PyTree, batch: PyTree, key: jax.Array, config: Config, **clock: Any) -> Any:
        value = call(loss, keyed(variables, like), batch, key, config, clock=clock)
        return (value[0], bare(value[1])) if isinstance(like, Variables) else value

    return asking(loss, found)


def _epoch(epoch: Callable[..., PyTree], like: PyTree) -> Callable[..., PyTree]:
    def found(state: PyTree, key: jax.Array, config: Config, **clock: Any) -> PyTree:
        return bare(call(epoch, keyed(state, like), key, config, clock=clock))

    return asking(epoch, found)


def _evaluate(evaluate: Callable[..., Any], like: PyTree) -> Callable[..., Any]:
    def found(variables: PyTree, batch: PyTree, config: Config, **clock: Any) -> Any:
        return call(evaluate, keyed(variables, like), batch, config, clock=clock)

    return asking(evaluate, found)


def _averaged(averaged: Callable[..., PyTree], like: PyTree) -> Callable[..., PyTree]:
    def found(state: PyTree, params: PyTree, config: Config, **clock: Any) -> PyTree:
        return call(averaged, keyed(state, like), params, config, clock=clock)

    return asking(averaged, found)


def _optimizer(optimizer: Callable[..., Any], like: PyTree) -> Callable[..., optax.GradientTransformation]:
    def found(config: Config, **clock: Any) -> optax.GradientTransformation:
        inner = call(optimizer, config, clock=clock)

        def update(updates: PyTree, state: PyTree, params: PyTree = None, **more: Any) -> tuple[PyTree, PyTree]:
            updates, after = inner.update(updates, keyed(state, like), params, **more)
            return updates, bare(after)

        takes_more = isinstance(inner, (optax.GradientTransformationExtraArgs, optax.MultiSteps))
        kind = optax.GradientTransformationExtraArgs if takes_more else optax.GradientTransformation
        return kind(lambda params: bare(inner.init(params)), update)

    return asking(optimizer, found)
