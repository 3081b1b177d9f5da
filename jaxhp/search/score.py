"""Scores for a list of configs, without a search."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from jaxhp.engine import population
from jaxhp.engine.layout import tiles_needed
from jaxhp.engine.local import Local
from jaxhp.engine.population import Capacity
from jaxhp.engine.runtime import setup
from jaxhp.engine.sizes import default_tile
from jaxhp.engine.work import Job
from jaxhp.search.groups import spec_of
from jaxhp.tasks.task import Task
from jaxhp.values import Config, Error


def score(
    task: Task, configs: Sequence[Config], *, epochs: int = 10, seed: int = 0, tile: int | None = None
) -> np.ndarray:
    """Train a list of configs in one compiled step.

    Args:
      configs: dicts with the same keys; numbers are data, strings and booleans must be the same in all.
      epochs, seed, tile: as in `Search`.

    Returns:
      f32[P], the task's metric on validation data of each config, in the order given; NaN if it diverged.
    """
    setup()
    configs = [dict(config) for config in configs]
    if not configs:
        raise Error("configs: expected at least one config, got none")
    names = set(configs[0])
    for index, config in enumerate(configs):
        if set(config) != names:
            raise Error(f"configs[{index}]: expected the keys {sorted(names)}, got {sorted(config)}")
    fixed = {n: v for n, v in configs[0].items() if isinstance(v, (str, bool))}
    for name in fixed:
        if any(config[name] != fixed[name] for config in configs):
            raise Error(f"configs: expected the same {name!r} in all of one call, got several")
    columns = {n: np.asarray([c[n] for c in configs]) for n in configs[0] if n not in fixed}
    columns = {n: v.astype(np.int32 if np.issubdtype(v.dtype, np.integer) else np.float32) for n, v in columns.items()}
    spec = spec_of(task, fixed, {n: v.dtype for n, v in columns.items()})
    devices = jax.local_devices()
    tile = tile or default_tile(spec.shapes, devices[0])
    capacity = Capacity(tile, tiles_needed(len(configs), 1, tile), len(configs), 1, epochs)
    ids = np.arange(len(configs), dtype=np.int32)
    job = Job(0, ids, configs, ids * 0 - 1, ids * 0, epochs, range(1))
    executor = Local(lambda _: spec, lambda spec, _: population.compile(spec, capacity, seed=seed), lambda _: None)
    return executor.train(job, lambda _: None).score
