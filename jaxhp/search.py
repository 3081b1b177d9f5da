"""A search: task, space, strategy and budget, checked, planned and identified before anything is trained."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxhp.data import fingerprint, split
from jaxhp.files import read_json, write_json
from jaxhp.folds import check_folds, cross_validation
from jaxhp.layout import tiles_needed
from jaxhp.loop import Run
from jaxhp.plan import GroupPlan, Plan, default_tile, plan_group
from jaxhp.population import Capacity, Population
from jaxhp.result import Result
from jaxhp.select import Finals, default_finals
from jaxhp.space import Space
from jaxhp.store import Ledger
from jaxhp.strategies import Strategy
from jaxhp.task import Shapes, Task, check
from jaxhp.training import Group, Rows, Trainer
from jaxhp.types import Config

_DEFAULT = Finals()


class Search:
    """A hyperparameter search over a task.

    Args:
      task: what to train; or a function from the static part of a config (a dict of its fixed values and static
        choices) to a `Task`, where those change shapes, data or batch size.
      space: the hyperparameters.
      strategy: what proposes configs, such as `hp.Narrowing(population=64, rounds=4)`.
      epochs: the full budget of a trial, in passes over the training data.
      seed: root of all random numbers.
      replicates: members of each trial, with different seeds.
      folds: K-fold cross-validation over train and valid together, K members for each replicate; None: no folds.
      paired: whether the trials of a replicate share initial weights, minibatch order and noise, so that differences
        between configs are paired.
      finals: how finalists are run again; None: no finals. By default their size is at most a fifth of the search.
      tile: members of a tile; None: chosen from the task and the kind of device.
      memory: bytes that may be filled; None: what is free. What does not fit is trained in waves.
      devices: None: all local devices.

    Raises:
      ValueError, TypeError: anything about the arguments that does not fit, before anything is trained.
    """

    def __init__(
        self,
        task: Task | Callable[[Config], Task],
        space: Space,
        strategy: Strategy,
        *,
        epochs: int = 10,
        seed: int = 0,
        replicates: int = 1,
        folds: int | None = None,
        paired: bool = True,
        finals: Finals | None = _DEFAULT,
        tile: int | None = None,
        memory: int | None = None,
        devices: list[Any] | None = None,
    ):
        if not isinstance(space, Space):
            raise TypeError(f"space: expected a Space, got {type(space).__name__}")
        for name in ("schedule", "init", "ask", "tell"):
            if not callable(getattr(strategy, name, None)):
                raise TypeError(f"strategy: expected a strategy with a method {name}, got {strategy!r}")
        for name, value, least in (("epochs", epochs, 1), ("replicates", replicates, 1), ("seed", seed, 0)):
            _check_int(name, value, least)
        for name, value, least in (("folds", folds, 2), ("tile", tile, 1), ("memory", memory, 1)):
            if value is not None:
                _check_int(name, value, least)
        if finals is not None and not isinstance(finals, Finals):
            raise TypeError(f"finals: expected Finals or None, got {finals!r}")
        self.space, self.strategy, self.epochs, self.seed = space, strategy, epochs, seed
        self.replicates, self.folds, self.paired, self.tile, self.memory = replicates, folds, paired, tile, memory
        self.devices = devices or jax.local_devices()
        self.rungs = tuple(strategy.schedule(epochs))
        self.finals = finals
        self._task = task
        self._members: dict[str, tuple[Task, Shapes, dict[str, Any]]] = {}
        self._holdouts: dict[str, Any] = {}  # validation examples that the search does not use
        for config in space.groups():
            self._member(config)
        if finals is _DEFAULT:
            self.finals = self._default_finals()

    def _default_finals(self) -> Finals | None:
        shapes = [shapes for _, shapes, _ in self._members.values()]
        tile = self.tile or max(default_tile(s, self.devices[0]) for s in shapes)
        return default_finals(
            self._trained(1) * self.width,
            self._trained(tile) * self.width,
            max(rung.trials for rung in self.rungs),
            tile,
            self.epochs,
            self.folds or 1,
        )

    @property
    def width(self) -> int:
        """Members of a trial: replicates times folds."""
        return self.replicates * (self.folds or 1)

    @property
    def task(self) -> Task:
        """The task of the first static group."""
        return next(iter(self._members.values()))[0]

    @property
    def fold(self) -> np.ndarray | None:
        """i32[n_train + n_valid], the fold that each example of train and valid is validated in; None: no folds."""
        return cross_validation(self.task, self.folds, self.seed) if self.folds else None

    @staticmethod
    def _key(static: Config) -> str:
        return repr(sorted(static.items()))

    def _member(self, config: Config) -> tuple[Task, Shapes, dict[str, Any]]:
        """Task, shapes and abstract config of a config's static group."""
        static = self.space.static(config)
        key = self._key(static)
        if key not in self._members:
            task = self._task if isinstance(self._task, Task) else self._task(static)
            if not isinstance(task, Task):
                raise TypeError(f"task: expected a Task or a function that returns one, got {type(task).__name__}")
            if self.finals and self.finals.holdout is not None:
                task, self._holdouts[key] = _without(task, self.finals.holdout, self.seed)
            traced = {n: v.dtype for n, v in self.space.traced([config]).items()}
            abstract = static | {n: jax.ShapeDtypeStruct((), dtype) for n, dtype in traced.items()}
            if self.folds:
                check_folds(task, self.folds)
            self._members[key] = (task, check(task, abstract), abstract)
        return self._members[key]

    def plan(self) -> Plan:
        """What the search will need. Trains nothing."""
        groups = [self._plan_group(config) for config in self.space.groups()]
        finals = (self.finals.top, self.finals.members(self.folds or 1)) if self.finals else None
        total = self._trained(1) * self.width + (finals[0] * finals[1] * self.epochs if finals else 0)
        return Plan(
            device=self.devices[0].device_kind,
            devices=len(self.devices),
            rungs=[(rung.trials, rung.epochs) for rung in self.rungs],
            replicates=self.width,
            finals=finals,
            member_epochs=total,
            flops=total * max(group.epoch_flops for group in groups),
            groups=groups,
        )

    def _trained(self, tile: int) -> int:
        """Epochs that the rungs train, times tiles of so many trials."""
        trained, reached = 0, 0
        for rung in self.rungs:
            fresh = rung.epochs <= reached
            trained += tiles_needed(rung.trials, 1, tile) * (rung.epochs if fresh else rung.epochs - reached)
            reached = rung.epochs
        return trained

    def _plan_group(self, config: Config) -> GroupPlan:
        task, shapes, abstract = self._member(config)
        return plan_group(
            task,
            shapes,
            abstract,
            static=self.space.static(config),
            tile=self.tile,
            rungs=self.rungs,
            replicates=self.width,
            finals=None,  # they are trained in the tiles of the search
            epochs=self.epochs,
            devices=self.devices,
            memory=self.memory,
        )

    def _group(self, static: Config) -> Group:
        """Compiles the population of a static group."""
        config = next(c for c in self.space.groups() if self.space.static(c) == static)
        task, shapes, abstract = self._member(config)
        planned = self._plan_group(config)
        capacity = Capacity(
            tile=planned.tile,
            tiles=tiles_needed(planned.rows, self.width, planned.tile),
            trials=planned.rows,
            replicates=max(self.width, self.finals.members(self.folds or 1) if self.finals else 1),
            epochs=max(self.epochs, *(rung.epochs for rung in self.rungs)),
        )
        population = Population(
            task,
            shapes,
            static,
            {n: v.dtype for n, v in abstract.items() if isinstance(v, jax.ShapeDtypeStruct)},
            capacity,
            seed=self.seed,
            paired=self.paired,
            folds=cross_validation(task, self.folds, self.seed) if self.folds else None,
            devices=self.devices,
        )
        return Group(population, planned.rows, static, self._holdouts.get(self._key(static)))

    def manifest(self) -> dict[str, Any]:
        """What identifies this search, and what it runs on."""
        groups = self.space.groups()
        tiles = [self.tile or default_tile(self._member(c)[1], self.devices[0]) for c in groups]
        return {
            "space": self.space.to_json(),
            "strategy": repr(self.strategy),
            "epochs": self.epochs,
            "seed": self.seed,
            "replicates": self.replicates,
            "folds": self.folds,
            "paired": self.paired,
            "finals": repr(self.finals),
            "tile": tiles[0] if len(tiles) == 1 else tiles,
            "data": fingerprint((self.task.train, self.task.valid)),
            "batch_size": self.task.batch_size,
            "metric": self.task.metric,
            "mode": self.task.mode,
            "environment": {
                "device_kind": self.devices[0].device_kind,
                "platform": self.devices[0].platform,
                "devices": len(self.devices),
                "python": platform.python_version(),
                "jax": jax.__version__,
                "jaxlib": version("jaxlib"),
                "jaxhp": version("jaxhp"),
                "matmul_precision": str(jax.config.values["jax_default_matmul_precision"]),
                "argv": sys.argv,
            },
        }

    def run(self, dir: str | Path | None = None, *, quiet: bool = False) -> Result:
        """Runs the search, or what is left of it where `dir` holds an earlier run of the same search.

        Args:
          dir: the run directory; None keeps the record in memory.
          quiet: print nothing.

        Raises:
          ValueError: `dir` holds another search.
          OSError: `dir` cannot be written.
        """
        with Ledger(dir, write=True) as ledger:
            manifest = self._claim(ledger)
            return Run(self, ledger, manifest, quiet).go()

    def _claim(self, ledger: Ledger) -> dict[str, Any]:
        manifest = self.manifest()
        if ledger.directory is None:
            return manifest
        path = ledger.directory / "manifest.json"
        if not path.exists():
            write_json(path, manifest)
            return manifest
        before = read_json(path)
        for name, value in manifest.items():
            if name != "environment" and before.get(name) != value:
                raise ValueError(
                    f"dir: {ledger.directory} holds another search: its {name} is {_short(before.get(name))}, "
                    f"this one's is {_short(value)}"
                )
        ledger.event("resume", environment=manifest["environment"])
        return before


