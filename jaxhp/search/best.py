"""What is kept of the best trials of a search: their networks, and their members, which more epochs go on from."""

from __future__ import annotations

import numpy as np
from jaxtyping import PyTree

from jaxhp.engine.events import Event, RoundFinished, SearchBegan
from jaxhp.engine.work import Members, Snapshot
from jaxhp.search.durable import Durable
from jaxhp.search.lineage import Lineage
from jaxhp.trials import Trial, Trials, best_of


class Best:
    """Observes rounds, and keeps what is at hand of the best trials; what is not can be trained again.

    Args:
      executor: holds the members.
      lineage: of the search.
      mode: whether a larger or a smaller score is better.
      top: how many trials.
    """

    def __init__(self, executor: Durable, lineage: Lineage, mode: str, top: int):
        self._executor, self._lineage, self._mode, self._top = executor, lineage, mode, top
        self._best: Trials = Trials.of(())
        self._networks: dict[int, PyTree[np.ndarray]] = {}
        self._members: list[Snapshot] = []

    def observe(self, event: Event) -> None:
        """Keep the best of a round that is finished."""
        if isinstance(event, SearchBegan | RoundFinished):
            self._best = best_of(self._best, event.trials, self._mode, self._top)
        if not isinstance(event, RoundFinished):
            return
        epochs = self._lineage.rounds[-1].epochs
        best = self._best.trial_id
        new = best[np.isin(best, event.trials.trial_id)]
        at_hand = new[self._executor.has(new, epochs)].tolist()
        configs = dict(zip(best.tolist(), self._best.configs(), strict=True))
        self._networks = {i: self._networks[i] for i in best.tolist() if i in self._networks}
        self._networks |= {i: self._executor.variables(i, epochs, configs[i]) for i in at_hand}
        share = len(at_hand) / max(len(event.trials), 1)
        kept = [snapshot.having(lambda trial, _: trial in best and trial not in at_hand) for snapshot in self._members]
        new_ones = self._executor.to_keep(at_hand, share) if at_hand else None
        self._members = [snapshot for snapshot in (*kept, new_ones) if snapshot is not None and snapshot.members]

    def keep(self) -> None:
        """Save the members, see `Durable.keep_best`."""
        self._executor.keep_best(_together(self._members))

    def at_hand(self, best: Trial) -> PyTree[np.ndarray] | None:
        """Return a trial's network as `of` does where that trains nothing."""
        finished = self._lineage.last(best.trial_id).epochs if best.trial_id in self._networks else None
        return self._networks[best.trial_id] if finished == best.scored_at else None

    def of(self, best: Trial) -> PyTree[np.ndarray]:
        """Return a trial's network, of its first replicate in the search: kept, held, or trained again."""
        trial, epochs = best.trial_id, self._lineage.last(best.trial_id).epochs
        if best.scored_at < epochs:
            return self._executor.before_its_end(trial, best.scored_at, best.config)
        if trial in self._networks:
            return self._networks[trial]
        return self._executor.variables(trial, epochs, best.config)


def _together(snapshots: list[Snapshot]) -> Snapshot:
    """Return the members of all snapshots."""
    found: dict[str, Members] = {}
    for snapshot in snapshots:
        for key, new in snapshot.members.items():
            before = found.get(key)
            if before is not None:
                leaves = [np.concatenate(pair) for pair in zip(before.leaves, new.leaves, strict=True)]
                trial, epoch = np.concatenate([before.trial, new.trial]), np.concatenate([before.epoch, new.epoch])
                new = Members(trial, epoch, leaves)
            found[key] = new
    return Snapshot(found)
