"""A hyperparameter search as it was asked for: checked when it is made, planned, identified and run; never changed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from jaxtyping import PyTree

from jaxhp.data.folds import Folds, checked_folds
from jaxhp.engine.events import Observer
from jaxhp.engine.layout import tiles_needed
from jaxhp.engine.local import Local
from jaxhp.engine.plan import GroupPlan, Plan
from jaxhp.engine.population import Capacity, Population, compile
from jaxhp.engine.runtime import Device, setup
from jaxhp.engine.sizes import default_tile
from jaxhp.engine.spec import Spec
from jaxhp.engine.work import Emit
from jaxhp.report.result import Result
from jaxhp.report.retrainer import Retrainer
from jaxhp.report.tested import Tested
from jaxhp.search.again import networks
from jaxhp.search.anew import retraining
from jaxhp.search.changes import changed
from jaxhp.search.ensemble import ensemble, export_one
from jaxhp.search.finals import Setting
from jaxhp.search.groups import (
    Groups,
    TaskOrFactory,
    finals_that_fit,
    groups_of,
    tiles_of,
    why_no_finals,
)
from jaxhp.search.identity import identity
from jaxhp.search.included import Included, included
from jaxhp.search.loading import check_finished, load
from jaxhp.search.loop import Course
from jaxhp.search.machine import Machine
from jaxhp.search.planning import plan_of, plan_one
from jaxhp.search.refit import refit
from jaxhp.search.run import Wiring, run_search
from jaxhp.search.sealed import open_test
from jaxhp.search.warm_start import Earlier, Recalled, earlier, recalled
from jaxhp.selection.verdict import Finals
from jaxhp.space import Space
from jaxhp.store.files import located, read_json
from jaxhp.strategies import PBT
from jaxhp.strategies.base import Strategy
from jaxhp.tasks.task import compared_by
from jaxhp.trials import EPOCHS, Rung
from jaxhp.values import Config, Error, Json, Value, check_int

_DEFAULT = Finals()  # stands for a size that `finals_that_fit` chooses


@dataclass(frozen=True, eq=False)
class Search:
    """A hyperparameter search over a task.

    Args:
      task: what to train; or a function from the static part of a config (a dict of its fixed values and static
        choices) to a `Task`, where those change shapes, data or batch size. A `Loop` in place of a `Task` likewise.
      space: the hyperparameters.
      strategy: what proposes configs, such as `hp.Narrowing(population=64, rounds=4)`.
      epochs: the full budget of a trial, in passes over the training data, or in calls of a `Loop`'s `epoch`.
      seed: root of all random numbers. Same seed, same bits on one jaxlib, one kind of device (a CPU's instruction set
        is part of its kind) and one tile.
      replicates: members of each trial, with different seeds.
      folds: cross-validation over train and valid together, a member of each fold for each replicate: `hp.Folds(5,
        stratify="label")`, whose docstring has what a fold is trained on; 5, dealt out at random, or evenly over the
        classes of a task that knows its `label`; or i32[n_train + n_valid], the fold of each example (-1: always
        trained on, never validated). None: no folds.
      paired: whether the trials of a replicate share initial weights, minibatch order and noise. Sharing minibatches
        makes training faster. It need not make comparisons more certain: what pairs these is above all that every
        trial meets the same validation examples, paired or not (measured in `experiments/honest_numbers.py`).
      epoch: which epoch of a training counts: its "last", or the "best", where the mean of its replicates' validation
        curves is best. Then scores, rungs, the network that is saved, finals and the test are of that epoch: the finals
        train fresh replicates to the one that the search found, so that its luck is not theirs.
      finals: how finalists are run again; None: no finals. By default their size is at most a fifth of the search.
      tile: members of a tile; None: chosen from the task and the kind of device.
      memory, devices: deprecated here; arguments of `run` and `plan`.
      include: configs to try in the first round, in place of that many that the strategy asked for.
      warm_start: trials of earlier searches, such as `Result.load(dir).trials`, a `Result` or a run directory, told
        to the strategy before its first round. Those count that were ranked by the same metric and mode in a search
        of the same `epochs`, were trained to their end or diverged, and have a point in this space; how many others
        there are, and why, is said when the search begins. Trials made by hand name all that: `hp.Trial(0, {"lr":
        0.1}, status=hp.Status.COMPLETE, score=0.9, metric="accuracy", mode="max", epochs=50)`.

    Raises:
      Error: anything about the arguments that does not fit, before anything is trained.
    """

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
        self._know("strategy", self.groups.fitted(self.strategy))
        if default:
            device = self.machine().devices[0]
            tile = self.tile or max(default_tile(spec.shapes, device) for spec in self.groups.specs.values())
            self._know("finals", finals_that_fit(self.rungs, self.members, tile, self.epochs, self.groups.folds))
        self._know("include", tuple(self.include))
        self._know("warm_start", earlier(self.warm_start))
        self._know("included", included(self.space, self.include, self.rungs[0].trials))
        ranked_by = (self.metric, self.mode, self.epochs, self.epoch, self.groups.objectives)
        self._know("recalled", recalled(self.space, earlier(self.warm_start), *ranked_by))
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
        return plan_of(self, [self._plan_group(spec, machine) for spec in self.groups.specs.values()], machine.devices)

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
        tiles = [self._tile(spec, machine) for spec in self.groups.specs.values()]
        return identity(self, tiles, machine.devices)

    def run(
        self,
        dir: str | Path | None = None,
        *,
        quiet: bool = False,
        accept_environment: bool = False,
        checkpoint_s: float = 60.0,
        experiment: Json | None = None,
        devices: Sequence[Device] | None = None,
        memory: int | None = None,
        watch: Sequence[Observer] = (),
    ) -> Result:
        """Run the search, or what is left of it where `dir` holds an earlier run of the same search.

        Args:
          dir: the run directory; None keeps the record in memory.
          quiet: print nothing.
          accept_environment: go on with a search that was begun with another jaxlib or on another kind of device (a
            CPU's instruction set is part of its kind), although what is trained from here on may differ in last bits.
          checkpoint_s: members in training are saved every so many seconds of training, and at rungs; more rarely
            where that would take more than a tenth of the time. 0: after every call of the step.
          experiment: who started the search, kept in the manifest so that it can be resumed from there.
          devices: None: all local devices.
          memory: bytes that may be filled; None: what is free. What does not fit is trained in waves.
          watch: functions of one event (`jaxhp.engine.events`), told after the ledger has recorded it. One that fails
            gets one warning and harms nothing; it stops the search by raising `hp.Stopped`.

        Raises:
          Error: `dir` holds another search, a damaged one, or anything else; another process runs the search in it;
            or it was removed, replaced or moved meanwhile.
          OSError: `dir` cannot be written.
          Stopped: a signal asked to stop; everything up to there is recorded. Without `dir`, its `result` is that of
            the finished rounds.
        """
        return run_search(
            dir,
            partial(self._wire, devices, memory),
            quiet=quiet,
            accept_environment=accept_environment,
            checkpoint_s=checkpoint_s,
            experiment=experiment,
            watch=watch,
        )

    def test(self, dir: str | Path, seeds: int = 8) -> Tested:
        """Open the sealed test data for the trial that a finished run of this search in `dir` chose.

        See `Result.test`.

        Raises:
          Error: `dir` holds another search, or one that is not finished.
        """
        check_finished(dir, self.manifest(), len(self.rungs), finals=self.finals is not None)
        return self.load(dir).test(seeds)

    def load(self, dir: str | Path) -> Result:
        """Read what a run of this search in `dir` found, finished or not; trains nothing and writes nothing.

        Other than of `Result.load`, `best.params` is the pytree that `init` made, and all that takes the task works.

        Raises:
          FileNotFoundError: it is not a run directory.
          Error: it holds another search, or is damaged, or has no trials yet.
        """
        machine = self.machine_of(dir)
        return load(dir, self.manifest(machine), self.retrainer(machine), self._made)

    def retrainer(self, machine: Machine) -> Retrainer:
        """Return what trains again what this search has trained, on a machine."""
        of, how = self.groups.spec, retraining(self, machine.devices)
        budgets = [rung.epochs for rung in self.rungs]
        again = partial(networks, self.groups, budgets, partial(self.local, machine))
        by = self.folds if isinstance(self.folds, Folds) else self.finals
        named = {name: getattr(by, name, None) for name in ("groups", "order")}
        return Retrainer(
            test=partial(open_test, of, how),
            networks=again,
            ensemble=partial(ensemble, self.groups, self.seed, named, again),
            export=partial(export_one, self.groups),
            refit=partial(refit, of, how),
        )

    def local(self, machine: Machine, emit: Emit = lambda _: None) -> Local:
        """Return what trains on a machine."""
        return Local(self.groups.spec, lambda spec, at_most: self.population(spec, machine, at_most), emit)

    def _made(self, config: Config) -> PyTree:
        """Return the shapes of what `init` makes of a config."""
        return self.groups.spec(config).made

    def _wire(self, devices: Sequence[Device] | None, memory: int | None, begun: Json, emit: Emit) -> Wiring:
        """Return what is run, with the tiles that a directory was begun with, whose manifest is `begun`."""
        machine = self.machine(devices, memory)._replace(tiles=tiles_of(begun, self.groups))
        course = Course(
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
            included=self.included,
            recalled=self.recalled.told,
            tell=self.groups.tells(self.strategy),
        )
        folding = self.groups.folding
        fold = None if folding is None else folding.validated
        objectives = compared_by(self.groups.first.task)
        finals = Setting(course, self.finals, objectives, fold, self.groups.examples) if self.finals else None
        vanished = self.default_finals and self.finals is None
        return Wiring(
            course=course,
            finals=finals,
            executor=self.local(machine, emit),
            devices=machine.devices,
            plan=self.plan_on(machine),
            manifest=self.manifest(machine),
            metric=self.metric,
            objectives=objectives,
            retrainer=self.retrainer(machine),
            like=self._made,
            no_finals=self.no_finals,
            warnings=[f"warm start: {self.recalled}"] if self.recalled.left_out else [],
            notes=[f"no finals: {self.no_finals}"] if vanished else [],
        )

    def machine_of(self, dir: str | Path) -> Machine:
        """Return what the search runs on, with the tiles that a directory was begun with."""
        return self.machine()._replace(tiles=tiles_of(read_json(located(dir) / "manifest.json"), self.groups))

    def machine(self, devices: Sequence[Device] | None = None, memory: int | None = None) -> Machine:
        """Return what the search runs on where nothing else is said."""
        return Machine(devices or self.devices or jax.local_devices(), self.memory if memory is None else memory)

    def _tile(self, spec: Spec, machine: Machine) -> int:
        """Return a group's tile: the one given, else the one its directory was begun with, else the default."""
        return self.tile or machine.tiles.get(spec.key) or default_tile(spec.shapes, machine.devices[0])

    def _plan_group(self, spec: Spec, machine: Machine) -> GroupPlan:
        return plan_one(self, spec, self._tile(spec, machine), machine.devices, machine.memory)
