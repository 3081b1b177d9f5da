"""Which worker trains which unit: a state that knows no clock, no thread and no member, only names, costs and times.

Whoever holds it tells what happened (`add`, `join`, `leave`, `finish`, `lose`) and asks what to start (`starts`). A
worker has one unit at a time. A unit goes to a worker that holds its members where one of these is idle, else to any.
The first result of a unit counts. Where a worker has nothing to do, it gets a copy of a unit that is out for far too
long; a result that comes twice is compared, and where two differ, a third run tells which of them is wrong. A unit that
was lost five times is given up, and a worker that lost three units one after another gets none any more. Every
event costs O(log n) of n units, and what is done is forgotten.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from itertools import chain
from typing import Any, NamedTuple

from jaxhp.executors.lateness import Lateness
from jaxhp.executors.waiting import Tracked, Waiting

_LOSSES = 5  # of a unit: where 1% are lost by chance, one of ten billion is lost so often
_IN_A_ROW = 3  # of a worker, one after another
_COPIES = 3  # of a unit at once


class Start(NamedTuple):
    """Give a unit to a worker."""

    unit: Any
    worker: str
    again: bool  # whether another worker has it, or had a result of it


class Finished(NamedTuple):
    """The first result of a unit."""

    unit: Any
    worker: str
    result: Any


class Outvoted(NamedTuple):
    """A result, perhaps the first one, that is not what two others are."""

    unit: Any
    worker: str
    right: Any


class Undecided(NamedTuple):
    """Results of a unit differ, and no two of them are equal, or no further one could be had."""

    unit: Any
    workers: tuple[str, ...]


class GivenUp(NamedTuple):
    """A unit without a result: these workers were lost, or failed, while they had it."""

    unit: Any
    workers: tuple[str, ...]


class Dismissed(NamedTuple):
    """A worker that gets nothing any more, since it lost one unit after another."""

    worker: str


Fact = Finished | Outvoted | Undecided | GivenUp | Dismissed


class Schedule:
    """Units and workers of a run.

    Args:
      least_s: a unit that is out for less time gets no copy, and for so long another worker is waited for than one that
        lost it.
    """

    def __init__(self, least_s: float = 5.0):
        self._units: dict[Hashable, Tracked] = {}
        self._busy: dict[str, Tracked | None] = {}  # by worker, None: it is idle
        self._losses: dict[str, int] = {}  # of a worker, since its last result
        self._dismissed: set[str] = set()
        self._idle: OrderedDict[str, None] = OrderedDict()
        self._unasked: OrderedDict[str, None] = OrderedDict()  # of these, for whom there may be units at home
        self._waiting, self._late = Waiting(), Lateness(least_s)
        self._shunned = math.inf  # when the first of the units that idle workers avoid may go to them
        self._unfinished = 0

    def add(self, unit: Hashable, cost: float = 1.0, homes: Iterable[str] = (), order: int = 0) -> None:
        """Have a unit trained.

        Args:
          cost: how much work it is, in any measure, above 0.
          homes: the workers that hold its members.
          order: units of a lower one are started first; of one order those that came first.
        """
        assert unit not in self._units, f"{unit} was added already"
        self._unfinished += 1
        made = Tracked(unit, cost, self._waiting.place(order), tuple(homes))
        self._units[unit] = made
        self._queue(made)

    def withdraw(self, unit: Hashable) -> None:
        """Have a unit trained no more: no fact of it is told from now on."""
        found = self._units.pop(unit, None)
        if found is not None:
            self._unfinished -= not found.done or found.differs
            found.waits, found.done = False, True

    def join(self, worker: str) -> None:
        """A worker is there, and idle; nothing where that is known, or it was dismissed."""
        if worker not in self._busy and worker not in self._dismissed:
            self._busy[worker] = None
            self._losses[worker] = 0
            self._rest(worker)

    def leave(self, worker: str, now: float) -> list[Fact]:
        """A worker is gone, and what it had is lost."""
        if worker not in self._busy:
            return []
        unit = self._busy.pop(worker)
        del self._losses[worker]
        self._idle.pop(worker, None)
        self._unasked.pop(worker, None)
        self._waiting.leave(worker, self._busy)
        return [] if unit is None else self._without(unit, worker, now)

    def refuse(self, worker: str) -> list[Fact]:
        """A worker is not to be used: it is gone, and what it had was not lost by it, but never begun."""
        unit = self._busy.get(worker)
        if unit is not None:
            self._busy[worker] = None
            unit.out.pop(worker)
        facts = self.leave(worker, 0.0)
        return facts if unit is None else facts + self._stopped(unit)

    def finish(self, worker: str, result: Any, now: float) -> list[Fact]:
        """A worker has trained its unit.

        Args:
          result: what is compared by `==` where a unit is trained twice.
        """
        unit = self._busy.get(worker)
        if unit is None:
            return []
        self._losses[worker] = 0
        since = unit.out.pop(worker)
        self._rest(worker)
        if self._units.get(unit.name) is not unit:
            return []
        if not unit.done:
            self._late.measure(max(now - since, 0.0) / unit.cost, len(self._busy))
        unit.results.append((worker, result))
        unit.lost.clear()
        facts: list[Fact] = []
        if not unit.done:
            unit.done, unit.waits = True, False
            self._unfinished -= 1
            facts.append(Finished(unit.name, worker, result))
        return facts + self._compared(unit, now)

    def lose(self, worker: str, now: float) -> list[Fact]:
        """A worker is there, but what it had is lost."""
        unit = self._busy.get(worker)
        if unit is None:
            return []
        self._losses[worker] += 1
        if self._losses[worker] >= _IN_A_ROW and len(self._busy) > 1:
            self._dismissed.add(worker)
            return [*self.leave(worker, now), Dismissed(worker)]
        self._rest(worker)
        return self._without(unit, worker, now)

    def starts(self, now: float) -> list[Start]:
        """Return what to start now; it counts as started."""
        found: list[Start] = []
        while self._unasked:
            worker, _ = self._unasked.popitem(last=False)
            unit = self._waiting.at_home(worker, lambda unit, worker=worker: not self._avoids(unit, worker, now))
            if unit is not None:
                found.append(self._start(unit, worker, now))
        self._shunned = math.inf
        for queue in (self._waiting.free, self._waiting.away):
            while self._idle and (unit := queue.pop(lambda unit: self._worker_for(unit, now) is not None)) is not None:
                worker = self._worker_for(unit, now)
                assert worker is not None
                found.append(self._start(unit, worker, now))
        return found + self._copies(now)

    def due(self) -> float | None:
        """Return when to ask for `starts` again if nothing happens before, None: not before something happens."""
        first = min(self._shunned, self._late.due())
        return first if self._idle and first < math.inf else None

    def unfinished(self) -> int:
        """Return of how many units a result is still to come, or is to be told from another one that differs."""
        return self._unfinished

    def workers(self) -> list[str]:
        """Return those that are there."""
        return [*self._busy]

    def has(self, worker: str, unit: Hashable) -> bool:
        """Tell whether a worker has a unit, as far as is known here."""
        at = self._busy.get(worker)
        return at is not None and at.name == unit

    def _queue(self, unit: Tracked) -> None:
        for home in self._waiting.push(unit, self._busy):
            if home in self._idle:
                self._unasked[home] = None

    def _rest(self, worker: str) -> None:
        self._busy[worker] = None
        self._idle[worker] = self._unasked[worker] = None

    def _avoids(self, unit: Tracked, worker: str, now: float) -> bool:
        """Tell whether another worker should have a unit, since this one just lost it, or had a result of it."""
        known = {*unit.lost, *(of for of, _ in unit.results)}
        if now >= unit.since + self._late.least_s:
            return False
        return worker in known and sum(of in self._busy for of in known) < len(self._busy)

    def _worker_for(self, unit: Tracked, now: float) -> str | None:
        """Return an idle worker for a unit; None where all of them are to leave it to others for a while."""
        homes = (home for home in unit.homes if home in self._idle)
        able = (worker for worker in chain(homes, self._idle) if not self._avoids(unit, worker, now))
        found = next(able, None)
        if found is None:
            self._shunned = min(self._shunned, unit.since + self._late.least_s)
        return found

    def _start(self, unit: Tracked, worker: str, now: float) -> Start:
        again = bool(unit.out or unit.results)
        unit.waits = False
        unit.out[worker] = now
        self._busy[worker] = unit
        del self._idle[worker]
        self._unasked.pop(worker, None)
        self._late.watch(unit, worker)
        return Start(unit.name, worker, again)

    def _without(self, unit: Tracked, worker: str, now: float) -> list[Fact]:
        """A run of a unit came to nothing."""
        unit.out.pop(worker, None)
        unit.lost.append(worker)
        unit.since = now
        return self._stopped(unit)

    def _stopped(self, unit: Tracked) -> list[Fact]:
        """What follows for a unit that a worker has no more, and brought no result of."""
        if self._units.get(unit.name) is not unit:
            return []
        if unit.out or unit.waits:  # it goes on elsewhere, or is going to
            return []
        if unit.done and not unit.differs:
            del self._units[unit.name]
            return []
        if len(unit.lost) < _LOSSES and len(unit.results) <= 2:
            self._queue(unit)
            return []
        del self._units[unit.name]
        self._unfinished -= 1
        if unit.done:
            return [Undecided(unit.name, tuple(of for of, _ in unit.results))]
        unit.done = True
        return [GivenUp(unit.name, tuple(unit.lost))]

    def _compared(self, unit: Tracked, now: float) -> list[Fact]:
        """What follows for a unit from its results, of which the last one is new."""
        values = [value for _, value in unit.results]
        right = next((value for value in values if values.count(value) > 1), None)
        if not unit.differs:
            if right is not None or not unit.out:
                del self._units[unit.name]
            return []
        if right is not None:
            del self._units[unit.name]
            self._unfinished -= len(values) > 2
            unit.waits = False
            return [Outvoted(unit.name, worker, right) for worker, value in unit.results if value != right]
        if len(values) == 2:
            self._unfinished += 1
            unit.since = now
            self._queue(unit)
            return []
        if unit.out or unit.waits:
            return []
        del self._units[unit.name]
        self._unfinished -= 1
        return [Undecided(unit.name, tuple(worker for worker, _ in unit.results))]

    def _copies(self, now: float) -> list[Start]:
        """Start copies of units that are out for too long, while there are idle workers."""
        found: list[Start] = []
        while self._idle and (late := self._late.pop(now)) is not None:
            unit, worker = late
            other = self._worker_for(unit, now) if len(unit.out) < _COPIES else None
            if other is None:
                self._late.watch(unit, worker, max(2 * now - unit.out[worker], now + self._late.least_s))
            else:
                found.append(self._start(unit, other, now))
        return found
