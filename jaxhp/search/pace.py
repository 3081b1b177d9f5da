"""How fast a search is trained, and how long what is left of it will take: for its display, and for `seconds=`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.engine.events import Compiling, Event, FinalsBegan, Progressed, RoundBegan, RoundFinished, RoundSkipped
from jaxhp.engine.layout import expected_slots
from jaxhp.engine.plan import Plan
from jaxhp.search.workload import trained
from jaxhp.selection.verdict import Finals
from jaxhp.trials import Rung

_END = 1.0  # seconds that the choice among finalists and the last files take
_CALLS = 3  # of the step, that tell more of the round under way than the rounds before
Clock = Callable[[], float]


class Pace:
    """Observes how long training takes; says how long more of it will.

    Args:
      plan: of the search.
      members: of a trial.
      clock: the time in seconds.
      began: the time at which the run began.
    """

    def __init__(self, plan: Plan, members: int, clock: Clock, began: float):
        self._plan, self._members, self._time = plan, members, (clock, began)
        self._calls: list[tuple[float, float]] = []  # work and seconds of each call of the step in the round under way
        self._rates: list[float] = []  # seconds a unit of work, of every round
        self._waiting: float | None = None  # since when a group is compiled
        self._compiling = [0.0]  # seconds until the first results of what was compiled
        self._beside, self._last = math.inf, began  # least seconds of a round beside its training; when one ended
        self._at = _At(0)

    def observe(self, event: Event) -> None:
        """Learn from an event."""
        now = self._time[0]()
        if isinstance(event, Compiling) and self._waiting is None:
            self._waiting = now
        if isinstance(event, RoundBegan):
            self._at = _At(event.round)
        if isinstance(event, RoundFinished | RoundSkipped):
            self._at = _At(event.round + 1)
        if isinstance(event, FinalsBegan):
            self._at = self._at._replace(finals=True)
        if isinstance(event, Progressed):
            self._at = self._at._replace(done=self._at.done + event.member_epochs)
            if self._waiting is not None:
                self._compiling.append(now - self._waiting)
                self._waiting = None
            elif not event.fresh:
                rows = len(event.trials)
                work = self.work(rows, self._members, event.member_epochs / max(rows * self._members, 1))
                self._calls.append((work, event.seconds))
        if isinstance(event, RoundFinished):
            self._learn(now)

    def _learn(self, now: float) -> None:
        work, seconds = np.sum([(0.0, 0.0), *self._calls], 0)
        if work:
            self._rates.append(float(seconds / work))
        self._beside = min(self._beside, max(now - self._last - seconds - sum(self._compiling), 0.0))
        self._compiling, self._calls, self._last = [max(self._compiling)], [], now

    def work(self, trials: int, members: int, epochs: float) -> float:
        """Return about how many operations a device has, padding of tiles included, if trials fall to groups alike."""
        groups, devices = self._plan.groups, self._plan.devices
        total = 0.0
        for group in groups:
            tiles = expected_slots(trials, members, group.tile, len(groups)) / len(groups) / group.tile
            total += math.ceil(tiles / devices) * group.tile * max(group.epoch_flops, 1.0)
        return total * epochs

    def elapsed(self) -> float:
        """Return the seconds of this run so far."""
        clock, began = self._time
        return clock() - began

    @property
    def rate(self) -> float | None:
        """The seconds that a unit of work takes: in the last round or on average, what is more; None: not known yet."""
        return max(self._rates[-1], sum(self._rates) / len(self._rates)) if self._rates else None

    def round(self, rate: float, trials: int, epochs: int) -> float:
        """Return the seconds that a round will take."""
        beside = self._beside if math.isfinite(self._beside) else 0.0
        return rate * self.work(trials, self._members, epochs) + beside

    def finals(self, rate: float, finals: Finals | None, folds: int, epochs: int) -> float:
        """Return the seconds that finals will take, with what they compile, and the end of the search."""
        if finals is None:
            return _END
        rounds, estimating = finals.blocks(folds)
        work = sum(self.work(finals.top, replicates, epochs) for replicates in (*rounds, estimating))
        return rate * work + _END + max(self._compiling)

    def left(self, rungs: Sequence[Rung], finals: Finals | None, folds: int, epochs: int) -> float | None:
        """Return the seconds that a search will take from here to its end; None where nothing is known of that yet.

        What is still to be compiled, beside what the finals measure with, is not known and not in it.

        Args:
          rungs, finals, folds, epochs: of the whole search.
        """
        rate, at = self._rate_now(), self._at
        if rate is None:
            return None
        last = self.finals(rate, finals, folds, epochs)
        if at.finals and finals is not None:
            share = at.share(finals.top * finals.members(folds) * epochs)
            return (last - _END - max(self._compiling)) * (1 - share) + _END
        total = 0.0
        for number in range(at.round, len(rungs)):
            rung = rungs[number]
            further = trained(rung, rungs[number - 1] if number else None)
            share = at.share(rung.trials * self._members * further) if number == at.round else 0.0
            total += self.round(rate, rung.trials, further) * (1 - share)
        return total + last

    def _rate_now(self) -> float | None:
        """Return the seconds that a unit of work takes now; None: not known yet."""
        if not self._rates or (len(self._calls) >= _CALLS and not self._at.finals):
            work, seconds = np.sum([(0.0, 0.0), *self._calls], 0)
            return float(seconds / work) if work else None
        return self._rates[-1]


class _At(NamedTuple):
    """Where a search stands."""

    round: int  # the one under way, or about to begin
    done: int = 0  # member-epochs that are trained of it, or of the finals
    finals: bool = False

    def share(self, total: int) -> float:
        """Return how much of so many member-epochs is done."""
        return min(self.done / max(total, 1), 1.0)
