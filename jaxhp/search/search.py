"""A hyperparameter search that is run, gone on with, extended and tested."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from jaxhp.data.folds import Folds
from jaxhp.engine.environment import environment
from jaxhp.engine.events import Observer
from jaxhp.engine.local import Local
from jaxhp.engine.population import Population
from jaxhp.engine.runtime import Device, keep_compiled
from jaxhp.engine.spec import Spec
from jaxhp.engine.work import Emit
from jaxhp.report.display import Display
from jaxhp.report.result import Result
from jaxhp.report.retrainer import Retrainer
from jaxhp.report.tested import Tested
from jaxhp.search.again import networks
from jaxhp.search.anew import retraining
from jaxhp.search.asked import Asked
from jaxhp.search.enough import Until
from jaxhp.search.ensemble import ensemble, export_one
from jaxhp.search.extension import Request, grow, limit_of, recorded_in, wanted
from jaxhp.search.finals import Setting
from jaxhp.search.loading import check_finished, load
from jaxhp.search.loop import Course
from jaxhp.search.machine import Elsewhere, Machine, workers_of
from jaxhp.search.manifest import recorded
from jaxhp.search.refit import refit
from jaxhp.search.run import Wiring, identity, run_search
from jaxhp.search.sealed import open_test
from jaxhp.store.ledger import Ledger
from jaxhp.tasks.task import compared_by
from jaxhp.values import Config, Json


@dataclass(frozen=True, eq=False)
class Search(Asked):
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
        there are, and why, is said when the search begins. A directory, or that of a result, stands in the record and
        the report as what it learns from. Trials made by hand name all that: `hp.Trial(0, {"lr":
        0.1}, status=hp.Status.COMPLETE, score=0.9, metric="accuracy", mode="max", epochs=50)`.

    Raises:
      Error: anything about the arguments that does not fit, before anything is trained.
    """

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
        seconds: float | None = None,
        target: float | None = None,
        patience: int | None = None,
        larger: Search | None = None,
        executor: Any = None,
        members: str | Path | None = None,
    ) -> Result:
        """Run the search, or what is left of it where `dir` holds an earlier run of the same search.

        Where `dir` was extended, what is left is that of the larger search; where one was ended early, its finals.

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
          seconds: that this run may take, compiling and finals included: no round is begun that would not leave time
            for the finals, as far as measured speed tells. The first round is always run.
          target: no further round is begun once a trial's score is as good as that.
          patience: nor after so many rounds to the full budget, one after another, that brought no better score.
          larger: this search with more rounds or epochs, which the directory is to be of from now on; see `extend`.
          executor: who trains, None: this process. Anything with `submit(fn, *args) -> Future`, such as
            `hp.executors.Processes(4)`, a `ProcessPoolExecutor` that spawns, or an executor of Dask, Ray, submitit or
            MPI; or a text as `--executor` takes it, "processes:4". The digest is that of one process. All workers need
            one kind of device, jaxlib and flags. See docs/clusters.md.
          members: where workers leave trained members for each other: a folder that all of them see, or a URL for
            fsspec; by default a folder in `dir`. What is there goes when the search is finished.

        Raises:
          Error: an argument does not fit; `dir` holds another search, a damaged one, or anything else; another process
            runs the search in it; or it was removed, replaced or moved meanwhile.
          OSError: `dir` cannot be written.
          Stopped: a signal asked to stop; everything up to there is recorded. Without `dir`, its `result` is that of
            the finished rounds.
        """
        known = {"own": None if executor is None else environment(list(self.machine(devices, memory).devices))}
        known |= {"accept": accept_environment, "more": larger is not None}
        with workers_of(executor, members, dir, Display(0, "", quiet=quiet).note, **known) as workers:
            return run_search(
                dir,
                partial(self._wire, devices, memory, workers),
                until=Until(seconds, target, patience).checked(compared_by(self.groups.first.task)),
                grow=None if larger is None else partial(larger._grow, devices, memory, workers),
                quiet=quiet,
                accept_environment=accept_environment,
                checkpoint_s=checkpoint_s,
                experiment=experiment,
                watch=watch,
            )

    def extend(
        self, dir: str | Path, *, rounds: int | None = None, epochs: int | None = None, **options: Any
    ) -> Result:
        """Run this search with more rounds or more epochs, on a directory that holds it: what was trained stays.

        The directory is that of the larger search from then on, and finals choose among all of its trials. Asked for
        again, or after a kill, it goes on: rounds are counted from this search, however often it was extended.

        Trials go on from their weights where these were kept, which are those of the best, and are trained again, to
        the same bits, where not. The digest is that of the larger search asked for at once where the strategy asks for
        the same points in it: more rounds of `Random`, `Sobol`, `Narrowing`, `Halving` and `Hyperband`, and more epochs
        of `Random` and `Sobol`, and of a bracket of `Halving` whose rungs the larger one begins with. Where it would
        ask for others (`GP`, `Auto`, `Pareto` and `TPE` know how many rounds there are; what learned from scores after
        fewer epochs) a warning says so, and what was recorded counts.

        Args:
          rounds: how many more, as the strategy counts them: brackets of `Halving`. 0: as many as there were, for a
            search that was ended early.
          epochs: the new budget of a trial.
          options: as in `run`.

        Raises:
          Error: `dir` holds nothing, or its rounds are not those that the larger search begins with; the task tells
            its training of the number of all steps; or as `run`.
        """
        larger = self.reaching(wanted(self.extent, rounds, epochs))
        recorded_in(dir)
        return self.run(dir, larger=larger, **options)

    def test(self, dir: str | Path, seeds: int = 8) -> Tested:
        """Open the sealed test data for the trial that a finished run of this search in `dir` chose.

        See `Result.test`.

        Raises:
          Error: `dir` holds another search, or one that is not finished.
        """
        held, machine, manifest = self._held_in(dir)
        check_finished(dir, manifest)
        return load(dir, manifest, held.retrainer(machine), held._made).test(seeds)

    def load(self, dir: str | Path) -> Result:
        """Read what a run of this search in `dir` found, finished or not; trains nothing and writes nothing.

        Other than of `Result.load`, `best.params` is the pytree that `init` made, and all that takes the task works.

        Raises:
          FileNotFoundError: it is not a run directory.
          Error: it holds another search, or is damaged, or has no trials yet.
        """
        held, machine, manifest = self._held_in(dir)
        return load(dir, manifest, held.retrainer(machine), held._made)

    def _held_in(self, dir: str | Path) -> tuple[Search, Machine, Json]:
        """Return the search that a directory holds, what it runs on here, and its manifest."""
        begun = recorded_in(dir)
        held = self.held(begun)
        machine = held.machine_of(begun)
        return held, machine, held.manifest(machine)

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
        """Return what trains on a machine, where each group's first tile is on another device than the last one's."""
        turns = itertools.count()

        def compile(spec: Spec, at_most: int | None) -> Population:
            first = next(turns) % len(machine.devices)
            devices = [*machine.devices[first:], *machine.devices[:first]]
            return self.population(spec, machine._replace(devices=devices), at_most)

        return Local(self.groups.spec, compile, emit)

    def _made(self, config: Config) -> PyTree:
        """Return the shapes of what `init` makes of a config."""
        return self.groups.spec(config).made

    def _wire(
        self,
        devices: Sequence[Device] | None,
        memory: int | None,
        workers: Elsewhere | None,
        begun: Json,
        run: str,
        emit: Emit,
    ) -> Wiring:
        """Return what is run, with the extent and the tiles that a directory has, whose manifest is `begun`."""
        held = self.held(begun)
        here = machine = held.machine_of(begun, devices, memory)
        keep_compiled(here.devices[0])
        if workers is not None:
            machine = here._replace(devices=workers.devices)
            held = held.sized_for(machine)
        course = held.course(machine, extended=bool(begun.get("extended")))
        objectives = compared_by(held.groups.first.task)

        def ended_after(rounds: int) -> Wiring:
            ended = held.ended_after(rounds)
            course = wiring.course._replace(rungs=ended.rungs)
            return wiring._replace(course=course, finals=ended._setting(course), no_finals=ended.no_finals)

        vanished = held.default_finals and held.finals is None
        manifest = held.manifest(machine)
        if workers is not None:
            manifest["environment"] = {**workers.environment, "argv": [*sys.argv]}
        wiring = Wiring(
            course=course,
            finals=held._setting(course),
            executor=held.local(machine, emit) if workers is None else workers.remote(held, manifest, run, emit),
            devices=machine.devices,
            plan=held.plan_on(machine) if workers is None else workers.planned(held, held.plan_on(machine)),
            manifest=manifest,
            metric=held.metric,
            objectives=objectives,
            retrainer=held.retrainer(here),
            like=held._made,
            no_finals=held.no_finals,
            request=Request(held.extent, held.rungs, held.tasks(here)),
            folds=held.groups.folds,
            parent=held.parent,
            ended_after=ended_after,
            warnings=[f"warm start: {held.recalled}"] if held.recalled.left_out else [],
            notes=[f"no finals: {held.no_finals}"] if vanished else [],
        )
        return wiring

    def _grow(
        self,
        devices: Sequence[Device] | None,
        memory: int | None,
        workers: Elsewhere | None,
        ledger: Ledger,
        of: Wiring,
        emit: Emit,
    ) -> Wiring:
        """Return what is run where a directory is to be of this larger search; `of` is that of the one it holds."""
        before = recorded(ledger) or {}
        if of.request.extent.covers(self.extent) and limit_of(ledger) is None:
            return of._replace(notes=[*of.notes, f"dir: holds {of.request.extent} already"])
        larger = self._wire(devices, memory, workers, {**before, "extended": [[*self.extent]]}, identity(ledger), emit)
        note = grow(ledger, before, of.request, larger.request, larger.manifest)
        return larger._replace(notes=[*larger.notes, note])

    def _setting(self, course: Course) -> Setting | None:
        """Return what the finals know of a search, None where there are none."""
        if self.finals is None:
            return None
        fold = None if self.groups.folding is None else self.groups.folding.validated
        return Setting(course, self.finals, compared_by(self.groups.first.task), fold, self.groups.examples)
