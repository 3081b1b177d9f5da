"""A search as it was asked for: task, space, strategy and budget, checked, planned and identified. Trains nothing."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Self

import jax
import numpy as np

from jaxhp.data import fingerprint, split
from jaxhp.engine import population
from jaxhp.engine.layout import tiles_needed
from jaxhp.engine.local import Group
from jaxhp.engine.plan import GroupPlan, Plan, plan_group
from jaxhp.engine.population import Capacity
from jaxhp.engine.rate import expected_seconds
from jaxhp.engine.sizes import default_tile
from jaxhp.engine.spec import Spec, spec_of
from jaxhp.search.manifest import environment
from jaxhp.search.warm_start import included, recalled
from jaxhp.selection.verdict import Finals, default_finals
from jaxhp.space import Space
from jaxhp.strategies import Strategy
from jaxhp.tasks.check import Recorded
from jaxhp.tasks.fingerprint import program
from jaxhp.tasks.folds import check_folds, cross_validation
from jaxhp.tasks.task import Task
from jaxhp.trials import Config, Trial

_DEFAULT = Finals()  # stands for a size that `default_finals` chooses


class Definition:
    """The part of a `Search` that other modules lean on: what is trained, in which groups, tiles and rungs."""

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
        include: Sequence[Mapping[str, Any]] = (),
        warm_start: Iterable[Trial] = (),
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
        self.finals, self._default = finals, finals is _DEFAULT
        self._task = task
        self._recorded_tiles: dict[str, int] = {}
        self._members: dict[str, Spec] = {}
        for config in space.groups():
            try:
                self.member(config)
            except Exception as error:
                if static := space.static(config):
                    error.add_note(f"for the configs with {static}")
                raise
        if self._default:
            self.finals = self._default_finals()
        self.include, self.warm_start = tuple(include), tuple(warm_start)
        self.included = included(space, self.include, self.rungs[0].trials)
        self.recalled = recalled(space, self.warm_start, self.task.mode)
        if len(self.recalled.score) and not callable(getattr(strategy, "recall", None)):
            raise TypeError(f"warm_start: expected a strategy with a method recall, got {strategy!r}")

    def _default_finals(self) -> Finals | None:
        tile = self.tile or max(default_tile(spec.shapes, self.devices[0]) for spec in self._members.values())
        return default_finals(
            self._trained(1) * self.width,
            self._trained(tile) * self.width,
            max(rung.trials for rung in self.rungs),
            tile,
            self.epochs,
            self.folds or 1,
        )

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of the strategy's fields that `changed` takes."""
        strategy = self.strategy
        return tuple(field.name for field in fields(strategy) if field.init) if is_dataclass(strategy) else ()

    def changed(self, **changes: Any) -> Self:
        """The same search with other values for arguments of `Search`, or for fields of its strategy.

        Raises:
          ValueError: there is no such argument or field; or as `Search`.
        """
        names = [name for name in inspect.signature(type(self)).parameters if name not in ("task", "space", "strategy")]
        unknown = [name for name in changes if name not in (*names, *self.settings)]
        if unknown:
            known = ", ".join((*names, *self.settings))
            raise ValueError(f"{unknown[0]}: expected an argument of the search or its strategy ({known})")
        options = {name: getattr(self, name) for name in names if name != "finals" or not self._default}
        options |= {name: value for name, value in changes.items() if name in names}
        settings = {name: value for name, value in changes.items() if name not in names}
        strategy: Any = replace(self.strategy, **settings) if settings else self.strategy  # type: ignore[type-var]
        return type(self)(self._task, self.space, strategy, **options)

    @property
    def width(self) -> int:
        """Members of a trial: replicates times folds."""
        return self.replicates * (self.folds or 1)

    @property
    def task(self) -> Task:
        """The task of the first static group."""
        return next(iter(self._members.values())).task

    @property
    def fold(self) -> np.ndarray | None:
        """i32[n_train + n_valid], the fold that each example of train and valid is validated in; None: no folds."""
        return cross_validation(self.task, self.folds, self.seed) if self.folds else None

    @staticmethod
    def _key(static: Config) -> str:
        return repr(sorted(static.items()))

    def member(self, config: Config) -> Spec:
        """A config's static group."""
        static = self.space.static(config)
        key = self._key(static)
        if key not in self._members:
            reads: set[str] = set()
            holdout = None
            task = self._task if isinstance(self._task, Task) else self._task(Recorded(static, reads))
            if not isinstance(task, Task):
                raise TypeError(f"task: expected a Task or a function that returns one, got {type(task).__name__}")
            if self.finals and self.finals.holdout is not None:
                task, holdout = _without(task, self.finals.holdout, self.seed)
            traced = {n: v.dtype for n, v in self.space.traced([config]).items()}
            if self.folds:
                check_folds(task, self.folds)
            self._members[key] = spec_of(task, static, traced, holdout, reads)
        return self._members[key]

    def holdout(self, config: Config) -> Any:
        """Validation examples of a config's group that the search does not use; None without such."""
        return self.member(config).holdout

    def plan(self) -> Plan:
        """What the search will need. Trains nothing."""
        groups = [self._plan_group(config) for config in self.space.groups()]
        finals = (self.finals.top, self.finals.members(self.folds or 1)) if self.finals else None
        total = self._trained(1) * self.width + (finals[0] * finals[1] * self.epochs if finals else 0)
        flops = total * max(group.epoch_flops for group in groups)
        return Plan(
            device=self.devices[0].device_kind,
            devices=len(self.devices),
            rungs=[(rung.trials, rung.epochs) for rung in self.rungs],
            replicates=self.width,
            finals=finals,
            member_epochs=total,
            flops=flops,
            seconds=expected_seconds(flops, self.devices),
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
        return plan_group(
            self.member(config),
            tile=self._tile(config),
            rungs=self.rungs,
            replicates=self.width,
            epochs=self.epochs,
            devices=self.devices,
            memory=self.memory,
        )

    def group(self, static: Config, at_most: int | None = None) -> Group:
        """Compiles the population of a static group, for as many rows at once as planned or fewer."""
        config = next(c for c in self.space.groups() if self.space.static(c) == static)
        spec = self.member(config)
        planned = self._plan_group(config)
        rows = planned.rows if at_most is None else min(planned.rows, at_most)
        capacity = Capacity(
            tile=planned.tile,
            tiles=tiles_needed(rows, self.width, planned.tile),
            trials=rows,
            replicates=max(self.width, self.finals.members(self.folds or 1) if self.finals else 1),
            epochs=max(self.epochs, *(rung.epochs for rung in self.rungs)),
        )
        compiled = population.compile(
            spec,
            capacity,
            seed=self.seed,
            paired=self.paired,
            folds=cross_validation(spec.task, self.folds, self.seed) if self.folds else None,
            devices=self.devices,
        )
        return Group(compiled, rows, static, spec.holdout)

    def manifest(self) -> dict[str, Any]:
        """What identifies this search, and what it runs on."""
        members = [self.member(config) for config in self.space.groups()]
        tasks = [spec.task for spec in members]
        tiles = [self._tile(config) for config in self.space.groups()]
        data = {(id(t.train), id(t.valid)): (t.train, t.valid) for t in tasks}
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
            "task": _one_or_all([program(spec.task, spec.shapes, spec.abstract) for spec in members]),
            "data": _one_or_all([prints[id(t.train), id(t.valid)] for t in tasks]),
            "batch_size": _one_or_all([t.batch_size for t in tasks]),
            "train_examples": _one_or_all([t.train_examples for t in tasks]),
            "metric": self.task.metric,
            "mode": self.task.mode,
            "include": self.space.configs(self.included) or None,
            "warm_start": fingerprint(tuple(self.recalled[:2])) if len(self.recalled.score) else None,
            "environment": environment(self.devices),
        }

    def _tile(self, config: Config) -> int:
        """Of a config's group: the one given, else the one its directory was begun with, else the default."""
        key = self._key(self.space.static(config))
        return self.tile or self._recorded_tiles.get(key) or default_tile(self.member(config).shapes, self.devices[0])

    def _read_tiles(self, manifest: Mapping[str, Any]) -> dict[str, int]:
        """Each group's tile, as far as a manifest has valid ones."""
        groups = self.space.groups()
        tiles = manifest.get("tile")
        tiles = [tiles] * len(groups) if isinstance(tiles, int) else tiles
        if not isinstance(tiles, list) or len(tiles) != len(groups):
            return {}
        if not all(type(tile) is int and 1 <= tile <= 2**16 for tile in tiles):
            return {}
        keys = (self._key(self.space.static(config)) for config in groups)
        return dict(zip(keys, tiles, strict=True))


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
