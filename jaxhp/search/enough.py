"""When it is enough: a search ends before a round that would not leave time for its finals, or is of no use any more.

How many rounds that makes is a fact in the ledger, so that a resume does not decide again. Time is that of this run,
compiling included, and what is left to do is expected from what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from jaxhp.engine.events import Compiling, Event, Noted, Progressed, RoundFinished
from jaxhp.engine.layout import expected_slots
from jaxhp.engine.plan import Plan
from jaxhp.engine.work import Emit
from jaxhp.objectives import Objectives
from jaxhp.report.telling import plural
from jaxhp.search.loop import Course
from jaxhp.search.workload import trained
from jaxhp.selection.verdict import Finals
from jaxhp.store.enlarging import LIMIT
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import signed
from jaxhp.values import Error, check_int

_SPARE = 1.1  # times what is expected, for a machine that does other things too
_END = 1.0  # seconds that the choice among finalists and the last files take
Clock = Callable[[], float]


class Until(NamedTuple):
    """When to end a search early.

    Attributes:
      seconds: of this run, that it may take with its finals.
      target: the metric at which a search ends.
      patience: rounds to the full budget, one after another, that may bring no better score.
    """

    seconds: float | None = None
    target: float | None = None
    patience: int | None = None

    def checked(self, objectives: Objectives) -> Until:
        """Return the same as plain numbers.

        Raises:
          Error: one of them is no such number, or trials have several objectives.
        """
        if self.seconds is not None and not (_number(self.seconds) and self.seconds > 0):
            raise Error(f"seconds: expected a number above 0, got {self.seconds!r}")
        if self.target is not None and not _number(self.target):
            raise Error(f"target: expected a finite number, got {self.target!r}")
        for name in ("target", "patience"):
            if getattr(self, name) is not None and len(objectives.names) > 1:
                raise Error(f"{name}: expected none with several objectives ({', '.join(objectives.names)})")
        patience = None if self.patience is None else check_int("patience", self.patience, 1)
        return self._replace(patience=patience)


def _number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)


class Pace:
    """Observes how long training takes; says how long more of it will.

    Args:
      plan: of the search.
      members: of a trial.
      clock: the time in seconds.
      began: the time at which the run began.
    """

    def __init__(self, plan: Plan, members: int, clock: Clock, began: float):
        self._plan, self._members, self._clock, self._began = plan, members, clock, began
        self._calls: list[tuple[float, float]] = []  # work and seconds of each call of the step in the round under way
        self._rates: list[float] = []  # seconds a unit of work, of every round
        self._waiting: float | None = None  # since when a group is compiled
        self._compiling = [0.0]  # seconds until the first results of what was compiled
        self._beside, self._last = math.inf, began  # least seconds of a round beside its training; when one ended

    def observe(self, event: Event) -> None:
        """Learn from an event."""
        now = self._clock()
        if isinstance(event, Compiling) and self._waiting is None:
            self._waiting = now
        if isinstance(event, Progressed):
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

    @property
    def beside(self) -> float:
        """The seconds that a round takes beside its training, at least; 0 where that is not known yet."""
        return self._beside if math.isfinite(self._beside) else 0.0

    def elapsed(self) -> float:
        """Return the seconds of this run so far."""
        return self._clock() - self._began

    @property
    def rate(self) -> float | None:
        """The seconds that a unit of work takes: in the last round or on average, what is more; None: not known yet."""
        return max(self._rates[-1], sum(self._rates) / len(self._rates)) if self._rates else None

    def round(self, rate: float, trials: int, epochs: int) -> float:
        """Return the seconds that a round will take."""
        return rate * self.work(trials, self._members, epochs) + self.beside

    def finals(self, rate: float, finals: Finals | None, folds: int, epochs: int) -> float:
        """Return the seconds that finals will take, with what they compile, and the end of the search."""
        if finals is None:
            return _END
        rounds, estimating = finals.blocks(folds)
        work = sum(self.work(finals.top, replicates, epochs) for replicates in (*rounds, estimating))
        return rate * work + _END + max(self._compiling)


class Judged(Protocol):
    """A search that ends with finals."""

    @property
    def finals(self) -> Finals: ...


class Plans(Protocol):
    """What is known of a search that may end; see `Wiring`."""

    @property
    def course(self) -> Course: ...
    @property
    def objectives(self) -> Objectives: ...
    @property
    def folds(self) -> int: ...
    @property
    def finals(self) -> Judged | None: ...
    @property
    def ended_after(self) -> Callable[[int], Plans]: ...


class Ending:
    """Decides whether a search ends, and records it.

    Args:
      until: when.
      of: the search.
      pace: observes it.
      ledger: of the search.
      emit: told why.
    """

    def __init__(self, until: Until, of: Plans, pace: Pace, ledger: Ledger, emit: Emit):
        self._until, self._of, self._pace, self._ledger, self._emit = until, of, pace, ledger, emit
        self._course = of.course
        self._best: list[tuple[int, float]] = []  # epochs and best score of the rounds that are finished

    def enough(self, number: int) -> bool:
        """Return whether to end before a round, which is recorded then; never before the first."""
        why = self.why(number) if number else ""
        if not why:
            return False
        with self._ledger.transaction():
            self._ledger.set_meta(LIMIT, str(number))
            self._ledger.event("ended early", rounds=number, of=len(self._course.rungs), why=why)
        self._ledger.stored("search ended early")
        self._emit(Noted(f"ends after {number} of {plural(len(self._course.rungs), 'round')}: {why}"))
        return True

    def why(self, number: int) -> str:
        """Say why to end before a round; "" where it should be trained."""
        return self._late(number) or self._reached(number) or self._no_better(number)

    def _late(self, number: int) -> str:
        seconds, pace, course = self._until.seconds, self._pace, self._course
        if seconds is None:
            return ""
        rate = self._recorded_rate(number) if pace.rate is None else pace.rate
        rung = course.rungs[number]
        judged = self._of.ended_after(number + 1).finals
        finals = None if judged is None else judged.finals
        following = pace.round(rate, rung.trials, trained(rung, course.rungs[number - 1]))
        needed = _SPARE * (following + pace.finals(rate, finals, self._of.folds, course.epochs))
        left = seconds - pace.elapsed()
        if needed <= left:
            return ""
        left = max(left, 0)
        return f"the next one and the finals would take about {needed:.1f} s, and {left:.1f} of {seconds:g} s are left"

    def _recorded_rate(self, number: int) -> float:
        """Return the seconds that a unit of work took in the round before, as its whole time tells: another run's."""
        rungs, asked = self._course.rungs, self._ledger.round(number - 1)
        epochs = trained(rungs[number - 1], rungs[number - 2] if number > 1 else None)
        seconds = asked.wall_s if asked is not None and asked.wall_s else 0.0
        return seconds / self._pace.work(rungs[number - 1].trials, self._course.members, epochs)

    def _reached(self, number: int) -> str:
        target, course = self._until.target, self._course
        if target is None:
            return ""
        best = max(self._best_of_rounds(number, any_budget=True), default=-np.inf)
        sign = 1 if course.mode == "max" else -1
        if not best >= np.float32(sign * target):
            return ""
        return f"{course.metric} has reached {sign * best:.4g}, and {target:g} was asked for"

    def _no_better(self, number: int) -> str:
        patience, course = self._until.patience, self._course
        if patience is None:
            return ""
        best = self._best_of_rounds(number, any_budget=False)
        if len(best) <= patience or max(best[-patience:]) > max(best[:-patience]):
            return ""
        return f"the last {plural(patience, 'round')} brought no better {course.metric}"

    def _best_of_rounds(self, number: int, *, any_budget: bool) -> list[float]:
        """Return the best score of every round before this one, higher is better, or of those to the full budget."""
        for earlier in range(len(self._best), number):  # each is read once: there may be thousands
            asked = self._ledger.round(earlier)
            assert asked is not None
            assert asked.scores is not None
            self._best.append((asked.epochs, self._best_of(asked, asked.scores)))
        return [best for epochs, best in self._best[:number] if any_budget or epochs >= self._course.epochs]

    def _best_of(self, asked: Round, scores: np.ndarray) -> float:
        course = self._course
        told = signed(scores, course.mode)
        if self._of.objectives.constraints:
            trials = self._ledger.measured(asked.number)
            trials = trials.ranked_by(course.metric, course.mode, course.epochs, course.epoch)
            told = np.where(self._of.objectives.violation(trials) == 0, told, np.nan)
        return float(np.max(told, initial=-np.inf, where=~np.isnan(told)))


def read_time(text: str) -> float:
    """Return the seconds of a time as it stands on a command line.

    Raises:
      Error: it is none.

    >>> read_time("30m"), read_time("1h30m"), read_time("90"), read_time("2.5s")
    (1800.0, 5400.0, 90.0, 2.5)
    """
    left, total = text, 0.0
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        value, found, rest = left.partition(unit)
        if found:
            total, left = total + _float(value, text) * size, rest
    return total + (_float(left, text) if left or not text else 0.0)


def _float(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise Error(f"--time: expected a time such as 30m, 1h30m or 90s, got {text!r}") from None
