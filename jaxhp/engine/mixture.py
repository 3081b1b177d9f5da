"""What networks say of examples: each for itself, and their weighted mean in one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxhp.compiling import jit
from jaxhp.engine.spec import Spec
from jaxhp.engine.tile import each_member
from jaxhp.keys import bare
from jaxhp.tasks.task import Task
from jaxhp.values import Config

_AT_ONCE = 512  # examples, of which predictions are made at once


class Part(NamedTuple):
    """K networks of one static group."""

    spec: Spec
    variables: PyTree[np.ndarray]  # [K, ...], keys as their data
    traced: dict[str, np.ndarray]  # name to [K], the part of their configs that is data
    weight: np.ndarray  # f32[K], of all parts together they add up to 1


def part_of(
    spec: Spec, networks: Sequence[PyTree[np.ndarray]], configs: Sequence[Config], weight: Sequence[float]
) -> Part:
    """Stack networks of one static group, which are what `init` made."""
    stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *map(bare, networks))
    return Part(spec, stacked, spec.columns(configs), np.asarray(weight, np.float32))


def said_by_each(part: Part, data: PyTree[np.ndarray]) -> np.ndarray:
    """Return [K, n, ...], what each network says of each example."""
    n = len(jax.tree.leaves(data)[0])
    size = min(n, _AT_ONCE)
    compiled = jit(_each(part.spec))
    found = []
    for start in range(0, n, size):
        rows = np.minimum(np.arange(start, start + size), n - 1)
        batch = jax.tree.map(lambda leaf, rows=rows: leaf[rows], data)
        found.append(jax.device_get(compiled(part.variables, part.traced, batch)))
    return np.concatenate(found, 1)[:, :n]


def mixed(parts: Sequence[Part]) -> Callable[[PyTree[Array]], jax.Array]:
    """Return the function of a batch that gives the weighted mean of what networks say, to be compiled."""
    held = [jax.tree.map(jnp.asarray, (part.variables, part.traced)) for part in parts]  # JAX may refuse NumPy's inside

    def mean(batch: PyTree[Array]) -> jax.Array:
        total = 0.0
        for part, (variables, traced) in zip(parts, held, strict=True):
            said = _each(part.spec)(variables, traced, batch)
            total = total + jnp.tensordot(part.weight, said, axes=1)
        return jnp.asarray(total)

    return mean


def _each(spec: Spec) -> Callable[..., jax.Array]:
    task = spec.task
    assert isinstance(task, Task)
    predict = task.predict
    assert predict is not None
    return each_member(lambda variables, traced, batch: predict(variables, batch, spec.static | traced))
