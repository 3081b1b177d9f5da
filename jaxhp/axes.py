"""Where the member axis of a tile's arrays goes, so that the shared minibatch meets one matrix.

A weight [I, O] that multiplies the minibatch itself (a network's first layer) is fastest stacked as [I, T, O]: x @ w
for all members is then one matrix product [B, I] @ [I, T * O], with nothing to rearrange. Stacked as [T, I, O], XLA
copies it into that order in every step. Other leaves keep the member axis in front. Between steps such a weight is
carried as a matrix [I, T * O]: as [I, T, O], XLA would lay it out as [T, I, O] in memory, and copy it all the same.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Var

from jaxhp.task import Member


def member_axes(loss: Any, variables: Any, batch: Any, key: Any, config: Any, opt_state: Any) -> Member:
    """A tree of ints like `Member(variables, opt_state)`: 1 where the member axis is to stand second, else 0.

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
    follow = jax.tree.map(lambda s: int((s.shape, s.dtype) in moved), opt_state)
    return Member(jax.tree.unflatten(structure, [int(leaf in first) for leaf in range(len(weights))]), follow)


def _meetings(jaxpr: Jaxpr, names: dict[Any, int], shared: set[Any]) -> set[int]:
    """Leaves (by number) whose first axis is contracted with something that depends on the minibatch alone."""
    found: set[int] = set()
    for eqn in jaxpr.eqns:
        variables = [v for v in eqn.invars if isinstance(v, Var)]
        inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
        if eqn.primitive.name == "dot_general":
            (left, right), _ = eqn.params["dimension_numbers"]
            for a, b, axes in ((eqn.invars[0], eqn.invars[1], right), (eqn.invars[1], eqn.invars[0], left)):
                if isinstance(a, Var) and isinstance(b, Var) and a in shared and b in names and tuple(axes) == (0,):
                    found.add(names[b])
        elif isinstance(inner, (ClosedJaxpr, Jaxpr)) and len(_open(inner).invars) == len(eqn.invars):
            body = _open(inner)
            pairs = [(o, i) for o, i in zip(eqn.invars, body.invars, strict=True) if isinstance(o, Var)]
            found |= _meetings(
                body, {i: names[o] for o, i in pairs if o in names}, {i for o, i in pairs if o in shared}
            )
        if variables and all(v in shared for v in variables):
            shared.update(eqn.outvars)
    return found


def _open(jaxpr: ClosedJaxpr | Jaxpr) -> Jaxpr:
    return jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr


def to_axes(tree: Any, axes: Any) -> Any:
    """Leaves [T, ...] as they are carried between steps: [T, I, O] as [I, T * O] where `axes` says 1."""
    return beside(jax.tree.map(lambda leaf, axis: jnp.moveaxis(leaf, 0, axis), tree, axes), axes)


def from_axes(tree: Any, axes: Any, tile: int) -> Any:
    """The inverse of `to_axes`, for T = `tile`."""
    return jax.tree.map(lambda leaf, axis: jnp.moveaxis(leaf, axis, 0), stacked(tree, axes, tile), axes)


def stacked(tree: Any, axes: Any, tile: int) -> Any:
    """Carried leaves with a member axis of their own where `axes` says, as `vmap` takes them."""
    return jax.tree.map(lambda leaf, axis: leaf.reshape(len(leaf), tile, -1) if axis else leaf, tree, axes)


def beside(tree: Any, axes: Any) -> Any:
    """The inverse of `stacked`."""
    return jax.tree.map(lambda leaf, axis: leaf.reshape(len(leaf), -1) if axis else leaf, tree, axes)
