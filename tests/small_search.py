"""A search that trains in a blink, shared by the tests of what lasts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxhp as hp
from jaxhp.engine.population import Population
from jaxhp.strategies import PBT, Halving, Random

STRATEGIES = {
    # all train 9 trials at once, so that one compilation serves them
    "random": Random(population=9, rounds=2),
    "halving": Halving(population=9, eta=3),
    "pbt": PBT(population=9, generations=3),
}


def task(scale: float = 0.3, **changes: Any) -> hp.Task:
    """A regression with 8 weights; learning rates from about 1 diverge."""
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    data = {"x": x, "y": np.tanh(x.sum(1))}

    def init(key, config):
        return {"w": scale * jax.random.normal(key, (4, 2))}

    def error(params, batch):
        return ((batch["x"] @ params["w"]).prod(-1) - batch["y"]) ** 2

    parts = {
        "init": init,
        "loss": lambda params, batch, key, config: jnp.mean(error(params, batch)),
        "evaluate": lambda params, batch, config: {"error": error(params, batch)},
        "optimizer": lambda config: optax.sgd(config["lr"], momentum=0.5),
        "train": {k: v[:30] for k, v in data.items()},
        "valid": {k: v[30:] for k, v in data.items()},
        "metric": "error",
        "mode": "min",
    }
    return hp.Task(**(parts | changes), batch_size=10)


def predict(params: Any, batch: Any, config: Any) -> Any:
    return (batch["x"] @ params["w"]).prod(-1)


def measure(said: Any, batch: Any) -> dict[str, Any]:
    return {"error": (said - batch["y"]) ** 2}


def search(kind: str = "halving", **changes: Any) -> hp.Search:
    space = changes.pop("space", None) or hp.Space(lr=hp.LogUniform(1e-3, 10.0))
    of = changes.pop("task", None) or task()
    options: dict[str, Any] = {"epochs": 9, "tile": 2, "finals": None}
    made = changes.pop("kind_of", hp.Search)
    return made(of, space, changes.pop("strategy", STRATEGIES[kind]), **(options | changes))


_compiled: dict[Any, Population] = {}
_plans: dict[hp.Search, Any] = {}
_task = task(predict=predict, measure=measure)


class Shared(hp.Search):
    """A search that is planned once, and compiled once with all others that train as many at once."""

    at_most: int | None = None  # rows at once, for all groups
    watch: Sequence[Any] = ()  # observers of the next runs

    def run(self, *args, **options):
        return super().run(*args, watch=self.watch, **options)

    def plan_on(self, machine):
        if self not in _plans:
            _plans[self] = super().plan_on(machine._replace(tiles={})), super().manifest()
        return _plans[self][0]

    def manifest(self, machine=None):
        self.plan()
        return dict(_plans[self][1])

    def population(self, spec, machine, at_most=None):
        at_most = min((n for n in (at_most, self.at_most) if n), default=None)
        rows = min(self.plan_on(machine).groups[0].rows, at_most or 2**30)
        key = (self.task, rows, self.epochs, self.finals, spec.key, self.fold is None, self.groups.examples)
        if key not in _compiled:
            _compiled[key] = super().population(spec, machine, at_most)
        return _compiled[key]


@functools.cache
def shared(kind: str, **changes: Any) -> hp.Search:
    """The same search for many runs."""
    return search(kind, task=_task, kind_of=Shared, **changes)


@functools.cache
def digest(kind: str, **changes: Any) -> str:
    """Of a run that nobody disturbed."""
    return shared(kind, **changes).run(quiet=True).digest
