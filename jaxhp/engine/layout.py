"""Where each member stands: trials and replicates placed into tiles of a fixed size.

A tile holds members of one replicate and one start epoch, so that they share their minibatches. Tile t lies at
[t // D, t % D] of arrays whose second axis is the D devices: the first k tiles are spread evenly over them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int32

from jaxhp.trials import ceil_div


@dataclass(frozen=True)
class Layout:
    """Tiles in order.

    Attributes:
      row: i32[tiles, T], the row of the proposal that each member trains, -1 for padding.
      replicate: i32[tiles], the replicate all members of a tile belong to.
      start: i32[tiles], the epochs they have been trained for already.
      slots: i32[P, R], for each row and replicate the member's place in `row`, flattened.
    """

    row: Int32[np.ndarray, "tiles T"]
    replicate: Int32[np.ndarray, "tiles"]
    start: Int32[np.ndarray, "tiles"]
    slots: Int32[np.ndarray, "P R"]

    @property
    def tiles(self) -> int:
        """Count the tiles."""
        return len(self.row)

    @property
    def members(self) -> int:
        """Count the members, without padding."""
        return self.slots.size


def arrange(start: Sequence[int] | Int[np.ndarray, "P"], replicates: Sequence[int], tile: int) -> Layout:
    """Place P rows, each with some replicates, into tiles.

    Args:
      start: i32[P], the epochs that each row's weights have been trained for.
      replicates: the numbers of the replicates, R of them.
      tile: T, members of a tile.

    Returns:
      A layout of P * R members.

    >>> arrange([0, 0, 0], [0], tile=2).row.tolist()
    [[0, 1], [2, -1]]
    """
    start = np.asarray(start, np.int32)
    rows: list[np.ndarray] = []
    facts: list[tuple[int, int]] = []
    slots = np.full((len(start), len(replicates)), -1, np.int32)
    for column, replicate in enumerate(replicates):
        for epoch in np.unique(start):
            chosen = np.flatnonzero(start == epoch).astype(np.int32)
            slots[chosen, column] = len(rows) * tile + np.arange(len(chosen))
            padded = np.full(ceil_div(len(chosen), tile) * tile, -1, np.int32)
            padded[: len(chosen)] = chosen
            rows.extend(padded.reshape(-1, tile))
            facts.extend([(replicate, int(epoch))] * (len(padded) // tile))
    known = np.asarray(facts, np.int32).reshape(-1, 2)
    return Layout(np.asarray(rows, np.int32).reshape(-1, tile), known[:, 0], known[:, 1], slots)


def expected_slots(trials: int, replicates: int, tile: int, groups: int) -> float:
    """Expect how many slots of tiles, padding included, trials take in all that fall to each of some groups alike.

    >>> expected_slots(5, 1, 4, 1), expected_slots(2, 3, 4, 2)
    (8.0, 18.0)
    """
    count = np.arange(1, trials + 1)  # of the trials of one group; each is one of its with probability 1 / groups
    chance = np.zeros(trials + 1)
    if groups == 1:
        chance[trials] = 1.0
    else:
        odds = np.log(trials - count + 1) - np.log(count) - math.log(groups - 1)
        chance[:] = np.exp(np.cumsum([trials * math.log1p(-1 / groups), *odds]))
    return float(groups * tile * replicates * np.sum(chance * np.ceil(np.arange(trials + 1) / tile)))


def fitting_tile(most: int, trials: int, replicates: int, groups: int, overhead: float) -> int:
    """Choose the tile in which trials that fall to some groups alike take the least time: a power of two up to `most`.

    Args:
      overhead: members that could be trained in the time that each tile costs beside its members'.

    >>> fitting_tile(16, 64, 1, 1, 1.0), fitting_tile(16, 64, 1, 8, 1.0), fitting_tile(16, 64, 1, 240, 1.0)
    (16, 4, 1)
    """
    sizes = [2**k for k in range(most.bit_length() - 1, -1, -1)]
    return min(sizes, key=lambda tile: expected_slots(trials, replicates, tile, groups) * (1 + overhead / tile))


def most_of_a_group(trials: int, groups: int) -> int:
    """Return how many of some trials fall to one of some groups at most, if all are as likely: four deviations more.

    >>> most_of_a_group(64, 1), most_of_a_group(64, 4), most_of_a_group(64, 240)
    (64, 32, 3)
    """
    mean = trials / groups
    return min(trials, math.ceil(mean + (4 * math.sqrt(mean) if groups > 1 else 0)))


def tiles_needed(trials: int, replicates: int, tile: int) -> int:
    """Count the tiles of `tile` members that hold `trials` fresh trials with `replicates` replicates each."""
    return ceil_div(trials, tile) * replicates
