"""A hyperparameter search as it was asked for: checked when it is made, planned and identified; never changed."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any, Self

import jax
import numpy as np

from jaxhp.data.folds import Folds, checked_folds
from jaxhp.engine.layout import fitting_tile, tiles_needed
from jaxhp.engine.plan import GroupPlan, Plan
from jaxhp.engine.population import Capacity, Population, compile
from jaxhp.engine.runtime import Device, setup
from jaxhp.engine.sizes import default_tile, overhead
from jaxhp.engine.spec import Spec, key_of_group
from jaxhp.report.result import Result
from jaxhp.search.changes import changed
from jaxhp.search.elsewhere import pool
from jaxhp.search.extension import Extent, extents, otherwise, rounds_of, with_rounds
from jaxhp.search.groups import Groups, TaskOrFactory, groups_of, tiles_of
from jaxhp.search.identity import identity
from jaxhp.search.included import Included, included
from jaxhp.search.loop import Course
from jaxhp.search.machine import Machine, workers_of
from jaxhp.search.manifest import record_groups
from jaxhp.search.planning import plan_of, plan_one
from jaxhp.search.warm_start import Earlier, Recalled, earlier, parent, recalled
from jaxhp.search.workload import finals_that_fit, stages, why_no_finals
from jaxhp.selection.verdict import Finals
from jaxhp.space import Space
from jaxhp.store.digest import GROUPS
from jaxhp.store.ledger import Ledger
from jaxhp.strategies.base import Strategy
from jaxhp.strategies.pbt import PBT
from jaxhp.tasks.task import AnyTask
from jaxhp.trials import EPOCHS, Rung
from jaxhp.values import Config, Error, Json, Value, check_int
from jaxhp.words import short

_DEFAULT = Finals()  # stands for a size that `finals_that_fit` chooses


@dataclass(frozen=True, eq=False)
class Asked:
    """What `Search` is without running: its arguments, checked, and what follows from them."""

    task: TaskOrFactory
    space: Space
    strategy: Strategy
    epochs: int = field(default=10, kw_only=True)
    seed: int = field(default=0, kw_only=True)
    replicates: int = field(default=1, kw_only=True)
    folds: int | Folds | Sequence[int] | np.ndarray | None = field(default=None, kw_only=True)
    paired: bool = field(default=True, kw_only=True)
    epoch: str = field(default="last", kw_only=True)
    finals: Finals | None = field(default=_DEFAULT, kw_only=True)
    tile: int | None = field(default=None, kw_only=True)
    memory: int | None = field(default=None, kw_only=True)
    devices: Sequence[Device] | None = field(default=None, kw_only=True)
    include: Sequence[Mapping[str, Value]] = field(default=(), kw_only=True)
    warm_start: Earlier = field(default=(), kw_only=True)
    rungs: tuple[Rung, ...] = field(init=False, repr=False)
    groups: Groups = field(init=False, repr=False)
    included: Included = field(init=False, repr=False)
    recalled: Recalled = field(init=False, repr=False)
    parent: str | None = field(init=False, repr=False)  # the directory of the search whose trials it learns from
    default_finals: bool = field(init=False, repr=False)  # whether the size of the finals follows that of the search

    def __post_init__(self) -> None:
        if not isinstance(self.space, Space):
            raise Error(f"space: expected a Space, got {type(self.space).__name__}")
        if isinstance(self.strategy, type):
            name = self.strategy.__name__
            raise Error(f"strategy: expected a strategy such as {name}(...), got the class {name} itself")
        for name in ("schedule", "init", "ask", "tell"):
            if not callable(getattr(self.strategy, name, None)):
                raise Error(f"strategy: expected a strategy with a method {name}, got {self.strategy!r}")
        for name, least in (("epochs", 1), ("replicates", 1), ("seed", 0)):
            self._know(name, check_int(name, getattr(self, name), least))
        folds = checked_folds(self.folds)
        self._know("folds", folds)
        for name, least in (("tile", 1), ("memory", 1)):
            if getattr(self, name) is not None:
                self._know(name, check_int(name, getattr(self, name), least))
        if self.epoch not in EPOCHS:
            raise Error(f"epoch: expected 'last' or 'best', got {self.epoch!r}")
        if self.epoch == "best" and isinstance(self.strategy, PBT):
            raise Error("epoch: expected 'last' with PBT, whose trials change their configs on the way, got 'best'")
        if self.finals is not None and not isinstance(self.finals, Finals):
            raise Error(f"finals: expected Finals or None, got {self.finals!r}")
        for name in ("memory", "devices"):
            if getattr(self, name):
                text = f"{name} is about the machine: give it to search.run(dir, {name}=...) or search.plan({name}=...)"
                warnings.warn(f"Search {text}", DeprecationWarning, stacklevel=3)
        setup()
        default = self.finals is _DEFAULT
        self._know("default_finals", default)
        self._know("rungs", tuple(self.strategy.schedule(self.epochs)))
        options: dict[str, Any] = {"finals": self.finals, "folds": folds, "seed": self.seed, "epoch": self.epoch}
        self._know("groups", groups_of(self.task, self.space, **options))
        self._know("strategy", self.groups.fitted(self.strategy))
        if default:
            self._know("finals", self._finals_that_fit())
        self._know("include", tuple(self.include))
        for config in self.include:
            if not isinstance(config, Mapping):
                raise Error(f"include: expected a list of configs, got {short(config)} in it")
        self._know("parent", parent(self.warm_start))
        known = earlier(self.warm_start, Result.load)
        self._know("warm_start", known)
        self._know("included", included(self.space, self.include, self.rungs[0].trials))
        for config in self.included.configs:
            self.groups.spec(config)  # is checked
        ranked_by = (self.metric, self.mode, self.epochs, self.epoch, self.groups.objectives)
        self._know("recalled", recalled(self.space, known, *ranked_by))
        if len(self.recalled.score) and not callable(getattr(self.strategy, "recall", None)):
            raise Error(f"warm_start: expected a strategy with a method recall, got {self.strategy!r}")

    def _know(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def members(self) -> int:
        """Members of a trial: replicates times folds."""
        return self.replicates * self.groups.folds

    @property
    def metric(self) -> str:
        """The name of the metric that ranks."""
        return self.groups.first.task.metric

    @property
    def mode(self) -> str:
        """Whether a larger metric is better ("max") or a smaller one ("min")."""
        return self.groups.first.task.mode

    @property
    def no_finals(self) -> str:
        """Why there are no finals, and what to pass to have them; "" where there are."""
        return why_no_finals(self.finals, self.groups.folds, default=self.default_finals)

    @property
    def fold(self) -> np.ndarray | None:
        """i32[n_train + n_valid], the fold that each example of train and valid is validated in; None: no folds.

        An example is -1 that no fold validates: of one's own numbers, or in the first block of an order.
        """
        return None if self.groups.folding is None else self.groups.folding.fold.copy()

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of the strategy's fields that `changed` takes."""
        strategy = self.strategy
        return tuple(f.name for f in fields(strategy) if f.init) if is_dataclass(strategy) else ()

    def changed(self, **changes: Any) -> Self:
        """Return the same search with other values for arguments of `Search`, or for fields of its strategy.

        Raises:
          Error: there is no such argument or field; or as `Search`.
        """
        return type(self)(**changed(self, changes, self.settings))

    @property
    def extent(self) -> Extent:
        """How much is asked for."""
        return Extent(rounds_of(self.strategy), self.epochs)

    def reaching(self, extent: Extent) -> Self:
        """Return the same search asked for so much.

        Raises:
          Error: its strategy has no setting for rounds; or as `Search`.
        """
        if extent == self.extent:
            return self
        rounds = {} if extent.rounds == self.extent.rounds else with_rounds(self.strategy, extent.rounds or 0)
        return self.changed(epochs=extent.epochs, **rounds)

    def held(self, begun: Json) -> Self:
        """Return the search that a directory with this manifest holds, if it was begun as this one and extended."""
        history = extents(begun)
        return self.reaching(history[-1]) if self.extent in history else self

    def ended_after(self, rounds: int) -> Self:
        """Return the same search without the rounds after so many of its schedule."""
        ended = copy.copy(self)
        ended._know("rungs", self.rungs[:rounds])
        if self.default_finals:
            ended._know("finals", ended._finals_that_fit())
        return ended

    def sized_for(self, machine: Machine) -> Self:
        """Return the same search with the default finals of a machine that is elsewhere."""
        if not self.default_finals:
            return self
        sized = copy.copy(self)
        sized._know("finals", sized._finals_that_fit(machine))
        return sized

    def _finals_that_fit(self, machine: Machine | None = None) -> Finals | None:
        device, rounds = (machine or self.machine()).devices[0], stages(self.rungs)
        tile = self.tile or max(
            default_tile(self.groups.specs[key].shapes, device, rounds) for key in self.groups.shown
        )
        return finals_that_fit(self.rungs, self.members, tile, self.epochs, self.groups.folds)

    def course(self, machine: Machine, extended: bool) -> Course:
        """Return what the loop knows of the search.

        Args:
          machine: that it runs on.
          extended: whether its directory began as that of a smaller one.
        """
        return Course(
            space=self.space,
            strategy=self.strategy,
            rungs=self.rungs,
            epochs=self.epochs,
            seed=self.seed,
            members=self.members,
            metric=self.metric,
            mode=self.mode,
            epoch=self.epoch,
            knows=partial(self._record, machine),
            metrics=lambda config: self.groups.spec(config).shapes.metrics,
            allows=self.space.allows,
            pool=partial(pool, self.space, self.space.allows, self.seed, self.rungs),
            included=self.included,
            recalled=self.recalled.told,
            tell=self.groups.tells(self.strategy),
            otherwise=otherwise(self.strategy, self.extent) if extended else "",
        )

    def plan(self, *, devices: Sequence[Device] | None = None, memory: int | None = None, executor: Any = None) -> Plan:
        """Return what the search will need. Trains nothing.

        Of more than 16 static groups it has some, with every value of every static choice among them; totals are those
        of all, if these are like the others.

        Args:
          devices, memory, executor: as in `run`; a worker is asked for its devices.

        Raises:
          MemoryError: not even one tile fits.
        """
        machine = self.machine(devices, memory)
        if executor is None:
            return self.plan_on(machine)
        with workers_of(executor, None, None, partial(print, file=sys.stderr)) as workers:
            assert workers is not None
            there = machine._replace(devices=workers.devices)
            sized = self.sized_for(there)
            return workers.planned(sized, sized.plan_on(there))

    def plan_on(self, machine: Machine) -> Plan:
        """Return `plan` for a machine."""
        specs = [self.groups.specs[key] for key in self.groups.shown]
        return plan_of(self, [self._plan_group(spec, machine) for spec in specs], machine.devices)

    def population(self, spec: Spec, machine: Machine, at_most: int | None = None) -> Population:
        """Compile the population of a static group, for as many rows at once as planned or fewer."""
        planned = self._plan_group(spec, machine)
        rows = planned.rows if at_most is None else min(planned.rows, at_most)
        tiles = tiles_needed(rows, self.members, planned.tile)
        top, judged = (self.finals.top, self.finals.members(self.groups.folds)) if self.finals else (1, 1)
        longest = max(self.epochs, *(rung.epochs for rung in self.rungs))
        capacity = Capacity(planned.tile, tiles, rows, max(self.members, judged), longest)
        return compile(
            spec,
            capacity,
            seed=self.seed,
            paired=self.paired,
            folds=self.groups.foldings.get(spec.key),
            epoch=self.epoch,
            devices=machine.devices[: max(tiles, tiles_needed(top, judged, planned.tile))],  # that have a tile
        )

    def manifest(self, machine: Machine | None = None) -> Json:
        """Return what identifies this search, and what it runs on."""
        machine = machine or self.machine()
        tiles = [self.tile_of(self.groups.specs[key], machine) for key in self.groups.shown]
        groups = self.described([name for name, key in self.groups.names.items() if key in machine.tiles], machine)
        return identity(self, tiles, machine.devices) | ({GROUPS: groups} if groups else {})

    def described(self, names: Iterable[str], machine: Machine) -> dict[str, Json]:
        """Return what is recorded of groups that the manifest does not show, by their names."""
        specs, of = self.groups.specs, self.groups.names
        return {name: self.groups.described(name, self.tile_of(specs[of[name]], machine)) for name in names}

    def tasks(self, machine: Machine) -> list[AnyTask]:
        """Return the tasks of the groups that the manifest shows, and of those that a directory has trials of."""
        asked = {*self.groups.shown, *machine.tiles}
        return [self.groups.specs[key].task for key in self.groups.specs if key in asked]

    def _record(self, machine: Machine, ledger: Ledger, configs: Sequence[Config]) -> None:
        """Record the groups of configs that the manifest does not show."""
        asked = {key_of_group(self.space.static(config)) for config in configs}
        names = [name for name, key in self.groups.names.items() if key in asked]
        record_groups(ledger, names, partial(self.described, machine=machine))

    def machine_of(self, begun: Json, devices: Sequence[Device] | None = None, memory: int | None = None) -> Machine:
        """Return what the search runs on in a directory with this manifest, whose tiles it keeps."""
        return self.machine(devices, memory)._replace(tiles=tiles_of(begun, self.groups))

    def machine(self, devices: Sequence[Device] | None = None, memory: int | None = None) -> Machine:
        """Return what the search runs on where nothing else is said."""
        return Machine(devices or self.devices or jax.local_devices(), self.memory if memory is None else memory)

    def tile_of(self, spec: Spec, machine: Machine) -> int:
        """Return a group's tile: the one given, else the one its directory was begun with, else the default.

        Where there are several groups, which have few trials each, it is as large as these fill.
        """
        if known := self.tile or machine.tiles.get(spec.key):
            return known
        device, groups = machine.devices[0], len(self.groups.specs)
        if groups == 1:
            return default_tile(spec.shapes, device, stages(self.rungs))
        most = default_tile(spec.shapes, device)
        return fitting_tile(most, max(r.trials for r in self.rungs), self.members, groups, overhead(most, device))

    def _plan_group(self, spec: Spec, machine: Machine) -> GroupPlan:
        return plan_one(self, spec, self.tile_of(spec, machine), machine.devices, machine.memory)
