"""Which worker trains which unit: a state that knows no clock, no thread and no member, only names, costs and times.

Whoever holds it tells what happened (`add`, `join`, `leave`, `finish`, `lose`) and asks what to start (`starts`). A
worker has one unit at a time. A unit goes to a worker that holds its members where one of these is idle, else to any.
The first result of a unit counts. Where a worker has nothing to do, it gets a copy of a unit that is out for far too
long; a result that comes twice is compared, and where two differ, a third run tells which of them is wrong. A unit that
ended three workers' tries is given up, and a worker that lost three units one after another gets none any more. Every
event costs O(log n) of n units, and what is done is forgotten.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

_LOSSES = 3  # of a unit, or of a worker one after another
_COPIES = 3  # of a unit at once
_RECENT = 65  # units that tell how long one of some cost takes
_LATE = 2.0  # times as long as its cost should take, after which a unit is trained elsewhere too


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


@dataclass(slots=True, eq=False)
class _Unit:
    name: Hashable
    cost: float
    place: tuple[int, int]  # in the order in which units are started
    homes: tuple[str, ...]
    waits: bool = False  # for a start
    done: bool = False
    out: dict[str, float] = field(default_factory=dict)  # since when which worker has it
    since: float = -math.inf  # when it was last lost
    lost: list[str] = field(default_factory=list)  # by which workers, since the last result
    results: list[tuple[str, Any]] = field(default_factory=list)


class _Queue:
    """Units that wait, the first ones first; those that do not wait any more are passed over."""

    def __init__(self, key: Callable[[_Unit], Any]):
        self._key, self._heap, self._most = key, [], 64
        self._pushed = 0

    def push(self, unit: _Unit) -> None:
        if len(self._heap) >= self._most:
            self._heap = [entry for entry in self._heap if entry[2].waits]
            heapify(self._heap)
            self._most = 2 * len(self._heap) + 64
        self._pushed += 1
        heappush(self._heap, (self._key(unit), self._pushed, unit))

    def pop(self) -> _Unit | None:
        while self._heap:
            unit = heappop(self._heap)[2]
            if unit.waits:
                return unit
        return None

    def units(self) -> list[_Unit]:
        return [unit for _, _, unit in sorted(self._heap, key=lambda entry: entry[:2]) if unit.waits]


class Schedule:
    """Units and workers of a run.

    Args:
      least_s: a unit that is out for less time gets no copy, and for so long another worker is waited for than one that
        lost it.
    """

    def __init__(self, least_s: float = 5.0):
        self._least_s = least_s
        self._units: dict[Hashable, _Unit] = {}
        self._busy: dict[str, _Unit | None] = {}  # by worker, None: it is idle
        self._losses: dict[str, int] = {}  # of a worker, since its last result
        self._dismissed: set[str] = set()
        self._idle: OrderedDict[str, None] = OrderedDict()
        self._unasked: OrderedDict[str, None] = OrderedDict()  # of these, for whom there may be units at home
        self._free = _Queue(lambda unit: unit.place)  # units that nobody has the members of
        self._away = _Queue(lambda unit: (-unit.place[0], -unit.place[1]))  # others: those that homes come to last
        self._home: dict[str, _Queue] = {}
        self._speeds: deque[float] = deque()  # seconds for a cost of 1, of the last units
        self._sorted: list[float] = []
        self._due: list[tuple[float, int, _Unit, str]] = []  # when to look at a unit that is out
        self._shunned = math.inf  # when the first of the units that idle workers avoid may go to them
        self._count = 0
        self._unfinished = 0

    def add(self, unit: Hashable, cost: float = 1.0, homes: Iterable[str] = (), order: int = 0) -> None:
        """Have a unit trained.

        Args:
          cost: how much work it is, in any measure, above 0.
          homes: the workers that hold its members.
          order: units of a lower one are started first; of one order those that came first.
        """
        assert unit not in self._units, f"{unit} was added already"
        self._count += 1
        self._unfinished += 1
        made = _Unit(unit, cost, (order, self._count), tuple(homes))
        self._units[unit] = made
        self._queue(made)

    def withdraw(self, unit: Hashable) -> None:
        """Have a unit trained no more: no fact of it is told from now on."""
        found = self._units.pop(unit, None)
        if found is not None:
            self._unfinished -= not found.done or _differ(found)
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
        for waiting in self._home.pop(worker).units() if worker in self._home else ():
            if not any(home in self._busy for home in waiting.homes):
                self._free.push(waiting)
        return [] if unit is None else self._without(unit, worker, now)

    def finish(self, worker: str, result: Any, now: float) -> list[Fact]:
        """A worker has trained its unit.

        Args:
          result: what is compared by `==` where a unit is trained twice.
        """
        unit = self._busy.get(worker)
        if unit is None:
            return []
        self._losses[worker] = 0
        self._measure(max(now - unit.out.pop(worker), 0.0) / unit.cost)
        self._rest(worker)
        if self._units.get(unit.name) is not unit:
            return []
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
        if self._losses[worker] >= _LOSSES and len(self._busy) > 1:
            self._dismissed.add(worker)
            return [*self.leave(worker, now), Dismissed(worker)]
        self._rest(worker)
        return self._without(unit, worker, now)

    def starts(self, now: float) -> list[Start]:
        """Return what to start now; it counts as started."""
        found: list[Start] = []
        while self._unasked:
            worker, _ = self._unasked.popitem(last=False)
            unit = self._first_at(worker, now)
            if unit is not None:
                found.append(self._start(unit, worker, now))
        self._shunned = math.inf
        for queue in (self._free, self._away):
            avoided = []
            while self._idle and (unit := queue.pop()) is not None:
                worker = self._worker_for(unit, now)
                if worker is None:
                    avoided.append(unit)
                else:
                    found.append(self._start(unit, worker, now))
            for unit in avoided:
                queue.push(unit)
                self._shunned = min(self._shunned, unit.since + self._least_s)
        return found + self._copies(now)

    def due(self) -> float | None:
        """Return when to ask for `starts` again if nothing happens before, None: not before something happens."""
        while self._due and not self._is_out(*self._due[0][2:]):
            heappop(self._due)
        first = min(self._shunned, self._due[0][0] if self._due else math.inf)
        return first if self._idle and first < math.inf else None

    def unfinished(self) -> int:
        """Return of how many units a result is still to come, or is to be told from another one that differs."""
        return self._unfinished

    def workers(self) -> list[str]:
        """Return those that are there."""
        return [*self._busy]

    def _queue(self, unit: _Unit) -> None:
        unit.waits = True
        homes = [home for home in unit.homes if home in self._busy]
        (self._away if homes else self._free).push(unit)
        for home in homes:
            self._home.setdefault(home, _Queue(lambda unit: unit.place)).push(unit)
            if home in self._idle:
                self._unasked[home] = None

    def _rest(self, worker: str) -> None:
        self._busy[worker] = None
        self._idle[worker] = self._unasked[worker] = None

    def _avoids(self, unit: _Unit, worker: str, now: float) -> bool:
        """Tell whether another worker should have a unit, since this one just lost it, or had a result of it."""
        known = {*unit.lost, *(of for of, _ in unit.results)}
        if now >= unit.since + self._least_s:
            return False
        return worker in known and sum(of in self._busy for of in known) < len(self._busy)

    def _first_at(self, worker: str, now: float) -> _Unit | None:
        avoided, queue = [], self._home.get(worker)
        found = queue.pop() if queue else None
        while queue and found is not None and self._avoids(found, worker, now):
            avoided.append(found)
            found = queue.pop()
        for unit in avoided:
            self._home[worker].push(unit)
        return found

    def _worker_for(self, unit: _Unit, now: float) -> str | None:
        homes = (home for home in unit.homes if home in self._idle)
        return next((worker for worker in (*homes, *self._idle) if not self._avoids(unit, worker, now)), None)

    def _start(self, unit: _Unit, worker: str, now: float) -> Start:
        again = bool(unit.out or unit.results)
        unit.waits = False
        unit.out[worker] = now
        self._busy[worker] = unit
        del self._idle[worker]
        self._unasked.pop(worker, None)
        self._watch(unit, worker, now)
        return Start(unit.name, worker, again)

    def _without(self, unit: _Unit, worker: str, now: float) -> list[Fact]:
        """A run of a unit came to nothing."""
        unit.out.pop(worker, None)
        if self._units.get(unit.name) is not unit:
            return []
        unit.lost.append(worker)
        unit.since = now
        if unit.out or unit.waits:  # it goes on elsewhere, or is going to
            return []
        if unit.done and not _differ(unit):
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

    def _compared(self, unit: _Unit, now: float) -> list[Fact]:
        """What follows for a unit from its results, of which the last one is new."""
        values = [value for _, value in unit.results]
        right = next((value for value in values if values.count(value) > 1), None)
        if not _differ(unit):
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

    def _measure(self, speed: float) -> None:
        self._speeds.append(speed)
        insort(self._sorted, speed)
        if len(self._speeds) > _RECENT:
            self._sorted.remove(self._speeds.popleft())
        if len(self._speeds) == 1:  # what is out already could not be judged before
            for worker, unit in self._busy.items():
                if unit is not None and worker in unit.out:
                    self._watch(unit, worker, unit.out[worker])

    def _late(self, unit: _Unit, since: float) -> float:
        """Return when a run that began at a time takes too long."""
        return since + max(_LATE * unit.cost * self._sorted[len(self._sorted) // 2], self._least_s)

    def _watch(self, unit: _Unit, worker: str, since: float) -> None:
        if self._sorted:
            if len(self._due) > 2 * _COPIES * len(self._busy) + 64:
                self._due = [entry for entry in self._due if self._is_out(*entry[2:])]
                heapify(self._due)
            self._count += 1
            heappush(self._due, (self._late(unit, since), self._count, unit, worker))

    def _is_out(self, unit: _Unit, worker: str) -> bool:
        return worker in unit.out and not unit.done

    def _copies(self, now: float) -> list[Start]:
        """Start copies of units that are out for too long, while there are idle workers."""
        found: list[Start] = []
        put_off = []
        while self._idle and self._due and self._due[0][0] <= now:
            _, count, unit, worker = heappop(self._due)
            if not self._is_out(unit, worker):
                continue
            late = self._late(unit, unit.out[worker])
            if late > now:
                heappush(self._due, (late, count, unit, worker))
            elif len(unit.out) < _COPIES and (other := self._worker_for(unit, now)) is not None:
                found.append(self._start(unit, other, now))
            else:
                put_off.append((2 * now - unit.out[worker], count, unit, worker))
        for entry in put_off:
            heappush(self._due, entry)
        return found


def _differ(unit: _Unit) -> bool:
    return any(value != unit.results[0][1] for _, value in unit.results)
