"""The records that pass between strategies, training and reports: trials as columns, and one of them as a row.

What `mode` and NaN mean for an order of trials is decided here and nowhere else.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from jaxhp.values import Config as Config
from jaxhp.values import Error as Error

if TYPE_CHECKING:
    import jax


class Proposal(NamedTuple):
    """What a strategy asks to be trained next.

    Attributes:
      unit: f32[P, D], points in the unit cube, one a row.
      parent: i32[P], for each row the row of the previous population whose weights and optimizer state it
        continues, or -1 for a fresh start.
      budget: the epochs to reach, counted from the fresh start.
    """

    unit: jax.Array | np.ndarray  # f32[P, D]
    parent: jax.Array | np.ndarray  # i32[P]
    budget: int


class Rung(NamedTuple):
    """One line of a strategy's schedule: how many trials train up to how many epochs."""

    trials: int
    epochs: int


class Status(enum.StrEnum):
    """What became of a trial."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"  # given up at a rung
    DIVERGED = "diverged"  # a loss or metric went NaN or infinite


@dataclass(frozen=True)
class Trial:
    """One config under search and what was measured of it.

    Attributes:
      trial_id: never changes; assigned in the order of asking.
      config: the parameters in the user's units; of one with a parent, from its first round on.
      round: the round in which the trial was first asked for, from 0; what a person reads counts from 1.
      status: see `Status`.
      epochs: epochs trained.
      score: the task's metric on validation data after `epochs` epochs, or the best until then (see `epoch`), mean over
        replicates; NaN if diverged.
      stderr: standard error of `score`: over replicates, or over validation examples if there is only one.
      curve: `"train_<metric>"` and `"valid_<metric>"` to f32[epochs], mean over replicates.
      replicate_scores: f32[R], the score of each replicate.
      diverged_at: the epoch (from 1) in which the trial diverged, 0 if it did not.
      parent: the trial whose weights at the end of the round before this one inherited, so that it has a schedule of
        configs (population based training); else None.
      metric, mode: what `score` is, and whether "max" or "min" of it is better; None where nobody said.
      budget: the epochs of a full training where it was recorded; None where nobody said.
      epoch: whether `score` is that of the "last" epoch or of the "best" one; None where nobody said.
    """

    trial_id: int
    config: Config
    round: int = 0
    status: Status = Status.RUNNING
    epochs: int = 0
    score: float = float("nan")
    stderr: float = float("nan")
    curve: Mapping[str, np.ndarray] = field(default_factory=dict)
    replicate_scores: tuple[float, ...] = ()
    diverged_at: int = 0
    parent: int | None = None
    metric: str | None = None
    mode: str | None = None
    budget: int | None = None
    epoch: str | None = None

    @property
    def scored_at(self) -> int:
        """Return the epoch, from 1, that `score` is of: the last, or the first of the best ones."""
        if self.epoch != "best" or self.diverged_at or f"valid_{self.metric}" not in self.curve:
            return self.epochs
        values = signed(self.curve[f"valid_{self.metric}"], self.mode or "max")
        return 1 + int(np.argmax(np.where(np.isnan(values), -np.inf, values)))

    @property
    def measured_at(self) -> int:
        """Return the epoch at which fresh replicates are measured: the last of a full training, or `scored_at` where
        the best counts. What was given up early is trained in full then.
        """
        budget = self.budget or self.epochs
        return self.scored_at if self.epoch == "best" and self.epochs >= budget else budget


EPOCHS = ("last", "best")
MODES = ("max", "min")
STATUSES = tuple(Status)  # a status is stored as its place here


class _Absent:
    """Stands in a column where a conditional parameter does not exist in a config."""

    def __repr__(self) -> str:
        return "ABSENT"

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


@dataclass(frozen=True, eq=False)
class Trials(Sequence[Trial]):
    """N trials as columns, one form from the ledger to the report.

    An integer gives one `Trial`, for people; a slice, an index or a mask gives the `Trials` of those rows.

    Attributes:
      trial_id: i32[N].
      config: name to f64[N], i64[N] or object[N]; `ABSENT` where a parameter does not exist in a config.
      round: i32[N], from 0, in which each was first asked for.
      parent: i32[N], the trial whose weights each inherited, -1 for none.
      status: u8[N], a place in `STATUSES`.
      epochs: i32[N], trained so far.
      score, stderr: f32[N]; NaN for a trial that diverged or is in training.
      replicate_scores: f32[N, R].
      diverged_at: i32[N], the epoch (from 1), 0 for none.
      curve: `"train_<metric>"` and `"valid_<metric>"` to f32[N, E], NaN after a trial's last epoch.
      metric, mode, budget, epoch: object[N], see `Trial`.
    """

    trial_id: np.ndarray
    config: Mapping[str, np.ndarray]
    round: np.ndarray
    parent: np.ndarray
    status: np.ndarray
    epochs: np.ndarray
    score: np.ndarray
    stderr: np.ndarray
    replicate_scores: np.ndarray
    diverged_at: np.ndarray
    curve: Mapping[str, np.ndarray]
    metric: np.ndarray
    mode: np.ndarray
    budget: np.ndarray
    epoch: np.ndarray

    @classmethod
    def of(cls, trials: Iterable[Trial]) -> Trials:
        """Make columns of rows.

        >>> Trials.of([Trial(3, {"lr": 0.1}), Trial(5, {"lr": 0.2})]).config["lr"].tolist()
        [0.1, 0.2]
        """
        if isinstance(trials, Trials):
            return trials
        rows = list(trials)
        width = max((len(t.replicate_scores) for t in rows), default=0)
        scores = np.full((len(rows), width), np.nan, np.float32)
        for row, trial in zip(scores, rows, strict=True):
            row[: len(trial.replicate_scores)] = trial.replicate_scores
        names = dict.fromkeys(name for t in rows for name in t.curve)
        curve = {}
        for name in names:
            length = max(len(t.curve.get(name, ())) for t in rows)
            curve[name] = np.full((len(rows), length), np.nan, np.float32)
            for row, trial in zip(curve[name], rows, strict=True):
                row[: len(trial.curve.get(name, ()))] = trial.curve.get(name, ())
        return cls(
            trial_id=np.array([t.trial_id for t in rows], np.int32),
            config=columns([t.config for t in rows]),
            round=np.array([t.round for t in rows], np.int32),
            parent=np.array([-1 if t.parent is None else t.parent for t in rows], np.int32),
            status=np.array([STATUSES.index(t.status) for t in rows], np.uint8),
            epochs=np.array([t.epochs for t in rows], np.int32),
            score=np.array([t.score for t in rows], np.float32),
            stderr=np.array([t.stderr for t in rows], np.float32),
            replicate_scores=scores,
            diverged_at=np.array([t.diverged_at for t in rows], np.int32),
            curve=curve,
            metric=np.fromiter((t.metric for t in rows), object, len(rows)),
            mode=np.fromiter((t.mode for t in rows), object, len(rows)),
            budget=np.fromiter((t.budget for t in rows), object, len(rows)),
            epoch=np.fromiter((t.epoch for t in rows), object, len(rows)),
        )

    def __len__(self) -> int:
        return len(self.trial_id)

    @overload
    def __getitem__(self, rows: int | np.integer) -> Trial: ...
    @overload
    def __getitem__(self, rows: slice | np.ndarray | Sequence[int]) -> Trials: ...
    def __getitem__(self, rows: int | np.integer | slice | np.ndarray | Sequence[int]) -> Trial | Trials:
        if not isinstance(rows, int | np.integer):
            rows = rows if isinstance(rows, slice | np.ndarray) else np.asarray(rows, int)
            chosen: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
            for name, fact in chosen.items():
                mapping = isinstance(fact, Mapping)
                chosen[name] = {key: leaf[rows] for key, leaf in fact.items()} if mapping else fact[rows]
            return Trials(**chosen)
        status, epochs, parent = STATUSES[self.status[rows]], int(self.epochs[rows]), int(self.parent[rows])
        running = status is Status.RUNNING
        return Trial(
            trial_id=int(self.trial_id[rows]),
            config=_config({name: column[rows] for name, column in self.config.items()}),
            round=int(self.round[rows]),
            status=status,
            epochs=epochs,
            score=float(self.score[rows]),
            stderr=float(self.stderr[rows]),
            curve={} if running else {name: values[rows][:epochs] for name, values in self.curve.items()},
            replicate_scores=() if running else tuple(self.replicate_scores[rows].tolist()),
            diverged_at=int(self.diverged_at[rows]),
            parent=None if parent < 0 else parent,
            metric=self.metric[rows],
            mode=self.mode[rows],
            budget=self.budget[rows],
            epoch=self.epoch[rows],
        )

    def __iter__(self) -> Iterator[Trial]:
        return (self[row] for row in range(len(self)))

    def ranked_by(self, metric: str, mode: str, budget: int | None, epoch: str) -> Trials:
        """Return the same trials, which know what their scores are; see `Trial`."""
        facts = {"metric": metric, "mode": mode, "budget": budget, "epoch": epoch}
        size = len(self)
        return replace(self, **{name: np.fromiter([fact] * size, object, size) for name, fact in facts.items()})

    def configs(self) -> list[Config]:
        """Return the config of every trial."""
        rows = zip(*(column.tolist() for column in self.config.values()), strict=True)
        if not self.config:
            return [{} for _ in range(len(self))]
        return [_config(dict(zip(self.config, values, strict=True))) for values in rows]

    def having(self, status: Status) -> np.ndarray:
        """Return bool[N], which trials have a status."""
        return self.status == STATUSES.index(status)

    def healthy(self) -> np.ndarray:
        """Return bool[N], which trials have a score that counts: measured, finite and not diverged."""
        return np.isfinite(self.score) & ~self.having(Status.DIVERGED)


def columns(configs: Sequence[Config]) -> dict[str, np.ndarray]:
    """Make columns of configs: f64 or i64 where all values are floats or all are integers, else objects."""
    found = {}
    for name in dict.fromkeys(name for config in configs for name in config):
        values = [config.get(name, ABSENT) for config in configs]
        kinds = {type(value) for value in values}
        small = kinds == {int} and all(-(2**63) <= value < 2**63 for value in values)
        column = np.empty(len(values), np.float64 if kinds == {float} else np.int64 if small else object)
        for row, value in enumerate(values):  # one by one, or NumPy would take a tuple for several
            column[row] = value
        found[name] = column
    return found


def _config(values: Mapping[str, object]) -> Config:
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
        if value is not ABSENT
    }


def joined(parts: Sequence[Trials]) -> Trials:
    """Return the trials of several parts, one after the other; what a part does not have is `ABSENT` or NaN."""
    parts = [part for part in parts if len(part)] or parts[:1]
    sizes = [len(part) for part in parts]

    def whole(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    config = {}
    for name in dict.fromkeys(name for part in parts for name in part.config):
        known = [part.config.get(name, _absent(size)) for part, size in zip(parts, sizes, strict=True)]
        same = len({column.dtype for column in known}) == 1
        config[name] = np.concatenate(known if same else [column.astype(object) for column in known])
    curve = {}
    for name in dict.fromkeys(name for part in parts for name in part.curve):
        curve[name] = _stacked([part.curve.get(name) for part in parts], sizes)
    scores = _stacked([part.replicate_scores for part in parts], sizes)
    flat = ("trial_id", "round", "parent", "status", "epochs", "score", "stderr", "diverged_at")
    flat += ("metric", "mode", "budget", "epoch")
    return Trials(config=config, curve=curve, replicate_scores=scores, **{name: whole(name) for name in flat})


def _absent(count: int) -> np.ndarray:
    column = np.empty(count, object)
    column[:] = ABSENT
    return column


def _stacked(parts: Sequence[np.ndarray | None], sizes: Sequence[int]) -> np.ndarray:
    """f32[sum of sizes, W], parts f32[size, W'] padded with NaN to the widest."""
    found = np.full((sum(sizes), max((part.shape[1] for part in parts if part is not None), default=0)), np.nan, "<f4")
    for part, end, size in zip(parts, np.cumsum(sizes), sizes, strict=True):
        if part is not None:
            found[end - size : end, : part.shape[1]] = part
    return found


def signed(scores: np.ndarray, mode: str) -> np.ndarray:
    """Return f32[P] scores as strategies see them: higher is better, NaN is diverged (so is an infinite score)."""
    turned = np.asarray(scores, np.float32) * (1 if mode == "max" else -1)
    return np.where(np.isfinite(turned), turned, np.nan).astype(np.float32)


def standing(scores: np.ndarray, epochs: np.ndarray, ids: np.ndarray, mode: str) -> np.ndarray:
    """Return the indices i64[P] that put trials best first; a score is NaN where one diverged or is not measured yet.

    Diverged ones stand last; a trial that trained longer stands before one that was given up earlier; ties go by id.

    >>> standing(np.array([0.5, np.nan, 0.9, 0.2]), np.array([2, 2, 1, 2]), np.arange(4), "max").tolist()
    [0, 3, 2, 1]
    """
    turned = signed(scores, mode)
    diverged = np.isnan(turned)
    trained = np.where(diverged, 0, epochs)
    return np.lexsort((ids, np.where(diverged, 0, -turned), -trained, diverged))


def order(trials: Trials, mode: str) -> np.ndarray:
    """Return the rows i64[N] of trials, best first; see `standing`."""
    scores = np.where(trials.having(Status.DIVERGED), np.nan, trials.score)
    return standing(scores, trials.epochs, trials.trial_id, mode)


def rank(trials: Iterable[Trial], mode: str) -> Trials:
    """Return trials best first."""
    known = Trials.of(trials)
    return known[order(known, mode)]


def best_of(before: Trials, now: Trials, mode: str, top: int) -> Trials:
    """Return the first `top` trials of both, best first; where a trial is in both, it is as it is now."""
    now = now[last_places(now.trial_id, now.epochs)]
    old = before[~np.isin(before.trial_id, now.trial_id)]
    return rank(joined([old, now[order(now, mode)[:top]]]), mode)[:top]


def last_places(ids: np.ndarray, epochs: np.ndarray) -> np.ndarray:
    """Return the place of each id, i64[K], in the order of ids: where its epochs are most, of several the last."""
    order = np.lexsort((np.arange(len(ids)), epochs, ids))
    return order[np.flatnonzero(np.append(np.diff(ids[order]) != 0, True))] if len(ids) else order


def ceil_div(a: int, b: int) -> int:
    """Divide and round up: the number of parts of at most `b` that `a` makes.

    >>> ceil_div(7, 3), ceil_div(6, 3), ceil_div(0, 3)
    (3, 2, 0)
    """
    return -(-a // b)
