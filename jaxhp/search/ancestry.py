"""Members trained as they were trained before: by way of their ancestors, whom heirs of one trial share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.engine.work import Job
from jaxhp.selection.stretches import Stretch


class Step(NamedTuple):
    """A part of such a training, at whose end some of the members are done or change their configs.

    Attributes:
      job: trains it, and goes on with the members of the step before.
      done: place of each history that ends here, to its row of the job.
    """

    job: Job
    done: dict[int, int]


def steps_of(histories: Sequence[Sequence[Stretch]], number: int, replicates: Sequence[int]) -> Iterator[Step]:
    """Yield what trains members as they were trained, one step after another.

    Args:
      histories: how each member was trained.
      number, replicates: of the jobs.
    """
    left, begun, before = list(range(len(histories))), 0, [-1] * len(histories)
    for end in sorted({stretch.upto for history in histories for stretch in history}):
        now = {place: next(stretch for stretch in histories[place] if stretch.upto >= end) for place in left}
        origin = {stretch.trial_id: before[place] for place, stretch in now.items()}
        config = {stretch.trial_id: stretch.config for stretch in now.values()}
        ids, origins = np.asarray([*origin], np.int32), np.asarray([*origin.values()], np.int32)
        start = np.full(len(ids), begun, np.int32)
        row = {trial: at for at, trial in enumerate(origin)}
        done = {place: row[stretch.trial_id] for place, stretch in now.items() if histories[place][-1].upto == end}
        yield Step(Job(number, ids, [*config.values()], origins, start, end, replicates, keep=True), done)
        left, begun = [place for place in left if place not in done], end
        for place, stretch in now.items():
            before[place] = stretch.trial_id