def score(
    task: Task, configs: Sequence[Config], *, epochs: int = 10, seed: int = 0, tile: int | None = None
) -> np.ndarray:
    """Trains a list of configs in one compiled step.

    Args:
      configs: dicts with the same keys; numbers are data, strings and booleans must be the same in all.
      epochs, seed, tile: as in `Search`.

    Returns:
      f32[P], the task's metric on validation data of each config, in the order given; NaN if it diverged.
    """
    configs = [dict(config) for config in configs]
    if not configs:
        raise ValueError("configs: expected at least one config, got none")
    names = set(configs[0])
    for index, config in enumerate(configs):
        if set(config) != names:
            raise ValueError(f"configs[{index}]: expected the keys {sorted(names)}, got {sorted(config)}")
    fixed = {n: v for n, v in configs[0].items() if isinstance(v, (str, bool))}
    for name in fixed:
        if any(config[name] != fixed[name] for config in configs):
            raise ValueError(f"configs: expected the same {name!r} in all of one call, got several")
    columns = {n: np.asarray([c[n] for c in configs]) for n in configs[0] if n not in fixed}
    columns = {n: v.astype(np.int32 if np.issubdtype(v.dtype, np.integer) else np.float32) for n, v in columns.items()}
    abstract = fixed | {n: jax.ShapeDtypeStruct((), v.dtype) for n, v in columns.items()}
    shapes = check(task, abstract)
    devices = jax.local_devices()
    tile = tile or default_tile(shapes, devices[0])
    capacity = Capacity(tile, tiles_needed(len(configs), 1, tile), len(configs), 1, epochs)
    population = Population(task, shapes, fixed, {n: v.dtype for n, v in columns.items()}, capacity, seed=seed)
    group = Group(population, len(configs), fixed)
    trainer = Trainer(
        lambda _: group, lambda _: {}, lambda rows: {n: np.asarray([r[n] for r in rows]) for n in columns}
    )
    ids = np.arange(len(configs), dtype=np.int32)
    return trainer.train(Rows(configs, ids, ids * 0 - 1, ids * 0), range(1), epochs).score


def search(task: Any, space: Space, strategy: Strategy, *, dir: str | Path | None = None, **options: Any) -> Result:
    """`Search(task, space, strategy, **options).run(dir)`."""
    return Search(task, space, strategy, **options).run(dir)


def _without(task: Task, holdout: float | int, seed: int) -> tuple[Task, Any]:
    """The task without a part of its validation data, and that part."""
    try:
        valid, held_out = split(task.valid, holdout, seed)
    except ValueError as error:
        raise ValueError(f"Finals holdout: {error}") from error
    return replace(task, valid=valid), held_out


def _check_int(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
