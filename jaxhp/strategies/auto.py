"""The strategy to use when there is no reason to use another."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxhp.strategies.gp import GP
from jaxhp.strategies.history import History
from jaxhp.strategies.sampler import Sampler
from jaxhp.strategies.tpe import TPE

MODELLED = 4000  # points; a longer history is TPE's alone


@dataclass(frozen=True)
class Auto(Sampler):
    """Sobol points first; then two thirds of each batch from a Gaussian process, and a third from TPE, as a hedge.

    Beyond a history of 4,000 points all of it is TPE's. Chosen by `experiments/benchmarks/strategies.py`.
    """

    rounds: int = 4

    def points(self, history: History, size: int) -> jax.Array:
        if history.told > MODELLED:
            return TPE().points(history, size)
        hedge = size // 3 if history.told else 0
        batch = GP().points(history, size - hedge)
        return jnp.concatenate([batch, TPE().points(history, hedge)]) if hedge else batch
