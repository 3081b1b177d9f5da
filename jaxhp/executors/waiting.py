"""Units that wait for a worker, in the order in which they are started."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any


@dataclass(slots=True, eq=False)
class Tracked:
    """A unit, and what happened to it.

    Attributes:
      name: of the unit.
      cost: how much work it is.
      place: in the order in which units are started.
      homes: the workers that hold its members.
      waits: whether it is to be started.
      done: whether it has a result, or was given up.
      out: since when which worker has it.
      lost: by which workers, since the last result.
      since: when it was last lost, or found to have results that differ.
      results: by which workers.
    """

    name: Hashable
    cost: float
    place: tuple[int, int]
    homes: tuple[str, ...]
    waits: bool = False
    done: bool = False
    out: dict[str, float] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    since: float = -math.inf
    results: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether not all results are one."""
        return any(value != self.results[0][1] for _, value in self.results)


class Queue:
    """Units that wait, the first ones first; those that do not wait any more are passed over.

    Args:
      key: what they are ordered by.
    """

    def __init__(self, key: Callable[[Tracked], Any]):
        self._key, self._heap, self._most = key, [], 64
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, unit: Tracked) -> None:
        """Let a unit wait here."""
        if len(self._heap) >= self._most:
            self._heap = [entry for entry in self._heap if entry[2].waits]
            heapify(self._heap)
            self._most = 2 * len(self._heap) + 64
        self._pushed += 1
        heappush(self._heap, (self._key(unit), self._pushed, unit))

    def pop(self, fit: Callable[[Tracked], bool] = lambda _: True) -> Tracked | None:
        """Take the first unit that fits; None if there is none."""
        found, others = None, []
        while self._heap and found is None:
            unit = heappop(self._heap)[2]
            if unit.waits and fit(unit):
                found = unit
            elif unit.waits:
                others.append(unit)
        for unit in others:
            self.push(unit)
        return found

    def units(self) -> list[Tracked]:
        """Return all that wait here, in no order."""
        return [unit for _, _, unit in self._heap if unit.waits]


class Waiting:
    """All units that wait.

    Attributes:
      free: those whose members no worker holds.
      away: the others, those first that their homes come to last.
    """

    def __init__(self):
        self.free, self.away = Queue(_place), Queue(lambda unit: (-unit.place[0], -unit.place[1]))
        self._home: dict[str, Queue] = {}
        self._count = 0

    def place(self, order: int) -> tuple[int, int]:
        """Return the next place of an order."""
        self._count += 1
        return order, self._count

    def push(self, unit: Tracked, alive: Collection[str]) -> list[str]:
        """Let a unit wait; return its homes among the workers that are there."""
        unit.waits = True
        homes = [home for home in unit.homes if home in alive]
        (self.away if homes else self.free).push(unit)
        for home in homes:
            self._home.setdefault(home, Queue(_place)).push(unit)
        return homes

    def at_home(self, worker: str, fit: Callable[[Tracked], bool]) -> Tracked | None:
        """Take the first unit that fits of those whose members a worker holds."""
        return self._home[worker].pop(fit) if worker in self._home else None

    def leave(self, worker: str, alive: Collection[str]) -> None:
        """Know that a worker is not there any more."""
        for unit in self._home.pop(worker).units() if worker in self._home else ():
            if not any(home in alive for home in unit.homes):
                self.free.push(unit)


def _place(unit: Tracked) -> tuple[int, int]:
    return unit.place
