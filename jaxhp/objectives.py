"""Several objectives and constraints: which trials are on the front, how far others are from what is allowed.

Points are scores of K objectives, and higher is better in each: who asks has turned the others round (`scores`). One
point dominates another if it is at least as good in every objective and better in one. The front is what no other
dominates among the trials that keep all constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from jaxhp.trials import MODES, Status, Trials, order, signed
from jaxhp.values import Error, Json


@dataclass(frozen=True)
class Bound:
    """A bound that a metric has to keep; `AtMost` and `AtLeast` are such."""

    value: float
    sign: ClassVar[float] = 1.0
    word: ClassVar[str] = ""

    def __post_init__(self):
        plain = self.value.item() if isinstance(self.value, np.generic) else self.value
        if isinstance(plain, bool) or not isinstance(plain, (int, float)) or not np.isfinite(plain):
            raise Error(f"{type(self).__name__}: expected a finite number, got {self.value!r}")
        object.__setattr__(self, "value", float(plain))

    def excess(self, values: np.ndarray) -> np.ndarray:
        """Return f64[N], by which share of the bound (of 1 where it is 0) values f[N] exceed it; NaN by infinity."""
        beyond = np.maximum(self.sign * (np.asarray(values, np.float64) - self.value), 0) / (abs(self.value) or 1.0)
        return np.where(np.isnan(beyond), np.inf, beyond)


@dataclass(frozen=True)
class AtMost(Bound):
    """A constraint: a metric of at most so much.

    >>> AtMost(2.0).excess(np.array([1.0, 3.0, np.nan])).tolist()
    [0.0, 0.5, inf]
    """

    word: ClassVar[str] = "at most"


@dataclass(frozen=True)
class AtLeast(Bound):
    """A constraint: a metric of at least so much."""

    sign: ClassVar[float] = -1.0
    word: ClassVar[str] = "at least"


_BOUNDS = {bound.word: bound for bound in (AtMost, AtLeast)}


@dataclass(frozen=True)
class Objectives:
    """What a task's trials are compared by. The first objective is the one that is recorded as their score.

    Attributes:
      names: of the metrics, K of them.
      modes: of each, "max" or "min".
      constraints: metric to `AtMost` or `AtLeast`.
    """

    names: tuple[str, ...]
    modes: tuple[str, ...]
    constraints: Mapping[str, Bound] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Tell whether there is one objective and no constraint, so that the score says all."""
        return len(self.names) == 1 and not self.constraints

    @property
    def measured(self) -> tuple[str, ...]:
        """Return the names of all metrics that count: the objectives, then those of constraints."""
        return tuple(dict.fromkeys([*self.names, *self.constraints]))

    def values(self, trials: Trials, name: str) -> np.ndarray:
        """Return f32[N], a metric of trials at the epochs that their scores are of; NaN where it is not known."""
        curve = trials.curve.get(f"valid_{name}")
        at = np.minimum(scored_at(trials), 0 if curve is None else curve.shape[1])
        if curve is None or not len(trials):
            return np.full(len(trials), np.nan, np.float32)
        return np.where(at > 0, curve[np.arange(len(at)), np.maximum(at, 1) - 1], np.nan).astype(np.float32)

    def scores(self, trials: Trials) -> np.ndarray:
        """Return f32[N, K], higher is better; NaN where a trial diverged, is in training, or has no such number."""
        found = [signed(self.values(trials, name), mode) for name, mode in zip(self.names, self.modes, strict=True)]
        return np.where(trials.healthy()[:, None], np.stack(found, 1), np.nan)

    def violation(self, trials: Trials) -> np.ndarray:
        """Return f32[N], by which shares of their bounds trials exceed them, added up: 0 keeps all constraints."""
        total = np.zeros(len(trials))
        for name, bound in self.constraints.items():
            total += bound.excess(self.values(trials, name))
        return total.astype(np.float32)

    def front(self, trials: Trials) -> np.ndarray:
        """Return the rows i64[F] of the front, in the order of the first objective: trained to their end, and feasible.

        A trial with a NaN in an objective is not on it, and one with a NaN in a constraint does not keep it.
        """
        kept = np.flatnonzero(trials.having(Status.COMPLETE) & (self.violation(trials) == 0))
        points = self.scores(trials[kept])
        rows = kept[~dominated(points)]
        return rows[order(trials[rows], self.modes[0])]

    def ranked(self, trials: Trials) -> Trials:
        """Return trials best first by the first objective: those that keep all constraints, then the nearest to it."""
        if not self.constraints:
            return trials[order(trials, self.modes[0])]
        off = np.where(trials.having(Status.DIVERGED), np.inf, self.violation(trials))
        known = trials[np.argsort(off, kind="stable")]
        first, kept = order(known, self.modes[0]), np.sort(off) == 0
        return known[np.concatenate([first[kept[first]], np.flatnonzero(~kept)])]

    def to_json(self) -> Json:
        """Return what `from_json` reads."""
        bounds = {name: [bound.word, bound.value] for name, bound in self.constraints.items()}
        return {"metric": list(self.names), "mode": list(self.modes), "constraints": bounds}

    @classmethod
    def from_json(cls, record: Json) -> Objectives:
        """Read what `to_json` made.

        Raises:
          Error, KeyError, TypeError: it is something else.
        """
        bounds = {str(name): _BOUNDS[word](value) for name, (word, value) in record["constraints"].items()}
        return objectives_of(tuple(map(str, record["metric"])), tuple(map(str, record["mode"])), bounds)


