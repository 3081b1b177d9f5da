"""Population based training: who copies whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhp.strategies import PBT, Narrowing

KEY = jax.random.key(1)


def test_schedule():
    assert [tuple(r) for r in PBT(4, generations=3).schedule(10)] == [(4, 3), (4, 7), (4, 10)]
    assert [tuple(r) for r in PBT(4, generations=8).schedule(2)] == [(4, 1), (4, 2)]


def second(strategy, scores, dim=3):
    first, state = strategy.ask(strategy.init(KEY, dim, 8))
    state = strategy.tell(state, first, jnp.asarray(scores, jnp.float32))
    return first, strategy.ask(state)[0]


def test_the_worst_copy_the_best_and_the_others_stay():
    scores = np.random.default_rng(0).permutation(16).astype(np.float32)
    first, after = second(PBT(16, exploit=0.25, resample=0), scores)
    parent, unit = np.asarray(after.parent), np.asarray(after.unit)
    loses = scores < 4
    assert (parent[~loses] == np.flatnonzero(~loses)).all()
    np.testing.assert_array_equal(unit[~loses], np.asarray(first.unit)[~loses])
    assert (scores[parent[loses]] >= 12).all()
    moved = np.abs(unit[loses] - np.asarray(first.unit)[parent[loses]])
    assert ((np.abs(moved - 0.1) < 1e-6) | (moved < 0.1)).all()
    assert moved.max() > 0.09


def test_all_diverged_are_replaced_by_copies_of_the_healthy():
    scores = np.full(16, np.nan)
    scores[[3, 5]] = 1.0
    _, after = second(PBT(16), scores)
    assert set(np.asarray(after.parent).tolist()) <= {3, 5}


def test_when_all_diverged_everything_starts_fresh():
    first, after = second(PBT(16), np.full(16, np.nan))
    assert (np.asarray(after.parent) == -1).all()
    assert not np.array_equal(first.unit, after.unit)


def test_recall_warms_the_first_population():
    old = np.random.default_rng(0).random((60, 3), np.float32)
    strategy = PBT(16, inner=Narrowing())
    state = strategy.recall(strategy.init(KEY, 3, 8), old, -np.abs(old - 0.9).sum(axis=1))
    assert np.median(strategy.ask(state)[0].unit) > 0.7


@pytest.mark.parametrize("bad", [{"exploit": 0.6}, {"step": -1}, {"resample": 2}, {"generations": 0}])
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=f"PBT {next(iter(bad))}: expected"):
        PBT(**bad)
