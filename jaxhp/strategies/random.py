"""Random search: Bergstra and Bengio, https://jmlr.org/papers/v13/bergstra12a.html."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int, UInt32

from jaxhp.compiling import jit
from jaxhp.strategies.history import History, stream
from jaxhp.strategies.sampler import Blind


@dataclass(frozen=True)
class Random(Blind):
    """Uniform points. Trial k of a search depends on the key and k alone, whatever the population.

    >>> import jax
    >>> key = jax.random.key(0)
    >>> small, large = (Random(population=n) for n in (16, 64))
    >>> a, b = (s.ask(s.init(key, 3))[0].unit for s in (small, large))
    >>> bool((a == b[:16]).all())
    True
    """

    def points(self, history: History, size: int) -> Float32[Array, "{size} D"]:
        """Draw the next `size` points, f32[size, D]."""
        return _uniform(history.key, history.asked, size, history.dim)


@partial(jit, static_argnames=("size", "dim"))
def _uniform(seed: UInt32[Array, "2"], first: Int[Array, ""], size: int, dim: int) -> Float32[Array, "{size} {dim}"]:
    """Draw the points of the trials from `first` on, each from a key of its own."""

    def draw(trial: Int[Array, ""]) -> Float32[Array, "D"]:
        return jax.random.uniform(stream(seed, trial), (dim,))

    return jax.lax.map(draw, first + jnp.arange(size), batch_size=size)
