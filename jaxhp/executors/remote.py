"""The executor of many workers: jobs cut into units that they train in any order, with the bits of one process."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence

import jax
import numpy as np
from jaxtyping import PyTree

from jaxhp.engine.sizes import member_bytes
from jaxhp.engine.work import Cost, Emit, Job, MembersLost, Outcome, Snapshot, merge
from jaxhp.executors.crew import Crew
from jaxhp.executors.member_store import MemberStore
from jaxhp.executors.orders import Answered, Failed, Missing, Name, Rank, Show
from jaxhp.executors.recipe import Recipe
from jaxhp.executors.stock import Stock
from jaxhp.executors.strands import Strand
from jaxhp.executors.under_way import Ongoing, UnderWay, error_of
from jaxhp.executors.units import Apart, chunks_of, split, tiles_of, together
from jaxhp.executors.whereabouts import Chunk, checked
from jaxhp.trials import ceil_div
from jaxhp.values import Config, Error

UNIT_S = 10.0  # seconds that a worker trains before what it has comes back


class Remote:
    """Trains on workers; an `Executor`.

    Args:
      crew: the workers.
      store: where members are that workers bring from each other.
      recipe: of the search, as the workers have it.
      key_of: the group of a config.
      emit: told what happens.
    """

    def __init__(self, crew: Crew, store: MemberStore, recipe: Recipe, key_of: Callable[[Config], str], emit: Emit):
        self._crew, self._recipe, self._key_of = crew, recipe, key_of
        self._stock = Stock(crew, store)
        self._work = UnderWay(crew, self._stock, recipe, UNIT_S, emit)
        self._chunks: dict[Chunk, tuple[Chunk, ...]] = {}  # how the replicates of jobs are dealt out
        self._call: Ongoing | None = None
        self._held: tuple[dict[Name, str], Chunk] = {}, ()  # members of the last job, their groups, and replicates

    def train(self, job: Job, emit: Emit) -> Outcome:
        """See `Executor.train`."""
        self._call = call = self._begun(self._from_store(job), emit)
        try:
            self._work.train(call)
        finally:
            self._call = None
        found = [(part.unit, part.outcome, part.raw) for part in call.parts if part.outcome is not None]
        whole = together(job, found, self._ranked)
        keys = {int(job.trials[row]): unit.key for unit, _, _ in found for row in unit.rows}
        self._held = {(trial, job.stop): key for trial, key in keys.items()}, tuple(job.replicates)
        chunks = self._dealt(tuple(job.replicates))
        self._stock.where.drop_given()
        self._stock.where.settle([(name, chunk) for name in self._held[0] for chunk in chunks])
        return whole

    def _ranked(self, rows: Sequence[Apart]) -> Sequence[Outcome]:
        """Have a worker make the outcome of rows whose replicates were trained apart: here it may have other bits."""
        _, answer = self._crew.ask(Rank(rows), None)
        if isinstance(answer, Failed):
            raise error_of(answer)
        assert isinstance(answer, Answered)
        return answer.value

    def save(self, trials: Container[int] | None = None) -> Snapshot:
        """See `Executor.save`."""
        if self._call is None:
            held, replicates = self._held
            names = {name: key for name, key in held.items() if trials is None or name[0] in trials}
            return Snapshot(self._stock.bring(names, self._dealt(replicates), ask=True))
        job, parts = self._call.job, self._call.parts
        names = {}
        for part in parts:
            if part.unit.replicates == tuple(job.replicates) and (job.keep or part.outcome is None):
                start = job.stop if part.outcome is not None else part.unit.job.start
                epochs = np.broadcast_to(start, len(part.unit.rows))
                at = zip(part.unit.job.trials, epochs, strict=True)
                names |= {(int(trial), int(epoch)): part.unit.key for trial, epoch in at if epoch > 0}
        members = self._stock.bring(names, [tuple(job.replicates)], ask=False)
        done = [part for part in parts if part.outcome is not None and part.unit.replicates == tuple(job.replicates)]
        if job.keep or not done:
            return Snapshot(members)
        rows = np.concatenate([part.unit.rows for part in done])
        places = np.split(np.arange(len(rows)), np.cumsum([len(part.unit.rows) for part in done])[:-1])
        outcomes = [(at, part.outcome) for at, part in zip(places, done, strict=True) if part.outcome is not None]
        return Snapshot(members, job.trials[rows], merge(len(rows), outcomes))

    def load(self, snapshot: Snapshot, configs: Iterable[Config]) -> None:
        """See `Executor.load`."""
        for key, members in snapshot.members.items():
            if key not in self._recipe.specs:
                raise Error(f"members of group {key}, which is not one of this search's")
            self._stock.where.give(members.names(), checked(members, self._recipe.specs[key], self._recipe.epochs))

    def forget(self) -> None:
        """See `Executor.forget`. What is in the store has its names from what it is, and is not forgotten."""
        self._stock.where.drop_given()
        self._held = {}, ()

    def has(self, trials: np.ndarray, epoch: int) -> np.ndarray:
        """See `Executor.has`: members of the search, also those that an earlier run has left in the store."""
        chunks = self._dealt(tuple(range(self._recipe.members)))

        def there(name: Name) -> bool:
            given = self._stock.where.given(name) is not None
            return given or all(self._stock.spot(name, chunk) is not None for chunk in chunks)

        return np.asarray([there((int(trial), epoch)) for trial in trials], bool)

    def variables(self, trial: int, epoch: int, config: Config) -> PyTree[np.ndarray]:
        """See `Executor.variables`."""
        name, key = (trial, epoch), self._key_of(config)
        given = self._stock.where.given(name)
        replicates = self._held[1] if name in self._held[0] else tuple(range(self._recipe.members))
        chunk = self._dealt(replicates)[0] if given is None else replicates
        worker = self._stock.homes([name], chunk)[0] or None
        who, answer = self._crew.ask(Show(key, name, chunk, config, given), worker)
        if isinstance(answer, Missing):
            self._stock.gone(answer.names, chunk, who)
            raise MembersLost(answer.why)
        if isinstance(answer, Failed):
            raise error_of(answer)
        assert isinstance(answer, Answered)
        return jax.tree.unflatten(jax.tree.structure(self._recipe.specs[key].shapes.member.variables), answer.value)

    def held_bytes(self) -> int:
        """See `Executor.held_bytes`."""
        held, replicates = self._held
        size = {key: member_bytes(self._recipe.specs[key].shapes, self._recipe.epochs) for key in {*held.values()}}
        return sum(size[key] * len(replicates) for key in held.values())

    def at_once(self, configs: Iterable[Config]) -> int:
        """See `Executor.at_once`: on all workers that live now."""
        return min(self._recipe.at_once(self._key_of(config)) for config in configs) * max(len(self._crew.alive()), 1)

    def shrink(self) -> tuple[int, int] | None:
        """See `Executor.shrink`; a worker does it by itself."""
        return None

    def cost(self) -> Cost:
        """See `Executor.cost`: of all workers."""
        spent = self._work.spent
        return spent._replace(moved_bytes=spent.moved_bytes + self._stock.moved)

    def _dealt(self, replicates: Chunk, parts: int = 1) -> tuple[Chunk, ...]:
        """Return how replicates are dealt out: as they are in the store, or in so many parts, from now on."""
        if replicates not in self._chunks:
            searched = replicates == tuple(range(self._recipe.members))
            most = min(self._recipe.at_once(key) for key in self._recipe.specs)
            known = self._stock.where.chunks(replicates)
            if searched:
                parts = len(replicates) if self._recipe.apart or any(len(chunk) == 1 for chunk in known) else 1
                most = len(replicates)
            self._chunks[replicates] = chunks_of(replicates, parts, most)
        return self._chunks[replicates]

    def _from_store(self, job: Job) -> Job:
        """Return a job whose rows go on from what an earlier run has left of them."""
        start, origin = job.start.copy(), job.origin.copy()
        searched = tuple(job.replicates) == tuple(range(self._recipe.members)) and job.read is None
        chunks = self._dealt(tuple(job.replicates)) if searched else ()
        alive = self._crew.alive()
        for row, trial in enumerate(job.trials.tolist()):
            known = [{*self._stock.where.before(trial, chunk, alive)} for chunk in chunks]
            reached = set.intersection(*known) if known else set()
            further = [epoch for epoch in reached if start[row] < epoch <= job.stop]
            if further:
                start[row], origin[row] = max(further), trial
        return job._replace(start=start, origin=origin)

    def _begun(self, job: Job, emit: Emit) -> Ongoing:
        """Cut a job into units."""
        recipe, keys = self._recipe, [self._key_of(config) for config in job.configs]
        alive = max(len(self._crew.alive()), 1)
        tiles = tiles_of(job, keys, recipe.tiles)
        chunks = self._dealt(tuple(job.replicates), ceil_div(2 * alive, max(tiles, 1)))
        homes = self._stock.homes(zip(job.origin.tolist(), job.start.tolist(), strict=True), chunks[0])
        units = split(
            job,
            keys,
            homes,
            tiles=recipe.tiles,
            most=recipe.rows,
            chunks=chunks,
            workers=alive,
            devices=recipe.devices,
        )
        return Ongoing(job, emit, [Strand(unit, homes[int(unit.rows[0])]) for unit in units])
