"""A job cut into units: parts that one worker trains, of one group, whose rows start at one epoch and fill tiles.

What a member becomes does not depend on the unit that it is trained in. So units follow the tiles for speed alone: no
unit has more padding than the job had, but for the tiles that are split by replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.engine.work import Job, Outcome, merge
from jaxhp.trials import ceil_div

EACH = 3  # units that a worker gets of a job, where there are so many tiles: the last ones end together


class Unit(NamedTuple):
    """A part of a job.

    Attributes:
      key: the group of its rows.
      rows: i64[K], their places in the job.
      job: of these rows, with some of the replicates.
    """

    key: str
    rows: np.ndarray
    job: Job

    @property
    def replicates(self) -> tuple[int, ...]:
        """The ids of its replicates."""
        return tuple(self.job.replicates)

    def rest(self, reached: int) -> Unit:
        """Return what is left where all its rows have come to an epoch."""
        job = self.job._replace(start=np.full(len(self.rows), reached, np.int32), origin=self.job.trials)
        return self._replace(job=job)


class Raw(NamedTuple):
    """What is known of each member of a unit's rows, of some of their replicates."""

    curve: np.ndarray  # f32[K, R, E, 2, M]
    spread: np.ndarray  # f32[K, R]
    diverged_at: np.ndarray  # i32[K, R]


class Apart(NamedTuple):
    """What is known of all members of rows whose replicates were trained apart, after some epochs."""

    key: str  # of their group
    raw: Raw
    stop: int


Rank = Callable[[Sequence[Apart]], Sequence[Outcome]]


def chunks_of(replicates: Sequence[int], parts: int, most: int) -> tuple[tuple[int, ...], ...]:
    """Deal replicates out to at least so many parts, or one each, with at most `most` in a part.

    >>> chunks_of(range(5), 2, 8), chunks_of(range(3), 9, 8)
    (((0, 1, 2), (3, 4)), ((0,), (1,), (2,)))
    """
    size = min(max(len(replicates) // parts + bool(len(replicates) % parts), 1), most)
    return tuple(tuple(replicates[i : i + size]) for i in range(0, len(replicates), size))


def tiles_of(job: Job, keys: Sequence[str], tiles: Mapping[str, int]) -> int:
    """Count the tiles that one replicate of a job fills.

    Args:
      keys: [P], the group of each row.
      tiles: members of a tile, by group.
    """
    return sum(ceil_div(len(rows), tiles[key]) for key, rows in _alike(job, keys, [""] * len(keys)))


def split(
    job: Job,
    keys: Sequence[str],
    homes: Sequence[str],
    *,
    tiles: Mapping[str, int],
    most: Mapping[str, int],
    chunks: Sequence[tuple[int, ...]],
    workers: int,
    devices: int,
) -> list[Unit]:
    """Cut a job into units: every row, with every replicate, is in one of them.

    Args:
      keys: [P], the group of each row.
      homes: [P], the worker that has what the row continues, "" for none; rows of one home are kept together.
      tiles, most: members of a tile and rows of a unit at most, by group.
      chunks: of the replicates.
      workers: how many there are.
      devices: of a worker; a unit fills all of them where there are enough tiles.
    """
    total = tiles_of(job, keys, tiles) * len(chunks)
    size = max(total // (EACH * workers), 1)
    width = max(map(len, chunks))
    if total * width >= workers * devices:
        size = max(size // devices * devices, ceil_div(devices, width))
    units = []
    for key, rows in _alike(job, keys, homes):
        step = min(size, max(most[key] // tiles[key], 1)) * tiles[key]
        for at in range(0, len(rows), step):
            part = job.rows(rows[at : at + step])
            units += [Unit(key, rows[at : at + step], part._replace(replicates=chunk)) for chunk in chunks]
    return units


def _alike(job: Job, keys: Sequence[str], homes: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Return the rows i64[K] of each group that start at one epoch, those of one home together."""
    found: dict[tuple[str, int], list[int]] = {}
    for row in sorted(range(len(keys)), key=lambda row: homes[row]):
        found.setdefault((keys[row], int(job.start[row])), []).append(row)
    return [(key, np.asarray(rows)) for (key, _), rows in found.items()]


def together(job: Job, parts: Sequence[tuple[Unit, Outcome, Raw | None]], rank: Rank) -> Outcome:
    """Return the outcome of a job from those of its units.

    Args:
      job: as it was asked for.
      parts: every unit at its end; `Raw` where it has not all of the replicates.
      rank: makes outcomes of rows from what is known of all their members.
    """
    by_rows: dict[bytes, list[tuple[Unit, Outcome, Raw | None]]] = {}
    for part in parts:
        by_rows.setdefault(part[0].rows.tobytes(), []).append(part)
    place = {replicate: column for column, replicate in enumerate(job.replicates)}
    found, apart, asked = [], [], []
    for same in by_rows.values():
        same.sort(key=lambda part: place[part[0].replicates[0]])
        unit, raws = same[0][0], [raw for _, _, raw in same if raw is not None]
        if len(same) == 1 or len(raws) < len(same):
            found.append((unit.rows, same[0][1]))
            continue
        read = np.full(len(unit.rows), job.stop) if job.read is None else job.read[unit.rows]
        due = [np.flatnonzero(read == epoch) for epoch in np.unique(read)]
        apart.append((same, due))
        asked += _read(unit.key, raws, due, np.unique(read))
    ranked = iter(rank(asked) if asked else ())
    for same, due in apart:
        rows = same[0][0].rows
        found.append((rows, _joined(same, merge(len(rows), [(some, next(ranked)) for some in due]))))
    return merge(len(job.configs), found)


def _read(key: str, raws: Sequence[Raw], due: Sequence[np.ndarray], epochs: np.ndarray) -> list[Apart]:
    """Return what is known of rows, those together that are read after the same epoch."""
    curve, spread, diverged = (np.concatenate(leaves, 1) for leaves in zip(*raws, strict=True))
    found = []
    for rows, epoch in zip(due, epochs.tolist(), strict=True):
        by_then = np.where(diverged[rows] > epoch, 0, diverged[rows])
        found.append(Apart(key, Raw(curve[rows], spread[rows], by_then), epoch))
    return found


def _joined(same: Sequence[tuple[Unit, Outcome, Raw | None]], whole: Outcome) -> Outcome:
    """Return the outcome of rows of all replicates, with what units that have some of them each know of examples."""

    def side(name: str) -> np.ndarray | None:
        leaves = [getattr(outcome, name) for _, outcome, _ in same]
        return None if leaves[0] is None else np.concatenate(leaves, 1)

    apart = {name: side(name) for name in ("valid", "held_out", "others", "bias")}
    if apart["valid"] is not None and same[0][0].job.read is not None:
        apart["replicate_scores"] = side("replicate_scores")
    return whole._replace(**apart)
