"""Members brought to where they are needed: into the store by whoever has them, and from there to here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from jaxhp.engine.work import Members, MembersLost
from jaxhp.executors.crew import Crew
from jaxhp.executors.member_store import Damaged, MemberStore
from jaxhp.executors.orders import Answered, Hand, Name
from jaxhp.executors.whereabouts import Chunk, Spot, Whereabouts


class Stock:
    """The members of a search.

    Args:
      crew: has some in memory.
      store: has some.

    Attributes:
      where: what is known of them.
    """

    def __init__(self, crew: Crew, store: MemberStore):
        self._crew, self._store, self.where = crew, store, Whereabouts(store)
        self.moved = 0  # bytes that workers put into the store when they were asked for it

    def spot(self, name: Name, chunk: Chunk) -> Spot | None:
        """Return where a member is; None: nowhere."""
        return self.where.spot(name, chunk, self._crew.alive())

    def homes(self, names: Iterable[Name], chunk: Chunk) -> list[str]:
        """Return the worker that has each member in memory, "" for none."""
        spots = [self.spot(name, chunk) if name[1] else None for name in names]
        return [min(spot.workers, default="") if spot is not None else "" for spot in spots]

    def gone(self, names: Iterable[Name], chunk: Chunk, worker: str) -> None:
        """Know that neither the store nor this worker has members."""
        for name in names:
            self.where.lost(name, chunk)
            self.where.lost(name, chunk, worker)

    def drop(self, key: str, names: Iterable[Name], chunk: Chunk) -> None:
        """Remove members from the store that are not what they should be."""
        for name in names:
            self.where.lost(name, chunk)
            self._store.drop(key, *name, chunk)

    def store(self, key: str, names: Iterable[Name], chunk: Chunk) -> list[Name]:
        """Have members of a group put into the store by whoever has them; return those that nobody has."""
        missing = []
        for name in names:
            while (spot := self.spot(name, chunk)) is not None and not spot.stored:
                who, answer = self._crew.ask(Hand(key, [name], chunk), min(spot.workers))
                if isinstance(answer, Answered):
                    self.moved += answer.sent
                    self.where.found(name, chunk, key, stored=True)
                else:
                    self.where.lost(name, chunk, who)
            if spot is None:
                missing.append(name)
        return missing

    def again(self, key: str, names: Iterable[Name], chunk: Chunk) -> None:
        """Have members put into the store whose content there was damaged.

        Raises:
          MembersLost: nobody has one of them.
        """
        missing = self.store(key, names, chunk)
        if missing:
            trial, epoch = missing[0]
            raise MembersLost(f"the member of trial {trial} after {epoch} epochs is nowhere")

    def bring(self, names: Mapping[Name, str], chunks: Sequence[Chunk], *, ask: bool) -> dict[str, Members]:
        """Return members here, by group, as far as they are in the store.

        Args:
          names: of members, and their groups.
          chunks: of their replicates.
          ask: whether to ask workers for those that are not.
        """
        found: dict[str, list[tuple[Name, list[np.ndarray]]]] = {}
        for name, key in names.items():
            if ask:
                for chunk in chunks:
                    self.store(key, [name], chunk)
            try:
                parts = [self._store.get(key, *name, chunk) for chunk in chunks]
            except Damaged:
                continue
            leaves = [np.concatenate(leaf) for leaf in zip(*parts, strict=True)]
            found.setdefault(key, []).append((name, leaves))
        members = {}
        for key, some in found.items():
            trial, epoch = np.asarray([name for name, _ in some], np.int32).T
            leaves = [np.stack(leaf) for leaf in zip(*(of for _, of in some), strict=True)]
            members[key] = Members(trial, epoch, leaves)
        return members
