"""What a worker needs to know of a search to train its members: groups and shapes, no trials and no strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jaxhp.data.folds import Folding
from jaxhp.engine.layout import tiles_needed
from jaxhp.engine.spec import Spec


class Recipe(NamedTuple):
    """A search, as it reaches the workers.

    Attributes:
      specs: its groups, by `Spec.key`.
      foldings: of each group's data, likewise; none without folds.
      tiles: members of a tile, likewise.
      rows: of a unit at most, likewise.
      members: of a trial.
      replicates: of a row at most, those of finals too.
      epochs: of a member at most.
      seed, paired, epoch: see `Search`.
      apart: whether each replicate of a trial is trained by itself, since there are few tiles for many workers.
      devices: of a worker.
      memory: bytes that a worker may fill; None: what is free there.
    """

    specs: Mapping[str, Spec]
    foldings: Mapping[str, Folding]
    tiles: Mapping[str, int]
    rows: Mapping[str, int]
    members: int
    replicates: int
    epochs: int
    seed: int
    paired: bool
    epoch: str
    apart: bool
    devices: int
    memory: int | None

    def at_once(self, key: str) -> int:
        """Return how many replicates of a tile of a group are trained at once, at most."""
        return min(tiles_needed(self.rows[key], self.together, self.tiles[key]), self.replicates)

    @property
    def together(self) -> int:
        """Replicates of a row that a worker trains at once, in the rounds of the search."""
        return 1 if self.apart else self.members
