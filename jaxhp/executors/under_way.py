"""Jobs under way on workers: what is sent to whom, and what is made of what comes back."""

from __future__ import annotations

import math
import pickle
import time
from collections import deque
from typing import NamedTuple

import jax
import numpy as np

from jaxhp.engine.events import Awaited, Compiling, Progressed, Warned
from jaxhp.engine.sizes import member_bytes
from jaxhp.engine.work import Cost, Emit, Job
from jaxhp.executors.crew import Arrived, Crew, Lost
from jaxhp.executors.orders import Failed, Missing, Refused, Train, Trained
from jaxhp.executors.recipe import Recipe
from jaxhp.executors.scheduling import Dismissed, Fact, Finished, GivenUp, Outvoted, Schedule, Undecided
from jaxhp.executors.stock import Stock
from jaxhp.executors.strands import Made, Strand, Tag
from jaxhp.executors.units import Unit
from jaxhp.trials import ceil_div
from jaxhp.values import Error


class Ongoing(NamedTuple):
    """A job, and how far its parts have come."""

    job: Job
    emit: Emit
    parts: list[Strand]

    @property
    def left(self) -> list[Strand]:
        """Those that are not done."""
        return [part for part in self.parts if part.outcome is None]


class UnderWay:
    """Has the parts of one job after another trained. A straggler may bring a result of an earlier job.

    Args:
      crew: trains them.
      stock: of members.
      recipe: of the search.
      unit_s: seconds that a worker trains before what it has comes back.
      emit: told what happens.
    """

    def __init__(self, crew: Crew, stock: Stock, recipe: Recipe, unit_s: float, emit: Emit):
        self._crew, self._stock, self._recipe, self._unit_s, self._emit = crew, stock, recipe, unit_s, emit
        self._schedule = Schedule()
        self._unread: deque[Arrived] = deque()  # a job may end while there are more
        self._compiled: set[str] = set()
        self.spent = Cost()

    def train(self, call: Ongoing) -> None:
        """Have all parts trained to their end."""
        for part in call.parts:
            self._add(part)
        try:
            while call.left:
                self._meet()
                now = time.monotonic()
                for start in self._schedule.starts(now):
                    self._send(start.unit, start.worker, call)
                self._unread += self._crew.arrived()
                if not self._unread:
                    call.emit(Awaited())
                while self._unread:
                    self._arrive(self._unread.popleft(), call)
        finally:
            for part in call.left:
                self._schedule.withdraw(part.tag)

    def _add(self, part: Strand) -> None:
        """Have what is left of a part trained."""
        unit = part.unit
        tiles = ceil_div(len(unit.rows), self._recipe.tiles[unit.key]) * len(unit.replicates)
        epochs = max(unit.job.stop - int(unit.job.start[0]), 1)
        self._schedule.add(part.begin(), tiles * epochs, [part.home] if part.home else [])

    def _meet(self) -> None:
        """Know who has come and who has gone."""
        alive = self._crew.alive()
        now = time.monotonic()
        for worker in alive:
            self._schedule.join(worker)
        for worker in {*self._schedule.workers()} - {*alive}:
            self._follow(self._schedule.leave(worker, now))

    def _send(self, tag: Tag, worker: str, call: Ongoing) -> None:
        """Have a worker train a piece, of this job or, where its results differ, of an earlier one."""
        part, piece = tag.part, tag.part.piece(tag.number)
        if part.unit.key not in self._compiled:
            self._say_compiling(part.unit.key, call)
        job = call.job
        place = {replicate: column for column, replicate in enumerate(job.replicates)}
        columns = [place[replicate] for replicate in piece.replicates if replicate in place]
        names = [(int(trial), int(at)) for trial, at in zip(piece.job.origin, piece.job.start, strict=True) if at]
        given = {name: self._stock.where.given(name, columns) for name in names}
        order = Train(
            piece,
            put=piece.job.keep or not (self._crew.pinned or piece.job.outcomes),
            raw=len(piece.replicates) < len(job.replicates),
            seconds=math.inf if part.results.get(tag.number) else self._unit_s,
            given={name: leaves for name, leaves in given.items() if leaves is not None},
        )
        self._crew.send(order, worker, tag)

    def _say_compiling(self, key: str, call: Ongoing) -> None:
        self._compiled.add(key)
        specs = self._recipe.specs
        left = {part.unit.key for part in call.parts} - self._compiled
        own = {n: v for n, v in specs[key].static.items() if any(s.static.get(n) != v for s in specs.values())}
        self._emit(Compiling(1, len(left) + 1, own))

    def _arrive(self, one: Arrived, call: Ongoing) -> None:
        """Take what a worker answers."""
        tag, now = one.tag, time.monotonic()
        late = not self._schedule.has(one.worker, tag)  # it was taken for lost, and another one has it
        match one.answer:
            case Trained() as trained if trained.differing or late:
                self._spend(trained)
                if trained.differing:
                    self._emit(Warned(f"executor: {trained.who} made other bits of {tag.part} than are in the store"))
                if not late and tag.part.results.get(tag.number):
                    self._take(tag, tag.part.know(tag.number, one.worker, trained), call)
                elif not late:  # whose they are nobody knows: neither counts
                    self._stock.drop(tag.part.unit.key, trained.differing, tag.part.unit.replicates)
                    tag.part.losses.append(f"{one.worker}: its members were not those in the store")
                    self._follow(self._schedule.lose(one.worker, now))
            case Trained() as trained:
                self._spend(trained)
                self._take(tag, tag.part.know(tag.number, one.worker, trained), call)
            case Lost(why) | Missing(_, why) if late:
                tag.part.losses.append(f"{one.worker}: {why}")
            case Lost(why):
                tag.part.losses.append(f"{one.worker}: {why}")
                there = one.worker in self._crew.alive(anew=True)
                lose = self._schedule.lose if there else self._schedule.leave
                self._follow(lose(one.worker, now))
            case Refused() as refused:
                self._emit(Warned(f"executor: not used: {self._crew.refuse(one.worker, refused)}"))
                self._follow(self._schedule.refuse(one.worker))
            case Missing(names, why):
                tag.part.losses.append(why)
                self._emit(Warned(f"executor: {why}"))
                self._follow(self._schedule.lose(one.worker, now))
                if any(tag.part is other for other in call.left):
                    self._stock.gone(names, tag.part.unit.replicates, one.worker)
                    self._stock.again(tag.part.unit.key, names, tag.part.unit.replicates)
            case Failed() as failed:
                raise error_of(failed)
            case _:
                raise TypeError(f"expected what training answers, got {one.answer!r}")

    def _take(self, tag: Tag, result: Made, call: Ongoing) -> None:
        """Know what a worker made of a piece."""
        part, trained = tag.part, result.trained
        facts = self._schedule.finish(result.worker, result.bits, time.monotonic())
        known = part.results[tag.number]
        if any(isinstance(fact, Finished) for fact in facts):
            self._accept(tag, result, call)
        elif len(known) == 2 and known[0].bits != result.bits:
            both = f"{known[0].trained.who} and {trained.who}"
            self._emit(Warned(f"executor: {both} made different bits of {part}; a third one decides"))
            if any(part is other for other in call.parts):
                if part.number != tag.number:
                    self._schedule.withdraw(part.tag)
                part.go_back(tag.number)
        right = next((fact.right for fact in facts if isinstance(fact, Outvoted)), None)
        if right is not None and any(part is other for other in call.parts):
            if known[0].bits != right:  # whose members are in the store
                self._stock.drop(part.unit.key, known[0].trained.digests, part.unit.replicates)
            self._accept(tag, next(one for one in known if one.bits == right), call, stored=known[0].bits == right)
        self._follow([fact for fact in facts if not isinstance(fact, Finished)])

    def _accept(self, tag: Tag, result: Made, call: Ongoing, stored: bool = True) -> None:
        """Go on from a result, whose members are in the store if it had them put there."""
        part, trained, piece = tag.part, result.trained, tag.part.pieces[tag.number]
        part.accept(tag.number, result)
        holder = result.worker if self._crew.pinned and not piece.job.outcomes else None
        for trial in piece.job.trials.tolist():
            name = trial, trained.reached
            put = stored and name in trained.digests
            self._stock.where.found(name, piece.replicates, piece.key, worker=holder, stored=put)
        if part.outcome is None:
            self._add(part)
        self._tell(piece, trained, call)

    def _tell(self, piece: Unit, trained: Trained, call: Ongoing) -> None:
        """Tell observers of a piece."""
        whole, job = len(piece.replicates) == len(call.job.replicates), call.job
        shapes = self._recipe.specs[piece.key].shapes
        call.emit(
            Progressed(
                piece.job.trials,
                trained.score if whole else np.full_like(trained.score, np.nan),
                trained.reached,
                int((trained.reached - piece.job.start).sum()) * len(piece.replicates),
                trained.cost.step_s / max(len(self._crew.alive()), 1),
                last=not call.left,
                state_bytes=len(job.trials) * len(job.replicates) * member_bytes(shapes, self._recipe.epochs),
                fresh=trained.cost.compilations > 0,
                curve=trained.curve if whole else None,
                metrics=shapes.metrics if whole else (),
            )
        )

    def _follow(self, facts: list[Fact]) -> None:
        """Do what follows from what became of pieces."""
        for fact in facts:
            match fact:
                case GivenUp(tag, workers):
                    text = f"{len(workers)} workers ended while they trained {tag.part}"
                    raise Error(f"executor: {text}: {'; '.join(tag.part.losses[-len(workers) :])}")
                case Undecided(tag, workers):
                    raise Error(f"executor: {', '.join(workers)} made different bits of {tag.part}, no two the same")
                case Outvoted(tag, worker, right):
                    self._outvoted(tag, worker, right)
                case Dismissed(worker):
                    self._crew.dismiss(worker, "lost one unit after another")
                    self._emit(Warned(f"executor: {worker} lost one unit after another, and gets no more"))
                case _:
                    pass

    def _outvoted(self, tag: Tag, worker: str, right: str) -> None:
        """Have nothing more trained by a worker that made other bits than two others.

        Raises:
          Error: what it made is recorded already.
        """
        part = tag.part
        who = next(one.trained.who for one in part.results[tag.number] if one.worker == worker)
        text = f"{worker} ({who}) made other bits of {part} than two others"
        if part.outcome is not None and part.number == tag.number and part.home == worker:
            raise Error(f"executor: {text}, and they are recorded: begin the search again without it")
        self._emit(Warned(f"executor: {text}, and gets no more"))
        self._crew.dismiss(worker, text)

    def _spend(self, trained: Trained) -> None:
        self.spent = self.spent.plus(trained.cost._replace(moved_bytes=trained.brought + trained.sent))


def error_of(failed: Failed) -> Exception:
    """Return what a function of the task raised on a worker, with a note of where."""
    try:
        error = pickle.loads(failed.error)
    except Exception:  # of a class that is not there
        error = RuntimeError(failed.text)
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        error = MemoryError(f"executor: not even one tile fits the memory of {failed.who}: {error}")
    error.add_note(f"on {failed.who}:\n{failed.text}")
    return error
