"""How a tile's arrays are carried from one step to the next, so that XLA need not lay them out anew in every step.

A weight [I, O] that multiplies the minibatch itself (a network's first layer) meets it as one matrix product for all
members, [B, I] @ [I, T * O], and its gradient is one product, [T * O, B] @ [B, I]. Such weights, and the leaves of
the optimizer state that belong to them, are carried as that gradient comes, as a matrix [T * O, I]: the update runs
through memory in order, and only the forward product has to transpose the weight. Carried as [T, I, O], or as
[I, T * O], the gradient would be rearranged for the weight and for every leaf of the optimizer state. All other leaves
are carried as they are stacked, [T, ...]; weights [O, I] that meet examples on the last axis, as in `tasks/mlp.py`, lie
right as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Var, jaxprs_in_params
from jaxtyping import Array, PyTree


def first_layers(
    loss: Callable[..., PyTree],
    variables: PyTree[jax.ShapeDtypeStruct],
    batch: PyTree[jax.ShapeDtypeStruct],
    key: jax.ShapeDtypeStruct,
    config: PyTree[jax.ShapeDtypeStruct],
    opt_state: PyTree[jax.ShapeDtypeStruct],
) -> tuple[PyTree[bool], PyTree[bool]]:
    """Find the leaves of weights that multiply the batch.

    Returns:
      trees of booleans like `variables` and `opt_state`.

    Args:
      loss: `(variables, batch, key, config) -> ...` of one member; the others are shapes of its arguments.
      opt_state: shapes; its leaves follow the weights whose shape they have.
    """
    traced = jax.make_jaxpr(loss)(variables, batch, key, config)
    weights, structure = jax.tree.flatten(variables)
    n_batch = len(jax.tree.leaves(batch))
    inputs = traced.jaxpr.invars
    names = {v: i for i, v in enumerate(inputs[: len(weights)])}
    shared = set(inputs[len(weights) : len(weights) + n_batch])
    first = {leaf for leaf in _meetings(traced.jaxpr, names, shared) if len(weights[leaf].shape) == 2}
    moved = {(weights[leaf].shape, weights[leaf].dtype) for leaf in first}
    follow = jax.tree.map(lambda s: (s.shape, s.dtype) in moved, opt_state)
    return jax.tree.unflatten(structure, [leaf in first for leaf in range(len(weights))]), follow


def _meetings(jaxpr: Jaxpr, names: dict[Var, int], shared: set[Var]) -> set[int]:
    """Leaves (by number) whose first axis is contracted with something that depends on the minibatch alone."""
    found: set[int] = set()
    for eqn in jaxpr.eqns:
        variables = [v for v in eqn.invars if isinstance(v, Var)]
        inner = list(jaxprs_in_params(eqn.params))
        if eqn.primitive.name == "dot_general":
            (left, right), _ = eqn.params["dimension_numbers"]
            for a, b, axes in ((eqn.invars[0], eqn.invars[1], right), (eqn.invars[1], eqn.invars[0], left)):
                if isinstance(a, Var) and isinstance(b, Var) and a in shared and b in names and tuple(axes) == (0,):
                    found.add(names[b])
        elif len(inner) == 1 and len(inner[0].invars) == len(eqn.invars):
            pairs = [(o, i) for o, i in zip(eqn.invars, inner[0].invars, strict=True) if isinstance(o, Var)]
            found |= _meetings(
                inner[0], {i: names[o] for o, i in pairs if o in names}, {i for o, i in pairs if o in shared}
            )
        if variables and all(v in shared for v in variables):
            shared.update(eqn.outvars)
    return found


def carry(tree: PyTree[Array], first: PyTree[bool]) -> PyTree[Array]:
    """Leaves [T, ...] as they are carried: [T, I, O] as [T * O, I] where `first` says."""
    return jax.tree.map(
        lambda leaf, moved: jnp.swapaxes(leaf, 1, 2).reshape(-1, leaf.shape[1]) if moved else leaf, tree, first
    )


def mapped(tree: PyTree[Array], first: PyTree[bool], tile: int) -> PyTree[Array]:
    """Leaves as `vmap` gets them, with the members on the axes that `axes` says: [T * O, I] as [I, T, O].

    So the product with the minibatch becomes [B, I] @ [I, T * O] of a transposed matrix, which the kernels read as it
    lies. Of [T, I, O] XLA makes a copy.
    """
    return jax.tree.map(lambda leaf, moved: leaf.T.reshape(leaf.shape[1], tile, -1) if moved else leaf, tree, first)


def axes(first: PyTree[bool]) -> PyTree[int]:
    """The axis of every leaf of `mapped` that counts the members."""
    return jax.tree.map(int, first)


def stacked(tree: PyTree[Array], first: PyTree[bool], tile: int) -> PyTree[Array]:
    """The inverse of `carry`, for T = `tile`."""
    return jax.tree.map(
        lambda leaf, moved: jnp.swapaxes(leaf.reshape(tile, -1, leaf.shape[1]), 1, 2) if moved else leaf, tree, first
    )
