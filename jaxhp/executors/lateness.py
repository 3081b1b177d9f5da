"""What takes too long, by how long others took."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from heapq import heapify, heappop, heappush

from jaxhp.executors.waiting import Tracked

_LATE = 2.0  # times as long as its cost should take, after which a unit is trained elsewhere too
_RECENT = 64  # units, and two more a worker, that tell how long one takes: at a round's end stragglers alone come in


class Lateness:
    """When which unit that is out is late.

    Args:
      least_s: nothing is late that is out for less time.
    """

    def __init__(self, least_s: float):
        self.least_s = least_s
        self._speeds: deque[float] = deque()  # seconds for a cost of 1, of the last units
        self._sorted: list[float] = []
        self._heap: list[tuple[float, int, Tracked, str]] = []  # when to look at what
        self._count, self._most = 0, 64

    def measure(self, speed: float, workers: int) -> None:
        """Know how many seconds a cost of 1 took."""
        self._speeds.append(speed)
        insort(self._sorted, speed)
        while len(self._speeds) > _RECENT + 2 * workers:
            del self._sorted[bisect_left(self._sorted, self._speeds.popleft())]
        if len(self._speeds) == 1:  # what is out already could not be judged before
            watched, self._heap = self._heap, []
            for _, _, unit, worker in watched:
                self.watch(unit, worker)

    def watch(self, unit: Tracked, worker: str, until: float | None = None) -> None:
        """Look at a unit that a worker has, when it is late, or at a time."""
        if len(self._heap) >= self._most:
            self._heap = [entry for entry in self._heap if _is_out(*entry[2:])]
            heapify(self._heap)
            self._most = 2 * len(self._heap) + 64
        if worker in unit.out:
            self._count += 1
            when = self._late(unit, worker) if until is None else until
            heappush(self._heap, (when, self._count, unit, worker))

    def due(self) -> float:
        """Return when to look next."""
        while self._heap and not _is_out(*self._heap[0][2:]):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")

    def pop(self, now: float) -> tuple[Tracked, str] | None:
        """Take a unit that is late, and the worker that has it; None if there is none."""
        while self.due() <= now:
            _, _, unit, worker = heappop(self._heap)
            if self._late(unit, worker) <= now:
                return unit, worker
            self.watch(unit, worker)
        return None

    def _late(self, unit: Tracked, worker: str) -> float:
        if not self._sorted:
            return float("inf")
        return unit.out[worker] + max(_LATE * unit.cost * self._sorted[len(self._sorted) // 2], self.least_s)


def _is_out(unit: Tracked, worker: str) -> bool:
    return worker in unit.out and not unit.done
