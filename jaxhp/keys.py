"""Typed keys of random numbers in a tree, and the numbers that they are made of."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

KIND = "threefry2x32"  # under `vmap` the numbers of other kinds depend on the keys beside


def is_key(leaf: Any) -> bool:
    """Tell whether an array, or its shape, is one of keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def bare(tree: PyTree) -> PyTree:
    """Return a tree with the data of its keys in their place."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def keyed(tree: PyTree, like: PyTree) -> PyTree:
    """Return the tree of which `bare` made this one.

    Args:
      like: its shapes; all of its keys are of `KIND`.
    """
    return jax.tree.map(
        lambda leaf, want: jax.random.wrap_key_data(leaf, impl=KIND) if is_key(want) else leaf, tree, like
    )
