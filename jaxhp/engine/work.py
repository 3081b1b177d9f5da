"""What is asked of an executor and what it answers: the records that pass between a search and whatever trains it.

A member, one network, is named by what it is: the trial whose config it has and the epochs that it has trained for. So
its name is the same in every process, on whatever device and beside whatever neighbours it is trained. Letters: P rows
of a job, R replicates, E epochs, M metrics, n examples.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import PyTree

from jaxhp.engine.events import Event
from jaxhp.values import Config

Emit = Callable[[Event], None]


class Job(NamedTuple):
    """P rows to train to epoch `stop`.

    Row p starts fresh, or as the member (`origin[p]`, `start[p]`), and becomes the member (`trials[p]`, `stop`).
    """

    number: int  # of the round, or of a part of the finals; what is saved on the way carries it
    trials: np.ndarray  # i32[P]
    configs: Sequence[Config]  # [P]
    origin: np.ndarray  # i32[P], the trial whose member is continued, -1 for a fresh start
    start: np.ndarray  # i32[P], epochs that this member has been trained for, 0 for a fresh start
    stop: int
    replicates: Sequence[int]  # [R], ids of the replicates of every row
    keep: bool = False  # whether a later job may continue all these rows
    outcomes: bool = False  # whether to return the metric of each example too
    read: np.ndarray | None = None  # i32[P], epochs up to `stop` that each row's outcome is of; None: `stop`
    before: tuple[Job, ...] = ()  # jobs of no round, one after another, that make the members that this one continues

    def rows(self, chosen: np.ndarray) -> Job:
        """Return the job of some rows, i64[K] or bool[P]."""
        chosen = np.flatnonzero(chosen) if np.asarray(chosen).dtype == bool else np.asarray(chosen, int)
        return self._replace(
            trials=self.trials[chosen],
            configs=[self.configs[row] for row in chosen],
            origin=self.origin[chosen],
            start=self.start[chosen],
            read=None if self.read is None else self.read[chosen],
        )


class Outcome(NamedTuple):
    """What was measured of P rows with R replicates."""

    score: np.ndarray  # f32[P], mean over replicates, NaN if any of them diverged
    stderr: np.ndarray  # f32[P]
    replicate_scores: np.ndarray  # f32[P, R]
    curve: np.ndarray  # f32[P, E, 2, M], train and valid, mean over replicates
    diverged_at: np.ndarray  # i32[P], the first epoch in which a replicate diverged, 0 for none
    valid: np.ndarray | None = None  # f32[P, R, n], the metric of each example, where it was asked for
    held_out: np.ndarray | None = None  # f32[P, R, h], likewise on the group's holdout, if it has one
    others: np.ndarray | None = (
        None  # f32[P, R, K, h or n], on either, of the K other metrics that trials are ranked by
    )
    bias: np.ndarray | None = None  # f32[P, R, 1 + K], how much too high each is on average, if one is of the whole set

    def rows(self, chosen: np.ndarray) -> Outcome:
        """Return the outcome of some rows, i64[K]."""
        return Outcome(*(None if leaf is None else leaf[chosen] for leaf in self))  # type: ignore[arg-type]


class Members(NamedTuple):
    """n members of one static group, off the devices."""

    trial: np.ndarray  # i32[n]
    epoch: np.ndarray  # i32[n], epochs trained
    leaves: list[np.ndarray]  # [n, R, ...], the leaves of a population's state

    def names(self) -> list[tuple[int, int]]:
        """Return (trial, epoch) of each."""
        return list(zip(self.trial.tolist(), self.epoch.tolist(), strict=True))


class Snapshot(NamedTuple):
    """What an executor has done of a job so far, or holds after it."""

    members: Mapping[str, Members]  # by `Spec.key`: those in training, and trained ones that are to be kept
    trained: np.ndarray = np.zeros(0, np.int32)  # i32[m], trials that are trained and whose members are not kept
    outcome: Outcome | None = None  # of these; None for m = 0

    def having(self, wanted: Callable[[int, int], bool]) -> Snapshot:
        """Return the members (trial, epoch) that are wanted, alone."""
        found = {}
        for key, members in self.members.items():
            rows = np.flatnonzero([wanted(*name) for name in members.names()])
            if len(rows):
                leaves = [leaf[rows] for leaf in members.leaves]
                found[key] = Members(members.trial[rows], members.epoch[rows], leaves)
        return Snapshot(found)


class Cost(NamedTuple):
    """What an executor has spent."""

    compile_s: float = 0.0
    step_s: float = 0.0
    compilations: int = 0
    epochs_trained: int = 0  # members times epochs
    slot_epochs: int = 0  # the same of all slots of the tiles that were trained, padding included
    moved_bytes: int = 0  # of members, between workers and their store

    def plus(self, more: Cost, times: int = 1) -> Cost:
        """Return this with more, or with `times=-1` with so much less."""
        return Cost(*(a + times * b for a, b in zip(self, more, strict=True)))  # type: ignore[arg-type]


class MembersLost(Exception):
    """Members that a job continues were held, and are no more: it can be asked for again."""


class Executor(Protocol):
    """Trains jobs, and holds the members that later ones may continue."""

    def train(self, job: Job, emit: Emit) -> Outcome:
        """Train a job; emit `Progressed` after every call of the step, and `Awaited` while others work.

        Raises:
          MembersLost: what it continues is gone.
        """
        ...

    def save(self, trials: Container[int] | None = None) -> Snapshot:
        """Return what is done of the job under way (ask while it emits), or after it the members that are held.

        Args:
          trials: after it, of these alone.
        """
        ...

    def load(self, snapshot: Snapshot, configs: Iterable[Config]) -> None:
        """Hold the members of a snapshot too.

        Args:
          configs: of all static groups that it may have members of.

        Raises:
          Error: they are not members of these groups.
        """
        ...

    def forget(self) -> None:
        """Hold nothing any more."""
        ...

    def has(self, trials: np.ndarray, epoch: int) -> np.ndarray:
        """Return bool[n], whether each member (trial, epoch) is held."""
        ...

    def variables(self, trial: int, epoch: int, config: Config) -> PyTree[np.ndarray]:
        """Return what the task's `init` made, as it is evaluated, of a member's first replicate; keys as their data."""
        ...

    def held_bytes(self) -> int:
        """Return the size of the members that are held."""
        ...

    def at_once(self, configs: Iterable[Config]) -> int:
        """Return how many replicates of a tile of these configs are trained at once, at most."""
        ...

    def shrink(self) -> tuple[int, int] | None:
        """Train fewer rows at once from now on, and forget; return how many before and now, None if it cannot."""
        ...

    def cost(self) -> Cost:
        """Return what was spent so far."""
        ...


def merge(count: int, parts: Sequence[tuple[np.ndarray, Outcome]]) -> Outcome:
    """Return the outcome of `count` rows from those of parts, each with the places i64[K] of its rows."""

    def join(leaves: Sequence[np.ndarray | None]) -> np.ndarray | None:
        if any(leaf is None for leaf in leaves):
            return None
        first = np.asarray(leaves[0])
        whole = np.empty((count, *first.shape[1:]), first.dtype)
        for (where, _), leaf in zip(parts, leaves, strict=True):
            whole[where] = leaf
        return whole

    return Outcome(*(join(leaves) for leaves in zip(*(outcome for _, outcome in parts), strict=True)))  # type: ignore[arg-type]


def to_record(snapshot: Snapshot) -> dict[str, dict[str, np.ndarray]]:
    """Return a snapshot as a tree of arrays that a checkpoint can hold.

    Orbax refuses empty arrays, so these are left out and their shapes kept.
    """
    record: dict[str, dict[str, np.ndarray]] = {}
    for key, members in snapshot.members.items():
        leaves = {
            f"{'leaf' if leaf.size else 'empty'}{i:05d}": leaf if leaf.size else np.asarray([0, *leaf.shape], np.int64)
            for i, leaf in enumerate(members.leaves)
        }
        record[key] = {"trial": members.trial, "epoch": members.epoch} | leaves
    if snapshot.outcome is not None:
        measured = {name: leaf for name, leaf in snapshot.outcome._asdict().items() if leaf is not None}
        record["outcome"] = {"trial": snapshot.trained} | measured
    return record


def from_record(record: Mapping[str, Mapping[str, np.ndarray]]) -> Snapshot:
    """Return the snapshot that `to_record` took apart.

    Raises:
      KeyError, TypeError, ValueError: it is not one.
    """
    members = {}
    for key, entry in record.items():
        if key != "outcome":
            found = sorted((name[-5:], name, np.asarray(leaf)) for name, leaf in entry.items() if name[-5:].isdigit())
            leaves = [np.zeros(leaf[1:], np.float32) if name.startswith("empty") else leaf for _, name, leaf in found]
            members[key] = Members(np.asarray(entry["trial"]), np.asarray(entry["epoch"]), leaves)
    if "outcome" not in record:
        return Snapshot(members)
    fields = {name: np.asarray(leaf) for name, leaf in record["outcome"].items()}
    return Snapshot(members, fields.pop("trial"), Outcome(**fields))
