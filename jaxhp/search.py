"""A search: task, space, strategy and budget, checked, planned and identified before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxhp.data import fingerprint, split
from jaxhp.folds import check_folds, cross_validation
from jaxhp.layout import tiles_needed
from jaxhp.loop import Run
from jaxhp.manifest import claim, differences, environment, recorded
from jaxhp.plan import GroupPlan, Plan, default_tile, plan_group
from jaxhp.population import Capacity, Population
from jaxhp.program import program
from jaxhp.result import Result
from jaxhp.sealed_test import Tested
from jaxhp.select import Finals, default_finals
from jaxhp.signals import Signals
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
        self._recorded_tiles: dict[str, int] = {}
        self._members: dict[str, tuple[Task, Shapes, dict[str, Any]]] = {}
        self._holdouts: dict[str, Any] = {}  # validation examples that the search does not use
        for config in space.groups():
            try:
                self._member(config)
            except Exception as error:
                if static := space.static(config):
                    error.add_note(f"for the configs with {static}")
                raise
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
            tile=self._tile(config),
            rungs=self.rungs,
            replicates=self.width,
            finals=None,  # they are trained in the tiles of the search
            epochs=self.epochs,
            devices=self.devices,
            memory=self.memory,
        )

    def _group(self, static: Config, at_most: int | None = None) -> Group:
        """Compiles the population of a static group, for as many rows at once as planned or fewer."""
        config = next(c for c in self.space.groups() if self.space.static(c) == static)
        task, shapes, abstract = self._member(config)
        planned = self._plan_group(config)
        rows = planned.rows if at_most is None else min(planned.rows, at_most)
        capacity = Capacity(
            tile=planned.tile,
            tiles=tiles_needed(rows, self.width, planned.tile),
            trials=rows,
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
        return Group(population, rows, static, self._holdouts.get(self._key(static)))

    def manifest(self) -> dict[str, Any]:
        """What identifies this search, and what it runs on."""
        members = [self._member(config) for config in self.space.groups()]
        tiles = [self._tile(config) for config in self.space.groups()]
        data = {(id(t.train), id(t.valid)): (t.train, t.valid) for t, _, _ in members}
        prints = {key: fingerprint(parts) for key, parts in data.items()}
        return {
            "space": self.space.to_json(),
            "strategy": re.sub(r" at 0x[0-9a-f]+", "", repr(self.strategy)),
            "epochs": self.epochs,
            "seed": self.seed,
            "replicates": self.replicates,
            "folds": self.folds,
            "paired": self.paired,
            "finals": repr(self.finals),
            "tile": tiles[0] if len(tiles) == 1 else tiles,
            "task": _one_or_all([program(*member) for member in members]),
            "data": _one_or_all([prints[id(t.train), id(t.valid)] for t, _, _ in members]),
            "batch_size": _one_or_all([t.batch_size for t, _, _ in members]),
            "train_examples": _one_or_all([t.train_examples for t, _, _ in members]),
            "metric": self.task.metric,
            "mode": self.task.mode,
            "environment": environment(self.devices),
        }

    def run(
        self,
        dir: str | Path | None = None,
        *,
        quiet: bool = False,
        accept_environment: bool = False,
        checkpoint_s: float = 60.0,
        experiment: Mapping[str, Any] | None = None,
    ) -> Result:
        """Runs the search, or what is left of it where `dir` holds an earlier run of the same search.

        Args:
          dir: the run directory; None keeps the record in memory.
          quiet: print nothing.
          accept_environment: go on with a search that was begun on another kind of device or with other versions,
            although what is trained from here on may differ in its last bits.
          checkpoint_s: members in training are saved at least every so many seconds of training; they are saved
            sooner, at rungs, where that costs less than a tenth of the time. 0: after every call of the step.
          experiment: who started the search, kept in the manifest so that it can be resumed from there.

        Raises:
          ValueError: `dir` holds another search, or a damaged one.
          OSError: `dir` cannot be written.
          RuntimeError: another process runs the search in `dir`.
          Stopped: a signal asked to stop; everything up to there is recorded.
        """
        with Signals(listen=dir is not None) as signals, Ledger(dir, write=True) as ledger:
            notes, started_by = self._take(ledger, accept_environment, experiment)
            run = Run(
                self,
                ledger,
                signals,
                quiet=quiet,
                checkpoint_s=checkpoint_s,
                notes=notes,
                experiment=started_by,
            )
            result = run.go()
        result.search, result.space = self, self.space
        return result

    def test(self, dir: str | Path, seeds: int = 8) -> Tested:
        """Opens the sealed test data for the trial that a finished run of this search in `dir` chose.

        See `Result.test`.

        Raises:
          ValueError: `dir` holds another search, or one that is not finished.
        """
        with Ledger(dir) as ledger:
            before, now = recorded(ledger) or {}, self.manifest()
            last = ledger.round(len(self.rungs) - 1)
            unfinished = last is None or last.scores is None or (self.finals and ledger.meta("choice") is None)
        named = ("space", "strategy", "data", "epochs", "seed", "replicates", "folds", "paired", "finals", "metric")
        other = differences({n: before.get(n) for n in named}, {n: now[n] for n in named})
        if other:
            raise ValueError(f"dir: {dir} holds another search: its {', '.join(name for name, _, _ in other)} differs")
        if unfinished:
            raise ValueError(f"dir: expected a finished search, got {dir}, which has not got so far; resume it first")
        result = Result.load(dir)
        result.search = self
        return result.test(seeds)

    def _take(
        self, ledger: Ledger, accept_environment: bool, experiment: Mapping[str, Any] | None
    ) -> tuple[list[str], Mapping[str, Any] | None]:
        """Makes a directory this search's, or checks that it is; what is harmlessly different, and who started it."""
        before = recorded(ledger)
        self._recorded_tiles = self._read_tiles(before) if before else {}
        manifest = self.manifest() | ({"experiment": dict(experiment)} if experiment else {})
        notes = claim(ledger, manifest, accept_environment=accept_environment)
        return notes, experiment or (before or {}).get("experiment")

    def _tile(self, config: Config) -> int:
        """Of a config's group: the one given, else the one its directory was begun with, else the default."""
        key = repr(sorted(self.space.static(config).items()))
        return self.tile or self._recorded_tiles.get(key) or default_tile(self._member(config)[1], self.devices[0])

    def _read_tiles(self, manifest: Mapping[str, Any]) -> dict[str, int]:
        """Each group's tile, as far as a manifest has valid ones."""
        groups = self.space.groups()
        tiles = manifest.get("tile")
        tiles = [tiles] * len(groups) if isinstance(tiles, int) else tiles
        if not isinstance(tiles, list) or len(tiles) != len(groups):
            return {}
        if not all(type(tile) is int and 1 <= tile <= 2**16 for tile in tiles):
            return {}
        keys = (repr(sorted(self.space.static(config).items())) for config in groups)
        return dict(zip(keys, tiles, strict=True))


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
    return trainer.train(Rows(configs, ids, ids * 0 - 1, ids * 0, ids), range(1), epochs).score


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


def _one_or_all(values: list[Any]) -> Any:
    """The value that all groups have, or the list of each group's."""
    return values[0] if all(value == values[0] for value in values) else values
