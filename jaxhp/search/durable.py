"""Training that outlives its process, a full device and a signal, and ends with the same numbers.

Members are saved on the way (see `checkpoint.py`). Whatever is not saved can be trained again: a trial's numbers do
not depend on when, with whom or in how many calls it is trained. So there is one way back from a kill, a damaged
checkpoint and a step that ran out of memory: bring what is saved, and train the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxhp.engine.local import Outcome, Progress, Rows, Snapshot, Trainer, merge
from jaxhp.engine.sizes import host_memory_limit
from jaxhp.search.definition import Definition
from jaxhp.search.signals import Signals, Stopped
from jaxhp.store import Ledger, Round
from jaxhp.store.checkpoints import Checkpoints
from jaxhp.store.files import crash_point

_OWN = 2**30  # added to the names of rows that continue themselves, to tell them from those of the round before
_SHARE = 10  # saving may take at most a tenth of the training time since the last time


class Durable:
    """Trains the rounds of a search.

    Args:
      checkpoint_s: see `Search.run`.
      signals: whether to stop is asked of it after every call of the step.
      resume: how to go on after that, for a person.
      note: shows a line.

    Attributes:
      trainer: does the work.
      rounds: those that are finished, in order; to be kept up to date by the caller.
    """

    def __init__(
        self,
        search: Definition,
        ledger: Ledger,
        *,
        checkpoint_s: float,
        signals: Signals,
        resume: str,
        note: Callable[[str], None],
    ):
        self._search, self._ledger, self._signals, self._resume, self._note = search, ledger, signals, resume, note
        self._checkpoint_s = checkpoint_s
        self._at_most: int | None = None  # rows at once, where the plan turned out to be too much
        space = search.space
        self.trainer = Trainer(lambda static: search.group(static, self._at_most), space.static, space.traced)
        self.rounds: list[Round] = []
        self._checkpoints = Checkpoints(ledger) if ledger.directory is not None else None
        self._held: int | None = None  # the round whose rows the trainer holds
        self._unsaved_s = 0.0  # of training since members were saved

    def train(
        self,
        number: int,
        rows: Rows,
        replicates: Sequence[int],
        stop: int,
        *,
        keep: bool = False,
        outcomes: bool = False,
        progress: Callable[[Progress], None],
    ) -> Outcome:
        """As `Trainer.train`, for rows that continue slots of the round before.

        Args:
          number: of the round; it names what is saved.

        Raises:
          Stopped: a signal asked for it. The members are saved.
          MemoryError: not even one tile fits.
          OSError: something cannot be written.
        """
        while True:
            try:
                outcome = self._attempt(number, rows, replicates, stop, keep, outcomes, progress)
                self._held = number
                return outcome
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    error.add_note(_whose(number, rows))
                    raise
                reason = str(error).splitlines()[0]
            self._shrink(number, reason)

    def finished(self, asked: Round, *, keep: bool) -> None:
        """After a round is recorded: saves its members if they go on, and stops if a signal asked for it."""
        self.rounds.append(asked)
        if keep:
            self._save_if_due(asked.number)
        self.stop_if_asked()

    def _save_if_due(self, number: int) -> None:
        """Saves what the trainer holds of a finished round."""
        if self._checkpoints is None:
            return
        groups = [group for group in self.trainer.groups.values() if group.place]
        if self._worth(sum(group.held_bytes for group in groups)):
            held = {group.key: group.held() for group in groups}
            self._save(number, Snapshot(held, np.zeros(0, np.int32), None), complete=True)

    def _worth(self, size: int) -> bool:
        """Whether so many bytes should be saved: before stopping if they fit the memory once more, else where it takes
        little of the time."""
        assert self._checkpoints is not None
        if size > host_memory_limit():
            return False
        if self._signals.received is not None or self._checkpoint_s == 0:
            return True
        return self._unsaved_s >= _SHARE * self._checkpoints.cost(size)

    def stop_if_asked(self) -> None:
        if self._signals.received is not None:
            self._ledger.event("stopped", signal=self._signals.received.name)
            raise Stopped(self._resume)

    def variables(self, trial_id: int) -> Any:
        """The network of a trial's first replicate, after the last round that trained it; held, or trained again."""
        asked = next(r for r in reversed(self.rounds) if trial_id in r.trials)
        slot = int(np.flatnonzero(asked.trials == trial_id)[0])
        self._hold(asked.number, np.asarray([slot], np.int32))
        return next(g for g in self.trainer.groups.values() if slot in g.place).variables(slot)

    def held(self, trial_id: int) -> bool:
        """Whether that network is at hand."""
        last = self.rounds[-1]
        slots = np.flatnonzero(last.trials == trial_id)
        return self._held == last.number and len(slots) > 0 and self.trainer.holds(slots[:1])

    def clear(self) -> None:
        """The search is finished: nothing of what was saved on the way is needed any more."""
        if self._checkpoints is not None:
            self._checkpoints.clear()

    def _save(self, number: int, snapshot: Snapshot, *, complete: bool) -> None:
        assert self._checkpoints is not None
        self._checkpoints.save(number, snapshot, complete=complete)
        self._unsaved_s = 0.0

    def _attempt(self, number, rows: Rows, replicates, stop, keep, outcomes, progress) -> Outcome:
        def told(p: Progress) -> None:
            progress(p)
            crash_point("step done")
            self._unsaved_s += p.seconds
            if p.last or self._checkpoints is None:
                return
            if self._worth(p.state_bytes) and (self._unsaved_s >= self._checkpoint_s or self._signals.received):
                self._save(number, p.snapshot(), complete=False)
            self.stop_if_asked()

        rows, done = self._bring(number, rows)
        left = np.flatnonzero(~np.isin(rows.names, done.names))
        part = Rows([rows.configs[row] for row in left], *(facts[left] for facts in rows[1:]))
        outcome = self.trainer.train(part, replicates, stop, keep=keep, outcomes=outcomes, progress=told)
        if done.outcome is None:
            return outcome
        place = {int(name): row for row, name in enumerate(rows.names)}
        where = np.asarray([place[int(name)] for name in done.names])
        return merge(len(rows.configs), [(left, outcome), (where, done.outcome)])

    def _bring(self, number: int, rows: Rows) -> tuple[Rows, Snapshot]:
        """Makes the trainer hold whatever rows continue: themselves where they were saved, or their parents.

        Returns:
          The rows as they stand, and what is done of them already.
        """
        nothing = Snapshot({}, rows.names[:0], None)
        saved = self._checkpoints.load(number, complete=False) if self._checkpoints is not None else iter(())
        for snapshot in saved:
            place = {int(name): row for row, name in enumerate(rows.names)}
            start, parent = rows.start.copy(), rows.parent.copy()
            try:
                for held in snapshot.members.values():
                    at = np.asarray([place[int(name)] for name in held.names], np.int32)
                    start[at], parent[at] = held.epoch, held.names + _OWN
                left = ~np.isin(rows.names, snapshot.names)
                self.trainer.forget()
                self._held = None
                self._hold(number - 1, np.unique(parent[left & (start > 0) & (parent < _OWN)]))
                self._restore({key: h._replace(names=h.names + _OWN) for key, h in snapshot.members.items()}, rows)
            except (ValueError, KeyError) as error:
                self._ledger.event("warning", text=f"a checkpoint of round {number} is of no use: {error}")
                continue
            self._held = None
            return rows._replace(start=start, parent=parent), snapshot
        self._hold(number - 1, np.unique(rows.parent[rows.start > 0]))
        return rows, nothing

    def _restore(self, members, rows: Rows) -> None:
        for config in rows.configs:
            self.trainer.group(config)
        for key, held in members.items():
            if key not in self.trainer.groups:
                raise ValueError(f"members of group {key}, which is not one of this round's")
            self.trainer.groups[key].hold(held)

    def _hold(self, number: int, slots: np.ndarray) -> None:
        """Makes the trainer hold these slots of a finished round: as they are still held, as they were saved, or by
        training them again from the last round of which they were saved."""
        if not len(slots):
            return
        if self._held == number and self.trainer.holds(slots):
            return
        self.trainer.forget()
        again: list[tuple[Round, np.ndarray]] = []
        while len(slots) and not self._load(number, slots):
            asked = self.rounds[number]
            again.append((asked, slots))
            parent = asked.parent[slots]
            slots, number = np.unique(parent[parent >= 0]), number - 1
        for asked, slots in reversed(again):
            before = self.rounds[asked.number - 1].epochs if asked.number else 0
            rows = self._rows(asked, slots, before)
            self._note(f"round {asked.number + 1}: training {len(slots)} member(s) again, not saved")
            outcome = self.trainer.train(rows, range(self._search.width), asked.epochs, keep=True, progress=self._again)
            assert asked.scores is not None
            if not np.array_equal(outcome.score, asked.scores[slots], equal_nan=True):
                text = f"round {asked.number + 1}: members trained again differ from what was recorded"
                self._ledger.event("warning", text=text)
                self._note(text)
            self._held = asked.number
            self._save_if_due(asked.number)

    def _again(self, progress: Progress) -> None:
        self._unsaved_s += progress.seconds
        self.stop_if_asked()

    def _load(self, number: int, slots: np.ndarray) -> bool:
        """Whether a finished round's members were saved; then they are held."""
        if self._checkpoints is None:
            return False
        asked = self.rounds[number]
        for snapshot in self._checkpoints.load(number, complete=True):
            try:
                self._restore(snapshot.members, self._rows(asked, slots, 0))
                if self.trainer.holds(slots):
                    self._held = number
                    return True
            except ValueError as error:
                self._ledger.event("warning", text=f"the checkpoint of round {number} is of no use: {error}")
            self.trainer.forget()
        return False

    def _rows(self, asked: Round, slots: np.ndarray, before: int) -> Rows:
        """Slots of a finished round; those that continue stand at epoch `before`."""
        parent = asked.parent[slots]
        configs = self._search.space.configs(asked.unit[slots])
        start = np.where(parent >= 0, before, 0).astype(np.int32)
        return Rows(configs, asked.trials[slots], parent, start, slots.astype(np.int32))

    def _shrink(self, number: int, reason: str) -> None:
        """Halves the rows that are trained at once; the tile, and so every number, stays."""
        groups = list(self.trainer.groups.values())
        most = max((group.rows_at_once for group in groups), default=self._at_most or 0)
        tile = max((group.population.capacity.tile for group in groups), default=1)
        if most <= tile:
            raise MemoryError(f"round {number + 1}: not even one tile fits: {reason}")
        self._at_most = max(-(-most // tile) // 2, 1) * tile
        self.trainer.groups.clear()
        self._held = None
        self._ledger.event("out of memory", round=number, rows_before=most, rows_now=self._at_most, reason=reason)
        self._note(f"out of memory with {most} trials at once: going on with {self._at_most} (same tile, same numbers)")


def _whose(number: int, rows: Rows) -> str:
    """Names the members among which a function of the task failed."""
    shown = [f"trial {trial}: {config}" for trial, config in zip(rows.trials[:4], rows.configs, strict=False)]
    more = f" and {len(rows.configs) - 4} more" if len(rows.configs) > 4 else ""
    return f"in round {number + 1}, training {'; '.join(shown)}{more}"
