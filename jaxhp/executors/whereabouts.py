"""Which members there are, and where: in the memory of workers, in their store, or with whoever coordinates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import jax
import numpy as np

from jaxhp.engine.scores import lengthened
from jaxhp.engine.spec import Spec
from jaxhp.engine.work import Members
from jaxhp.executors.member_store import MemberStore
from jaxhp.executors.orders import Name
from jaxhp.values import Error

Chunk = tuple[int, ...]


@dataclass
class Spot:
    """Where a member's replicates, those of one chunk, are.

    Attributes:
      key: of their group.
      workers: whose memory may have them.
      stored: whether they are in the store.
    """

    key: str
    workers: set[str] = field(default_factory=set)
    stored: bool = False


class Whereabouts:
    """What is known of members.

    Args:
      store: where those of an earlier run may be.
    """

    def __init__(self, store: MemberStore):
        self._store = store
        self._spots: dict[tuple[Name, Chunk], Spot] = {}
        self._given: dict[Name, list[np.ndarray]] = {}  # leaves [R, ...], from a checkpoint
        self._recent: list[set[tuple[Name, Chunk]]] = []  # members of the last jobs
        self._earlier: dict[tuple[int, Chunk], list[int]] = {}
        for name in store.names():
            self._earlier.setdefault((name.trial, name.replicates), []).append(name.epoch)
            self.found((name.trial, name.epoch), name.replicates, name.group, stored=True)

    def found(self, name: Name, chunk: Chunk, key: str, *, worker: str | None = None, stored: bool = False) -> None:
        """Know of a member."""
        spot = self._spots.setdefault((name, chunk), Spot(key))
        spot.stored |= stored
        if worker is not None:
            spot.workers.add(worker)

    def spot(self, name: Name, chunk: Chunk, alive: Collection[str]) -> Spot | None:
        """Return where a member is that somebody has who is alive now; who is halted is known to have it later."""
        spot = self._spots.get((name, chunk))
        if spot is None:
            return None
        there = replace(spot, workers=spot.workers.intersection(alive))
        return there if there.stored or there.workers else None

    def chunks(self, replicates: Chunk) -> set[Chunk]:
        """Return those parts of replicates that members are known by."""
        return {chunk for _, chunk in self._spots if set(chunk) <= {*replicates}}

    def before(self, trial: int, chunk: Chunk, alive: Collection[str]) -> list[int]:
        """Return the epochs at which an earlier run has left a trial's member that somebody has."""
        return [e for e in self._earlier.get((trial, chunk), []) if self.spot((trial, e), chunk, alive) is not None]

    def lost(self, name: Name, chunk: Chunk, worker: str | None = None) -> None:
        """Know that a worker, None: the store, does not have a member."""
        spot = self._spots.get((name, chunk))
        if spot is not None and worker is None:
            spot.stored = False
        elif spot is not None:
            spot.workers.discard(worker or "")

    def give(self, names: Sequence[Name], leaves: Sequence[np.ndarray]) -> None:
        """Hold members here, whose leaves are [n, R, ...]."""
        for row, name in enumerate(names):
            self._given[name] = [leaf[row] for leaf in leaves]

    def given(self, name: Name, columns: Sequence[int] | None = None) -> list[np.ndarray] | None:
        """Return the leaves of a member that is held here, of these columns of its replicates."""
        leaves = self._given.get(name)
        return leaves if leaves is None or columns is None else [leaf[list(columns)] for leaf in leaves]

    def drop_given(self) -> None:
        """Hold nothing here."""
        self._given.clear()

    def settle(self, names: Iterable[tuple[Name, Chunk]]) -> None:
        """Know the members of a job that is done; those of jobs before the last one go from the store."""
        self._recent = [*self._recent[-1:], {*names}]
        stay = set().union(*self._recent)
        for place in [place for place in self._spots if place not in stay]:
            spot = self._spots.pop(place)
            if spot.stored:
                (trial, epoch), chunk = place
                self._store.drop(spot.key, trial, epoch, chunk)


def checked(members: Members, spec: Spec, epochs: int) -> list[np.ndarray]:
    """Return the leaves of members, with room for so many epochs.

    Raises:
      Error: they are not members of this group.
    """
    shapes = spec.shapes
    curve = (epochs, 2, len(shapes.metrics))
    expected = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(shapes.member)]
    expected += [(curve, np.float32), ((), np.float32), ((), np.int32)]
    leaves = [*members.leaves]
    if len(leaves) == len(expected):
        leaves[-3] = lengthened(leaves[-3], epochs)
    found = [(leaf.shape[2:], leaf.dtype) for leaf in leaves]
    if found != [(tuple(shape), np.dtype(dtype)) for shape, dtype in expected]:
        raise Error(f"members: expected arrays {expected}, got {found}")
    return leaves
