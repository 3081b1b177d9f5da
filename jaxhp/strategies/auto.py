"""The strategy to use when there is no reason to use another."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from jaxhp.strategies.gp import GP
from jaxhp.strategies.history import History
from jaxhp.strategies.outer import turns
from jaxhp.strategies.sampler import Sampler
from jaxhp.strategies.tpe import TPE

MODELLED = 4000  # points; a longer history is TPE's
TREES = 64


@dataclass(frozen=True)
class Auto(Sampler):
    """Sobol points first; then a Gaussian process and a forest in turn, and TPE once more than 4,000 points are told.

    Where the first round is told other points than were asked for, as from a pool of configs, three of four slots
    are outer moves (`outer.py`).

    Chosen by `experiments/benchmarks/strategies.py`. A third of each batch from TPE, as a hedge, was tried and is not
    worth its slots: what TPE would propose is among the candidates of the process.
    """

    rounds: int = 4

    def points(self, history: History, size: int) -> jax.Array:
        model = TPE() if history.told > MODELLED else GP(rounds=self.rounds, trees=TREES)
        return turns(history, model.points(history, size))
