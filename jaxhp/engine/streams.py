"""The registry of random streams: every key of a search is `fold_in(fold_in(root, STREAM), identity)`.

The numbers are part of what a seed means: none may change, and a new stream takes a new number.
"""

from __future__ import annotations

from enum import IntEnum

import jax
from jax.typing import ArrayLike


class Keys(IntEnum):
    """What a key is for."""

    CONFIGS = 0  # what a strategy draws
    INIT = 1  # initial weights
    ORDER = 2  # the order of minibatches
    NOISE = 3  # the key that a loss, or an epoch of a loop, is given
    ELSEWHERE = 4  # points in place of those that were tried before
    EVALUATE = 5  # the key that a loop is evaluated with


def key_of(root: jax.Array, stream: Keys, identity: ArrayLike) -> jax.Array:
    """Makes the key of a stream for one replicate, or whatever else has an id that never changes.

    Args:
      root: a key, made of the seed alone.
      stream: what the key is for.
      identity: i32[], may be traced.

    Returns:
      a key.
    """
    return jax.random.fold_in(jax.random.fold_in(root, int(stream)), identity)
