"""The strategy to use when there is no reason to use another."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from jaxhp.strategies.gp import GP
from jaxhp.strategies.history import History
from jaxhp.strategies.sampler import Sampler
from jaxhp.strategies.tpe import TPE

MODELLED = 4000  # a longer history is TPE's


@dataclass(frozen=True)
class Auto(Sampler):
    """Sobol for the first round, a Gaussian process for the next ones, TPE once the history is beyond 4,000 points.

    Chosen by `experiments/benchmarks/strategies.py`.
    """

    rounds: int = 4

    def points(self, history: History, size: int) -> jax.Array:
        strategy = GP() if history.told <= MODELLED else TPE()
        return strategy.points(history, size)
