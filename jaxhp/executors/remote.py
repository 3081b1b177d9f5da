"""The executor of many workers: jobs cut into units that they train in any order, with the bits of one process."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxhp.engine.events import Awaited, Compiling, Progressed, Warned
from jaxhp.engine.sizes import member_bytes
from jaxhp.engine.work import Cost, Emit, Job, Members, MembersLost, Outcome, Snapshot, merge
from jaxhp.executors.assigning import assigned
from jaxhp.executors.crew import Arrived, Crew, Lost
from jaxhp.executors.member_store import Damaged, MemberStore
from jaxhp.executors.orders import Answered, Failed, Hand, Missing, Name, Refused, Show, Train, Trained
from jaxhp.executors.parts import Differ, Part, Result, Tag, fingerprint
from jaxhp.executors.ranking import ranked_by
from jaxhp.executors.recipe import Recipe
from jaxhp.executors.units import Unit, chunks_of, split, tiles_of, together
from jaxhp.executors.whereabouts import Chunk, Whereabouts, checked
from jaxhp.values import Config, Error

_UNIT_S = 10.0  # that a worker trains before what it has comes back
_LOSSES = 3  # workers that a unit may end


class _UnderWay(NamedTuple):
    """A job, and how far its parts have come."""

    job: Job
    emit: Emit
    parts: list[Part]
    took: list[float]  # seconds of the pieces that are done

    @property
    def left(self) -> list[Part]:
        """Those that are not done."""
        return [part for part in self.parts if part.outcome is None]


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
        self._crew, self._store, self._recipe, self._key_of, self._emit = crew, store, recipe, key_of, emit
        self._where = Whereabouts(store)
        self._chunks: dict[Chunk, tuple[Chunk, ...]] = {}  # how the replicates of jobs are dealt out
        self._under_way: _UnderWay | None = None
        self._held: tuple[dict[Name, str], Chunk] = {}, ()  # members of the last job, their groups, and replicates
        self._spent: tuple[Cost, set[str]] = Cost(), set()  # and the groups that are compiled

    def train(self, job: Job, emit: Emit) -> Outcome:
        """See `Executor.train`."""
        self._under_way = call = self._begun(self._from_store(job), emit)
        try:
            while call.left:
                self._send(call)
                arrived = self._crew.arrived()
                for one in arrived:
                    self._arrive(one, call)
                if not arrived:
                    emit(Awaited())
            found = [(part.unit, part.outcome, part.raw) for part in call.parts if part.outcome is not None]
            rank = {
                part.unit.key: ranked_by(self._recipe.specs[part.unit.key], self._recipe.epoch) for part in call.parts
            }
            outcome = together(job, found, rank)
        finally:
            self._under_way = None
        keys = {int(job.trials[row]): part.unit.key for part in call.parts for row in part.unit.rows}
        self._held = {(trial, job.stop): key for trial, key in keys.items()}, tuple(job.replicates)
        self._where.settle([(name, chunk) for name in self._held[0] for chunk in self._chunks[tuple(job.replicates)]])
        return outcome

    def save(self, trials: Container[int] | None = None) -> Snapshot:
        """See `Executor.save`."""
        if self._under_way is None:
            held, replicates = self._held
            names = {name: key for name, key in held.items() if trials is None or name[0] in trials}
            return Snapshot(self._brought(names, replicates, ask=True))
        job, parts = self._under_way.job, self._under_way.parts
        names = {}
        for part in parts:
            if part.unit.replicates == tuple(job.replicates) and (job.keep or part.outcome is None):
                start = job.stop if part.outcome is not None else part.unit.job.start
                epochs = np.broadcast_to(start, len(part.unit.rows))
                at = zip(part.unit.job.trials, epochs, strict=True)
                names |= {(int(trial), int(epoch)): part.unit.key for trial, epoch in at if epoch > 0}
        members = self._brought(names, tuple(job.replicates), ask=False)
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
            self._where.give(members.names(), checked(members, self._recipe.specs[key], self._recipe.epochs))

    def forget(self) -> None:
        """See `Executor.forget`. What is in the store has its names from what it is, and is not forgotten."""
        self._where.drop_given()
        self._held = {}, ()

    def has(self, trials: np.ndarray, epoch: int) -> np.ndarray:
        """See `Executor.has`: members of the search, also those that an earlier run has left in the store."""
        alive, chunks = {*self._crew.alive()}, self._dealt(tuple(range(self._recipe.members)))

        def there(name: Name) -> bool:
            if self._where.given(name) is not None:
                return True
            return all(self._where.spot(name, chunk, alive) is not None for chunk in chunks)

        return np.asarray([there((int(trial), epoch)) for trial in trials], bool)

    def variables(self, trial: int, epoch: int, config: Config) -> PyTree[np.ndarray]:
        """See `Executor.variables`."""
        name, key = (trial, epoch), self._key_of(config)
        given = self._where.given(name)
        replicates = self._held[1] if name in self._held[0] else tuple(range(self._recipe.members))
        chunk = self._dealt(replicates)[0] if given is None else replicates
        spot = self._where.spot(name, chunk, {*self._crew.alive()})
        worker = min(spot.workers, default=None) if spot is not None else None
        answer = self._crew.ask(Show(key, name, chunk, config, given), worker)
        if isinstance(answer, Missing):
            self._gone(answer.names, chunk, worker)
            raise MembersLost(answer.why)
        return self._answered(answer).value

    def held_bytes(self) -> int:
        """See `Executor.held_bytes`."""
        held, replicates = self._held
        return sum(self._bytes(key) * len(replicates) for key in held.values())

    def at_once(self, configs: Iterable[Config]) -> int:
        """See `Executor.at_once`: on all workers that live now."""
        return min(self._recipe.at_once(self._key_of(config)) for config in configs) * max(len(self._crew.alive()), 1)

    def shrink(self) -> tuple[int, int] | None:
        """See `Executor.shrink`; a worker does it by itself."""
        return None

    def cost(self) -> Cost:
        """See `Executor.cost`: of all workers."""
        return self._spent[0]

    def _bytes(self, key: str) -> int:
        return member_bytes(self._recipe.specs[key].shapes, self._recipe.epochs)

    def _dealt(self, replicates: Chunk, parts: int = 1) -> tuple[Chunk, ...]:
        """Return how replicates are dealt out: as they are in the store, or in so many parts, from now on."""
        if replicates not in self._chunks:
            searched = replicates == tuple(range(self._recipe.members))
            most = min(self._recipe.at_once(key) for key in self._recipe.specs)
            known = self._where.chunks(replicates)
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
        for row, trial in enumerate(job.trials.tolist()):
            known = [{*self._where.before(trial, chunk)} for chunk in chunks]
            reached = set.intersection(*known) if known else set()
            further = [epoch for epoch in reached if start[row] < epoch <= job.stop]
            if further:
                start[row], origin[row] = max(further), trial
        return job._replace(start=start, origin=origin)

    def _begun(self, job: Job, emit: Emit) -> _UnderWay:
        """Cut a job into units."""
        keys = [self._key_of(config) for config in job.configs]
        alive = max(len(self._crew.alive()), 1)
        tiles = tiles_of(job, keys, self._recipe.tiles)
        chunks = self._dealt(tuple(job.replicates), -(-2 * alive // max(tiles, 1)))
        names = zip(job.origin.tolist(), job.start.tolist(), strict=True)
        spots = [self._where.spot(name, chunks[0], self._crew.alive()) if name[1] else None for name in names]
        homes = [min(spot.workers, default="") if spot is not None else "" for spot in spots]
        recipe = self._recipe
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
        return _UnderWay(job, emit, [Part(unit, homes[int(unit.rows[0])]) for unit in units], [])

    def _send(self, call: _UnderWay) -> None:
        """Give idle workers something to do."""
        now = time.monotonic()
        for part, worker in assigned(call.left, self._crew.idle(), call.took, now):
            self._say_compiling(part.unit.key, call)
            self._crew.send(self._order(part, call), worker, Tag(part, part.piece, part.turn))
            part.flight[worker] = now

    def _order(self, part: Part, call: _UnderWay) -> Train:
        piece, job = part.piece, call.job
        place = {replicate: column for column, replicate in enumerate(job.replicates)}
        columns = [place[replicate] for replicate in piece.replicates]
        names = zip(piece.job.origin.tolist(), piece.job.start.tolist(), strict=True)
        given = {name: self._where.given(name, columns) for name in names if name[1]}
        return Train(
            piece,
            put=job.keep or not (self._crew.pinned or job.outcomes),
            raw=len(piece.replicates) < len(job.replicates),
            seconds=math.inf if part.disputed else _UNIT_S,
            given={name: leaves for name, leaves in given.items() if leaves is not None},
        )

    def _say_compiling(self, key: str, call: _UnderWay) -> None:
        if key in self._spent[1]:
            return
        self._spent[1].add(key)
        specs = self._recipe.specs
        left = [part.unit.key for part in call.parts if part.unit.key not in self._spent[1] or part.unit.key == key]
        own = {n: v for n, v in specs[key].static.items() if any(s.static.get(n) != v for s in specs.values())}
        self._emit(Compiling(1, len({*left}), own))

    def _arrive(self, one: Arrived, call: _UnderWay) -> None:
        """Take what a worker answers."""
        part, began = one.tag.part, one.tag.part.flight.pop(one.worker, None)
        match one.answer:
            case Trained() as trained:
                self._take(one.tag, Result(one.worker, one.tag.piece, trained), call)
                if began is not None:
                    call.took.append(time.monotonic() - began)
            case Lost(why):
                part.losses.append(f"{one.worker}: {why}")
                if len(part.losses) >= _LOSSES:
                    text = f"{_LOSSES} workers ended while they trained {shown_trials(part)}"
                    raise Error(f"executor: {text}: {'; '.join(part.losses)}")
            case Refused() as refused:
                self._emit(Warned(f"executor: not used: {self._crew.refuse(one.worker, refused)}"))
            case Missing(names, why):
                self._gone(names, one.tag.piece.replicates, one.worker)
                self._emit(Warned(f"executor: {why}"))
                self._hand_again(names, one.tag.piece)
            case Failed() as failed:
                raise _error(failed)
            case _:
                raise TypeError(f"expected what training answers, got {one.answer!r}")

    def _take(self, tag: Tag, result: Result, call: _UnderWay) -> None:
        """Know what a worker made of a piece."""
        trained, piece = result.trained, tag.piece
        self._spend(trained.cost._replace(moved_bytes=trained.brought + trained.sent))
        if not any(tag.part is part for part in call.parts):
            return self._compare_late(tag.part, result)
        turn = tag.part.turn
        differ = tag.part.take(tag, result)
        if differ is not None:
            self._say_different(differ, tag.part)
        if tag.part.turn == turn or tag.part.disputed:
            return None
        for trial in piece.job.trials.tolist():
            name = trial, trained.reached
            worker = result.worker if self._crew.pinned and not piece.job.outcomes else None
            self._where.found(name, piece.replicates, piece.key, worker=worker, stored=name in trained.digests)
        self._tell(tag.part, result, call)
        return None

    def _tell(self, part: Part, result: Result, call: _UnderWay) -> None:
        """Tell observers of a piece."""
        trained, piece, job = result.trained, result.piece, call.job
        whole = len(piece.replicates) == len(job.replicates)
        spec = self._recipe.specs[piece.key]
        call.emit(
            Progressed(
                piece.job.trials,
                trained.score if whole else np.full_like(trained.score, np.nan),
                trained.reached,
                int((trained.reached - piece.job.start).sum()) * len(piece.replicates),
                trained.cost.step_s / max(len(self._crew.alive()), 1),
                last=not call.left,
                state_bytes=len(job.trials) * len(job.replicates) * self._bytes(piece.key),
                fresh=trained.cost.compilations > 0,
                curve=trained.curve if whole else None,
                metrics=spec.shapes.metrics if whole else (),
            )
        )

    def _compare_late(self, part: Part, result: Result) -> None:
        """Say so where a result that comes after its job is another one."""
        before = part.accepted
        same = before is not None and before.piece.job.start[0] == result.piece.job.start[0]
        if not same or before is None or before.trained.reached != result.trained.reached:
            return
        if fingerprint(before.trained) != fingerprint(result.trained):
            who = f"{before.trained.who} and {result.trained.who}"
            trials = shown_trials(part)
            self._emit(Warned(f"executor: {who} made different bits of {trials}; hp.verify(search, dir) tells whose"))

    def _say_different(self, differ: Differ, part: Part) -> None:
        which = f"the third shows that {differ.wrong} is wrong: it is not used any more"
        if differ.wrong is None and len(differ.workers) > 2:
            raise Error(f"executor: {', '.join(differ.workers)} all made different bits of {shown_trials(part)}")
        text = "a third decides" if differ.wrong is None else which
        self._emit(
            Warned(f"executor: {' and '.join(differ.workers)} made different bits of {shown_trials(part)}; {text}")
        )
        if differ.wrong is not None:
            self._crew.dismiss(differ.wrong, f"{differ.wrong} made other bits than two others")

    def _gone(self, names: Iterable[Name], chunk: Chunk, worker: str | None) -> None:
        """Know that members are not where they were thought to be."""
        for name in names:
            self._where.lost(name, chunk)
            if worker is not None:
                self._where.lost(name, chunk, worker)

    def _hand_again(self, names: list[Name], piece: Unit) -> None:
        """Have members put into the store by whoever still has them.

        Raises:
          MembersLost: nobody has.
        """
        for name in names:
            spot = self._where.spot(name, piece.replicates, self._crew.alive())
            while spot is not None and not spot.stored:
                worker = min(spot.workers)
                answer = self._crew.ask(Hand(piece.key, [name], piece.replicates), worker)
                if isinstance(answer, Answered):
                    self._spend(Cost(moved_bytes=answer.sent))
                    self._where.found(name, piece.replicates, piece.key, stored=True)
                else:
                    self._where.lost(name, piece.replicates, worker)
                spot = self._where.spot(name, piece.replicates, self._crew.alive())
            if spot is None:
                raise MembersLost(f"trial {name[0]} after {name[1]} epochs is nowhere")

    def _brought(self, names: dict[Name, str], replicates: Chunk, *, ask: bool) -> dict[str, Members]:
        """Return members here, as far as they are in the store, or can be asked for."""
        found: dict[str, list[tuple[Name, list[np.ndarray]]]] = {}
        for name, key in names.items():
            parts = []
            for chunk in self._dealt(replicates):
                spot = self._where.spot(name, chunk, self._crew.alive())
                worker = min(spot.workers, default=None) if spot is not None and ask else None
                if spot is not None and not spot.stored and worker is not None:
                    answer = self._crew.ask(Hand(key, [name], chunk), worker)
                    spot.stored = isinstance(answer, Answered)
                try:
                    parts.append(self._store.get(key, *name, chunk))
                except Damaged:
                    break
            else:
                found.setdefault(key, []).append((name, [np.concatenate(leaf) for leaf in zip(*parts, strict=True)]))
        members = {}
        for key, some in found.items():
            trial, epoch = np.asarray([name for name, _ in some], np.int32).T
            members[key] = Members(trial, epoch, [np.stack(leaf) for leaf in zip(*(x for _, x in some), strict=True)])
        return members

    def _spend(self, cost: Cost) -> None:
        self._spent = Cost(*(a + b for a, b in zip(self._spent[0], cost, strict=True))), self._spent[1]

    def _answered(self, answer: object) -> Answered:
        if isinstance(answer, Failed):
            raise _error(answer)
        assert isinstance(answer, Answered)
        return answer


def shown_trials(part: Part) -> str:
    """Name the trials of a unit."""
    ids = part.unit.job.trials.tolist()
    more = f" and {len(ids) - 8} more" if len(ids) > 8 else ""
    return f"trial{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids[:8]))}{more}"


def _error(failed: Failed) -> Exception:
    """Return what a function of the task raised on a worker, with a note of where."""
    try:
        error = pickle.loads(failed.error)
    except Exception:  # of a class that is not there
        error = RuntimeError(failed.text)
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        error = MemoryError(f"executor: not even one tile fits the memory of {failed.who}: {error}")
    error.add_note(f"on {failed.who}:\n{failed.text}")
    return error
