"""Dropout whose rate may be a hyperparameter."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def dropout(key: jax.Array, x: jax.Array, rate: ArrayLike) -> jax.Array:
    """Zero each value with probability `rate`, and divide the others by `1 - rate`.

    Unlike the layers of flax and others it decides nothing in Python, so that `rate` may be traced. The rate is kept to
    float32 where `x` is not: in bfloat16, 0.1 is 0.102, and nothing is zeroed at 0.001.

    Args:
      key: of random numbers, such as the one that `loss` gets; another one for each layer (`jax.random.fold_in`).
      x: of any shape.
      rate: in [0, 1).

    Returns:
      An array like `x`.
    """
    keep = 1 - jnp.asarray(rate, jnp.promote_types(x.dtype, jnp.float32))
    return jnp.where(jax.random.bernoulli(key, keep, x.shape), (x / keep).astype(x.dtype), 0)
