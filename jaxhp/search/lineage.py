"""Which trial each slot of a round is, which member it continues, and how a member that is lost is made again.

A strategy speaks of slots: row p of a proposal continues slot `parent[p]` of the round before. Everything else speaks
of members, (trial, epochs trained). A slot that continues a trial at the same point is that trial; at another point it
is a new trial which inherits its weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxhp.engine.work import Job
from jaxhp.space import Space
from jaxhp.store import Round
from jaxhp.trials import Config, Proposal, Trial, Trials


class Lineage:
    """The rounds of a search so far.

    Attributes:
      rounds: those that are finished, in order.
    """

    def __init__(self, space: Space):
        self._space = space
        self._points: dict[int, bytes] = {}  # of each trial that was asked for
        self._born: dict[int, tuple[int, int | None]] = {}  # the first round of each, and whose weights it inherited
        self._static = [axis for axis, parameter in enumerate(space.parameters.values()) if parameter.static]
        self.rounds: list[Round] = []

    def identify(self, number: int, epochs: int, proposal: Proposal) -> Round:
        """Return a proposal as a round: its points as they are trained, and the trial of every slot."""
        previous = self.rounds[-1].trials if self.rounds else np.zeros(0, np.int32)
        unit = np.asarray(proposal.unit, np.float32).copy()
        parent = np.asarray(proposal.parent, np.int32)
        ids = np.empty(len(unit), np.int32)
        following = max(self._points, default=-1) + 1
        for slot in range(len(unit)):
            ancestor = int(previous[parent[slot]]) if parent[slot] >= 0 else None
            if ancestor is not None:  # weights fit only their own static group
                unit[slot, self._static] = np.frombuffer(self._points[ancestor], np.float32)[self._static]
            unit[slot] = self._space.unit(self._space.config(unit[slot]))
            if ancestor is not None and unit[slot].tobytes() == self._points[ancestor]:
                ids[slot] = ancestor
            else:
                ids[slot], following = following, following + 1
        return Round(number, epochs, unit, parent, ids)

    def ask(self, asked: Round) -> None:
        """Know the points of a round, and whence its trials come, from now on."""
        for trial, origin in zip(asked.trials.tolist(), self.origin(asked).tolist(), strict=True):
            self._born.setdefault(trial, (asked.number, None if origin < 0 else origin))
        self._points |= {int(i): point.tobytes() for i, point in zip(asked.trials, asked.unit, strict=True)}

    def finish(self, asked: Round) -> None:
        """Know a round as the last one that is finished."""
        self.rounds.append(asked)

    def origin(self, asked: Round) -> np.ndarray:
        """Return i32[P], the trial whose member each slot continues, -1 for a fresh start."""
        if not asked.number:
            return np.full(len(asked.parent), -1, np.int32)
        before = self.rounds[asked.number - 1].trials
        return np.where(asked.parent >= 0, before[np.maximum(asked.parent, 0)], -1).astype(np.int32)

    def configs(self, asked: Round) -> list[Config]:
        """Return the config of every slot."""
        return self._space.configs(asked.unit)

    def job(self, asked: Round, replicates: Sequence[int], *, keep: bool) -> Job:
        """Return what trains a round."""
        before = self.rounds[asked.number - 1].epochs if asked.number else 0
        start = np.where(asked.parent >= 0, before, 0).astype(np.int32)
        configs = self.configs(asked)
        return Job(asked.number, asked.trials, configs, self.origin(asked), start, asked.epochs, replicates, keep)

    def drafts(self, job: Job) -> Trials:
        """Return the trials of a job, slot by slot, with nothing measured yet."""
        born = (self._born[int(trial)] for trial in job.trials)
        return Trials.of(
            Trial(int(trial), config, number, parent=parent)
            for trial, config, (number, parent) in zip(job.trials, job.configs, born, strict=True)
        )

    def last(self, trial: int) -> Round:
        """Return the last finished round that trained a trial."""
        return next(asked for asked in reversed(self.rounds) if trial in asked.trials)


def slots_of(asked: Round, trials: np.ndarray) -> np.ndarray:
    """Return the first slot of each of these trials in a round, i64[K], in the order of slots."""
    known, first = np.unique(asked.trials, return_index=True)
    return np.sort(first[np.isin(known, trials)])
