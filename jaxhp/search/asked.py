"""A hyperparameter search as it was asked for: checked when it is made, planned and identified; never changed."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

import jax
import numpy as np

from jaxhp.data.fingerprints import fingerprint
from jaxhp.data.folds import Folds, checked_folds
from jaxhp.engine.layout import tiles_needed
from jaxhp.engine.plan import GroupPlan, Plan, plan_group
from jaxhp.engine.population import Capacity, Population, compile
from jaxhp.engine.rate import expected_seconds
from jaxhp.engine.runtime import Device, setup
from jaxhp.engine.sizes import default_tile
from jaxhp.engine.spec import Spec
from jaxhp.report.result import Result
from jaxhp.search.elsewhere import pool
from jaxhp.search.extension import Extent, extents, otherwise, rounds_of, with_rounds
from jaxhp.search.groups import Groups, TaskOrFactory, epochs_trained, finals_that_fit, groups_of, slot_epochs
from jaxhp.search.included import Included, included
from jaxhp.search.loop import Course
from jaxhp.search.manifest import FORMAT, environment
from jaxhp.search.sealed import Retraining
from jaxhp.search.warm_start import Earlier, Recalled, earlier, recalled
from jaxhp.selection.verdict import Finals, least_replicates
from jaxhp.space import Space
from jaxhp.strategies.base import Strategy
from jaxhp.strategies.pbt import PBT
from jaxhp.trials import EPOCHS, Rung
from jaxhp.values import Error, Json, Value, check_int, encoded

T = TypeVar("T")
_DEFAULT = Finals()  # stands for a size that `finals_that_fit` chooses


class Machine(NamedTuple):
    """What a search runs on. Same seed, same bits on one jaxlib, one kind of device (a CPU's instruction set is part of
    its kind) and one tile; on nothing else here does a number depend."""

    devices: Sequence[Device]
    memory: int | None  # bytes that may be filled; None: what is free
    tiles: Mapping[str, int] = {}  # by `Spec.key`, those that the directory was begun with


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
        self.groups.check_objectives(self.strategy)
        if default:
            self._know("finals", self._finals_that_fit())
        self._know("include", tuple(self.include))
        self._know("warm_start", earlier(self.warm_start, Result.load))
        self._know("included", included(self.space, self.include, self.rungs[0].trials))
        ranked_by = (self.metric, self.mode, self.epochs, self.epoch, self.groups.objectives)
        self._know("recalled", recalled(self.space, earlier(self.warm_start, Result.load), *ranked_by))
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
        if self.finals is not None:
            return ""
        if not self.default_finals:
            return "finals=None was asked for"
        least = least_replicates(self.groups.folds)
        smallest = f"the smallest, 2 trials with {least} fresh replicates each, would take more than a fifth of the run"
        return f"{smallest}; pass finals=hp.Finals(2, {least}) to have them"

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
        names = [f.name for f in fields(self) if f.init and f.name not in ("task", "space", "strategy")]
        unknown = [name for name in changes if name not in (*names, *self.settings)]
        if unknown:
            known = ", ".join((*names, *self.settings))
            raise Error(f"{unknown[0]}: expected an argument of the search or its strategy ({known})")
        options = {name: getattr(self, name) for name in names if name != "finals" or not self.default_finals}
        options |= {name: value for name, value in changes.items() if name in names}
        settings = {name: value for name, value in changes.items() if name not in names}
        strategy: Any = replace(self.strategy, **settings) if settings else self.strategy  # type: ignore[type-var]
        return type(self)(self.task, self.space, strategy, **options)

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

    def _finals_that_fit(self) -> Finals | None:
        device = self.machine().devices[0]
        tile = self.tile or max(default_tile(spec.shapes, device) for spec in self.groups.specs.values())
        return finals_that_fit(self.rungs, self.members, tile, self.epochs, self.groups.folds)

    def course(self, extended: bool) -> Course:
        """Return what the loop knows of the search.

        Args:
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
            metrics=lambda config: self.groups.spec(config).shapes.metrics,
            allows=self.space.allows,
            pool=partial(pool, self.space, self.space.allows, self.seed, self.rungs),
            included=self.included,
            recalled=self.recalled.told,
            told=self.groups.told if self.groups.objectives else None,
            otherwise=otherwise(self.strategy, self.extent) if extended else "",
        )

    def plan(self, *, devices: Sequence[Device] | None = None, memory: int | None = None) -> Plan:
        """Return what the search will need. Trains nothing.

        Args:
          devices, memory: as in `run`.

        Raises:
          MemoryError: not even one tile fits.
        """
        return self.plan_on(self.machine(devices, memory))

    def plan_on(self, machine: Machine) -> Plan:
        """Return `plan` for a machine."""
        groups = [self._plan_group(spec, machine) for spec in self.groups.specs.values()]
        finals = (self.finals.top, self.finals.members(self.groups.folds)) if self.finals else None
        total = epochs_trained(self.rungs) * self.members + (finals[0] * finals[1] * self.epochs if finals else 0)
        slots = [slot_epochs(self.rungs, self.members, finals, self.epochs, g.tile, len(groups)) for g in groups]
        flops = sum(epochs * group.epoch_flops for epochs, group in zip(slots, groups, strict=True))
        return Plan(
            device=machine.devices[0].device_kind,
            devices=len(machine.devices),
            rungs=[(rung.trials, rung.epochs) for rung in self.rungs],
            replicates=self.members,
            finals=finals,
            no_finals=self.no_finals,
            member_epochs=total,
            slot_epochs=sum(slots),
            flops=flops,
            seconds=expected_seconds(flops, machine.devices) if self.groups.examples else None,
            groups=groups,
        )

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
            devices=list(machine.devices)[: max(tiles, tiles_needed(top, judged, planned.tile))],  # that have a tile
        )

    def manifest(self, machine: Machine | None = None) -> Json:
        """Return what identifies this search, and what it runs on."""
        machine = machine or self.machine()
        specs = list(self.groups.specs.values())
        tiles = [self._tile(spec, machine) for spec in specs]
        return {
            "format": FORMAT,
            "space": self.space.to_json(),
            "strategy": re.sub(r" at 0x[0-9a-f]+", "", repr(self.strategy)),
            "epochs": self.epochs,
            "seed": self.seed,
            "replicates": self.replicates,
            "folds": self.groups.folds if self.groups.foldings else None,
            "paired": self.paired,
            "finals": repr(self.finals),
            "tile": tiles[0] if len(tiles) == 1 else tiles,
            **self.groups.identity(),
            "metric": self.metric,
            "mode": self.mode,
            "epoch": self.epoch if self.epoch != "last" else None,
            "include": [{n: encoded(v) for n, v in config.items()} for config in self.included.configs] or None,
            "warm_start": fingerprint(self.recalled.told) if len(self.recalled.score) else None,
            "environment": environment(list(machine.devices)),
        }

    def retraining(self, machine: Machine) -> Retraining:
        """Return how a config is trained anew after the search."""
        used = self.members + (self.finals.members(self.groups.folds) if self.finals else 0)
        return Retraining(self.epochs, self.seed, self.paired, used, machine.devices)

    def machine(self, devices: Sequence[Device] | None = None, memory: int | None = None) -> Machine:
        """Return what the search runs on where nothing else is said."""
        return Machine(devices or self.devices or jax.local_devices(), self.memory if memory is None else memory)

    def _tile(self, spec: Spec, machine: Machine) -> int:
        """Return a group's tile: the one given, else the one its directory was begun with, else the default."""
        return self.tile or machine.tiles.get(spec.key) or default_tile(spec.shapes, machine.devices[0])

    def _plan_group(self, spec: Spec, machine: Machine) -> GroupPlan:
        return plan_group(
            spec,
            tile=self._tile(spec, machine),
            rungs=self.rungs,
            replicates=self.members,
            epochs=self.epochs,
            devices=list(machine.devices),
            memory=machine.memory,
        )
