"""What a search learns of its own times while it runs: of an epoch by its work, of asking, of compiling."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_KEPT = 0.98  # of what a call has taught, after the next one: a machine that others use is not as fast all the time


@dataclass
class Epochs:
    """Learns what an epoch of a call of the step takes: a part that every call takes, and one that goes with its work.

    Attributes:
      rate: seconds a unit of work, before anything is measured; None: not known either.
    """

    rate: float | None
    _sums: np.ndarray = field(default_factory=lambda: np.zeros(5))  # epochs, work, seconds, work^2 and work x seconds

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return bool(self._sums[1] > 0)

    def learn(self, work: float, epochs: float, seconds: float) -> None:
        """Learn from a call that trained so many epochs of so much work each."""
        took = seconds / epochs
        self._sums = _KEPT * self._sums + epochs * np.asarray([1, work, took, work * work, work * took])

    def seconds(self, work: float) -> float:
        """Return the seconds of an epoch of so much work."""
        if not self.known:
            return (self.rate or 0.0) * work
        x, y, xx, xy = self._sums[1:] / self._sums[0]
        spread = xx - x * x
        rate = y / x
        if spread > 1e-3 * x * x:  # calls of several sizes
            rate = min(max((xy - x * y) / spread, 0.0), rate)
        return float(y + rate * (work - x))


@dataclass
class Asks:
    """Learns what lies between two rounds: recording one and asking for the next, of each kind of round apart.

    The first ask of a kind may compile, so the least of a kind counts where there are several.
    """

    _seen: dict[bool, list[float]] = field(default_factory=dict)

    def learn(self, fresh: bool, seconds: float) -> None:
        """Learn from the time before a round of fresh trials, or of one that goes on with trials."""
        self._seen.setdefault(fresh, []).append(seconds)

    def seconds(self, fresh: bool) -> float:
        """Return the seconds before a round; of a kind that was not seen yet those of the other."""
        of = self._seen.get(fresh) or self._seen.get(not fresh) or [0.0]
        return min(of) if len(of) < 3 else float(np.median(of))


@dataclass
class Compilations:
    """Learns what the first call of a group takes beyond others.

    Attributes:
      groups: that will be compiled.
      expected: seconds for all of them, before anything is measured.
      since: when one was begun whose first call is not done; None: none is.
      first: the part of the search that this run begins with, where any trial may be the first of its group.
    """

    groups: int
    expected: float
    since: float | None = None
    first: int = 0
    _took: float = 0.0
    _done: int = 0

    def begin(self, now: float) -> None:
        """Know that a group is about to be compiled, beside others maybe."""
        self.since = now if self.since is None else self.since

    def learn(self, seconds: float) -> None:
        """Learn from the first call of a group."""
        self._took += max(seconds, 0.0)
        self._done += 1

    @property
    def each(self) -> float:
        """Return the seconds that a group takes."""
        return self._took / self._done if self._done else self.expected / max(self.groups, 1)

    @property
    def begun(self) -> bool:
        """Whether a group was or is being compiled."""
        return self._done > 0 or self.since is not None

    def left(self, now: float, at_most: int) -> float:
        """Return the seconds that are left of the groups that are still to come, of which there are so many at most."""
        waited = 0.0 if self.since is None else now - self.since
        ahead = max(min(self.groups - self._done, at_most), 0)
        return max(self.each * ahead - waited, 0.1 * waited if ahead else 0.0)
