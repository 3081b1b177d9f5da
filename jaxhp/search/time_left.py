"""How long a search will still take, of what its plan says and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jaxhp.engine.events import Compiling, Event, FinalsBegan, Progressed, RoundBegan, RoundFinished, RoundSkipped
from jaxhp.engine.layout import tiles_needed
from jaxhp.engine.plan import GroupPlan, Plan
from jaxhp.search.workload import stages
from jaxhp.trials import Rung, Trial, ceil_div

_SMALL = 0.1  # of what compiling takes, what the small programs of the finals take to compile


class Paced(Protocol):
    """Knows how much work training is, and the time; see `Pace`."""

    @property
    def beside(self) -> float: ...
    def work(self, trials: int, members: int, epochs: float) -> float: ...
    def elapsed(self) -> float: ...


@dataclass
class _Place:
    """Where a search is: rounds are its phases, and then finals."""

    passed: int = 0  # phases
    done: float = 0.0  # work of the phase under way
    epoch: int = 0  # of the finals, in the last call
    begun: int = 0  # rounds


class TimeLeft:
    """Observes a search; says how fast it is, and how long it will still take.

    Args:
      plan: of the search.
      members: of a trial.
      pace: observes the same events, each of them before.
      at_most: seconds that the run may take; None: as many as it needs.
    """

    def __init__(self, plan: Plan, members: int, pace: Paced, at_most: float | None = None):
        self._plan, self._members, self._pace, self._at_most = plan, members, pace, at_most
        self._at = _Place()
        self._groups: dict[int, GroupPlan] = {}  # of the finalists, by trial
        self._waiting: float | None = None  # since when a group is compiled, in seconds of the run
        self._compiled_s = 0.0  # that compiling took so far
        self._timed = np.zeros(3)  # work, member-epochs and seconds of all calls of the step but first ones

    def observe(self, event: Event) -> None:
        """Learn from an event."""
        match event:
            case RoundBegan():
                self._at = _Place(event.round, begun=event.round + 1)
            case RoundSkipped() if event.round >= self._at.begun:
                self._at = _Place(event.round + 1, begun=event.round + 1)
            case RoundFinished():
                self._at = _Place(event.round + 1, begun=event.round + 1)
            case FinalsBegan():
                self._at = _Place(len(self._plan.rungs), begun=len(self._plan.rungs))
                self._groups = {t.trial_id: self._group(t) for t in event.trials}
            case Compiling() if self._waiting is None:
                self._waiting = self._pace.elapsed()
            case Progressed():
                self._progress(event)
            case _:
                pass

    def _progress(self, event: Progressed) -> None:
        if self._waiting is not None:
            self._compiled_s += self._pace.elapsed() - self._waiting
            self._waiting = None
        work = self._share(event)
        self._at.done += work
        if not event.fresh:
            self._timed += (work, event.member_epochs, event.seconds)

    def _share(self, event: Progressed) -> float:
        """Return the work of a call: in a round by what of it is trained, in the finals by who takes part."""
        if self._at.passed < len(self._plan.rungs):
            trials, epochs = self._phases()[self._at.passed]
            share = event.member_epochs / (trials * self._members * epochs)
            return self._pace.work(trials, self._members, epochs) * share
        step = event.epoch - self._at.epoch if event.epoch > self._at.epoch else event.epoch
        self._at.epoch = event.epoch
        rows = max(len(event.trials), 1)
        members = max(round(event.member_epochs / rows / max(step, 1)), 1)
        known = [self._groups[trial] for trial in event.trials[:1].tolist() if trial in self._groups]
        return self._together(known or self._plan.groups, rows, members) * step

    def _together(self, groups: Sequence[GroupPlan], trials: int, members: int) -> float:
        """Return the work of an epoch of trials that all fall to one of some groups, on average."""
        total = 0.0
        for group in groups:
            tiles = ceil_div(tiles_needed(trials, members, group.tile), self._plan.devices)
            total += tiles * group.tile * max(group.epoch_flops, 1.0)
        return total / len(groups)

    def _group(self, trial: Trial) -> GroupPlan:
        """Return the group of a trial, or one of those planned that has the most in common with it."""
        config = trial.config
        return max(self._plan.groups, key=lambda g: sum(config.get(name) == v for name, v in g.static.items()))

    def _phases(self) -> list[tuple[int, int]]:
        """Return trials, and epochs that they are trained there, of every round."""
        return stages(tuple(Rung(*rung) for rung in self._plan.rungs))

    def _finals(self) -> float:
        """Return the work of the finals.

        Until it is known which groups the finalists fall to, it is taken to be halfway between one and each alike.
        """
        if self._plan.finals is None:
            return 0.0
        top, replicates = self._plan.finals
        half, epochs = ceil_div(replicates, 2), max(epochs for _, epochs in self._plan.rungs)
        if self._groups:
            of = list(self._groups.values())
            each = [(group, sum(one is group for one in of)) for group in self._plan.groups]
            return 2 * epochs * sum(self._together([group], count, half) for group, count in each if count)
        return epochs * (self._together(self._plan.groups, top, half) + self._pace.work(top, half, 1))

    def _ahead(self, passed: int = 0, done: float = 0.0) -> float:
        """Return the work that is left to do after so many phases, of the next of which so much is done."""
        rounds = [self._pace.work(trials, self._members, epochs) for trials, epochs in self._phases()[passed:]]
        finals = self._finals()
        return sum(rounds) + finals - min(done, rounds[0] if rounds else finals)

    @property
    def member_epochs_s(self) -> float | None:
        """How many members are trained an epoch in a second; None: not known yet."""
        _, member_epochs, seconds = self._timed
        return float(member_epochs / seconds) if seconds else None

    def left(self) -> float | None:
        """Return the seconds that the search will still take, compiling, finals and its end included.

        Before anything is measured it is what the plan says; None where that does not know either.
        """
        work, _, seconds = self._timed
        if not work and self._plan.seconds is None:
            return None
        at, ahead = self._at, self._ahead(self._at.passed, self._at.done)
        rate = seconds / work if work else (self._plan.seconds or 0.0) / max(self._ahead(), 1.0)
        beside = (len(self._plan.rungs) - max(at.passed, at.begun)) * self._pace.beside
        waited = 0.0 if self._waiting is None else self._pace.elapsed() - self._waiting
        compiling = 0.0 if self._compiled_s else max(self._plan.compile_seconds - waited, _SMALL * waited)
        if finals := self._finals():
            compiling += _SMALL * (self._compiled_s or self._plan.compile_seconds) * min(ahead / finals, 1.0)
        expected = rate * ahead + beside + compiling
        return float(expected if self._at_most is None else min(expected, max(self._at_most - self._pace.elapsed(), 0)))
