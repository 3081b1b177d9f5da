"""Schedules of a learning rate whose peak and lengths may be hyperparameters.

Optax's decide in Python whether a length or a peak is 0, which a traced value cannot tell. These decide nothing:

    optax.sgd(hp.schedules.warmup_cosine(config["lr"], warmup=config["warmup"], steps=200))
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

Schedule = Callable[[ArrayLike], jax.Array]
"""From the number of updates so far to a learning rate."""


def linear(first: ArrayLike, last: ArrayLike, steps: ArrayLike) -> Schedule:
    """Lead from `first` to `last` in a straight line of so many steps, and give `last` from then on."""
    return lambda count: jnp.add(first, jnp.subtract(last, first) * _way(count, steps))


def cosine(peak: ArrayLike, steps: ArrayLike, end: ArrayLike = 0.0) -> Schedule:
    """Lead from `peak` to `end` along half a cosine of so many steps, and give `end` from then on."""
    return lambda count: jnp.add(end, jnp.subtract(peak, end) * (1 + jnp.cos(jnp.pi * _way(count, steps))) / 2)


def exponential(peak: ArrayLike, rate: ArrayLike, steps: ArrayLike = 1) -> Schedule:
    """Multiply `peak` by `rate` for every so many steps."""
    return lambda count: jnp.multiply(peak, jnp.power(rate, jnp.asarray(count, jnp.float32) / steps))


def warmup(peak: ArrayLike, steps: ArrayLike) -> Schedule:
    """Lead from 0 to `peak` in a straight line of so many steps, and give `peak` from then on; without any, at once."""
    return linear(0.0, peak, steps)


def warmup_cosine(peak: ArrayLike, warmup: ArrayLike, steps: ArrayLike, end: ArrayLike = 0.0) -> Schedule:
    """Lead from 0 to `peak` in a straight line of `warmup` steps, then to `end` along half a cosine until `steps`."""
    up, down = linear(0.0, peak, warmup), cosine(peak, jnp.subtract(steps, warmup), end)
    return lambda count: jnp.where(jnp.less(count, warmup), up(count), down(jnp.subtract(count, warmup)))


def _way(count: ArrayLike, steps: ArrayLike) -> jax.Array:
    """Return the share of `steps` that is behind, from 0 to 1; 1 where there are none."""
    way = jnp.asarray(count, jnp.float32) / jnp.maximum(jnp.asarray(steps, jnp.float32), 1e-9)
    return jnp.where(jnp.greater(steps, 0), jnp.clip(way, 0.0, 1.0), 1.0)
