"""The executor of this process: a job split by static group and by waves that fit the memory, in steps of epochs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable
from dataclasses import dataclass, field

import jax
import numpy as np
from jaxtyping import PyTree

from jaxhp.engine.events import Compiling, Progressed
from jaxhp.engine.layout import Layout, arrange
from jaxhp.engine.members import Held, Member, Shelf, leaves_at
from jaxhp.engine.population import Population
from jaxhp.engine.runtime import cpu_cores
from jaxhp.engine.scores import Ranked
from jaxhp.engine.spec import Spec
from jaxhp.engine.tile import State
from jaxhp.engine.work import Cost, Emit, Job, Members, Outcome, Snapshot, merge
from jaxhp.tasks.task import compared_by
from jaxhp.values import Config, Error

_END = object()  # of a generator
_STEP_SECONDS = 1.0  # a call of the step should last about so long, for the display and for signals

Compile = Callable[[Spec, int | None], Population]


@dataclass
class _UnderWay:
    """How far a job has come."""

    job: Job
    emit: Emit
    done: list[tuple[np.ndarray, Outcome]] = field(default_factory=list)  # rows i64[K] that are trained
    groups: list[str] = field(default_factory=list)  # those whose rows are all trained

    @property
    def trained(self) -> np.ndarray:
        """Rows i64[m] that are trained, in the order in which they were."""
        return np.concatenate([np.zeros(0, int), *(rows for rows, _ in self.done)])


@dataclass
class _Wave:
    """The rows of one group that are on the devices, and those of its rows that wait on the shelf."""

    key: str
    chosen: np.ndarray  # i64, all rows of the group
    rows: np.ndarray  # i64, those of this wave
    layout: Layout
    shelf: Shelf | None
    state: State
    epoch: int = 0  # that the state is of, as soon as it is asked for


class Local:
    """Trains on the devices of this process; an `Executor`.

    Static groups that take only some of the devices are trained beside one another, and all of them are compiled so.

    Args:
      spec_of: the static group of a config.
      compile: makes a group's population for as many rows at once as planned (None) or at most that many.
      emit: told before each group is compiled, which is when it is first asked for.
    """

    def __init__(self, spec_of: Callable[[Config], Spec], compile: Compile, emit: Emit):
        self._spec_of, self._compile, self._emit = spec_of, compile, emit
        self._called: set[str] = set()  # groups whose step was called, by `Spec.key`
        self._at_most: int | None = None  # rows at once, where the plan turned out to be too much
        self._held: dict[str, Held] = {}  # by `Spec.key`
        self._under_way: _UnderWay | None = None
        self._waves: dict[str, _Wave] = {}  # under way, by `Spec.key`
        self._spent = Cost()
        self._seen = 0.0  # when a call of the step was last seen to end

    def train(self, job: Job, emit: Emit) -> Outcome:
        """See `Executor.train`. Rows that are not to be kept are held if they were trained in the last wave."""
        self._know(job.configs)
        by_group: dict[str, list[int]] = {}
        for row, config in enumerate(job.configs):
            by_group.setdefault(self._group(config), []).append(row)
        self._under_way = _UnderWay(job, emit)
        try:
            self._train_groups({key: np.asarray(rows) for key, rows in by_group.items()}, self._under_way)
            for key, held in self._held.items():
                if key not in by_group:
                    held.place = {}
            return merge(len(job.configs), self._under_way.done)
        finally:
            self._under_way = None
            self._waves.clear()

    def save(self, trials: Container[int] | None = None) -> Snapshot:
        """See `Executor.save`."""
        if self._under_way is None or not self._waves:
            copies = {key: held.copies(trials) for key, held in self._held.items() if held.place}
            return Snapshot({key: found for key, found in copies.items() if len(found.trial)})
        job, done = self._under_way.job, self._under_way.done
        members = {key: self._held[key].copies() for key in self._under_way.groups} if job.keep else {}
        for key, wave in self._waves.items():
            members[key] = self._of_wave(wave, self._under_way)
        if job.keep or not done:
            return Snapshot(members)
        places = np.split(np.arange(len(self._under_way.trained)), np.cumsum([len(rows) for rows, _ in done])[:-1])
        outcome = merge(len(self._under_way.trained), [(at, part) for at, (_, part) in zip(places, done, strict=True)])
        return Snapshot(members, job.trials[self._under_way.trained], outcome)

    def _of_wave(self, wave: _Wave, call: _UnderWay) -> Members:
        """Return the members of a group that is under way: those of a wave, and those that wait on its shelf."""
        job, rows, leaves = call.job, wave.rows, leaves_at(wave.state, wave.layout.slots)
        if wave.shelf is not None:
            trained = wave.chosen[np.isin(wave.chosen, call.trained)]
            kept = (leaf[np.searchsorted(wave.chosen, trained)] for leaf in wave.shelf.leaves)
            leaves = [np.concatenate(pair) for pair in zip(kept, leaves, strict=True)]
            rows = np.concatenate([trained, wave.rows])
        reached = np.where(np.isin(rows, wave.rows), np.maximum(job.start[rows], wave.epoch), job.stop)
        return Members(job.trials[rows], reached.astype(np.int32), leaves)

    def load(self, snapshot: Snapshot, configs: Iterable[Config]) -> None:
        """See `Executor.load`."""
        self._know(configs)
        for key, members in snapshot.members.items():
            if key not in self._held:
                raise Error(f"members of group {key}, which is not one of this round's")
            self._held[key].add(members)

    def forget(self) -> None:
        """See `Executor.forget`."""
        for held in self._held.values():
            held.forget()

    def has(self, trials: np.ndarray, epoch: int) -> np.ndarray:
        """See `Executor.has`."""
        known = set().union(*(held.place for held in self._held.values()))
        return np.asarray([(int(trial), epoch) in known for trial in trials], bool)

    def variables(self, trial: int, epoch: int, config: Config) -> PyTree[np.ndarray]:
        """See `Executor.variables`."""
        return next(h for h in self._held.values() if (trial, epoch) in h.place).variables((trial, epoch), config)

    def held_bytes(self) -> int:
        """See `Executor.held_bytes`."""
        return sum(held.bytes for held in self._held.values())

    def at_once(self, configs: Iterable[Config]) -> int:
        """See `Executor.at_once`."""
        return min(self._held[self._group(config)].population.replicates_at_most for config in configs)

    def shrink(self) -> tuple[int, int] | None:
        """Halve the rows that are trained at once, and forget; the tile, and so every number, stays."""
        populations = [held.population for held in self._held.values()]
        most = max((population.capacity.trials for population in populations), default=self._at_most or 0)
        tile = max((population.capacity.tile for population in populations), default=1)
        if most <= tile:
            return None
        self._at_most = max(-(-most // tile) // 2, 1) * tile
        self._spent = self.cost()
        self._held.clear()
        self._called.clear()
        return most, self._at_most

    def cost(self) -> Cost:
        """See `Executor.cost`."""
        populations = [held.population for held in self._held.values()]
        return self._spent._replace(
            compilations=self._spent.compilations + sum(p.compilations for p in populations),
        )

    def _group(self, config: Config) -> str:
        """Return the key of a config's static group, which is compiled if this is the first of it."""
        self._know([config])
        return self._spec_of(config).key

    def _know(self, configs: Iterable[Config]) -> None:
        """Compile the static groups of these configs that are not compiled yet."""
        specs = (self._spec_of(config) for config in configs)
        new = {spec.key: spec for spec in specs if spec.key not in self._held}
        values = [spec.static.items() for spec in new.values()]
        ahead: deque[Population] = deque()  # so few, since an exit waits for what is being compiled
        for number, (key, spec) in enumerate(new.items(), 1):
            own = {name: value for name, value in spec.static.items() if not all((name, value) in v for v in values)}
            self._emit(Compiling(number, len(new), own))
            began = time.perf_counter()
            self._held[key] = Held(self._compile(spec, self._at_most))
            ahead.append(self._held[key].population)
            if len(ahead) > cpu_cores():
                ahead.popleft().ready()
            self._compiling(began)

    def _compiling(self, began: float) -> None:
        """Count the time since `began` as spent on compiling."""
        self._spent = self._spent._replace(compile_s=self._spent.compile_s + time.perf_counter() - began)

    def _train_groups(self, rows: dict[str, np.ndarray], call: _UnderWay) -> None:
        """Train the rows i64 of each group: those beside one another that are on different devices."""
        waiting, under_way = list(rows), dict[str, Generator[None, None, None]]()
        used = {key: self._used(self._held[key].population, call.job, chosen) for key, chosen in rows.items()}
        while waiting or under_way:
            busy = set().union(*(used[key] for key in under_way))
            for key in list(waiting):
                if not used[key] & busy:
                    waiting.remove(key)
                    under_way[key] = self._train_group(key, rows[key], call)
                    busy |= used[key]
            for key, training in list(under_way.items()):
                if next(training, _END) is _END:
                    del under_way[key]
                    call.groups.append(key)
                    self._waves.pop(key, None)

    def _used(self, population: Population, job: Job, chosen: np.ndarray) -> set[int]:
        """Return which devices train some rows of a group: the first ones of its own, where it has few tiles."""
        first = waves_of(job.start[chosen], population, len(job.replicates))[0]
        tiles = arrange(job.start[chosen[first]], job.replicates, population.capacity.tile).tiles
        return {device.id for device in population.tiling.devices[:tiles]}

    def _train_group(self, key: str, chosen: np.ndarray, call: _UnderWay) -> Generator[None, None, None]:
        """Train some rows of a group; yields while the devices are at it."""
        job, held = call.job, self._held[key]
        population, began = held.population, time.perf_counter()
        population.ready()
        self._compiling(began)
        waves = [chosen[wave] for wave in waves_of(job.start[chosen], population, len(job.replicates))]
        if len(waves) > 1 and np.any(job.start[chosen] > 0):
            held.to_host()
        source, wave = held.view(), None
        shelf = Shelf(population, len(chosen), len(job.replicates)) if job.keep and len(waves) > 1 else None
        for rows in waves:
            layout = arrange(job.start[rows], job.replicates, population.capacity.tile)
            origin: list[Member | None] = [
                (int(job.origin[row]), int(job.start[row])) if job.start[row] > 0 else None for row in rows
            ]
            self._waves.pop(key, None)
            wave = None  # and with it the state of the wave before
            wave = _Wave(key, chosen, rows, layout, shelf, held.begin(origin, layout, source))
            self._waves[key] = wave
            outcome = yield from self._train_wave(wave, call)
            held.state = wave.state
            if shelf is not None:
                shelf.put(np.searchsorted(chosen, rows), layout, held.state)
            call.done.append((rows, outcome))
        assert wave is not None
        order = chosen if shelf is not None else wave.rows
        names = [(int(trial), job.stop) for trial in job.trials[order]]
        held.stand(names, wave.state, wave.layout, shelf)

    def _train_wave(self, wave: _Wave, call: _UnderWay) -> Generator[None, None, Outcome]:
        job, population = call.job, self._held[wave.key].population
        spec, start, layout = population.spec, job.start[wave.rows], wave.layout
        columns = spec.columns([job.configs[row] for row in wave.rows])
        wave.epoch, length = int(start.min()), 1
        read = np.full(len(wave.rows), job.stop) if job.read is None else job.read[wave.rows]
        parts = []
        while True:
            before, upto = wave.epoch, int(min(wave.epoch + length, read[read > wave.epoch].min(initial=job.stop)))
            began = time.perf_counter()
            begin = np.clip(layout.start, before, upto)
            wave.state, ranked = population.step(wave.state, columns, job.trials[wave.rows], layout, begin, upto)
            wave.epoch = upto
            yield
            score = np.asarray(ranked.score)[: len(wave.rows)]
            took, seconds = self._stepped(began)
            done = int((upto - np.clip(start, before, upto)).sum()) * len(job.replicates)
            self._spent = self._spent._replace(
                step_s=self._spent.step_s + seconds,
                epochs_trained=self._spent.epochs_trained + done,
                slot_epochs=self._spent.slot_epochs + int((upto - begin).sum()) * population.capacity.tile,
            )
            calls = int((upto - before) * _STEP_SECONDS / max(took, 1e-6))
            length = max(1, min(calls, 2 * (upto - before) * 8))
            last = upto >= job.stop and len(call.trained) + len(wave.rows) == len(job.configs)
            saved = sum(len(other.rows) for other in self._waves.values()) + job.keep * len(call.trained)
            fresh = wave.key not in self._called
            self._called.add(wave.key)
            trials, metrics = job.trials[wave.rows], spec.shapes.metrics
            size = saved * len(job.replicates) * population.member_bytes
            call.emit(Progressed(trials, score, upto, done, seconds, last, size, fresh, ranked.curve, metrics))
            due = np.flatnonzero(read == upto)
            if len(due):
                parts.append((due, self._measured(wave, job, columns, ranked).rows(due)))
            if upto >= job.stop:
                whole = np.asarray(ranked.curve)[: len(wave.rows)]  # also past what was read
                return merge(len(wave.rows), parts)._replace(curve=whole)

    def _stepped(self, began: float) -> tuple[float, float]:
        """Return the seconds that a call of the step took, and those of them in which no other was seen to end."""
        now = time.perf_counter()
        alone, self._seen = now - max(began, self._seen), now
        return now - began, alone

    def _measured(self, wave: _Wave, job: Job, columns: dict[str, np.ndarray], ranked: Ranked) -> Outcome:
        """Return what is known of a wave's rows where they stand now."""
        population, layout = self._held[wave.key].population, wave.layout
        ranked = jax.device_get(ranked)
        p, r = len(wave.rows), len(job.replicates)
        outcome = Outcome(
            np.asarray(ranked.score)[:p],
            np.asarray(ranked.stderr)[:p],
            np.asarray(ranked.replicate_scores)[:p, :r],
            np.asarray(ranked.curve)[:p],
            np.asarray(ranked.diverged_at)[:p],
        )
        if not job.outcomes:
            return outcome
        measured = compared_by(population.task).measured
        held_out = population.spec.holdout

        def of(metric: str, data: PyTree | None) -> tuple[np.ndarray, np.ndarray | None]:
            return population.outcomes(wave.state, columns, layout, wave.epoch, data, metric)

        counting, *others = [of(metric, held_out) for metric in measured]
        valid = counting[0] if held_out is None else of(measured[0], None)[0]
        if job.read is not None:  # where each replicate's own best may lie elsewhere
            counted = np.isfinite(valid)
            means = np.where(counted, valid, 0).sum(2, dtype=np.float64) / np.where(
                counted.any(2), counted.sum(2), np.nan
            )
            outcome = outcome._replace(replicate_scores=means.astype(np.float32))
        off = [bias for _, bias in (counting, *others)]
        return outcome._replace(
            valid=valid,
            held_out=None if held_out is None else counting[0],
            others=np.stack([values for values, _ in others], 2) if others else None,
            bias=np.stack([np.zeros((p, r), np.float32) if b is None else b for b in off], 2)
            if any(b is not None for b in off)
            else None,
        )


def waves_of(start: np.ndarray, population: Population, replicates: int) -> list[np.ndarray]:
    """Split rows, which stand at epochs `start` i32[P], into parts that fit at once: rows of an epoch share tiles.

    Returns:
      For each wave its rows, i64[K].
    """
    tile = population.capacity.tile
    tiles = max(1, int(np.prod(population.shape)) // replicates)
    most = max(1, population.rows_for(replicates))
    waves: list[list[np.ndarray]] = []
    rows = most
    for epoch in np.unique(start):
        there = np.flatnonzero(start == epoch)
        for piece in np.split(there, range(min(tile, most), len(there), min(tile, most))):
            if not waves or len(waves[-1]) == tiles or rows + len(piece) > most:
                waves.append([])
                rows = 0
            waves[-1].append(piece)
            rows += len(piece)
    return [np.concatenate(wave) for wave in waves]
