"""An executor around an executor, whose training outlives its process, a full device and a signal.

Members are saved on the way (see `store/checkpoints.py`). Whatever is not saved can be trained again: a trial's numbers
do not depend on when, with whom or in how many calls it is trained. So there is one way back from a kill, a damaged
checkpoint and a step that ran out of memory: bring what is saved, and train the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Sequence

import jax
import numpy as np
from jaxtyping import PyTree

from jaxhp.engine.events import (
    Awaited,
    Event,
    Progressed,
    Retrained,
    RoundFinished,
    RoundSkipped,
    Shrunk,
    StopAsked,
    Warned,
)
from jaxhp.engine.sizes import host_memory_limit
from jaxhp.engine.work import Cost, Emit, Executor, Job, MembersLost, Outcome, Snapshot, from_record, merge, to_record
from jaxhp.search.lineage import Lineage, rows_of
from jaxhp.search.signals import Signals, Stopped
from jaxhp.store.checkpoints import Checkpoints
from jaxhp.store.ledger import BEST, Round
from jaxhp.values import Config

_KEPT = 0.1  # of the host's memory, that the members of the best may fill
_SHARE = 10  # saving may take at most a tenth of the training time since the last time


class Durable:
    """Trains the rounds of a search; an `Executor`.

    Args:
      inner: does the work.
      lineage: the finished rounds; kept up to date by the loop.
      checkpoints: where members are saved; None: nowhere.
      checkpoint_s: see `Search.run`.
      replicates: members of a trial of the search.
      signals: whether to stop is asked of it after every call of the step.
      resume: how to go on after that, for a person.
      emit: told what happens between jobs.
    """

    def __init__(
        self,
        inner: Executor,
        lineage: Lineage,
        checkpoints: Checkpoints | None,
        *,
        checkpoint_s: float,
        replicates: int,
        signals: Signals,
        resume: str,
        emit: Emit,
    ):
        self._inner, self._lineage, self._checkpoints = inner, lineage, checkpoints
        self._checkpoint_s, self._replicates = checkpoint_s, replicates
        self._stop = signals, resume
        self._emit = emit
        self._unsaved_s = 0.0  # of training since members were saved

    def train(self, job: Job, emit: Emit) -> Outcome:
        """See `Executor.train`; rows may continue members of the round before, or of the jobs before, held or not.

        Raises:
          Stopped: a signal asked for it. The members are saved.
          MemoryError: not even one tile fits.
          OSError: something cannot be written.
        """
        while True:
            try:
                return self._attempt(job, emit)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    error.add_note(_whose(job))
                    raise
                reason = str(error).splitlines()[0]
            except MembersLost as error:
                self._emit(Warned(f"round {job.number + 1}: {error}; they are trained again"))
                continue
            rows = self._inner.shrink()
            if rows is None:
                raise MemoryError(f"round {job.number + 1}: not even one tile fits: {reason}")
            self._emit(Shrunk(job.number, *rows, reason))

    def save(self, trials: Container[int] | None = None) -> Snapshot:
        """See `Executor.save`."""
        return self._inner.save(trials)

    def load(self, snapshot: Snapshot, configs: Iterable[Config]) -> None:
        """See `Executor.load`."""
        self._inner.load(snapshot, configs)

    def forget(self) -> None:
        """See `Executor.forget`."""
        self._inner.forget()

    def has(self, trials: np.ndarray, epoch: int) -> np.ndarray:
        """See `Executor.has`: those that are at hand, without training any again."""
        return self._inner.has(trials, epoch)

    def variables(self, trial: int, epoch: int, config: Config) -> PyTree[np.ndarray]:
        """See `Executor.variables`; of a member of a finished round, which is trained again if it is lost."""
        while True:
            try:
                self._hold(self._lineage.last(trial), np.asarray([trial], np.int32))
                return self._inner.variables(trial, epoch, config)
            except MembersLost:
                continue

    def before_its_end(self, trial: int, epoch: int, config: Config) -> PyTree[np.ndarray]:
        """Return a trial's variables after an epoch at which no round ended: its first replicate is trained anew."""
        ids, fresh = np.asarray([trial], np.int32), np.asarray([-1], np.int32)
        job = Job(self._lineage.last(trial).number, ids, [config], fresh, 0 * ids, epoch, range(1), keep=True)
        self._emit(Retrained(job.number, 1))
        self._inner.train(job, self._again)
        return self._inner.variables(trial, epoch, config)

    def held_bytes(self) -> int:
        """See `Executor.held_bytes`."""
        return self._inner.held_bytes()

    def at_once(self, configs: Iterable[Config]) -> int:
        """See `Executor.at_once`."""
        return self._inner.at_once(configs)

    def shrink(self) -> tuple[int, int] | None:
        """See `Executor.shrink`."""
        return self._inner.shrink()

    def cost(self) -> Cost:
        """See `Executor.cost`."""
        return self._inner.cost()

    def observe(self, event: Event) -> None:
        """Save the members of a round that is recorded, if they go on; stop between rounds if a signal asked for it."""
        if isinstance(event, RoundFinished) and event.kept:
            self._keep(event.round)
        if isinstance(event, RoundFinished | RoundSkipped):
            self.stop_if_asked()

    def _keep(self, number: int) -> None:
        """Save the members of a finished round, which are held, where that takes little of the time."""
        if self._checkpoints is not None and self._worth(self._inner.held_bytes()):
            self._save(number, self._inner.save(), complete=True)

    def to_keep(self, trials: Sequence[int], share: float) -> Snapshot:
        """Return the members of some trials that are held, which are about such a share of all that are.

        Nothing where there is no place to save them, or where that would fill much of the memory.
        """
        if self._checkpoints is None or share * self.held_bytes() > _KEPT * host_memory_limit():
            return Snapshot({})
        return self.save({*trials})

    def keep_best(self, best: Snapshot) -> None:
        """Save the members of the best trials, for a longer search, where that takes little of the time."""
        size = sum(leaf.nbytes for members in best.members.values() for leaf in members.leaves)
        if self._checkpoints is not None and size and self._worth(size):
            self._save(BEST, best, complete=True)

    def stop_if_asked(self) -> None:
        """Raise Stopped if a signal asked for it."""
        signals, resume = self._stop
        if signals.received is not None:
            self._emit(StopAsked(signals.received.name))
            raise Stopped(resume)

    def _attempt(self, job: Job, emit: Emit) -> Outcome:
        def watch(event: Event) -> None:
            if isinstance(event, Awaited):
                self._on_signal(job)
                return
            emit(event)
            if not isinstance(event, Progressed):
                return
            self._unsaved_s += event.seconds
            if event.last or self._checkpoints is None:
                return
            due = self._unsaved_s >= self._checkpoint_s or self._stop[0].received is not None
            if due and job.read is None and self._worth(event.state_bytes):
                self._save(job.number, self._inner.save(), complete=False)
            self.stop_if_asked()

        job, done = self._bring(job)
        left = ~np.isin(job.trials, done.trained)
        outcome = self._inner.train(job.rows(left), watch)
        if done.outcome is None:
            return outcome
        place = {int(trial): row for row, trial in enumerate(done.trained)}
        before = done.outcome.rows(np.asarray([place[int(trial)] for trial in job.trials[~left]], int))
        return merge(len(job.configs), [(np.flatnonzero(left), outcome), (np.flatnonzero(~left), before)])

    def _bring(self, job: Job) -> tuple[Job, Snapshot]:
        """Make the inner executor hold whatever rows continue: themselves where they were saved, or their parents.

        Returns:
          The job from where its rows stand now, and what is done of it already.
        """
        for snapshot in self._saved(job.number, complete=False):
            start, origin, own = job.start.copy(), job.origin.copy(), np.zeros(len(job.start), bool)
            try:
                for members in snapshot.members.values():
                    for trial, epoch in members.names():
                        rows = job.trials == trial
                        start[rows], origin[rows], own[rows] = epoch, trial, True
                left = ~np.isin(job.trials, snapshot.trained) & ~own
                self._inner.forget()
                self._hold_parents(job, origin[left & (start > 0)])
                self._inner.load(snapshot, job.configs)
            except (ValueError, KeyError) as error:
                self._emit(Warned(f"a checkpoint of round {job.number + 1} is of no use: {error}"))
                continue
            return job._replace(start=start, origin=origin), snapshot
        for best in self._best(job):
            self._inner.forget()
            self._hold_parents(job, job.origin[job.start > 0])
            try:
                self._inner.load(best, job.configs)
            except ValueError as error:
                self._emit(Warned(f"the members kept of the best are of no use: {error}"))
                continue
            return _from(job, best), Snapshot({})
        self._hold_parents(job, job.origin[job.start > 0])
        return job, Snapshot({})

    def _best(self, job: Job) -> Iterable[Snapshot]:
        """Yield the members that are kept of trials that a job starts anew, where some are."""
        if list(job.replicates) != list(range(self._replicates)):  # of the finals, whose replicates are others
            return
        fresh = set(job.trials[job.start == 0].tolist())
        for snapshot in self._saved(BEST, complete=True):
            found = snapshot.having(lambda trial, epoch: trial in fresh and epoch < job.stop)
            if found.members:
                yield found

    def _hold_parents(self, job: Job, trials: np.ndarray) -> None:
        """Make the inner executor hold the members that rows of a job continue.

        Those are of the round before; or the jobs before it make them, which are not saved, and run whenever it begins.
        """
        if not job.before:
            if len(trials):
                self._hold(self._lineage.rounds[job.number - 1], np.unique(trials))
            return
        parts: list[Job] = []
        for earlier in reversed(job.before):
            parts.append(earlier.rows(np.isin(earlier.trials, trials)))
            trials = parts[-1].origin
        for part in reversed(parts):
            if len(part.trials):
                self._inner.train(part, self._on_the_way)

    def _hold(self, asked: Round, trials: np.ndarray) -> None:
        """Make the inner executor hold these trials as a finished round left them: as they are still held, as they were
        saved, or by training them again from the last round of which they were saved."""
        if self._inner.has(trials, asked.epochs).all():
            return
        self._inner.forget()
        again: list[tuple[Round, np.ndarray]] = []
        while len(trials) and not self._load(asked, trials):
            rows = rows_of(asked, trials)
            again.append((asked, rows))
            origin = self._lineage.origin(asked)[rows]
            trials = np.unique(origin[origin >= 0])
            if len(trials):
                asked = self._lineage.rounds[asked.number - 1]
        for asked, rows in reversed(again):
            self._emit(Retrained(asked.number, len(rows)))
            job = self._lineage.job(asked, range(self._replicates), keep=True).rows(rows)
            outcome = self._inner.train(job, self._again)
            assert asked.scores is not None
            if not np.array_equal(outcome.score, asked.scores[rows], equal_nan=True):
                self._emit(Warned(f"round {asked.number + 1}: members trained again differ from what was recorded"))
            self._keep(asked.number)

    def _on_the_way(self, event: Event) -> None:
        if not isinstance(event, Awaited):
            self._emit(event)
        self._again(event)

    def _again(self, event: Event) -> None:
        if isinstance(event, Progressed):
            self._unsaved_s += event.seconds
        if isinstance(event, Progressed | Awaited):
            self.stop_if_asked()

    def _on_signal(self, job: Job) -> None:
        """Save what is done of a job, and stop, if a signal asked for it."""
        if self._stop[0].received is None:
            return
        if self._checkpoints is not None and job.read is None:
            self._save(job.number, self._inner.save(), complete=False)
        self.stop_if_asked()

    def _load(self, asked: Round, trials: np.ndarray) -> bool:
        """Hold a finished round's members if they were saved; return whether these trials are among them."""
        wanted = set(trials.tolist())
        best = (s.having(lambda trial, _: trial in wanted) for s in self._saved(BEST, complete=True))
        for snapshot in itertools.chain(self._saved(asked.number, complete=True), best):
            try:
                self._inner.load(snapshot, self._lineage.configs(asked))
                if self._inner.has(trials, asked.epochs).all():
                    return True
            except ValueError as error:
                self._emit(Warned(f"the checkpoint of round {asked.number + 1} is of no use: {error}"))
            self._inner.forget()
        return False

    def _saved(self, number: int, *, complete: bool) -> Iterable[Snapshot]:
        if self._checkpoints is None:
            return ()
        return self._checkpoints.load(number, complete=complete, decode=from_record)

    def _save(self, number: int, snapshot: Snapshot, *, complete: bool) -> None:
        assert self._checkpoints is not None
        if record := to_record(snapshot):  # workers may have brought nothing yet
            self._checkpoints.save(number, record, complete=complete)
        self._unsaved_s = 0.0

    def _worth(self, size: int) -> bool:
        """Return whether so many bytes should be saved: before stopping if they fit the memory once more, else where it
        takes little of the time."""
        assert self._checkpoints is not None
        if size > host_memory_limit():
            return False
        if self._stop[0].received is not None or self._checkpoint_s == 0:
            return True
        return self._unsaved_s >= _SHARE * self._checkpoints.cost(size)


def _from(job: Job, best: Snapshot) -> Job:
    """Return a job whose rows go on from their own members of a snapshot."""
    start, origin = job.start.copy(), job.origin.copy()
    for members in best.members.values():
        for trial, epoch in members.names():
            start[job.trials == trial], origin[job.trials == trial] = epoch, trial
    return job._replace(start=start, origin=origin)


def _whose(job: Job) -> str:
    """Name the members among which a function of the task failed."""
    shown = [f"trial {trial}: {config}" for trial, config in zip(job.trials[:4], job.configs, strict=False)]
    more = f" and {len(job.configs) - 4} more" if len(job.configs) > 4 else ""
    return f"in round {job.number + 1}, training {'; '.join(shown)}{more}"
