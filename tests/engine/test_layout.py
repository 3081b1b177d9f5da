import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxhp.engine.layout import arrange, tiles_needed


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
