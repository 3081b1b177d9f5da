import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxhp.engine.layout import arrange, fitting_tile, most_of_a_group, tiles_needed


@given(
    st.lists(st.integers(0, 3), max_size=20),
    st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
    st.integers(1, 5),
)
def test_every_member_stands_once_among_its_like(start, replicates, tile):
    layout = arrange(start, replicates, tile)
    assert layout.slots.shape == (len(start), len(replicates))
    assert len(set(layout.slots.ravel().tolist())) == layout.members == len(start) * len(replicates)
    for row, epoch in enumerate(start):
        for column, replicate in enumerate(replicates):
            slot = layout.slots[row, column]
            assert layout.row.ravel()[slot] == row
            assert layout.replicate[slot // tile] == replicate  # a tile shares its minibatches
            assert layout.start[slot // tile] == epoch
    padding = layout.row == -1
    assert padding.sum() == layout.row.size - layout.members
    assert np.all(np.diff(padding.astype(int), axis=1) >= 0)  # at the end of a tile
    if len(set(start)) == 1:
        assert layout.tiles == tiles_needed(len(start), len(replicates), tile)


@pytest.mark.parametrize("groups", [2, 3, 8, 60, 240])
def test_a_fitting_tile_takes_the_least_time_of_trials_that_fall_to_groups_at_random(groups):
    """The time is counted over many draws: each tile costs as much as one member beside its own."""
    counts = np.random.default_rng(0).multinomial(64, [1 / groups] * groups, size=4000)
    cost = {tile: np.mean(np.ceil(counts / tile).sum(1) * (tile + 1)) for tile in (1, 2, 4, 8, 16)}
    chosen = fitting_tile(16, 64, 1, groups, 1.0)
    assert cost[chosen] <= 1.01 * min(cost.values())
    assert counts.max() <= most_of_a_group(64, groups) + 3
