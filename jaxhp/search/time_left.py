"""How long a search will still take, of what its plan says and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jaxhp.engine.events import Compiling, Event, FinalsBegan, Progressed, RoundBegan, RoundFinished, RoundSkipped
from jaxhp.engine.layout import tiles_needed
from jaxhp.engine.plan import GroupPlan, Plan
from jaxhp.search.learnt import Asks, Compilations, Epochs
from jaxhp.search.workload import stages
from jaxhp.trials import Rung, Trial, Trials, ceil_div

_SMALL = 0.1  # of what compiling takes, what the small programs of the finals take to compile


class _Part(NamedTuple):
    """What is trained before something else is decided: a round, or a part of the finals."""

    trials: int
    members: int  # of each
    epochs: int  # that they are trained there
    fresh: bool  # whether they begin there
    final: bool = False  # whether it is of the finals


@dataclass
class _Place:
    """Where a search is."""

    part: int = 0
    share: float = 0.0  # of its member-epochs that are trained
    done: dict[float, float] = field(default_factory=dict)  # epochs that are trained, by the work of one
    ended: float | None = None  # when the part before it ended; None: it was told of already
    epoch: dict[int, int] = field(default_factory=dict)  # of the finals, in the last call of each group
    since: float | None = None  # when the last call ended, or training began; None: it waits for something else
    trials: Trials | Sequence[Trial] = ()  # of the part
    groups: Sequence[GroupPlan] = ()  # of the finalists


class TimeLeft:
    """Observes a search; says how fast it is, and how long it will still take.

    Args:
      plan: of the search.
      members: of a trial.
      clock: the seconds of the run so far.
      finals: fresh replicates of each part of the finals; after a part finalists may be given up.
      at_most: seconds that the run may take; None: as many as it needs.
    """

    def __init__(
        self,
        plan: Plan,
        members: int,
        clock: Callable[[], float],
        finals: Sequence[int] = (),
        at_most: float | None = None,
    ):
        self._plan, self._clock, self._at_most = plan, clock, at_most
        self._parts = _parts(plan, members, finals)
        self._rounds = len(plan.rungs)
        self._at = _Place()
        self._timed = np.zeros(2)  # member-epochs and seconds of all calls of the step but first ones
        asked = sum(part.trials for part in self._parts if part.fresh and not part.final)
        self._compiling = Compilations(min(plan.of_groups, asked), plan.compile_seconds)
        self._asks, self._epochs = Asks(), Epochs(None)

    def observe(self, event: Event) -> None:
        """Learn from an event."""
        now = self._clock()
        match event:
            case RoundBegan():
                self._begin(event.round, event.trials, now)
                self._rounds = min(event.rounds, self._rounds)
            case RoundSkipped() | RoundFinished():
                self._at = _Place(max(event.round + 1, self._at.part), ended=now)
            case FinalsBegan():
                groups = [self._group(trial) for trial in event.trials]
                self._at = _Place(len(self._plan.rungs), since=now, trials=event.trials, groups=groups)
                self._parts = [p._replace(epochs=event.epochs) if p.final else p for p in self._parts]
            case Compiling():
                self._compiling.begin(now)
            case Progressed() if self._at.part < len(self._parts):
                self._progress(event, now)
            case _:
                pass
        if not self._compiling.begun:
            self._compiling.first = self._at.part

    def _begin(self, number: int, trials: Trials, now: float) -> None:
        if number and self._at.ended is not None and self._at.part == number:
            self._asks.learn(self._parts[number].fresh, now - self._at.ended)
        self._at = _Place(number, since=now, trials=trials)

    def _progress(self, event: Progressed, now: float) -> None:
        part, at = self._parts[self._at.part], self._at
        rows = max(len(event.trials), 1)
        epochs, group = max(event.member_epochs / (rows * part.members), 1e-9), self._group_of(event)
        if part.final:  # which may be trained a few replicates at a time
            before = at.epoch.get(id(group), 0)
            epochs = max(event.epoch - before if event.epoch > before else event.epoch, 1)
            at.epoch[id(group)] = event.epoch
        members = max(round(event.member_epochs / rows / epochs), 1)
        work = self._of_group(group, rows, members)
        took = event.seconds if at.since is None else now - at.since
        if event.fresh:
            waited = took if self._compiling.since is None else now - self._compiling.since
            self._compiling.learn(waited - (epochs * self._epochs.seconds(work) if self._epochs.known else 0.0))
        elif event.member_epochs:
            self._epochs.learn(work, epochs, took)
            self._timed += (event.member_epochs, event.seconds)
        self._compiling.since = None
        if part.final and len(self._plan.groups) == 1:
            self._parts[at.part] = part = part._replace(trials=rows)  # as many as are not given up
        at.share += event.member_epochs / (part.trials * part.members * part.epochs)
        at.done[work] = at.done.get(work, 0.0) + epochs
        at.since = now
        if part.final and at.share > 1 - 1e-6 and at.part + 1 < len(self._parts):
            self._at = _Place(at.part + 1, since=now, trials=at.trials, groups=at.groups)

    def _group_of(self, event: Progressed) -> GroupPlan | None:
        """Return the group that a call trains; None where that is not known."""
        if len(self._plan.groups) == 1:
            return self._plan.groups[0]
        known = self._at.trials
        if isinstance(known, Trials) and len(known) and len(event.trials):
            rows = np.flatnonzero(known.trial_id == event.trials[0])
            return self._group(known[int(rows[0])]) if len(rows) else None
        return next((self._group(trial) for trial in known if trial.trial_id in event.trials[:1]), None)

    def _group(self, trial: Trial) -> GroupPlan:
        """Return the group of a trial, or one of those planned that has the most in common with it."""
        config = trial.config
        return max(self._plan.groups, key=lambda g: sum(config.get(name) == v for name, v in g.static.items()))

    def _of_group(self, group: GroupPlan | None, trials: int, members: int) -> float:
        """Return the work of an epoch of trials that fall to one group, or to any."""
        groups = self._plan.groups if group is None else [group]
        tiles = [ceil_div(tiles_needed(trials, members, g.tile), self._plan.devices) for g in groups]
        return sum(n * g.tile * max(g.epoch_flops, 1.0) for n, g in zip(tiles, groups, strict=True)) / len(groups)

    def _calls(self, part: _Part) -> list[tuple[float, float]]:
        """Return what an epoch of a part is made of: how many calls, and the work of each."""
        groups = self._at.groups
        if part.final and groups:
            share = part.trials / len(groups)
            counts = [(g, sum(one is g for one in groups)) for g in self._plan.groups]
            return [(1.0, self._of_group(g, max(round(n * share), 1), part.members)) for g, n in counts if n]
        hit = min(self._plan.of_groups, part.trials)
        each = ceil_div(part.trials, hit)
        share = hit / len(self._plan.groups)
        return [(share, self._of_group(g, each, part.members)) for g in self._plan.groups]

    def _training(self, ahead: Sequence[_Part]) -> float:
        """Return the seconds that parts take to train, of the first of which some is done."""
        each = {p: p.epochs * sum(n * self._epochs.seconds(work) for n, work in self._calls(p)) for p in set(ahead)}
        done = sum(epochs * self._epochs.seconds(work) for work, epochs in self._at.done.items())
        return sum(each[part] for part in ahead) - (min(done, each[ahead[0]]) if ahead else 0.0)

    def _waiting_for(self, ahead: Sequence[_Part], now: float) -> float:
        """Return the seconds until these are asked for, where they are rounds."""
        ended = self._at.ended
        asks = [self._asks.seconds(part.fresh) for part in ahead[ended is None :] if not part.final]
        return sum(asks) - (min(asks[0], now - ended) if asks and ended is not None else 0.0)

    def _may_compile(self, ahead: Sequence[_Part]) -> int:
        """Return how many trials are left that may be the first of their groups in this run."""
        at, count = self._at, 0
        for number, part in enumerate(ahead):
            if (part.fresh and not part.final) or (number == 0 and at.part == self._compiling.first):
                count += part.trials - (int(min(at.share, 1.0) * part.trials + 1e-6) if number == 0 else 0)
        return count

    @property
    def member_epochs_s(self) -> float | None:
        """How many members are trained an epoch in a second; None: not known yet."""
        member_epochs, seconds = self._timed
        return float(member_epochs / seconds) if seconds else None

    def left(self) -> float | None:
        """Return the seconds that the search will still take, compiling, finals and its end included.

        Before anything is measured it is what the plan says; None where that does not know either.
        """
        if not self._epochs.known and self._epochs.rate is None:
            if self._plan.seconds is None:  # for which the machine is measured, so not before it is asked for
                return None
            of_each = {part: sum(n * work for n, work in self._calls(part)) for part in set(self._parts)}
            self._epochs.rate = self._plan.seconds / max(sum(p.epochs * of_each[p] for p in self._parts), 1.0)
        now, at = self._clock(), self._at
        ahead = [part for n, part in enumerate(self._parts) if n >= at.part and (n < self._rounds or part.final)]
        expected = self._training(ahead) + self._waiting_for(ahead, now)
        expected += self._compiling.left(now, self._may_compile(ahead))
        finals = [part for part in self._parts if part.final]
        if left := sum(part.final for part in ahead):
            begun = min(at.share, 1.0) if ahead[0].final else 0.0
            expected += _SMALL * self._compiling.each * (left - begun) / len(finals)
        return float(expected if self._at_most is None else min(expected, max(self._at_most - now, 0)))


def _parts(plan: Plan, members: int, finals: Sequence[int]) -> list[_Part]:
    """Return what is trained, one after another: half of the finalists are given up after each part of the finals."""
    found, before = [], None
    for rung, (trials, epochs) in zip(plan.rungs, stages(tuple(Rung(*rung) for rung in plan.rungs)), strict=True):
        found.append(_Part(trials, members, epochs, before is None or rung[1] <= before))
        before = rung[1]
    if plan.finals is not None:
        full, (top, replicates) = max(epochs for _, epochs in plan.rungs), plan.finals
        for number, count in enumerate(finals or (replicates,)):
            found.append(_Part(max(ceil_div(top, 2**number), 2), count, full, True, True))
    return found
