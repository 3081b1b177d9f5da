"""Scores for a list of configs, without a search."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from jaxhp.engine.layout import tiles_needed
from jaxhp.engine.local import Local
from jaxhp.engine.population import Capacity, compile
from jaxhp.engine.runtime import setup
from jaxhp.engine.sizes import default_tile
from jaxhp.engine.spec import key_of_group
from jaxhp.engine.work import Job
from jaxhp.search.groups import TaskOrFactory, made_for, spec_of
from jaxhp.tasks.check import check
from jaxhp.tasks.task import AnyTask
from jaxhp.values import Config, Error, value_of


def score(
    task: TaskOrFactory, configs: Sequence[Config], *, epochs: int = 10, seed: int = 0, tile: int | None = None
) -> np.ndarray:
    """Train a list of configs in one compiled step, or in one for each static group.

    Args:
      task: what to train; or a function from a config to a `Task` or a `Loop`.
      configs: dicts, those of a group with the same keys. Static is what that function reads, such as a width, and
        strings, booleans, None and tuples: configs that agree in them are a group. Other numbers are data. The task
        need not read what is the same in all configs of a group.
      epochs, seed, tile: as in `Search`.

    Returns:
      f32[P], the task's metric on validation data of each config, in the order given; NaN if it diverged. All begin
      with the same initial weights and see the same minibatches, so a config that is given twice has one score;
      another `seed` has others.

    Raises:
      Error: there are no configs, or those of a group do not fit together or the task.
    """
    setup()
    known = [{n: value_of(f"configs[{i}] {n}", v) for n, v in config.items()} for i, config in enumerate(configs)]
    if not known:
        raise Error("configs: expected at least one config, got none")
    scores = np.full(len(known), np.nan, np.float32)
    for made, static, rows in _groups(task, known):
        scores[rows] = _score(made, static, [known[row] for row in rows], rows, epochs, seed, tile)
    return scores


def _groups(task: TaskOrFactory, configs: list[Config]) -> list[tuple[AnyTask, Config, list[int]]]:
    """Return the task, the static part and the rows of every group of configs."""
    names = {n for config in configs for n, v in config.items() if type(v) not in (int, float)}
    while True:
        found: dict[str, tuple[AnyTask, Config, list[int]]] = {}
        before = set(names)
        for row, config in enumerate(configs):
            static = {n: v for n, v in config.items() if n in names}
            key = key_of_group(static)
            if key not in found:
                made, reads = made_for(task, config)
                if made is not task:
                    check(made, config, set(config))  # reads what the task's functions take from the factory's config
                    names |= reads
                found[key] = made, static, []
            found[key][2].append(row)
        if names == before:
            return list(found.values())


def _score(
    task: AnyTask, static: Config, configs: list[Config], rows: list[int], epochs: int, seed: int, tile: int | None
) -> np.ndarray:
    """Return the scores f32[P] of the configs of one static group, which are `rows` of the list."""
    names = set(configs[0])
    for row, config in zip(rows, configs, strict=True):
        if set(config) != names:
            raise Error(f"configs[{row}]: expected the keys {sorted(names)}, got {sorted(config)}")
    columns = {n: np.asarray([config[n] for config in configs]) for n in configs[0] if n not in static}
    whole = {n: np.issubdtype(column.dtype, np.integer) for n, column in columns.items()}
    traced = {n: np.dtype(np.int32 if whole[n] else np.float32) for n in columns}
    constant = {n for n in configs[0] if n in static or len(np.unique(columns[n])) == 1}
    spec = spec_of(task, static, traced, reads=constant)
    devices = jax.local_devices()
    tile = tile or default_tile(spec.shapes, devices[0])
    capacity = Capacity(tile, tiles_needed(len(configs), 1, tile), len(configs), 1, epochs)
    used = devices[: capacity.tiles]  # a program is compiled for each
    ids = np.asarray(rows, np.int32)
    job = Job(0, ids, configs, ids * 0 - 1, ids * 0, epochs, range(1))
    executor = Local(lambda _: spec, lambda spec, _: compile(spec, capacity, seed=seed, devices=used), lambda _: None)
    return executor.train(job, lambda _: None).score
