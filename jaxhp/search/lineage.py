"""Which trial each row of a round is, which member it continues, and how a member that is lost is made again.

A strategy speaks of rows: row p of a proposal continues row `parent[p]` of the round before. Everything else speaks
of members, (trial, epochs trained). A row that continues a trial at the same point is that trial; at another point it
is a new trial which inherits its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxhp.engine.work import Job
from jaxhp.space.space import Space
from jaxhp.store.ledger import Round
from jaxhp.trials import Proposal, Trial, Trials
from jaxhp.values import Config


class Lineage:
    """The rounds of a search so far.

    Args:
      space: whose points they are.
      allows: whether a config may be tried.
      exact: the configs that a person asked for, by the bytes of their points, which may be rounded.

    Attributes:
      rounds: those that are finished, in order.
    """

    def __init__(
        self, space: Space, allows: Callable[[Config], bool] = lambda _: True, exact: Mapping[bytes, Config] = {}
    ):
        self._space, self._allows, self._exact = space, allows, exact
        self._points: dict[int, bytes] = {}  # of each trial that was asked for
        self._fresh: dict[bytes, int] = {}  # the trial that started fresh at each point
        self._born: dict[int, tuple[int, int | None]] = {}  # the first round of each, and whose weights it inherited
        self._static = [axis for axis, parameter in enumerate(space.parameters.values()) if parameter.static]
        self.rounds: list[Round] = []

    def identify(self, number: int, epochs: int, proposal: Proposal, pool: Callable[[], np.ndarray]) -> Round:
        """Return a proposal as a round: its points as they are trained, and the trial of every row.

        A row that starts fresh where a trial did before, or at a config that is not allowed, gets the nearest point of
        the pool where none did; where there is none left, it is that trial again.

        Args:
          pool: makes the points to choose among, see `elsewhere`.
        """
        previous = self.rounds[-1].trials if self.rounds else np.zeros(0, np.int32)
        unit = np.asarray(proposal.unit, np.float32).copy()
        parent = np.asarray(proposal.parent, np.int32)
        ids = np.empty(len(unit), np.int32)
        following = max(self._points, default=-1) + 1
        taken = dict(self._fresh)
        free = _Free(pool, taken)
        for row in range(len(unit)):
            if parent[row] >= 0:
                ancestor = int(previous[parent[row]])
                unit[row] = self._continued(unit[row], ancestor)
                known = ancestor if unit[row].tobytes() == self._points[ancestor] else None
            else:
                unit[row], forbidden = self._trained(unit[row])
                if forbidden or unit[row].tobytes() in taken:
                    unit[row] = free.nearest(unit[row], forbidden)
                known = taken.setdefault(unit[row].tobytes(), following)
                known = None if known == following else known
            ids[row] = following if known is None else known
            following += known is None
        return Round(number, epochs, unit, parent, ids)

    def _trained(self, point: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return a point as it is trained, and whether its config must not be tried."""
        config = self._space.config(point)
        return self._space.unit(config), not self._allows(config)

    def _continued(self, point: np.ndarray, ancestor: int) -> np.ndarray:
        """Return the point at which a row goes on with the weights of a trial: they fit only their own group."""
        before = np.frombuffer(self._points[ancestor], np.float32)
        point[self._static] = before[self._static]
        trained, forbidden = self._trained(point)
        return before if forbidden else trained

    def ask(self, asked: Round) -> None:
        """Know the points of a round, and whence its trials come, from now on."""
        for trial, origin in zip(asked.trials.tolist(), self.origin(asked).tolist(), strict=True):
            self._born.setdefault(trial, (asked.number, None if origin < 0 else origin))
        fresh = asked.parent < 0
        for trial, point in zip(asked.trials[fresh].tolist(), asked.unit[fresh], strict=True):
            self._fresh.setdefault(point.tobytes(), trial)
        self._points |= {int(i): point.tobytes() for i, point in zip(asked.trials, asked.unit, strict=True)}

    def finish(self, asked: Round) -> None:
        """Know a round as the last one that is finished."""
        self.rounds.append(asked)

    def origin(self, asked: Round) -> np.ndarray:
        """Return i32[P], the trial whose member each row continues, -1 for a fresh start."""
        if not asked.number:
            return np.full(len(asked.parent), -1, np.int32)
        before = np.append(self.rounds[asked.number - 1].trials, -1)  # the last, which a fresh start has as its row
        return before[asked.parent].astype(np.int32)

    def configs(self, asked: Round) -> list[Config]:
        """Return the config of every row."""
        return [self._exact.get(point.tobytes()) or self._space.config(point) for point in asked.unit]

    def job(self, asked: Round, replicates: Sequence[int], *, keep: bool) -> Job:
        """Return what trains a round."""
        before = self.rounds[asked.number - 1].epochs if asked.number else 0
        start = np.where(asked.parent >= 0, before, 0).astype(np.int32)
        configs = self.configs(asked)
        return Job(asked.number, asked.trials, configs, self.origin(asked), start, asked.epochs, replicates, keep)

    def unmeasured(self, asked: Round, *, keep: bool) -> np.ndarray:
        """Return the rows i64[K] of a round that have to be trained, in order.

        Of rows that are the same trial the first; and none whose trial was trained for so long by an earlier round.

        Args:
          keep: whether a later round may continue its members, which then must be held.
        """
        known = [r.trials for r in self.rounds if r.epochs == asked.epochs and not keep]
        known = np.concatenate(known) if known else np.zeros(0, np.int32)
        return rows_of(asked, asked.trials[~np.isin(asked.trials, known)])

    def drafts(self, job: Job) -> Trials:
        """Return the trials of a job, row by row, with nothing measured yet."""
        born = (self._born[int(trial)] for trial in job.trials)
        return Trials.of(
            Trial(int(trial), config, number, parent=parent)
            for trial, config, (number, parent) in zip(job.trials, job.configs, born, strict=True)
        )

    def last(self, trial: int) -> Round:
        """Return the finished round that trained a trial for longest, of several the last."""
        return max((r for r in self.rounds if trial in r.trials), key=lambda r: (r.epochs, r.number))


def nearest(points: np.ndarray, wanted: np.ndarray, free: np.ndarray) -> int | None:
    """Return the row of the free point, of f32[K, D], that lies nearest to f32[D], the first of equals; None: none is.

    >>> nearest(np.array([[0.0], [0.4], [0.9]]), np.array([0.5]), np.array([True, False, True]))
    2
    """
    if not free.any():
        return None
    return int(np.argmin(np.where(free, np.sum((points - wanted) ** 2, 1), np.inf)))


class _Free:
    """The points of a pool at which no trial started yet."""

    def __init__(self, pool: Callable[[], np.ndarray], taken: Mapping[bytes, int]):
        self._pool, self._taken = pool, taken
        self._points: np.ndarray | None = None

    def nearest(self, wanted: np.ndarray, forbidden: bool) -> np.ndarray:
        """Return the nearest to what is wanted; itself or, where it is forbidden, another taken one where all are."""
        if self._points is None:
            self._points = self._pool()
        free = np.asarray([point.tobytes() not in self._taken for point in self._points], bool)
        place = nearest(self._points, wanted, free if free.any() or not forbidden else ~free)
        return wanted if place is None else self._points[place]


def rows_of(asked: Round, trials: np.ndarray) -> np.ndarray:
    """Return the first row of each of these trials in a round, i64[K], in the order of rows."""
    known, first = np.unique(asked.trials, return_index=True)
    return np.sort(first[np.isin(known, trials)])
