"""A forest of extremely randomised trees over the unit cube: it sees the cliffs and corners that a process smooths.

Geurts et al., https://doi.org/10.1007/s10994-006-6226-1: each node splits by the best of one random threshold a
dimension. The trees serve as draws from a posterior: where good and bad points lie close together they disagree.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Key

from jaxhp.compiling import jit

DEPTH = 8  # the most splits from the root to a leaf
LEAF = 2  # the fewest points in a leaf


@partial(jit, static_argnames=("trees",))
def forest(
    key: Key[Array, ""],
    unit: Float32[Array, "N D"],
    target: Float32[Array, "N"],
    present: Bool[Array, "N"],
    at: Float32[Array, "Q D"],
    trees: int,
) -> tuple[Float32[Array, "Q"], Float32[Array, "Q Q"]]:
    """Grow a forest on what was seen, and ask it of other points.

    Args:
      key: of all that is drawn.
      unit: f32[N, D], points in the unit cube.
      target: f32[N], what was seen there.
      present: bool[N], which rows count.
      at: f32[Q, D], the points that it is asked of.
      trees: how many.

    Returns:
      The mean f32[Q] and the covariance f32[Q, Q], over the trees, of what they say.
    """
    said = jax.lax.map(lambda key: grow(key, unit, target, present, at), jax.random.split(key, trees))
    mean = jnp.mean(said, axis=0)
    apart = said - mean[None]
    return mean, apart.T @ apart / trees


def grow(
    key: Key[Array, ""],
    unit: Float32[Array, "N D"],
    target: Float32[Array, "N"],
    present: Bool[Array, "N"],
    at: Float32[Array, "Q D"],
) -> Float32[Array, "Q"]:
    """Grow one tree, and ask it of other points.

    Args:
      key, unit, target, present, at: as in `forest`.

    Returns:
      f32[Q], what it says.
    """
    (count, dim), nodes = unit.shape, 2**DEPTH
    key_order, key_share = jax.random.split(key)
    order, rows = jax.random.permutation(key_order, count), jnp.arange(count, dtype=jnp.int32)
    x, y, present = unit[order], jnp.where(present, target, 0.0)[order], present[order]
    share = jax.random.uniform(key_share, (DEPTH, nodes, dim))

    def inside(node):  # f32[K, N]
        return ((node[None] == jnp.arange(nodes)[:, None]) & present[None]).astype(jnp.float32)

    def split(level, carry):
        node, place = carry  # i32[N], i32[M]
        # the rows are in random order, so a node's first and last are two random points: every threshold parts them
        home = jnp.where(present, node, nodes)
        first = jnp.full(nodes, count - 1, jnp.int32).at[home].min(rows, mode="drop")
        last = jnp.zeros(nodes, jnp.int32).at[home].max(rows, mode="drop")
        threshold = x[first] + share[level] * (x[last] - x[first])  # [K, D]
        below = (x < threshold[node]).astype(jnp.float32)  # [N, D]
        columns = jnp.concatenate([below, below * y[:, None], jnp.ones((count, 1)), y[:, None]], axis=1)
        number, total, numbers, totals = jnp.split(inside(node) @ columns, [dim, 2 * dim, 2 * dim + 1], axis=1)
        valid = (number >= LEAF) & (numbers - number >= LEAF)
        gain = jnp.square(total) / number + jnp.square(totals - total) / (numbers - number)  # the variance it explains
        axis = jnp.argmax(jnp.where(valid, gain, -jnp.inf), axis=1)  # [K]
        cut = jnp.where(jnp.any(valid, axis=1), threshold[jnp.arange(nodes), axis], jnp.inf)

        def child(node, points):
            right = points[jnp.arange(points.shape[0]), axis[node]] >= cut[node]
            return 2 * node + right.astype(jnp.int32)

        return child(node, x), child(place, at)

    start = jnp.zeros(count, jnp.int32), jnp.zeros(at.shape[0], jnp.int32)
    node, place = jax.lax.fori_loop(0, DEPTH, split, start)
    mask = inside(node)
    return ((mask @ y) / jnp.maximum(jnp.sum(mask, axis=1), 1))[place]