def objectives_of(metric: object, mode: object, constraints: object) -> Objectives:
    """Check what a task is ranked by.

    Args:
      metric: a name, or a tuple of several.
      mode: "max" or "min", or a tuple of as many.
      constraints: metric to `AtMost` or `AtLeast`.

    Raises:
      Error: it is something else.
    """
    several = isinstance(metric, (tuple, list))
    names, modes = (tuple(metric), mode) if several else ((metric,), (mode,))  # type: ignore[arg-type]
    if not all(isinstance(name, str) for name in names) or (several and len(names) < 2):
        raise Error(f"Task metric: expected a name, or a tuple of at least two, got {metric!r}")
    if len(set(names)) < len(names):
        raise Error(f"Task metric: expected different names, got {metric!r}")
    if several and (not isinstance(modes, (tuple, list)) or len(modes) != len(names)):
        raise Error(f"Task mode: expected a tuple of {len(names)}, one for each metric, got {mode!r}")
    if not all(isinstance(one, str) and one in MODES for one in modes):  # type: ignore[union-attr]
        raise Error(f"Task mode: expected 'max' or 'min', got {mode!r}")
    if not isinstance(constraints, Mapping) or not all(
        isinstance(name, str) and isinstance(bound, Bound) for name, bound in constraints.items()
    ):
        raise Error(f"Task constraints: expected a dict of metric to hp.AtMost or hp.AtLeast, got {constraints!r}")
    return Objectives(names, tuple(modes), dict(constraints))  # type: ignore[arg-type]


def scored_at(trials: Trials) -> np.ndarray:
    """Return i32[N], the epoch from 1 that each score is of (see `Trial.scored_at`), 0 for none."""
    best = np.flatnonzero(trials.epoch == "best")
    found = trials.epochs.copy()
    found[best] = [trials[int(row)].scored_at for row in best]
    return found


def dominated(points: np.ndarray) -> np.ndarray:
    """Return bool[N], which of points f[N, K] another dominates; one with a NaN counts as dominated, and by nobody.

    >>> dominated(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0], [np.nan, 3.0]])).tolist()
    [False, False, True, True]
    """
    points = np.asarray(points, np.float64)
    found = np.ones(len(points), bool)
    front = np.zeros((0, points.shape[1]))
    known = np.flatnonzero(~np.isnan(points).any(1))
    for row in known[np.lexsort(-points[known].T[::-1])]:  # whoever dominates a point comes before it
        better = (front >= points[row]).all(1) & (front > points[row]).any(1)
        if not better.any():
            found[row] = False
            front = np.vstack([front, points[row]])
    return found


def hypervolume(points: np.ndarray, reference: Sequence[float] | np.ndarray) -> float:
    """Compute the volume that points f[N, K] dominate above a reference point f[K], exactly.

    It is cut into slices along the last objective, as by While et al., doi:10.1109/TEVC.2005.851275.

    >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), [0.0, 0.0])
    3.0
    """
    sides = np.asarray(points, np.float64) - np.asarray(reference, np.float64)
    return _volume(sides[(sides > 0).all(1)])


def _volume(sides: np.ndarray) -> float:
    """Compute the volume of the union of boxes [0, side], sides f64[N, K]."""
    if sides.shape[1] == 1:
        return float(sides.max(initial=0.0))
    sides = sides[~dominated(sides)]
    sides = sides[np.argsort(-sides[:, -1], kind="stable")]
    depth = sides[:, -1] - np.append(sides[1:, -1], 0.0)
    if sides.shape[1] == 2:
        return float((depth * np.maximum.accumulate(sides[:, 0])).sum()) if len(sides) else 0.0
    return float(sum(d * _volume(sides[: row + 1, :-1]) for row, d in enumerate(depth) if d > 0))


def spread(points: np.ndarray, most: int) -> np.ndarray:
    """Return the rows i64[most] of a front, points f[F, K], that together dominate most, in order.

    The first is always among them; each further one adds the largest hypervolume to those before, above a point that
    lies a tenth of the front's extent below it.
    """
    points = np.asarray(points, np.float64)
    low, high = points.min(0), points.max(0)
    reference = low - 0.1 * np.where(high > low, high - low, 1.0)
    chosen = [0] if len(points) else []
    while len(chosen) < min(most, len(points)):
        left = [row for row in range(len(points)) if row not in chosen]
        gain = [hypervolume(points[[*chosen, row]], reference) for row in left]
        chosen.append(left[int(np.argmax(gain))])
    return np.sort(np.asarray(chosen, int))
