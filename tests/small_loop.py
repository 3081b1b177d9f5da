"""A loop whose states and scores are known in closed form: noisy gradient descent on a parabola."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from small_search import Shared, search

import jaxhp as hp
from jaxhp.engine.streams import Keys, key_of

SLOPE, SAMPLES, FAR = 2.0, 16, 30.0


class Walk(NamedTuple):
    x: Any  # f32[2]
    steps: Any  # i32[]
    moved: Any  # bool[2]
    never: Any  # f32[], NaN with a meaning


def init(key, config):
    return Walk(1 + 0.1 * jax.random.normal(key, (2,)), jnp.int32(0), jnp.zeros(2, bool), jnp.float32(jnp.nan))


def epoch(state, key, config):
    after = (1 - SLOPE * config["lr"]) * state.x + 0.01 * jax.random.normal(key, (2,))
    return state._replace(x=after, steps=state.steps + 1, moved=state.moved | (after != state.x))


def evaluate(state, key, config):
    height = (state.x**2).sum() + 0.1 * jax.random.normal(key, (SAMPLES,))
    return {"height": jnp.where(jnp.abs(state.x).max() > FAR, jnp.nan, height), "steps": state.steps}


LOOP = hp.Loop(init, epoch, evaluate, metric="height", mode="min")


@functools.cache
def shared(kind: str, **changes: Any) -> hp.Search:
    """One search for many runs, compiled once with the others."""
    return search(kind, task=LOOP, kind_of=Shared, **changes)


@functools.cache
def drawn(stream: Keys, replicate: int, epoch: int) -> np.ndarray:
    """What a member's functions draw, in float64."""
    key = key_of(jax.random.key(0), stream, replicate)
    if stream is Keys.INIT:
        return np.asarray(jax.random.normal(key, (2,)), np.float64)
    key = jax.random.fold_in(key, epoch)
    if stream is Keys.NOISE:
        return np.asarray(jax.random.normal(jax.random.fold_in(key, 0), (2,)), np.float64)
    return np.asarray(jax.random.normal(key, (SAMPLES,)), np.float64)


def known(schedule: Sequence[tuple[float, int]], replicate: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The last state f64[2], and the heights after each epoch, NaN from where it is too far.

    Args:
      schedule: learning rates, and up to which epoch.
    """
    lr = [
        rate
        for before, (rate, end) in zip([0, *(e for _, e in schedule)], schedule, strict=False)
        for _ in range(before, end)
    ]
    x, heights = 1 + 0.1 * drawn(Keys.INIT, replicate, 0), []
    for e, rate in enumerate(lr):
        x = (1 - SLOPE * rate) * x + 0.01 * drawn(Keys.NOISE, replicate, e)
        fine = np.abs(x).max() <= FAR and not any(map(np.isnan, heights))
        heights.append((x**2).sum() + 0.1 * drawn(Keys.EVALUATE, replicate, e).mean() if fine else np.nan)
    return x, np.asarray(heights)
